"""Inbound requests of any ASGI app (https://asgi.readthedocs.io/en/latest/specs/main.html).

Pure ASGI: the middleware is immutable, everything of one request lives in its exchange. The operation ends when the
app hands over the last body message, before that message is passed on: whoever has the response can rely on its span,
line and metrics, and neither a slow reader nor work after the response counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind

from obskit import semconv
from obskit._asgi import SCOPE_KEY, ASGIApp, Receive, Scope, Send, path_below_root
from obskit._fields import RecurringValues, Value
from obskit._guard import contained
from obskit._pipeline import Pipeline
from obskit.instrumentation._exchange import Exchange
from obskit.instrumentation._headers import MAX_ADDRESS, queue_ms, truncated, wanted_headers, without_port
from obskit.instrumentation._inbound import Inbound
from obskit.instrumentation._lifespan import Lifecycle, observe_lifespan
from obskit.instrumentation._route import routes_exactly
from obskit.instrumentation._websocket import Connection
from obskit.instrumentation.function import leave
from obskit.operation import Operation, current_operation

# The keys by which FastAPI's and Starlette's own telemetry know that a request is observed already.
FASTAPI_KEY = "fastapi.telemetry"
_STARLETTE_KEY = "starlette.opentelemetry"
#: In the scope of a request to an app that is mounted in another.
MOUNTED_KEY = "app_root_path"
CONNECTIONS = frozenset({"http", "websocket"})


class Endpoints(Protocol):
    """What answers probes and scrapes in front of the app."""

    def handles(self, path: str) -> bool:
        """Whether `path` is one of its own."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send, /) -> None:
        """Answer a request."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How requests are observed.

    Args:
        inbound: reads what requests bring along of their callers.
        client_address: how much of the peer's address is kept.
        response_trace_header: name of the response header that carries the trace id; empty for none.
        left_to_app: told once for each of the endpoints' paths that the app routes itself.
        not_produced: told of each request whose SERVER span somebody else should have made, and has not.
    """

    inbound: Inbound = field(default_factory=Inbound)
    client_address: Literal["full", "truncated", "off"] = "full"
    response_trace_header: str = ""
    left_to_app: Callable[[str], None] = lambda _path: None
    not_produced: Callable[[], None] = lambda: None


class ObservedApp:
    """An ASGI app with obskit around it.

    Args:
        app: the app to call.
        pipeline: what operations pass through; while it has no signals, requests pass untouched.
        endpoints: answers probes and scrapes.
        lifecycle: told how far the app's life has come.
        options: see :class:`ServerOptions`.
        routed_by: the object whose ``routes`` name the mounts, where it is not `app` itself.
    """

    #: Whether a span that is current in this process is the request's own, made by somebody else.
    adopts = False

    def __init__(  # noqa: PLR0913  (handed over by the handle)
        self,
        app: ASGIApp,
        pipeline: Pipeline,
        endpoints: Endpoints,
        lifecycle: Lifecycle,
        options: ServerOptions,
        *,
        routed_by: Any = None,
    ) -> None:
        self.app = app
        self._pipeline = pipeline
        self._endpoints = endpoints
        self._lifecycle = lifecycle
        self._options = options
        self._inbound = options.inbound
        self._routed_by = app if routed_by is None else routed_by
        self._trace_header = options.response_trace_header.lower().encode("latin-1")
        policy = pipeline.policy
        self._hosts = RecurringValues(lambda host: policy.safe(semconv.SERVER_ADDRESS, without_port(host)))
        self._user_agents = RecurringValues(lambda agent: policy.safe(semconv.USER_AGENT_ORIGINAL, agent))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        exchange = self._begin(scope, receive, send)
        if exchange is None:
            await self._unobserved(scope, receive, send)
            return
        op = exchange.op
        token = otel_context.attach(op.context)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            _end(exchange, error)
            raise
        else:
            _end(exchange, None)
        finally:
            leave(token)

    async def _unobserved(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await observe_lifespan(self.app, self._lifecycle, scope, receive, send)
        elif SCOPE_KEY not in scope and self._is_endpoint(scope):
            await self._endpoints(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _begin(self, scope: Scope, receive: Receive, send: Send) -> Exchange | Connection | None:
        """What observes this connection; None where obskit has nothing to observe, or cannot."""
        kind = scope["type"]
        # With an operation in it, the app is wrapped twice, or mounted in another that is observed: that one has it.
        if kind not in CONNECTIONS or SCOPE_KEY in scope:
            return None
        if not self._lifecycle.begun:
            self._begin_without_lifespan()
        if not self._pipeline.signals or self._is_endpoint(scope):
            return None
        try:
            return self._exchange(scope, receive, send)
        except Exception as error:
            contained("asgi", error)
            return None

    def _exchange(self, scope: Scope, receive: Receive, send: Send) -> Exchange | Connection:
        headers = wanted_headers(scope["headers"], self._inbound.wanted)
        context, remote, links = self._inbound.caller(headers, scope.get("client"))
        span = self._adopted() if self.adopts or MOUNTED_KEY in scope else None
        websocket = scope["type"] == "websocket"
        method: str = "GET" if websocket else scope["method"]
        known = method if method in semconv.KNOWN_METHODS else semconv.METHOD_OTHER
        scope[SCOPE_KEY] = op = Operation(
            self._pipeline,
            semconv.EVENT_WEBSOCKET if websocket else semconv.EVENT_HTTP_SERVER,
            known if known is method else semconv.METHOD_OTHER_SPAN_NAME,
            SpanKind.SERVER,
            fields=self._fields(scope, headers, method, known),
            context=context,
            remote=remote,
            links=links,
            span=span,
        )
        scope.setdefault(FASTAPI_KEY, None)
        scope[_STARLETTE_KEY] = True
        if websocket:
            return Connection(op, scope, receive, send, self._routed_by)
        return Exchange(op, scope, receive, send, self._routed_by, self._trace_header)

    def _adopted(self) -> Span | None:
        """The SERVER span of an app that is not observed, and has this one mounted: the request's one."""
        span = trace.get_current_span()
        if getattr(span, "kind", None) is not SpanKind.SERVER or span is current_operation().span:
            return None
        return span

    def _fields(self, scope: Scope, headers: dict[str, list[str]], method: str, known: str) -> dict[str, Value]:
        policy, get = self._pipeline.policy, scope.get
        fields: dict[str, Value] = {
            semconv.HTTP_REQUEST_METHOD: known,
            semconv.URL_PATH: policy.safe(semconv.URL_PATH, scope["path"]),
            semconv.URL_SCHEME: str(get("scheme") or "http")[:MAX_ADDRESS],
            semconv.NETWORK_PROTOCOL_VERSION: get("http_version") or "1.1",
        }
        if known is not method:
            fields[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = str(method)[:64]
        if "host" in headers:
            fields[semconv.SERVER_ADDRESS] = self._hosts[headers["host"][0]]
        elif get("server"):
            fields[semconv.SERVER_ADDRESS] = str(scope["server"][0])
        client = get("client")
        if client and self._options.client_address != "off":
            address = str(client[0])[:MAX_ADDRESS]  # which a proxy may have taken from a header
            full = self._options.client_address == "full"
            fields[semconv.CLIENT_ADDRESS] = address if full else truncated(address)
        if "user-agent" in headers:
            fields[semconv.USER_AGENT_ORIGINAL] = self._user_agents[headers["user-agent"][0]]
        if "x-request-id" in headers:
            fields[semconv.REQUEST_ID] = policy.safe(semconv.REQUEST_ID, headers["x-request-id"][0])
        if "x-request-start" in headers:
            queued = queue_ms(headers["x-request-start"][0])
            if queued is not None:
                fields[semconv.QUEUE_MS] = queued
        return fields

    def _is_endpoint(self, scope: Scope) -> bool:
        """Whether a request is for one of the endpoints, unless the app routes that very path itself."""
        if scope["type"] != "http":
            return False
        path = path_below_root(scope) if scope.get("root_path") else scope["path"]
        if not self._endpoints.handles(path):
            return False
        theirs = False
        try:
            theirs = routes_exactly(self._routed_by, path)
            if theirs:
                self._options.left_to_app(path)
        except Exception as error:  # liveness must not depend on the app's routes
            contained("asgi", error)
        return not theirs

    def _begin_without_lifespan(self) -> None:
        try:
            self._lifecycle.begin()
            self._lifecycle.started()
            self._lifecycle.without_lifespan()
        except Exception as error:
            contained("asgi", error)


def _end(exchange: Exchange | Connection, error: BaseException | None) -> None:
    """End a connection's operation by how the app was left; it ends also where what it would say cannot be told."""
    try:
        if error is None:
            exchange.returned()
        elif isinstance(error, Exception):
            exchange.failed(error)
        else:
            exchange.finish(cancelled=True)
    except Exception as fault:
        contained("asgi", fault)
        exchange.op.finish()
