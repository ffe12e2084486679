"""Outbound calls by urllib3, requests' among them: every pool of the process, whoever made it.

A pool's ``urlopen`` is one attempt: it calls itself for the next one, after a redirect or by ``Retry``. Within it,
``_make_request`` is what goes over the wire. requests says by :data:`call` that it is the one who asks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import urllib3
from opentelemetry import context as otel_context
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import LocationParseError
from urllib3.response import HTTPResponse
from urllib3.util import Timeout, parse_url

from obskit import semconv
from obskit._guard import contained
from obskit.instrumentation._outbound import Call, Ending, Outbound, TooOldError, fail
from obskit.instrumentation._patch import replace
from obskit.instrumentation.function import leave
from obskit.operation import Operation

#: The call of requests that is under way.
call: ContextVar[Call | None] = ContextVar("obskit-requests-call", default=None)
#: The attempt that the innermost ``urlopen`` is.
_attempt: ContextVar[Operation | None] = ContextVar("obskit-urllib3-attempt", default=None)
_IMPLIED = {"http": (None, 80), "https": (None, 443)}
_VERSIONS = {9: "0.9", 10: "1.0", 11: "1.1", 20: "2"}


def instrument(outbound: Outbound, *, only_requests: bool = False) -> Callable[[], None]:
    """Observe every urllib3 pool of the process.

    Args:
        outbound: begins operations.
        only_requests: whether calls that requests does not make are left alone.

    Returns:
        A function that gives urllib3 its own methods back.
    """
    require()
    with ExitStack() as undo:
        undo.callback(replace(HTTPConnectionPool, "_make_request", lambda send: _make_request(outbound, send)))
        undo.callback(replace(HTTPConnectionPool, "urlopen", lambda send: _urlopen(outbound, send, only_requests)))
        return undo.pop_all().close


def require() -> None:
    """Raise TooOldError where urllib3 is too old to be observed."""
    if not hasattr(urllib3, "BaseHTTPResponse"):
        msg = "this urllib3 is too old: 2.0 or later can be observed"
        raise TooOldError(msg)


def observed() -> bool:
    """Every call of the library has its operation already."""
    return True


def observed_for_requests() -> bool:
    """Where only requests is observed: whether it is the one who asks."""
    return call.get() is not None


def _urlopen(outbound: Outbound, original: Callable[..., Any], only_requests: bool) -> Any:  # noqa: FBT001
    @functools.wraps(original, updated=())
    def urlopen(  # noqa: PLR0913  (urllib3's arguments)
        pool: Any,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        retries: Any = None,
        *args: Any,
        **kw: Any,
    ) -> Any:
        asked = call.get()
        if not outbound.live or (asked is None and only_requests):
            return original(pool, method, url, body, headers, retries, *args, **kw)
        op = _begin(outbound, pool, method, url, retries, asked)
        token = _attempt.set(op)
        try:
            return original(pool, method, url, body, headers, retries, *args, **kw)
        except BaseException as error:
            if op is not None:
                _failed(op, error)
            raise
        finally:
            _attempt.reset(token)

    return urlopen


def _make_request(outbound: Outbound, original: Callable[..., Any]) -> Any:
    @functools.wraps(original, updated=())
    def make_request(  # noqa: PLR0913  (urllib3's arguments)
        pool: Any, conn: Any, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **kw: Any
    ) -> Any:
        op = _attempt.get()
        if op is None or op.ended or not outbound.live:
            return original(pool, conn, method, url, body, headers, *args, **kw)
        headers = _prepared(outbound, op, headers, kw.get("timeout"))
        token = otel_context.attach(op.context)
        try:
            response = original(pool, conn, method, url, body, headers, *args, **kw)
        except BaseException as error:
            _failed(op, error)
            raise
        finally:
            leave(token)
        _answered(outbound, op, response, read=kw.get("preload_content", True))
        return response

    return make_request


def _begin(  # noqa: PLR0913  (what tells of an attempt)
    outbound: Outbound, pool: Any, method: str, url: str, retries: Any, asked: Call | None
) -> Operation | None:
    try:
        history = getattr(retries, "history", ())
        resent = len(history) if asked is None else asked.resent()
        before, error = _attempt.get(), history[-1].error if history else None
        if error is not None and before is not None:  # it came to nothing before it was on the wire
            fail(before, error)
        scheme, host, port = pool.scheme, pool.host, pool.port
        if url.startswith("/"):
            at = f"[{host}]" if ":" in host else host
            url = f"{scheme}://{at}{url}" if port in _IMPLIED.get(scheme, (None,)) else f"{scheme}://{at}:{port}{url}"
        else:  # a pool of connections to a proxy
            target = parse_url(url)
            scheme, host, port = target.scheme or scheme, (target.host or host).strip("[]"), target.port
        return outbound.begin(method, url, scheme, host, port, resent)
    except LocationParseError:  # the caller will be told
        return None
    except Exception as error:
        contained(outbound.library, error)
        return None


def _prepared(outbound: Outbound, op: Operation, headers: Any, timeout: Any) -> Any:
    """The headers to send; the application's own stay as they are."""
    try:
        host = str(op.fields[semconv.SERVER_ADDRESS])
        if isinstance(timeout, Timeout) and _is_unbounded(timeout):
            outbound.unbounded(host)
        headers = {} if headers is None else headers.copy()
        outbound.write(op, host, headers)
    except Exception as error:
        contained(outbound.library, error)
    return headers


def _is_unbounded(timeout: Timeout) -> bool:
    return Timeout.resolve_default_timeout(timeout.connect_timeout) is None and timeout.read_timeout is None


def _failed(op: Operation, error: BaseException) -> None:
    asked = call.get()
    if asked is None:
        fail(op, error)
    elif not op.ended:
        asked.failed(op, error)


def _answered(outbound: Outbound, op: Operation, response: Any, *, read: bool) -> None:
    try:
        version = _VERSIONS.get(response.version)
        if version is not None:
            op.fields[semconv.NETWORK_PROTOCOL_VERSION] = version
        ending = Ending(op, response.status)
        if read or type(response) is not HTTPResponse:
            ending.end()
        else:
            response.__class__ = _Response
            response._obskit_ending = ending  # type: ignore[attr-defined]  # noqa: SLF001  (obskit's own)
    except Exception as error:
        contained(outbound.library, error)


class _Response(HTTPResponse):
    """A response whose body's end is the end of its operation."""

    _obskit_ending: Ending
    _obskit_reading = False

    @contextmanager
    def _error_catcher(self) -> Iterator[None]:
        """Where urllib3 reads, and sees how it ends."""
        self._obskit_reading = True
        try:
            with super()._error_catcher():
                yield
        except GeneratorExit:  # whoever reads has enough
            self._obskit_ending.end()
            raise
        except BaseException as error:
            _failed(self._obskit_ending.op, error)
            raise
        finally:
            self._obskit_reading = False
        if self._original_response is None or self._original_response.isclosed():
            self._obskit_ending.end()

    def release_conn(self) -> None:
        super().release_conn()
        if not self._obskit_reading:
            self._obskit_ending.end()

    def close(self) -> None:
        super().close()
        self._obskit_ending.end()
