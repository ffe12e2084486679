"""Outbound calls by aiohttp's client: every session of the process, made before or after.

The seam is the library's own: a client middleware, the innermost one, sees each request on the wire. It is added in
``ClientSession._request``, where one call of the application begins and ends.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp.helpers import sentinel
from opentelemetry import context as otel_context

from obskit import semconv
from obskit._guard import contained
from obskit.instrumentation._outbound import Call, Ending, Outbound, TooOldError, fail
from obskit.instrumentation._patch import replace
from obskit.instrumentation.function import leave
from obskit.operation import Operation

#: What ends the reading of a body from outside of it: the application's own end, and the call's total timeout.
_FROM_OUTSIDE = (asyncio.CancelledError, TimeoutError)


def instrument(outbound: Outbound) -> Callable[[], None]:
    """Observe every client session of aiohttp; returns a function that gives aiohttp its own methods back."""
    if "middlewares" not in inspect.signature(aiohttp.ClientSession._request).parameters:  # noqa: SLF001
        msg = "this aiohttp is too old: 3.12 or later can be observed"
        raise TooOldError(msg)
    return replace(aiohttp.ClientSession, "_request", lambda original: _request(outbound, original))


def observed() -> bool:
    """Every call of the library has its operation already."""
    return True


def _request(outbound: Outbound, original: Callable[..., Awaitable[Any]]) -> Any:
    @functools.wraps(original, updated=())
    async def request(session: aiohttp.ClientSession, *args: Any, **kwargs: Any) -> Any:
        if not outbound.live:
            return await original(session, *args, **kwargs)
        asked = _SessionCall(outbound, session, kwargs.get("timeout", sentinel))
        given = kwargs.get("middlewares")
        kwargs["middlewares"] = (*(session._middlewares if given is None else given), asked)  # noqa: SLF001
        try:
            return await original(session, *args, **kwargs)
        except BaseException as error:
            asked.settle(error)
            raise
        finally:
            asked.settle()

    return request


class _SessionCall(Call):
    """One call of the application, as the middleware that sees each of its requests.

    Args:
        outbound: begins operations.
        session: who sends.
        timeout: what the application gave, or aiohttp's sentinel.
    """

    def __init__(self, outbound: Outbound, session: aiohttp.ClientSession, timeout: Any) -> None:
        super().__init__()
        self._outbound = outbound
        self._session = session
        self._timeout = timeout

    async def __call__(self, request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[Any]]) -> Any:
        op = self._begin(request)
        if op is None:
            return await handler(request)
        token = otel_context.attach(op.context)
        try:
            response = await handler(request)
        except BaseException as error:
            self.failed(op, error)  # aiohttp may try again, or make another exception of it, such as a timeout
            raise
        finally:
            leave(token)
        _answered(self._outbound, op, response)
        return response

    def _begin(self, request: aiohttp.ClientRequest) -> Operation | None:
        outbound = self._outbound
        try:
            url = request.url
            host = url.host or ""
            op = outbound.begin(request.method, str(url), url.scheme, host, url.port, self.resent())
            if op is None:
                return None
            outbound.write(op, host, request.headers)
            if self._is_unbounded():
                outbound.unbounded(host)
        except Exception as error:
            contained(outbound.library, error)
            return None
        return op

    def _is_unbounded(self) -> bool:
        timeout = self._session.timeout if self._timeout is sentinel else self._timeout
        if not isinstance(timeout, aiohttp.ClientTimeout):
            return timeout is None
        times = (timeout.total, timeout.connect, timeout.sock_connect, timeout.sock_read)
        return all(seconds is None for seconds in times)


def _answered(outbound: Outbound, op: Operation, response: aiohttp.ClientResponse) -> None:
    try:
        if response.version is not None:
            major, minor = response.version
            op.fields[semconv.NETWORK_PROTOCOL_VERSION] = f"{major}.{minor}"
        ending = Ending(op, response.status)
        if not op.ended:
            response.__class__ = _observed_class(type(response))  # type: ignore[arg-type]  # a class can be hashed
            response._obskit_ending = ending  # type: ignore[attr-defined]  # noqa: SLF001  (obskit's own)
            response.content.on_eof(ending.end)
    except Exception as error:
        contained(outbound.library, error)


@functools.lru_cache(64)
def _observed_class(cls: type[aiohttp.ClientResponse]) -> type[aiohttp.ClientResponse]:
    return type(cls.__name__, (_ObservedResponse, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__})


class _ObservedResponse(aiohttp.ClientResponse):
    """What makes the end of a response's body the end of its operation; put over the response's class."""

    _obskit_ending: Ending
    _obskit_reading = False

    def _obskit_end(self) -> None:
        """The body has been closed, or has broken off."""
        error = None if self.content is None else self.content.exception()
        if isinstance(error, Exception):
            self._obskit_ending.op.finish(exception=error)
        elif not self._obskit_reading:
            self._obskit_ending.end()

    async def read(self) -> bytes:
        self._obskit_reading = True  # when it fails it closes the response, before it says why
        try:
            return await super().read()
        except BaseException as error:
            fail(self._obskit_ending.op, error)
            raise
        finally:
            self._obskit_reading = False

    def close(self) -> None:
        self._obskit_end()
        super().close()

    def release(self) -> Any:
        self._obskit_end()
        return super().release()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and type(error) in _FROM_OUTSIDE and not self.content.is_eof():
            fail(self._obskit_ending.op, error)
        await super().__aexit__(exc_type, error, traceback)
