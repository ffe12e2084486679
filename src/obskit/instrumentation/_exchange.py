"""One HTTP request and its response, from the first byte in to the last body message out."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from obskit import semconv
from obskit._asgi import Message, Receive, Scope, Send
from obskit._exception import is_carried, mark_carried
from obskit._guard import contained
from obskit.instrumentation._cause import handled_exception, invalid_fields, original, says_gone
from obskit.instrumentation._route import mounted_at, name_by_route
from obskit.operation import Operation

_OK = 200
_CLIENT_ERROR = 400
_SERVER_ERROR = 500
_SWITCHING_PROTOCOLS = 101
_UNANSWERED = -1
_BY_SERVER = -1
_LAST = frozenset({"http.response.pathsend", "http.response.trailers", "http.response.zerocopysend"})


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

    async def receive(self) -> Message:
        """The server's next message to the app."""
        message = await self._receive()
        try:
            kind = message["type"]
            if kind == "http.request":
                self._received += len(message.get("body", b""))
            elif kind == "http.disconnect":
                self._disconnected = True
        except Exception as error:
            contained("asgi", error)
        return message

    async def send(self, message: Message) -> None:
        """The app's next message to the server."""
        try:
            kind = message["type"]
            if kind == "http.response.body":
                self._sent += len(message.get("body", b""))
                if not message.get("more_body", False) and not self._trailers:
                    self.finish()
            elif kind == "http.response.start":
                message = self._response_start(message)
            elif kind in _LAST:
                self._ended_by(kind, message)
        except Exception as error:
            contained("asgi", error)
        try:
            await self._send(message)
        except OSError:  # how servers say that the client has left
            self._disconnected = True
            raise

    def _response_start(self, message: Message) -> Message:
        if self._status:  # a second one, which servers refuse
            return message
        self._status = status = message["status"]
        self._trailers = message.get("trailers", False)
        op = self.op
        op.fields[semconv.TIME_TO_FIRST_BYTE_MS] = op.elapsed_ms()
        headers: Iterable[tuple[bytes, bytes]] = message.get("headers") or ()
        if iter(headers) is headers:  # it can be read once, and that is for the server to do
            message["headers"] = headers = list(headers)
        for name, value in headers:
            if name == b"content-type":
                op.stream = value[:17] == b"text/event-stream"
                break
        if not _OK <= status < _CLIENT_ERROR:
            self._explain(status)
        if self._trace_header and op.trace_id:
            return {**message, "headers": [*headers, (self._trace_header, op.trace_id.encode())]}
        return message

    def _explain(self, status: int) -> None:
        op = self.op
        if status == _SWITCHING_PROTOCOLS:
            op.stream = True
        elif status >= _SERVER_ERROR:
            if self._client_left():
                self._status = _UNANSWERED
            elif op.exception is None:
                op.exception = handled_exception(status)
        elif status >= _CLIENT_ERROR:
            error = sys.exception()
            invalid = invalid_fields(error) if error is not None else None
            if invalid:
                op.annotate({semconv.REQUEST_INVALID_FIELDS: invalid})

    def _ended_by(self, kind: str, message: Message) -> None:
        if kind == "http.response.pathsend":
            self._sent = _BY_SERVER
        if not (message.get("more_trailers", False) or message.get("more_body", False)):
            self.finish()

    def _client_left(self) -> bool:
        """Whether the client is known to be gone; uvicorn and hypercorn know it before an app asks."""
        if not self._disconnected:
            server = getattr(self._send, "__self__", None)
            left = getattr(server, "disconnected", None)
            if left is None and server is not None:
                left = getattr(server, "closed", None)
            self._disconnected = left is True
        return self._disconnected

    def failed(self, error: BaseException) -> None:
        """The app raised `error`."""
        op = self.op
        left = self._disconnected if op.ended else self._client_left()
        if left and says_gone(error):
            mark_carried(error)  # the server's own report of it gives way: it is nobody's fault
        if op.ended:
            return
        if not left:
            self._status = self._status or _SERVER_ERROR
            op.exception = cause = op.exception or original(error)
        self.finish()
        if not left and is_carried(cause):
            mark_carried(error)

    def returned(self) -> None:
        """The app is done; where it never completed a response, the request ends here."""
        if self.op.ended:
            return
        begun = self._status
        if not begun and not self._client_left():
            self._status = _SERVER_ERROR  # what servers answer in its stead
        self.finish(error_type=semconv.VALUE_INCOMPLETE_RESPONSE if begun else None)

    def finish(self, *, cancelled: bool = False, error_type: str | None = None) -> None:
        """End the operation with what is known now."""
        op = self.op
        if op.ended:
            return
        name_by_route(op, self._scope, self._routed_by, self._root)
        fields, status, error = op.fields, self._status, op.exception
        if status > 0:
            fields[semconv.HTTP_RESPONSE_STATUS_CODE] = status
        if status >= _SERVER_ERROR:
            error_type = str(status)
        if self._received:
            fields[semconv.HTTP_REQUEST_BODY_SIZE] = self._received
        if self._sent >= 0:
            fields[semconv.HTTP_RESPONSE_BODY_SIZE] = self._sent
        op.finish(
            exception=error,
            error_type=error_type if error is None else None,
            cancelled=cancelled or self._client_left(),
        )
