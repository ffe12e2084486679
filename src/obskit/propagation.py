"""Trace context in and out of a process: strict W3C Trace Context, W3C Baggage, and B3 where it is asked for.

A header that breaks the specification is treated as absent, as the specification asks (https://www.w3.org/TR/trace-context/,
https://www.w3.org/TR/baggage/). What strangers send is bounded before it is parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from obskit import _b3
from obskit._carrier import AnyCaseGetter
from obskit._guard import contained
from obskit._probability import vetted

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
BAGGAGE = "baggage"

_IDS = r"-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})"
_TRACEPARENT_00 = re.compile("00" + _IDS)
_TRACEPARENT_LATER = re.compile("[0-9a-f]{2}" + _IDS + "(?:-.*)?", re.DOTALL)
_TRACESTATE_KEY = re.compile(
    r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}", re.ASCII
)
_TRACESTATE_VALUE = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_BAGGAGE_KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_BAGGAGE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")

_MAX_TRACESTATE_MEMBERS = 32
_MAX_TRACESTATE_CHARS = 8192
_MAX_BAGGAGE_MEMBERS = 64
_MAX_BAGGAGE_CHARS = 8192

# The flags that version 00 defines: sampled, and level 2's "the trace id is random".
_KNOWN_FLAGS = 0x03
_FLAGS = tuple(TraceFlags(flags) for flags in range(_KNOWN_FLAGS + 1))


def parse_traceparent(header: str) -> SpanContext | None:
    """A ``traceparent`` header as a remote span context without state, or None when it is not valid."""
    match = _TRACEPARENT_00.fullmatch(header) or _later_traceparent(header)
    if match is None:
        return None
    trace_id, span_id, flags = match.groups()
    context = SpanContext(int(trace_id, 16), int(span_id, 16), True, _FLAGS[int(flags, 16) & _KNOWN_FLAGS])  # noqa: FBT003
    return context if context.is_valid else None


def _later_traceparent(header: str) -> re.Match[str] | None:
    """A version after 00 may have more behind it, and is read as far as 00 goes; ff is none."""
    return None if header[:2] in ("00", "ff") else _TRACEPARENT_LATER.fullmatch(header)


def parse_tracestate(headers: Iterable[str]) -> TraceState | None:
    """All ``tracestate`` headers of a request as one state, or None when any of it is not valid."""
    joined = ",".join(headers)
    if len(joined) > _MAX_TRACESTATE_CHARS:
        return None
    entries: dict[str, str] = {}
    for raw in joined.split(","):
        member = raw.strip(" \t")
        if not member:
            continue
        key, separator, value = member.partition("=")
        if not separator or key in entries:
            return None
        if not _TRACESTATE_KEY.fullmatch(key) or not _TRACESTATE_VALUE.fullmatch(value):
            return None
        entries[key] = value
    if not entries or len(entries) > _MAX_TRACESTATE_MEMBERS:
        return None
    return TraceState(list(entries.items()))


def parse_baggage(headers: Iterable[str]) -> dict[str, str]:
    """All ``baggage`` headers as names to values; what is not valid is left out, and so is what is too much."""
    entries: dict[str, str] = {}
    budget = _MAX_BAGGAGE_CHARS
    for header in headers:
        for raw in header[:budget].split(","):
            member = raw.split(";", 1)[0]
            key, separator, value = member.partition("=")
            key, value = key.strip(" \t"), value.strip(" \t")
            if separator and _BAGGAGE_KEY.fullmatch(key) and _BAGGAGE_VALUE.fullmatch(value):
                entries[key] = unquote(value, errors="replace")
            if len(entries) == _MAX_BAGGAGE_MEMBERS:
                return entries
        budget -= min(budget, len(header))
    return entries


def remote_span_context(traceparent: Sequence[str], tracestate: Sequence[str]) -> SpanContext | None:
    """The caller's span that a request's headers name, if they name one.

    Args:
        traceparent: every value received; more than one is as good as none.
        tracestate: every value received, in order.
    """
    parent = parse_traceparent(traceparent[0]) if len(traceparent) == 1 else None
    state = parse_tracestate(tracestate) if tracestate and parent is not None else None
    if parent is None or state is None:
        return parent
    trace_id, span_id, flags = parent.trace_id, parent.span_id, parent.trace_flags
    told = SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags, trace_state=state)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags, trace_state=vetted(told))


def with_baggage(headers: Sequence[str], context: Context) -> Context:
    """`context` with the baggage of a request's headers on top."""
    for name, value in parse_baggage(headers).items():
        context = baggage.set_baggage(name, value, context)
    return context


def traceparent_of(span_context: SpanContext) -> str:
    """The ``traceparent`` header that makes the receiver a child of this span."""
    return f"00-{span_context.trace_id:032x}-{span_context.span_id:016x}-{span_context.trace_flags & _KNOWN_FLAGS:02x}"


class StrictTraceContext(TextMapPropagator):
    """W3C Trace Context as OpenTelemetry's propagation API wants it; strict where the SDK's own is lenient."""

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """`context` with the remote span that the carrier describes, if it describes one."""
        base = Context() if context is None else context
        remote = remote_span_context(getter.get(carrier, TRACEPARENT) or (), getter.get(carrier, TRACESTATE) or ())
        return base if remote is None else trace.set_span_in_context(NonRecordingSpan(remote), base)

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Write the current span's context into the carrier."""
        span_context = trace.get_current_span(context).get_span_context()
        if not span_context.is_valid:
            return
        setter.set(carrier, TRACEPARENT, traceparent_of(span_context))
        if span_context.trace_state:
            setter.set(carrier, TRACESTATE, span_context.trace_state.to_header())

    @property
    def fields(self) -> set[str]:
        """The headers it writes."""
        return {TRACEPARENT, TRACESTATE}


class BoundedBaggage(TextMapPropagator):
    """W3C Baggage as OpenTelemetry's propagation API wants it, with the specification's limits kept."""

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """`context` with the baggage that the carrier holds."""
        return with_baggage(getter.get(carrier, BAGGAGE) or (), Context() if context is None else context)

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Write the current baggage into the carrier."""
        members: list[str] = []
        size = 0
        for name, value in baggage.get_all(context).items():
            member = f"{name}={quote(str(value), safe='')}"
            size += len(member) + 1
            if not _BAGGAGE_KEY.fullmatch(name) or size > _MAX_BAGGAGE_CHARS or len(members) == _MAX_BAGGAGE_MEMBERS:
                continue
            members.append(member)
        if members:
            setter.set(carrier, BAGGAGE, ",".join(members))

    @property
    def fields(self) -> set[str]:
        """The headers it writes."""
        return {BAGGAGE}


def propagator(names: Iterable[str]) -> TextMapPropagator:
    """The propagator for ``OTEL_PROPAGATORS`` names; ``none`` and unknown names propagate nothing."""
    known: dict[str, TextMapPropagator] = {
        "tracecontext": StrictTraceContext(),
        "baggage": BoundedBaggage(),
        "b3": _b3.B3(),
        "b3multi": _b3.B3Multi(),
    }
    return CompositePropagator([known[name] for name in dict.fromkeys(names) if name in known])


_GETTER = AnyCaseGetter()
_propagator: TextMapPropagator = propagator(("tracecontext", "baggage"))


def install(new: TextMapPropagator) -> TextMapPropagator:
    """Make `new` what :func:`inject` and :func:`extract` use; returns what they used before."""
    global _propagator
    before, _propagator = _propagator, new
    return before


def inject(carrier: MutableMapping[str, str]) -> None:
    """Write the current trace context and baggage into `carrier` (a message's headers, a job's arguments).

    Args:
        carrier: a mutable mapping of str to str, changed in place.
    """
    try:
        _propagator.inject(carrier)
    except Exception as error:
        contained("propagation", error)


def extract(carrier: Mapping[str, Any] | Iterable[tuple[Any, Any]] | None) -> Context:
    """The context that `carrier` describes, for ``operation(parent=extract(headers))``.

    Args:
        carrier: a mapping, or pairs, of names to values in str or bytes; names in any case. None is as good as empty.

    Returns:
        An OpenTelemetry context; where nothing valid is in the carrier, one that starts a new trace.
    """
    try:
        return _propagator.extract(carrier or {}, Context(), _GETTER)
    except Exception as error:
        contained("propagation", error)
        return Context()
