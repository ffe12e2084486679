"""What every client library's instrumentation does: begin an operation, write its context, end it as the call ended.

Each request on the wire is a CLIENT operation of its own; those that follow a redirect or are sent once more count up.
https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client-span
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from time import perf_counter_ns
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind

from obskit import semconv
from obskit._fields import Value
from obskit._guard import contained
from obskit._pipeline import Pipeline
from obskit.instrumentation._outgoing import Outgoing
from obskit.instrumentation._unbounded import Unbounded
from obskit.operation import _OPERATION_KEY, Operation

_CLIENT_ERROR = 400
_SWITCHING_PROTOCOLS = 101
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_MAX_METHOD = 64
_SUPPRESS = otel_context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001  (the API has no public name for it)
_SUPPRESS_HTTP = otel_context._SUPPRESS_HTTP_INSTRUMENTATION_KEY  # noqa: SLF001


class TooOldError(Exception):
    """The library that is imported lacks what it would be observed by."""


class Outbound:
    """What the instrumentation of one client library needs of the process.

    Args:
        library: its name, for what is contained.
        pipeline: what operations pass through.
        outgoing: writes the headers of requests.
        unbounded: takes note of calls without a timeout.
        observes: whether the library of that name is observed too.
    """

    def __init__(
        self,
        library: str,
        pipeline: Pipeline,
        outgoing: Outgoing,
        unbounded: Unbounded,
        observes: Callable[[str], bool] = lambda _library: False,
    ) -> None:
        self.library = library
        self.observes = observes
        self._pipeline = pipeline
        self._outgoing = outgoing
        self._unbounded = unbounded

    @property
    def live(self) -> bool:
        """Whether anything is observed; not after ``close()``, when a patch of somebody else's may keep this one."""
        return bool(self._pipeline.signals)

    def begin(self, method: str, url: str, scheme: str, host: str, port: int | None, resent: int) -> Operation | None:  # noqa: PLR0913  (what the conventions ask of a request)
        """The operation of a request that is about to be sent; None where it is not to be observed.

        Args:
            method: as it is sent.
            url: absolute; secrets are taken out of it.
            scheme: the URL's.
            host: who is called, an IPv6 address without brackets.
            port: None where the URL does not say.
            resent: how many times a request has been sent for the same call before.
        """
        pipeline = self._pipeline
        if not pipeline.signals:
            return None
        context = otel_context.get_current()
        if context.get(_SUPPRESS) or context.get(_SUPPRESS_HTTP):
            return None
        try:
            port = port or _DEFAULT_PORTS.get(scheme)
            outer = context.get(_OPERATION_KEY)
            if outer is not None and _carries(outer, host, port):
                return None
            known = method if method in semconv.KNOWN_METHODS else semconv.METHOD_OTHER
            fields: dict[str, Value] = {
                semconv.HTTP_REQUEST_METHOD: known,
                semconv.SERVER_ADDRESS: host,
                semconv.URL_FULL: pipeline.policy.safe(semconv.URL_FULL, url),
            }
            if port is not None:
                fields[semconv.SERVER_PORT] = port
            if resent:
                fields[semconv.HTTP_REQUEST_RESEND_COUNT] = resent
            name = known
            if known is not method:
                fields[semconv.HTTP_REQUEST_METHOD_ORIGINAL] = method[:_MAX_METHOD]
                name = semconv.METHOD_OTHER_SPAN_NAME
            return Operation(pipeline, semconv.EVENT_HTTP_CLIENT, name, SpanKind.CLIENT, fields=fields, context=context)
        except Exception as error:
            contained(self.library, error)
            return None

    def write(self, op: Operation, host: str, headers: MutableMapping[str, Any]) -> bool:
        """Write trace context and baggage into a request's headers; whether there is baggage of obskit's then."""
        try:
            return self._outgoing.write(op, host, headers)
        except Exception as error:
            contained(self.library, error)
            return False

    def unbounded(self, host: str) -> None:
        """Take note of a call that nothing ends if `host` never answers."""
        try:
            self._unbounded.note(host)
        except Exception as error:
            contained(self.library, error)


def _carries(outer: object, host: str, port: int | None) -> bool:
    """Whether what runs is the same call: a library's transport that sends by another library."""
    if not isinstance(outer, Operation) or outer.event != semconv.EVENT_HTTP_CLIENT or outer.ended:
        return False
    fields = outer.fields
    return fields.get(semconv.SERVER_ADDRESS) == host and fields.get(semconv.SERVER_PORT) == port


def fail(op: Operation, error: BaseException, ended_at: int | None = None) -> None:
    """End `op` by what came instead of an answer: an exception is an error, cancellation is not."""
    if isinstance(error, Exception):
        op.finish(exception=error, ended_at=ended_at)
    else:
        op.finish(cancelled=True, ended_at=ended_at)


class Ending:
    """The end of an operation whose answer has come, by its status: with the body, or when nobody holds that any more.

    Args:
        op: the operation.
        status: the answer's.
    """

    def __init__(self, op: Operation, status: int) -> None:
        self.op = op
        self._error_type: str | None = None
        op.fields[semconv.HTTP_RESPONSE_STATUS_CODE] = status
        if status >= _CLIENT_ERROR:
            self._error_type = str(status)
        if status == _SWITCHING_PROTOCOLS:  # what follows is another protocol's
            self.end()

    def end(self) -> None:
        """The body has been read, or closed."""
        self.op.finish(error_type=self._error_type)

    def __del__(self) -> None:
        if not self.op.ended:
            self.end()


class Call:
    """What the application asked for once: a request, and those that redirects and retries add.

    What failed is held until it is known whether the library tries again. If it does not, the operation ends with the
    exception that the application gets, in place of the one that it was made of.

    Attributes:
        sent: how many requests have been sent.
    """

    def __init__(self) -> None:
        self.sent = 0
        self._failed: tuple[Operation, BaseException, int] | None = None

    def resent(self) -> int:
        """How many requests have been sent before this one."""
        if self._failed is not None:
            self.settle()
        self.sent += 1
        return self.sent - 1

    def failed(self, op: Operation, error: BaseException) -> None:
        """A request has failed, now."""
        if self._failed is None or self._failed[0] is not op:
            self.settle()
            self._failed = op, error, perf_counter_ns()

    def settle(self, error: BaseException | None = None) -> None:
        """End the operation of the request that failed, by the `error` that the application gets if it gets one."""
        if self._failed is not None:
            op, own, ended_at = self._failed
            self._failed = None
            fail(op, own if error is None else error, ended_at)
