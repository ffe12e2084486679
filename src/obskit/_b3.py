"""B3, Zipkin's propagation, in one header and in several (https://github.com/openzipkin/b3-propagation).

Read strictly: what is not of the specification's form counts as absent. Both encodings are read whichever is written,
the single header first (https://opentelemetry.io/docs/specs/otel/context/api-propagators/#b3-requirements).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

SINGLE = "b3"
TRACE_ID = "x-b3-traceid"
SPAN_ID = "x-b3-spanid"
SAMPLED = "x-b3-sampled"
FLAGS = "x-b3-flags"
#: What is read; the id of the parent's parent, which B3 sends too, is nobody's business here.
HEADERS = (SINGLE, TRACE_ID, SPAN_ID, SAMPLED, FLAGS)

_TRACE_ID = re.compile("[0-9a-f]{32}|[0-9a-f]{16}")
_SPAN_ID = re.compile("[0-9a-f]{16}")
_SINGLE = re.compile(f"({_TRACE_ID.pattern})-({_SPAN_ID.pattern})(?:-([01d]))?(?:-{_SPAN_ID.pattern})?")
_DEBUG_KEY = otel_context.create_key("obskit-b3-debug")


class Debug(TraceFlags):
    """Sampled, and by somebody who looks for something: passed on as such."""


class Deferred(TraceFlags):
    """No decision yet: whoever reads it takes the one that it would take for a trace of its own."""


_DENIED, _ACCEPTED = TraceFlags(TraceFlags.DEFAULT), TraceFlags(TraceFlags.SAMPLED)
_DEBUG, _DEFERRED = Debug(TraceFlags.SAMPLED), Deferred(TraceFlags.DEFAULT)
_STATES: Mapping[str, TraceFlags] = {"0": _DENIED, "1": _ACCEPTED, "d": _DEBUG}
#: As some tracers wrote it before there was a specification, which allows to read it.
_SAMPLED: Mapping[str, TraceFlags] = {"0": _DENIED, "1": _ACCEPTED, "false": _DENIED, "true": _ACCEPTED}


def remote_span_context(headers: Mapping[str, Sequence[str]]) -> SpanContext | None:
    """The caller's span that B3 headers name, or None where they name none.

    Args:
        headers: every value received, by lower-case name; of several the first counts.

    Returns:
        Where a decision about sampling came without ids, a context that is not valid and has its flags.
    """
    return _of_single(headers) or _of_multiple(headers)


def _of_single(headers: Mapping[str, Sequence[str]]) -> SpanContext | None:
    if SINGLE not in headers:
        return None
    value = headers[SINGLE][0]
    if value in _STATES:
        return _decision(_STATES[value])
    match = _SINGLE.fullmatch(value)
    return match and _named(match[1], match[2], _STATES.get(match[3], _DEFERRED))


def _of_multiple(headers: Mapping[str, Sequence[str]]) -> SpanContext | None:
    if TRACE_ID not in headers and SAMPLED not in headers and FLAGS not in headers:
        return None

    def first(name: str) -> str:
        return headers[name][0] if name in headers else ""

    flags = _DEBUG if first(FLAGS) == "1" else _SAMPLED.get(first(SAMPLED), _DEFERRED)
    trace_id, span_id = first(TRACE_ID), first(SPAN_ID)
    if _TRACE_ID.fullmatch(trace_id) and _SPAN_ID.fullmatch(span_id):
        return _named(trace_id, span_id, flags)
    return None if trace_id or span_id or flags is _DEFERRED else _decision(flags)


def _named(trace_id: str, span_id: str, flags: TraceFlags) -> SpanContext | None:
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)
    return context if context.is_valid else None


def _decision(flags: TraceFlags) -> SpanContext:
    return SpanContext(trace.INVALID_TRACE_ID, trace.INVALID_SPAN_ID, is_remote=True, trace_flags=flags)


def with_debug(remote: SpanContext, context: Context) -> Context:
    """`context`, from which the debug flag is passed on if `remote` has it."""
    return otel_context.set_value(_DEBUG_KEY, True, context) if type(remote.trace_flags) is Debug else context  # noqa: FBT003  (a value)


class B3(TextMapPropagator):
    """B3 as OpenTelemetry's propagation API wants it.

    Args:
        single: whether one header is written, or one for each fact. Both are read.
    """

    def __init__(self, *, single: bool = True) -> None:
        self._single = single

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """`context` with the remote span that the carrier describes, if it describes one."""
        base = Context() if context is None else context
        found = {name: values for name in HEADERS if (values := getter.get(carrier, name))}
        remote = remote_span_context(found)
        if remote is None:
            return base
        return trace.set_span_in_context(NonRecordingSpan(remote), with_debug(remote, base))

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Write the current span's context into the carrier."""
        span = trace.get_current_span(context).get_span_context()
        if not span.is_valid:
            return
        state = "d" if otel_context.get_value(_DEBUG_KEY, context) else "1" if span.trace_flags.sampled else "0"
        trace_id, span_id = f"{span.trace_id:032x}", f"{span.span_id:016x}"
        if self._single:
            setter.set(carrier, SINGLE, f"{trace_id}-{span_id}-{state}")
            return
        setter.set(carrier, TRACE_ID, trace_id)
        setter.set(carrier, SPAN_ID, span_id)
        setter.set(carrier, *((FLAGS, "1") if state == "d" else (SAMPLED, state)))

    @property
    def fields(self) -> set[str]:
        """The headers it writes."""
        return {SINGLE} if self._single else {TRACE_ID, SPAN_ID, SAMPLED, FLAGS}


#: pyproject.toml registers it, and :class:`B3`, as what ``OTEL_PROPAGATORS`` may name.
B3Multi = partial(B3, single=False)
