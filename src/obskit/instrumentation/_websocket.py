"""One WebSocket connection, from handshake to close."""

from __future__ import annotations

from typing import Any

from obskit import semconv
from obskit._asgi import Message, Receive, Scope, Send
from obskit.instrumentation._route import mounted_at, name_by_route
from obskit.operation import Operation

_ABNORMAL = 1006
_INTERNAL_ERROR = 1011


class Connection:
    """What is observed of one connection while it lasts.

    Args:
        op: the running operation.
        scope: the connection's scope; the app writes its route there.
        receive, send: the server's.
        routed_by: the outermost app, whose routes name the mounts.
    """

    __slots__ = ("_close_code", "_receive", "_root", "_routed_by", "_scope", "_send", "op")

    def __init__(self, op: Operation, scope: Scope, receive: Receive, send: Send, routed_by: Any) -> None:
        self.op = op
        self._scope = scope
        self._receive = receive
        self._send = send
        self._routed_by = routed_by
        self._root = mounted_at(scope)
        self._close_code = 0

    async def receive(self) -> Message:
        """The server's next message to the app."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._close_code = self._close_code or message.get("code") or _ABNORMAL
        return message

    async def send(self, message: Message) -> None:
        """The app's next message to the server."""
        if message["type"] == "websocket.close":
            self._close_code = self._close_code or message.get("code") or 1000
        await self._send(message)

    def failed(self, error: BaseException) -> None:
        """The app raised `error`."""
        self._close_code = self._close_code or _INTERNAL_ERROR
        self.finish(error)

    def returned(self) -> None:
        """The app is done with the connection."""
        self.finish()

    def finish(self, error: BaseException | None = None, *, cancelled: bool = False) -> None:
        """End the operation with what is known now."""
        op = self.op
        name_by_route(op, self._scope, self._routed_by, self._root)
        op.fields[semconv.WEBSOCKET_CLOSE_CODE] = self._close_code or 1000
        op.finish(exception=error, cancelled=cancelled)
