"""Outbound calls by httpx and httpx2, which share their seams: every client of the process, whatever its transport.

The seam is ``_send_single_request``, where a client, whenever it was made, sends one request. An operation's duration
reaches to the end of the body, when the response is closed.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import Any

from opentelemetry import context as otel_context

from obskit import semconv
from obskit._guard import contained
from obskit.instrumentation._outbound import Ending, Outbound, fail
from obskit.instrumentation._patch import replace
from obskit.instrumentation.function import leave
from obskit.operation import Operation, current_operation
from obskit.propagation import BAGGAGE

# What a request's extensions, which the one that a redirect leads to inherits, remember: how often it was sent, and
# whether its baggage is obskit's.
_SENT = "obskit.sent"
_BAGGAGE = "obskit.baggage"
_VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/2": "2", b"HTTP/1.0": "1.0", b"HTTP/3": "3"}


def instrument(outbound: Outbound, library: ModuleType) -> Callable[[], None]:
    """Observe every client of httpx, or of httpx2.

    Args:
        outbound: begins operations.
        library: the one of the two.

    Returns:
        A function that gives the library its own methods back.
    """
    sync_body = type("ObservedBody", (_SyncBody, library.SyncByteStream), {})
    async_body = type("ObservedBody", (_AsyncBody, library.AsyncByteStream), {})
    sends = "_send_single_request"
    with ExitStack() as undo:
        for client in (library.Client, library.AsyncClient):
            undo.callback(replace(client, "_send_handling_auth", _anew))
        undo.callback(replace(library.Client, sends, lambda send: _sync_send(outbound, send, sync_body)))
        undo.callback(replace(library.AsyncClient, sends, lambda send: _async_send(outbound, send, async_body)))
        return undo.pop_all().close


def observed() -> bool:
    """Whether the request that a transport is asked to send has its operation already."""
    op = current_operation()
    return op.event == semconv.EVENT_HTTP_CLIENT and not op.ended


def _anew(original: Callable[..., Any]) -> Callable[..., Any]:
    """The application asks for a request, perhaps again for the same one: that is no resending of the client's."""

    @functools.wraps(original, updated=())
    def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        request.extensions.pop(_SENT, None)
        return original(client, request, *args, **kwargs)

    return send


def _sync_send(outbound: Outbound, original: Callable[[Any, Any], Any], body: type[_SyncBody]) -> Any:
    @functools.wraps(original, updated=())
    def send(client: Any, request: Any) -> Any:
        # A test client's request is the inbound one that it makes up, and nobody's outbound call.
        op = None if _is_test_client(client) else _begin(outbound, request)
        if op is None:
            return original(client, request)
        token = otel_context.attach(op.context)
        try:
            response = original(client, request)
        except BaseException as error:
            fail(op, error)
            raise
        finally:
            leave(token)
        return _observed(outbound, op, response, body)

    return send


def _async_send(outbound: Outbound, original: Callable[[Any, Any], Awaitable[Any]], body: type[_AsyncBody]) -> Any:
    @functools.wraps(original, updated=())
    async def send(client: Any, request: Any) -> Any:
        op = _begin(outbound, request)
        if op is None:
            return await original(client, request)
        token = otel_context.attach(op.context)
        try:
            response = await original(client, request)
        except BaseException as error:
            fail(op, error)
            raise
        finally:
            leave(token)
        return _observed(outbound, op, response, body)

    return send


def _is_test_client(client: Any) -> bool:
    testclient = sys.modules.get("starlette.testclient")
    return testclient is not None and isinstance(client, testclient.TestClient)


def _begin(outbound: Outbound, request: Any) -> Operation | None:
    try:
        url, extensions = request.url, request.extensions
        host = url.host
        sent = extensions.get(_SENT, 0)
        op = outbound.begin(request.method, str(url), url.scheme, host, url.port, sent)
        if op is None:
            return None
        extensions[_SENT] = sent + 1
        timeout = extensions.get("timeout")
        if not timeout or (timeout.get("read") is None and not any(timeout.values())):
            outbound.unbounded(host)
        headers = request.headers
        if extensions.pop(_BAGGAGE, False):  # of the request that was redirected: this host may not be listed
            del headers[BAGGAGE]
        if outbound.write(op, host, headers):
            extensions[_BAGGAGE] = True
    except Exception as error:
        contained(outbound.library, error)
        return None
    return op


def _observed(outbound: Outbound, op: Operation, response: Any, body: type[_SyncBody | _AsyncBody]) -> Any:
    try:
        version = _VERSIONS.get(response.extensions.get("http_version"))
        if version is not None:
            op.fields[semconv.NETWORK_PROTOCOL_VERSION] = version
        if response.is_closed:  # a transport that hands over the body whole, already read
            Ending(op, response.status_code).end()
        else:
            response.stream = body(response.stream, op, response.status_code)
    except Exception as error:
        contained(outbound.library, error)
    return response


class _SyncBody(Ending):
    """A response's body, whose end is the end of the operation."""

    def __init__(self, stream: Any, op: Operation, status: int) -> None:
        self._stream = stream
        super().__init__(op, status)

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except Exception as error:
            fail(self.op, error)
            raise

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self.end()


class _AsyncBody(Ending):
    """The same for an asynchronous client."""

    def __init__(self, stream: Any, op: Operation, status: int) -> None:
        self._stream = stream
        super().__init__(op, status)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except GeneratorExit:  # whoever reads has enough, and closes the response
            raise
        except BaseException as error:
            fail(self.op, error)
            raise

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self.end()
