"""Requests as a server hands them to an application, without the server."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cProfile

Scope = dict[str, Any]
ASGIApp = Callable[..., Awaitable[None]]

PATH = "/items/42"
QUERY = "verbose=true"
#: What is flushed at once. Half of the smallest queue of any subject, with three spans a request, stays free.
REQUESTS_A_FLUSH = 500
#: What runs before the event loop gets a turn, as it would between any two requests of a server: no request suspends.
_REQUESTS_A_TURN = 20


def traceparent(*, sampled: bool) -> str:
    """A caller's W3C trace context, of a new trace."""
    return f"00-{random.getrandbits(128) | 1:032x}-{random.getrandbits(64) | 1:016x}-0{int(sampled)}"


def http_scope(path: str = PATH, query: str = QUERY, parent: str | None = None) -> Scope:
    """The scope of one GET, as uvicorn makes it for a service behind another service."""
    headers = [
        (b"host", b"items.internal:8000"),
        (b"user-agent", b"python-httpx/0.28.1"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip, deflate"),
        (b"connection", b"keep-alive"),
    ]
    if parent is not None:
        headers.append((b"traceparent", parent.encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 51234),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "state": {},
    }


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


class Driver:
    """Runs requests through one application, one after the other, on an event loop of its own.

    The application's lifespan is started, as a server starts it.

    Attributes:
        requests: how many it has run, scrapes not counted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.requests = 0
        self.loop = asyncio.new_event_loop()
        self._lifespan = self.loop.create_task(self._run_lifespan())
        self.loop.run_until_complete(asyncio.sleep(0.05))

    async def _run_lifespan(self) -> None:
        incoming: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        incoming.put_nowait({"type": "lifespan.startup"})

        async def send(_message: dict[str, Any]) -> None:
            """The outcome shows in the first request."""

        await self._app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, incoming.get, send)

    def get(self, path: str) -> str:
        """The body of one GET."""
        body = bytearray()

        async def send(message: dict[str, Any]) -> None:
            body.extend(message.get("body", b""))

        self.loop.run_until_complete(self._app(http_scope(path, ""), _receive, send))
        return body.decode()

    async def _run(self, scopes: list[Scope]) -> Counter[int]:
        statuses: Counter[int] = Counter()

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses[message["status"]] += 1

        app = self._app
        for number, scope in enumerate(scopes):
            if number % _REQUESTS_A_TURN == 0:
                await asyncio.sleep(0)
            await app(scope, _receive, send)
        return statuses

    def profiled(self, count: int, profiler: cProfile.Profile, *, sampled: bool) -> None:
        """Run `count` requests under `profiler`, and nothing else."""
        scopes = self._scopes(count, sampled=sampled)
        profiler.enable()
        statuses = self.loop.run_until_complete(self._run(scopes))
        profiler.disable()
        self._check(statuses, count)

    def cpu_seconds(self, count: int, flush: Callable[[], object], *, sampled: bool) -> tuple[float, float]:
        """CPU time for `count` requests: of this thread without, and of the process, all threads, with the export of
        what they produced."""
        thread = process = 0.0
        for done in range(0, count, REQUESTS_A_FLUSH):
            scopes = self._scopes(min(REQUESTS_A_FLUSH, count - done), sampled=sampled)
            gc.collect()
            process_before, thread_before = time.process_time(), time.thread_time()
            statuses = self.loop.run_until_complete(self._run(scopes))
            thread += time.thread_time() - thread_before
            flush()
            process += time.process_time() - process_before
            self._check(statuses, len(scopes))
        return thread, process

    def _scopes(self, count: int, *, sampled: bool) -> list[Scope]:
        self.requests += count
        return [http_scope(parent=traceparent(sampled=sampled)) for _ in range(count)]

    @staticmethod
    def _check(statuses: Counter[int], count: int) -> None:
        if statuses != {200: count}:
            raise RuntimeError(f"expected {count} answers of 200, got {dict(statuses)}")
