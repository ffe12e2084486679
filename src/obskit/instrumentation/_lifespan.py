"""The ASGI lifespan of an observed app: where startup ends, and where nothing may be lost any more.

https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from obskit._asgi import ASGIApp, Message, Receive, Scope, Send
from obskit._guard import contained


class Lifecycle(Protocol):
    """Who is told how far an app's life has come. Called on the app's event loop; nothing here may raise."""

    begun: bool

    def begin(self) -> None:
        """The server runs: its loop exists, its logging is configured. Called for each start."""
        ...

    def started(self) -> None:
        """The app's startup is complete."""
        ...

    def without_lifespan(self) -> None:
        """A request has come and no lifespan before it: neither will there be a word at the end."""
        ...

    def stopping(self) -> None:
        """The app's shutdown begins; requests have been served."""
        ...

    async def stopped(self) -> None:
        """The app's shutdown is complete; the process may end as soon as this returns."""
        ...


async def observe_lifespan(app: ASGIApp, lifecycle: Lifecycle, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the app's lifespan and tell `lifecycle`; one that the app does not speak is spoken in its stead.

    Servers end a process without a further word after shutdown, so that an app without lifespan would lose what is
    queued. An error after the app has answered is the app's and passes.
    """
    exchange = _Lifespan(lifecycle, receive, send)
    try:
        await app(scope, exchange.receive, exchange.send)
    except Exception:
        if exchange.answered or exchange.startup_received:  # it speaks the protocol, and this is how it says no
            raise
    if not exchange.answered:
        await exchange.run()


class _Lifespan:
    __slots__ = ("_lifecycle", "_receive", "_send", "answered", "startup_received")

    def __init__(self, lifecycle: Lifecycle, receive: Receive, send: Send) -> None:
        self._lifecycle = lifecycle
        self._receive = receive
        self._send = send
        self.startup_received = False
        self.answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "lifespan.startup":
            self.startup_received = True
            _told(self._lifecycle.begin)  # anew for each start: a test client's second loop is another one
        elif message["type"] == "lifespan.shutdown":
            _told(self._lifecycle.stopping)
        return message

    async def send(self, message: Message) -> None:
        self.answered = True
        if message["type"] == "lifespan.startup.complete":
            _told(self._lifecycle.started)
        elif message["type"] in ("lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            try:
                await self._lifecycle.stopped()
            except Exception as error:
                contained("asgi", error)
        await self._send(message)

    async def run(self) -> None:
        """Both halves of the protocol, for an app that has none."""
        if not self.startup_received:
            await self.receive()
        await self.send({"type": "lifespan.startup.complete"})
        await self.receive()
        await self.send({"type": "lifespan.shutdown.complete"})


def _told(tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception as error:
        contained("asgi", error)
