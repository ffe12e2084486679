"""What outbound requests carry: trace context to every host, baggage only to those that are listed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, MutableMapping
from typing import Any

from obskit.operation import Operation
from obskit.propagation import BAGGAGE, TRACEPARENT, TRACESTATE, BoundedBaggage, propagator

#: Strangers may choose hosts, where a service calls what it is told to: so many decisions are remembered.
_MAX_DECISIONS = 1024


class Outgoing:
    """Writes the headers of outbound requests.

    Args:
        propagators: ``OTEL_PROPAGATORS`` names.
        propagate_to: patterns of the hosts that baggage is sent to; ``*`` stands for any characters.
    """

    def __init__(self, propagators: Collection[str], propagate_to: Iterable[str]) -> None:
        contexts = [name for name in propagators if name != BAGGAGE]
        self._plain = contexts == ["tracecontext"]
        self._context = propagator(contexts)
        patterns = list(propagate_to) if BAGGAGE in propagators else []
        self._listed = re.compile("|".join(map(_expression, patterns))) if patterns else None
        self._baggage = BoundedBaggage()
        self._decisions: dict[str, bool] = {}

    def write(self, op: Operation, host: str, headers: MutableMapping[str, Any]) -> bool:
        """Write the headers of the request that `op` is, in place.

        Args:
            op: the running operation of the call.
            host: who is called.
            headers: those of the request. A ``baggage`` that the application has put there stays as it is.

        Returns:
            Whether there is baggage of obskit's among them.
        """
        if self._plain:  # what StrictTraceContext does, without its look-ups
            if op.trace_id:
                headers[TRACEPARENT] = f"00-{op.trace_id}-{op.span_id}-{op.trace_flags}"
                state = op.span.get_span_context().trace_state if op.span is not None else None
                if state:
                    headers[TRACESTATE] = state.to_header()
        else:
            self._context.inject(headers, op.context)
        if self._listed is None or BAGGAGE in headers or not self._is_listed(host):
            return False
        self._baggage.inject(headers, op.context)
        return BAGGAGE in headers

    def _is_listed(self, host: str) -> bool:
        known = self._decisions.get(host)
        if known is None:
            if len(self._decisions) >= _MAX_DECISIONS:
                self._decisions.clear()
            known = self._listed is not None and self._listed.fullmatch(host.lower()) is not None
            self._decisions[host] = known
        return known


def _expression(pattern: str) -> str:
    return ".*".join(map(re.escape, pattern.lower().split("*")))
