"""The ASGI application that answers probes and scrapes: liveness, readiness, startup, health and the metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Literal, TypedDict

import orjson

from obskit._asgi import Receive, Scope, Send, path_below_root
from obskit._guard import contained
from obskit._thread import in_thread

if TYPE_CHECKING:
    from obskit.health.checks import Affects, Checks, CheckState

Render = Callable[[str | None], tuple[str, bytes]]
"""From the value of an Accept header, or None, to the content type and the body of an exposition."""

_Answer = tuple[int, str, bytes]
_JSON = "application/json"
_OK: _Answer = (200, _JSON, b'{"status":"ok"}')
_METHODS = ("GET", "HEAD")


class Report(TypedDict):
    """The body of ``/health``.

    ``uptime`` is in seconds, ``timestamp`` in milliseconds since the epoch; ``checks`` holds ``"ok"`` or the reason.
    """

    status: Literal["ok", "degraded", "error"]
    uptime: float
    timestamp: int
    checks: dict[str, str]


class Endpoints:
    """A pure ASGI application for the paths that probes and scrapers ask; an empty path switches one off.

    Args:
        checks: what readiness, startup and health depend on.
        metrics: renders the exposition; called in a thread, once for all scrapes that wait for the same. None: no
            metrics.
        live_path, ready_path, startup_path, health_path, metrics_path: where each is served.
        clock: seconds, monotonic; the uptime counts from now.
    """

    def __init__(  # noqa: PLR0913  (one parameter for each path of the contract)
        self,
        checks: Checks,
        metrics: Render | None = None,
        *,
        live_path: str = "/livez",
        ready_path: str = "/readyz",
        startup_path: str = "/startupz",
        health_path: str = "/health",
        metrics_path: str = "/metrics",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = checks
        self._clock = clock
        self._began = clock()
        self._startup_passed = False
        #: Whether the application's startup has ended, and whether the process is on its way out.
        self.startup_complete = False
        self.draining = False
        answers: dict[str, Callable[[Scope], Awaitable[_Answer]]] = {
            live_path: self._live,
            ready_path: self._ready,
            startup_path: self._startup,
            health_path: self._health,
        }
        if metrics is not None:
            answers[metrics_path] = _Scrapes(metrics).answer
        answers.pop("", None)
        self._answers = answers

    def started(self) -> None:
        """Startup has ended: readiness and startup may turn 200. Called again after `stopping`, a new life begins."""
        if self.startup_complete:
            self.draining = False
        self.startup_complete = True

    def stopping(self) -> None:
        """The process is on its way out: readiness is 503 from now on."""
        self.draining = True

    def close(self) -> None:
        """Answer nothing any more."""
        self._answers.clear()

    def handles(self, path: str) -> bool:
        """Whether `path` is one of the endpoints; a single lookup, since each request of the application asks."""
        return path in self._answers

    async def report(self) -> Report:
        """Run the checks that are due, and give the body of ``/health``."""
        states = (await self._checks.run()).values()
        failing = [state for state in states if state.ok is False]
        critical = any(state.critical for state in failing)
        return {
            "status": "error" if critical else "degraded" if failing else "ok",
            "uptime": round(self._clock() - self._began, 3),
            "timestamp": time.time_ns() // 1_000_000,
            "checks": {state.name: _reason(state) if state.ok is False else "ok" for state in states},
        }

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one HTTP request whose path below the server's root path is one that :meth:`handles` knows."""
        method = scope["method"]
        allow = method in _METHODS
        status, content_type, body = await self._answer(scope) if allow else (405, _JSON, b'{"status":"error"}')
        headers = [
            (b"content-type", content_type.encode("latin-1")),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        if not allow:
            headers.append((b"allow", ", ".join(_METHODS).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    async def _answer(self, scope: Scope) -> _Answer:
        try:
            return await self._answers[path_below_root(scope)](scope)
        except Exception as error:
            contained("health", error)
            return 500, _JSON, b'{"status":"error"}'

    async def _live(self, _scope: Scope) -> _Answer:
        return _OK

    async def _ready(self, _scope: Scope) -> _Answer:
        if self.draining:
            return _unavailable(reason="draining")
        if not self.startup_complete:
            return _unavailable(reason="starting")
        # A check that has never passed keeps traffic away even while its failures are below their threshold.
        return _unless(state for state in await self._states("ready") if not state.ok)

    async def _startup(self, _scope: Scope) -> _Answer:
        if not self.startup_complete:
            return _unavailable(reason="starting")
        if self._startup_passed:
            return _OK
        missing = [state for state in await self._states("startup") if not state.passed]
        self._startup_passed = not missing
        return _unless(missing)

    async def _health(self, _scope: Scope) -> _Answer:
        report = await self.report()
        return 503 if report["status"] == "error" else 200, _JSON, orjson.dumps(report)

    async def _states(self, affects: Affects) -> Collection[CheckState]:
        return (await self._checks.run({affects})).values()


class _Scrapes:
    """Renders the exposition off the loop, once for all scrapes that wait for the same."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._under_way: dict[str | None, asyncio.Task[tuple[str, bytes]]] = {}

    async def answer(self, scope: Scope) -> _Answer:
        values = [value for name, value in scope["headers"] if name.lower() == b"accept"]
        accept = b", ".join(values).decode("latin-1") if values else None
        task = self._under_way.get(accept)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = self._under_way[accept] = asyncio.create_task(in_thread(self._render, accept))
            task.add_done_callback(partial(self._forget, accept))
        content_type, body = await asyncio.shield(task)  # a scraper that goes away leaves it to the others
        return 200, content_type, body

    def _forget(self, accept: str | None, task: asyncio.Task[tuple[str, bytes]]) -> None:
        if self._under_way.get(accept) is task:
            del self._under_way[accept]
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not report it when every scraper has gone


def _unavailable(**why: object) -> _Answer:
    return 503, _JSON, orjson.dumps({"status": "error", **why})


def _unless(states: Iterable[CheckState]) -> _Answer:
    reasons = {state.name: _reason(state) for state in states}
    return _unavailable(checks=reasons) if reasons else _OK


def _reason(state: CheckState) -> str:
    return state.reason or "not run"
