"""What a request brings along of its caller: the trace it belongs to, and baggage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from types import MappingProxyType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, SpanContext, set_span_in_context

from obskit import _b3
from obskit.instrumentation._headers import FACTS, MAX_ADDRESS
from obskit.propagation import BAGGAGE, TRACEPARENT, TRACESTATE, remote_span_context, with_baggage

Caller = tuple[Context, SpanContext | None, Sequence[Link]]
"""The context to serve a request in, the caller's span where it is the parent, and links to what is not."""

Reader = Callable[[Mapping[str, Sequence[str]]], SpanContext | None]
"""Finds the caller's span in headers that were looked up by lower-case name, every value received."""

_REMEMBERED = 1024


class Inbound:
    """Reads callers as it was configured to; made once, for all requests.

    Args:
        propagators: names, as of ``OTEL_PROPAGATORS``.
        trust: ``always``, ``never``, or the networks whose peers are trusted, as CIDRs.

    Attributes:
        wanted: the headers to look up in each request, by their bytes.
        of_the_caller: those of them that carry trace context or baggage.
    """

    __slots__ = ("_read", "_trusts", "of_the_caller", "wanted")

    def __init__(
        self, propagators: Collection[str] = ("tracecontext", "baggage"), trust: str | Sequence[str] = "always"
    ) -> None:
        self._read, names = reader(propagators)
        self._trusts = None if trust == "always" else _within(() if trust == "never" else trust)
        names += (BAGGAGE,) if "baggage" in propagators else ()
        self.of_the_caller = frozenset(name.encode() for name in names)
        names += FACTS
        self.wanted: Mapping[bytes, str] = MappingProxyType({name.encode(): name for name in names})

    def caller(self, headers: Mapping[str, Sequence[str]], peer: Any) -> Caller:
        """What a request's headers say of its caller, as far as the caller is trusted.

        Args:
            headers: those that are wanted, by name, every value received.
            peer: host and port as the server reports them (``scope["client"]``), or None.
        """
        context = otel_context.get_current()
        remote = self._read(headers)
        if self._trusts is not None and not self.trusts(peer):
            return _stranger(remote, context)
        if BAGGAGE in headers:
            context = with_baggage(headers[BAGGAGE], context)
        return context if remote is None else _b3.with_debug(remote, context), remote, ()

    def trusts(self, peer: Any) -> bool:
        """Whether what `peer` says of itself counts."""
        return self._trusts is None or self._trusts(peer[0] if peer else None)


def _stranger(remote: SpanContext | None, context: Context) -> Caller:
    """A trace of its own, that knows of theirs; neither their baggage nor their decision about sampling counts."""
    if remote is None or not remote.is_valid:
        return context, None, ()
    # A call within the process has made the caller's span current: it is no parent either.
    return set_span_in_context(INVALID_SPAN, context), None, (Link(remote),)


def _within(networks: Sequence[str]) -> Callable[[Any], bool]:
    """Whether a peer's address is in one of these; what is no address, as of a Unix socket, is in none."""
    parsed = [ip_network(network) for network in networks]

    @lru_cache(_REMEMBERED)
    def known(host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:  # of a socket that takes both
            address = address.ipv4_mapped
        return any(address in network for network in parsed)

    return lambda host: type(host) is str and len(host) <= MAX_ADDRESS and known(host)


def reader(names: Iterable[str]) -> tuple[Reader, tuple[str, ...]]:
    """How the caller's span is read from requests, for ``OTEL_PROPAGATORS`` names, and the headers to look up for it.

    As in OpenTelemetry's composite propagator, of several that find a span the last one named counts. Where none does,
    a decision about sampling that came alone is found.
    """
    known: dict[str, tuple[Reader, tuple[str, ...]]] = {
        "tracecontext": (_of_trace_context, (TRACEPARENT, TRACESTATE)),
        "b3": (_b3.remote_span_context, _b3.HEADERS),
        "b3multi": (_b3.remote_span_context, _b3.HEADERS),
    }
    chosen = dict(known[name] for name in reversed(list(names)) if name in known)
    if not chosen:
        return lambda _headers: None, ()
    headers = tuple(name for wanted in chosen.values() for name in wanted)
    return next(iter(chosen)) if len(chosen) == 1 else _first_of(*chosen), headers


def _of_trace_context(headers: Mapping[str, Sequence[str]]) -> SpanContext | None:
    if TRACEPARENT not in headers:
        return None
    return remote_span_context(headers[TRACEPARENT], headers.get(TRACESTATE, ()))


def _first_of(*readers: Reader) -> Reader:
    def read(headers: Mapping[str, Sequence[str]]) -> SpanContext | None:
        decision = None
        for each in readers:
            found = each(headers)
            if found is not None and found.is_valid:
                return found
            decision = decision or found
        return decision

    return read
