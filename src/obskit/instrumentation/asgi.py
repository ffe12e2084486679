"""Inbound requests of any ASGI app (https://asgi.readthedocs.io/en/latest/specs/main.html).

Pure ASGI: the middleware is immutable, everything of one request lives in its exchange. The operation ends when the
app hands over the last body message, before that message is passed on: whoever has the response can rely on its span,
line and metrics, and neither a slow reader nor work after the response counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind

from obskit import semconv
from obskit._asgi import ASGIApp, Receive, Scope, Send, path_below_root
from obskit._fields import Value
from obskit._guard import contained
from obskit.instrumentation._exchange import Exchange
from obskit.instrumentation._headers import queue_ms, truncated, wanted_headers, without_port
from obskit.instrumentation._lifespan import Lifecycle, observe_lifespan
from obskit.instrumentation._route import routes_exactly, routes_of
from obskit.instrumentation._websocket import Connection
from obskit.operation import Operation, Pipeline
from obskit.propagation import remote_context

#: In the scope of every request that obskit observes: its operation. What finds one there leaves the request alone.
SCOPE_KEY = "obskit"
# The keys by which FastAPI's and Starlette's own telemetry know that a request is observed already.
_FASTAPI_KEY = "fastapi.telemetry"
_STARLETTE_KEY = "starlette.opentelemetry"

_NO_VALUES: list[str] = []


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
        read_trace_context: whether ``traceparent`` and ``tracestate`` of requests are continued.
        read_baggage: whether ``baggage`` of requests is.
        client_address: how much of the peer's address is kept.
        response_trace_header: name of the response header that carries the trace id; empty for none.
        left_to_app: told once for each of the endpoints' paths that the app routes itself.
    """

    read_trace_context: bool = True
    read_baggage: bool = True
    client_address: Literal["full", "truncated", "off"] = "full"
    response_trace_header: str = ""
    left_to_app: Callable[[str], None] = lambda _path: None


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
        self._routed_by = app if routed_by is None else routed_by
        self._trace_header = options.response_trace_header.lower().encode("latin-1")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        kind = scope["type"]
        if kind == "lifespan":
            await observe_lifespan(self.app, self._lifecycle, scope, receive, send)
            return
        if SCOPE_KEY in scope:  # wrapped twice, or an observed app mounted in another: the outermost has it
            await self.app(scope, receive, send)
            return
        if not self._lifecycle.begun:
            self._begin_without_lifespan()
        if kind == "http" and self._endpoints.handles(path_below_root(scope)) and not self._app_routes(scope):
            await self._endpoints(scope, receive, send)
        elif not self._pipeline.signals or kind not in ("http", "websocket"):
            await self.app(scope, receive, send)
        else:
            await self._observed(scope, receive, send)

    async def _observed(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            exchange = self._begin(scope, receive, send)
        except Exception as error:
            contained("asgi", error)
            await self.app(scope, receive, send)
            return
        op = exchange.op
        token = otel_context.attach(op.context)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except Exception as error:
            exchange.failed(error)
            raise
        except BaseException:
            exchange.finish(cancelled=True)
            raise
        else:
            exchange.returned()
        finally:
            otel_context.detach(token)
            for key in (SCOPE_KEY, _FASTAPI_KEY, _STARLETTE_KEY):
                scope.pop(key, None)

    def _begin(self, scope: Scope, receive: Receive, send: Send) -> Exchange | Connection:
        headers = wanted_headers(scope["headers"])
        context = otel_context.get_current()
        if headers:
            context = remote_context(
                headers.get("traceparent", _NO_VALUES) if self._options.read_trace_context else _NO_VALUES,
                headers.get("tracestate", _NO_VALUES),
                headers.get("baggage", _NO_VALUES) if self._options.read_baggage else _NO_VALUES,
                context,
            )
        websocket = scope["type"] == "websocket"
        method: str = "GET" if websocket else scope["method"]
        known = method if method in semconv.KNOWN_METHODS else semconv.METHOD_OTHER
        op = Operation(
            self._pipeline,
            semconv.EVENT_WEBSOCKET if websocket else semconv.EVENT_HTTP_SERVER,
            known if known is method else semconv.METHOD_OTHER_SPAN_NAME,
            SpanKind.SERVER,
            fields=self._fields(scope, headers, method, known),
            context=context,
        )
        scope[SCOPE_KEY] = op
        scope[_FASTAPI_KEY] = None
        scope[_STARLETTE_KEY] = True
        if websocket:
            return Connection(op, scope, receive, send, self._routed_by)
        return Exchange(op, scope, receive, send, self._routed_by, self._trace_header)

    def _fields(self, scope: Scope, headers: dict[str, list[str]], method: str, known: str) -> dict[str, Value]:
        policy = self._pipeline.policy
        fields: dict[str, Value] = {
            semconv.HTTP_REQUEST_METHOD: known,
            semconv.URL_PATH: policy.redact(semconv.URL_PATH, policy.clean(scope["path"])),
            semconv.URL_SCHEME: scope.get("scheme") or "http",
            semconv.NETWORK_PROTOCOL_VERSION: scope.get("http_version") or "1.1",
        }
        if known is not method:
            fields[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = str(method)[:64]
        if "host" in headers:
            fields[semconv.SERVER_ADDRESS] = without_port(headers["host"][0])
        elif scope.get("server"):
            fields[semconv.SERVER_ADDRESS] = str(scope["server"][0])
        client = scope.get("client")
        if client and self._options.client_address != "off":
            full = self._options.client_address == "full"
            fields[semconv.CLIENT_ADDRESS] = client[0] if full else truncated(client[0])
        if "user-agent" in headers:
            fields[semconv.USER_AGENT_ORIGINAL] = headers["user-agent"][0]
        if "x-request-id" in headers:
            fields[semconv.REQUEST_ID] = headers["x-request-id"][0]
        queued = queue_ms(headers["x-request-start"][0]) if "x-request-start" in headers else None
        if queued is not None:
            fields[semconv.QUEUE_MS] = queued
        return fields

    def _app_routes(self, scope: Scope) -> bool:
        path = path_below_root(scope)
        routes = routes_of(self._routed_by)
        if not routes or not routes_exactly(routes, path):
            return False
        self._options.left_to_app(path)
        return True

    def _begin_without_lifespan(self) -> None:
        try:
            self._lifecycle.begin()
            self._lifecycle.started()
        except Exception as error:
            contained("asgi", error)
