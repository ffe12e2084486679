"""One WebSocket connection, from handshake to close.

https://asgi.readthedocs.io/en/latest/specs/www.html#websocket
"""

from __future__ import annotations

import sys
from typing import Any

from obskit import semconv
from obskit._asgi import Message, Receive, Scope, Send
from obskit._exception import is_carried, mark_carried
from obskit._guard import contained
from obskit.instrumentation._cause import handled_exception, invalid_fields, original, says_gone
from obskit.instrumentation._route import mounted_at, name_by_route
from obskit.operation import Operation

_SWITCHING_PROTOCOLS = 101
_FORBIDDEN = 403
_SERVER_ERROR = 500
_NORMAL = 1000
_ABNORMAL = 1006
_INTERNAL_ERROR = 1011
#: Codes that say the server is at fault; Litestar's is 4000 and the status.
_FAULTS = frozenset({_INTERNAL_ERROR, 4500})


class Connection:
    """What is observed of one connection while it lasts.

    Args:
        op: the running operation.
        scope: the connection's scope; the app writes its route there.
        receive, send: the server's.
        routed_by: the outermost app, whose routes name the mounts.
    """

    __slots__ = (
        "_answered",
        "_close_code",
        "_handled_before",
        "_left",
        "_receive",
        "_received",
        "_received_bytes",
        "_root",
        "_routed_by",
        "_scope",
        "_send",
        "_sent",
        "_sent_bytes",
        "_status",
        "op",
    )

    def __init__(self, op: Operation, scope: Scope, receive: Receive, send: Send, routed_by: Any) -> None:
        self.op = op
        self._scope = scope
        self._receive = receive
        self._send = send
        self._routed_by = routed_by
        self._root = mounted_at(scope)
        self._handled_before = sys.exception()
        self._status = 0
        self._close_code = 0
        self._answered = False  # the app has closed, rejected or denied: nothing that comes after it is the end
        self._left = False
        self._received = self._received_bytes = 0
        self._sent = self._sent_bytes = 0

    async def receive(self) -> Message:
        """The server's next message to the app."""
        message = await self._receive()
        try:
            kind = message["type"]
            if kind == "websocket.receive":
                self._received += 1
                self._received_bytes += _size(message)
            elif kind == "websocket.disconnect" and not self._answered:
                self._leave(message.get("code") or _ABNORMAL)
        except Exception as error:
            contained("asgi", error)
        return message

    async def send(self, message: Message) -> None:
        """The app's next message to the server."""
        try:
            kind = message["type"]
            if kind == "websocket.send":
                self._sent += 1
                self._sent_bytes += _size(message)
            elif kind == "websocket.accept":
                self._answer(_SWITCHING_PROTOCOLS)
            elif kind == "websocket.close":
                self._close(message.get("code") or _NORMAL)
            elif kind == "websocket.http.response.start":
                self._answered = True
                self._answer(message["status"])
        except Exception as error:
            contained("asgi", error)
        try:
            await self._send(message)
        except OSError:  # how servers say that the client has left
            self._leave(_ABNORMAL)
            raise

    def _leave(self, code: int) -> None:
        self._left = True
        self._close_code = self._close_code or code

    def _answer(self, status: int) -> None:
        op = self.op
        if not self._status:
            self._status = status
            op.fields[semconv.TIME_TO_FIRST_BYTE_MS] = op.elapsed_ms()
        if status >= _SERVER_ERROR and op.exception is None:
            op.exception = handled_exception(status)

    def _close(self, code: int) -> None:
        if self._left or self._answered:
            return
        self._answered = True
        self._close_code = code
        if not self._status:  # which servers answer to a handshake that is rejected
            self._answer(_FORBIDDEN)
        op, error = self.op, sys.exception()
        if error is None or error is self._handled_before:
            return
        if code in _FAULTS:
            op.exception = op.exception or error
        elif invalid := invalid_fields(error):
            op.annotate({semconv.REQUEST_INVALID_FIELDS: invalid})

    def failed(self, error: BaseException) -> None:
        """The app raised `error`."""
        if self._left and says_gone(error):
            mark_carried(error)  # the server's own report of it gives way: it is nobody's fault
            self.finish()
            return
        if not self._status:
            self._answer(_SERVER_ERROR)
        elif self._status == _SWITCHING_PROTOCOLS:
            self._close_code = self._close_code or _INTERNAL_ERROR
        self.op.exception = cause = self.op.exception or original(error)
        self.finish()
        if is_carried(cause):
            mark_carried(error)

    def returned(self) -> None:
        """The app is done with the connection."""
        if not self._status and not self._left:
            self._answer(_SERVER_ERROR)  # what servers answer in its stead
        self.finish()

    def finish(self, *, cancelled: bool = False) -> None:
        """End the operation with what is known now."""
        op, fields = self.op, self.op.fields
        name_by_route(op, self._scope, self._routed_by, self._root)
        accepted = self._status == _SWITCHING_PROTOCOLS
        if self._status:
            fields[semconv.HTTP_RESPONSE_STATUS_CODE] = self._status
        if accepted or self._close_code:
            fields[semconv.WEBSOCKET_CLOSE_CODE] = self._close_code or _NORMAL
        if accepted:
            fields[semconv.WEBSOCKET_RECEIVED_COUNT] = self._received
            fields[semconv.WEBSOCKET_RECEIVED_BYTES] = self._received_bytes
            fields[semconv.WEBSOCKET_SENT_COUNT] = self._sent
            fields[semconv.WEBSOCKET_SENT_BYTES] = self._sent_bytes
        dropped = self._left and self._close_code == _ABNORMAL and op.exception is None
        op.finish(exception=op.exception, error_type=self._fault(), cancelled=cancelled or dropped)

    def _fault(self) -> str | None:
        if self.op.exception is not None:
            return None
        if self._status >= _SERVER_ERROR:
            return str(self._status)
        return str(self._close_code) if self._answered and self._close_code in _FAULTS else None


def _size(message: Message) -> int:
    """Bytes of a message's payload; of text, as UTF-8."""
    data = message.get("bytes")
    if data is not None:
        return len(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
