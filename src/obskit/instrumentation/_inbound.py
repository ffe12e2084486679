"""What a request brings along of its caller: the trace it belongs to, and baggage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext

from obskit._b3 import with_debug
from obskit.instrumentation._headers import FACTS
from obskit.propagation import BAGGAGE, reader, with_baggage


class Inbound:
    """Reads callers as it was configured to; made once, for all requests.

    Args:
        propagators: names, as of ``OTEL_PROPAGATORS``.

    Attributes:
        wanted: the headers to look up in each request, by their bytes.
    """

    __slots__ = ("_read", "wanted")

    def __init__(self, propagators: Collection[str] = ("tracecontext", "baggage")) -> None:
        self._read, names = reader(propagators)
        names += FACTS + ((BAGGAGE,) if "baggage" in propagators else ())
        self.wanted: Mapping[bytes, str] = MappingProxyType({name.encode(): name for name in names})

    def caller(self, headers: Mapping[str, Sequence[str]]) -> tuple[Context, SpanContext | None, Sequence[Link]]:
        """The context to serve a request in, the caller's span if it names one, and links to what is not its parent.

        Args:
            headers: those that are wanted, by name, every value received.
        """
        context = otel_context.get_current()
        remote = self._read(headers)
        if BAGGAGE in headers:
            context = with_baggage(headers[BAGGAGE], context)
        return context if remote is None else with_debug(remote, context), remote, ()
