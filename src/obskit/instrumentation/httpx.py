"""Outbound calls by httpx: a CLIENT operation for each request on the wire, redirects and retries by auth included.

The seam is ``_send_single_request``, where every client of the process, whatever its transport and whenever it was
made, sends one request. Its duration reaches to the end of the body, when the response is closed.
https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
from opentelemetry import context as otel_context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import SpanKind

from obskit import semconv
from obskit._fields import Value
from obskit._guard import contained
from obskit._pipeline import Pipeline
from obskit.instrumentation.function import leave
from obskit.operation import Operation

_CLIENT_ERROR = 400
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SUPPRESSED = (otel_context._SUPPRESS_INSTRUMENTATION_KEY, otel_context._SUPPRESS_HTTP_INSTRUMENTATION_KEY)  # noqa: SLF001  (the API has no public name for them)


def instrument(pipeline: Pipeline, propagator: TextMapPropagator) -> Callable[[], None]:
    """Observe every httpx client of the process.

    Args:
        pipeline: what operations pass through.
        propagator: writes trace context into requests.

    Returns:
        A function that gives httpx its own methods back.
    """
    restore_sync = _patch(httpx.Client, lambda original: _sync_send(pipeline, original, propagator))
    restore_async = _patch(httpx.AsyncClient, lambda original: _async_send(pipeline, original, propagator))

    def restore() -> None:
        restore_sync()
        restore_async()

    return restore


def _patch(cls: Any, replacement: Callable[[Any], Any]) -> Callable[[], None]:
    original = cls._send_single_request
    send = replacement(original)
    cls._send_single_request = send

    def restore() -> None:
        if cls._send_single_request is send:
            cls._send_single_request = original

    return restore


def _sync_send(
    pipeline: Pipeline, original: Callable[[Any, Any], httpx.Response], propagator: TextMapPropagator
) -> Any:
    def send(client: httpx.Client, request: httpx.Request) -> httpx.Response:
        # A test client's request is the inbound one that it makes up, and nobody's outbound call.
        op = None if _is_test_client(client) else _begin(pipeline, request, propagator)
        if op is None:
            return original(client, request)
        token = otel_context.attach(op.context)
        try:
            response = original(client, request)
        except BaseException as error:
            op.finish(exception=error)
            raise
        finally:
            leave(token)
        return _observed(op, response, _SyncBody)

    return send


def _async_send(
    pipeline: Pipeline, original: Callable[[Any, Any], Awaitable[httpx.Response]], propagator: TextMapPropagator
) -> Any:
    async def send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        op = _begin(pipeline, request, propagator)
        if op is None:
            return await original(client, request)
        token = otel_context.attach(op.context)
        try:
            response = await original(client, request)
        except Exception as error:
            op.finish(exception=error)
            raise
        except BaseException:
            op.finish(cancelled=True)
            raise
        finally:
            leave(token)
        return _observed(op, response, _AsyncBody)

    return send


def _is_test_client(client: httpx.Client) -> bool:
    testclient = sys.modules.get("starlette.testclient")
    return testclient is not None and isinstance(client, testclient.TestClient)


def _begin(pipeline: Pipeline, request: httpx.Request, propagator: TextMapPropagator) -> Operation | None:
    if not pipeline.signals:
        return None
    context = otel_context.get_current()
    if any(context.get(key) for key in _SUPPRESSED):
        return None
    try:
        method = request.method
        known = method if method in semconv.KNOWN_METHODS else semconv.METHOD_OTHER
        op = Operation(
            pipeline,
            semconv.EVENT_HTTP_CLIENT,
            known if known is method else semconv.METHOD_OTHER_SPAN_NAME,
            SpanKind.CLIENT,
            fields=_fields(pipeline, request, method, known),
            context=context,
        )
        propagator.inject(request.headers, op.context)
    except Exception as error:
        contained("httpx", error)
        return None
    return op


def _fields(pipeline: Pipeline, request: httpx.Request, method: str, known: str) -> dict[str, Value]:
    url = request.url
    fields: dict[str, Value] = {
        semconv.HTTP_REQUEST_METHOD: known,
        semconv.SERVER_ADDRESS: url.host,
        semconv.URL_FULL: pipeline.policy.safe(semconv.URL_FULL, str(url)),
    }
    port = url.port or _DEFAULT_PORTS.get(url.scheme)
    if port is not None:
        fields[semconv.SERVER_PORT] = port
    if known is not method:
        fields[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = method[:64]
    return fields


def _observed(
    op: Operation, response: httpx.Response, body: Callable[[Any, Operation, str | None], Any]
) -> httpx.Response:
    try:
        status = response.status_code
        op.fields[semconv.HTTP_RESPONSE_STATUS_CODE] = status
        error_type = str(status) if status >= _CLIENT_ERROR else None
        if response.is_closed:  # a transport that hands over the body whole, already read
            op.finish(error_type=error_type)
        else:
            response.stream = body(response.stream, op, error_type)
    except Exception as error:
        contained("httpx", error)
    return response


class _SyncBody(httpx.SyncByteStream):
    """A response's body, whose end is the end of the operation."""

    def __init__(self, stream: httpx.SyncByteStream, op: Operation, error_type: str | None) -> None:
        self._stream = stream
        self._op = op
        self._error_type = error_type

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except Exception as error:
            self._op.finish(exception=error)
            raise

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._op.finish(error_type=self._error_type)


class _AsyncBody(httpx.AsyncByteStream):
    """The same for an asynchronous client."""

    def __init__(self, stream: httpx.AsyncByteStream, op: Operation, error_type: str | None) -> None:
        self._stream = stream
        self._op = op
        self._error_type = error_type

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except Exception as error:
            self._op.finish(exception=error)
            raise
        except asyncio.CancelledError:
            self._op.finish(cancelled=True)
            raise

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._op.finish(error_type=self._error_type)
