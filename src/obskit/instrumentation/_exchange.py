"""One HTTP request and its response, from the first byte in to the last body message out."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from obskit import semconv
from obskit._asgi import Message, Receive, Scope, Send
from obskit._guard import contained
from obskit.instrumentation._route import mounted_at, name_by_route
from obskit.operation import Operation

_SERVER_ERROR = 500


class Exchange:
    """What is observed of one request while it is served: the ``receive`` and ``send`` that the app is given.

    Args:
        op: the running operation.
        scope: the request's scope; the app writes its route there.
        receive, send: the server's.
        routed_by: the outermost app, whose routes name the mounts.
        trace_header: the response header for the trace id, lower case; empty for none.
    """

    __slots__ = (
        "_disconnected",
        "_handled_before",
        "_receive",
        "_received",
        "_root",
        "_routed_by",
        "_scope",
        "_send",
        "_sent",
        "_status",
        "_trace_header",
        "_trailers",
        "op",
    )

    def __init__(  # noqa: PLR0913  (what an exchange consists of)
        self,
        op: Operation,
        scope: Scope,
        receive: Receive,
        send: Send,
        routed_by: Any,
        trace_header: bytes,
    ) -> None:
        self.op = op
        self._scope = scope
        self._receive = receive
        self._send = send
        self._routed_by = routed_by
        self._root = mounted_at(scope)
        self._trace_header = trace_header
        self._status = 0
        self._sent = 0
        self._received = 0
        self._disconnected = False
        self._trailers = False
        self._handled_before = sys.exception()

    async def receive(self) -> Message:
        """The server's next message to the app."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
        elif message["type"] == "http.disconnect":
            self._disconnected = True
        return message

    async def send(self, message: Message) -> None:
        """The app's next message to the server."""
        try:
            kind = message["type"]
            if kind == "http.response.body":
                self._sent += len(message.get("body", b""))
                if not message.get("more_body", False) and not self._trailers:
                    self.finish(cancelled=self._disconnected)
            elif kind == "http.response.start":
                message = self._response_start(message)
            elif kind == "http.response.pathsend" or (
                kind == "http.response.trailers" and not message.get("more_trailers", False)
            ):
                self.finish(cancelled=self._disconnected)
        except Exception as error:
            contained("asgi", error)
        try:
            await self._send(message)
        except OSError:  # how servers say that the client has left
            self._disconnected = True
            raise

    def _response_start(self, message: Message) -> Message:
        self._status = status = message["status"]
        self._trailers = message.get("trailers", False)
        op = self.op
        op.fields[semconv.TIME_TO_FIRST_BYTE_MS] = op.elapsed_ms()
        if status >= _SERVER_ERROR:
            op.exception = self._handled_exception(status)
        headers: Iterable[tuple[bytes, bytes]] = message.get("headers") or ()
        for name, value in headers:
            if name == b"content-type":
                op.stream = value[:17] == b"text/event-stream"
                break
        if self._trace_header and op.trace_id:
            return {**message, "headers": [*headers, (self._trace_header, op.trace_id.encode())]}
        return message

    def _handled_exception(self, status: int) -> BaseException | None:
        # Frameworks send their error page from within `except`, and only then let the exception out to us: by that
        # time the response is complete. An exception that was raised to say just this status adds nothing to it.
        error = sys.exception()
        if error is self._handled_before or getattr(error, "status_code", None) == status:
            return None
        return error

    def failed(self, error: BaseException) -> None:
        """The app raised `error`."""
        op = self.op
        if op.ended:
            return
        if not self._disconnected:
            self._status = self._status or _SERVER_ERROR
            op.exception = error
        self.finish(cancelled=self._disconnected)

    def returned(self) -> None:
        """The app is done; where it never completed a response, the request ends here."""
        if not self.op.ended:
            if not self._disconnected:
                self._status = self._status or _SERVER_ERROR  # what servers answer in its stead
            self.finish(cancelled=self._disconnected)

    def finish(self, *, cancelled: bool = False) -> None:
        """End the operation with what is known now."""
        op, fields, status = self.op, self.op.fields, self._status
        if op.ended:
            return
        name_by_route(op, self._scope, self._routed_by, self._root)
        if status:
            fields[semconv.HTTP_RESPONSE_STATUS_CODE] = status
        if self._received:
            fields[semconv.HTTP_REQUEST_BODY_SIZE] = self._received
        fields[semconv.HTTP_RESPONSE_BODY_SIZE] = self._sent
        op.finish(
            exception=op.exception,
            error_type=str(status) if status >= _SERVER_ERROR and op.exception is None else None,
            cancelled=cancelled,
        )
