"""The handle that ``init()`` returns: it owns what was touched, and ``close()`` gives all of it back."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from prometheus_client import CollectorRegistry

from obskit._asgi import ASGIApp
from obskit._guard import contained
from obskit._pipeline import Pipeline
from obskit._sigterm import before_sigterm
from obskit._thread import in_thread
from obskit._writer import Writer
from obskit.config import Config
from obskit.export._push import Push
from obskit.export.log_records import LogQueue
from obskit.export.multiprocess import Workers
from obskit.export.spans import SpanQueue
from obskit.health.checks import Checks
from obskit.health.endpoints import Endpoints
from obskit.instrumentation import starlette
from obskit.instrumentation._clients import Clients
from obskit.instrumentation._frameworks import Frameworks, is_instrumented
from obskit.instrumentation._inbound import Inbound
from obskit.instrumentation._loop import LoopMonitor
from obskit.instrumentation._server_spans import ServerSpans
from obskit.instrumentation.asgi import ObservedApp, ServerOptions
from obskit.propagation import BAGGAGE
from obskit.signals._adopt import LogPipeline
from obskit.signals._processors import Processors

if TYPE_CHECKING:
    from obskit.health.admin import Admin

F = TypeVar("F", bound=Callable[..., object])
A = TypeVar("A", bound=ObservedApp)

# What the last lines get of the time that close() has, after the spans.
_SHARE_OF_LINES = 0.2


class Obskit:
    """A wired process. Made by :func:`obskit.init`; a context manager that closes itself.

    Attributes:
        config: the effective configuration.
        registry: prometheus_client registry for metrics of the application's own; shown on ``/metrics``.
        health: the checks; ``await obs.health.run()`` runs those that are due.
    """

    def __init__(  # noqa: PLR0913  (it is assembled in one place, _init)
        self,
        *,
        config: Config,
        asked_for: Config,
        place: str,
        registry: CollectorRegistry,
        health: Checks,
        endpoints: Endpoints,
        pipeline: Pipeline,
        clients: Clients,
        spans: SpanQueue | None,
        processors: Processors,
        log_records: LogQueue | None,
        push: Push | None,
        writer: Writer,
        logs: LogPipeline,
        loop_monitor: LoopMonitor,
        server_spans: ServerSpans,
        workers: Workers,
        admin: Admin | None,
    ) -> None:
        self.config = config
        self.asked_for = asked_for
        self.registry = registry
        self.health = health
        self.place = place
        self._endpoints = endpoints
        self._pipeline = pipeline
        self._clients = clients
        self._spans = spans
        self._processors = processors
        self._exports: list[Any] = [each for each in (spans, log_records, push) if each is not None]
        self._writer = writer
        self._logs = logs
        self._loop_monitor = loop_monitor
        self._server_spans = server_spans
        self._workers = workers
        self._admin = admin
        #: What init() touched, to be undone.
        self.undo = ExitStack()
        self._lock = threading.Lock()
        self._closed = False
        self._has_closed = threading.Event()
        self._all_left = False
        self._stop_by: float | None = None
        self._told_left: set[str] = set()
        self._told_not_produced = False
        self._stand_down = starlette.StandDown()
        self._frameworks = Frameworks(pipeline)
        self._begun = False
        self._watches_sigterm = False

    # -- what users call ----------------------------------------------------------------------------------------

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Any ASGI app, observed.

        Args:
            app: an ASGI 3 callable; one that is observed already is left as it is by each request.

        Returns:
            The app to give to the server. After ``close()`` it passes everything to `app` untouched.
        """
        if self._server_spans.only_in_place(app):
            self.instrument(app)
            return app
        return self._server_spans.wrap(app, self._observed)

    def check(  # noqa: PLR0913  (the contract's arguments)
        self,
        name: str,
        *,
        timeout: float = 1.0,
        ttl: float = 5.0,
        critical: bool = True,
        affects: Literal["health", "ready", "startup"] = "health",
        failures: int = 1,
    ) -> Callable[[F], F]:
        """Decorator: make a function, sync or async and without parameters, a health check.

        Args:
            name: shown in ``/health``.
            timeout: seconds after which the check has failed.
            ttl: seconds for which a result is reused.
            critical: whether its failure makes the service ``error``, or only ``degraded``.
            affects: which probe it decides beside ``/health``.
            failures: how many in a row make it failing.

        Raises:
            ConfigError: an argument is wrong, or the name is taken.
        """

        def register(function: F) -> F:
            self.health.register(
                name, function, timeout=timeout, ttl=ttl, critical=critical, affects=affects, failures=failures
            )
            return function

        return register

    def flush(self, timeout: float = 5.0) -> bool:
        """Send what is queued.

        Args:
            timeout: seconds; it returns by then whatever the receivers do.

        Returns:
            Whether everything has left the process.
        """
        end = time.monotonic() + timeout
        lost = self._lost()
        self._ask_exports()
        others = self._processors.flush(timeout)
        sent = [queue.flush(max(0.0, end - time.monotonic())) for queue in self._exports]
        sent.append(others(end))
        written = self._writer.flush(max(0.0, end - time.monotonic()))
        return all(sent) and written and self._lost() == lost

    def close(self, timeout: float | None = None) -> bool:
        """Send what is queued and restore everything that ``init()`` touched. Later calls do nothing.

        Args:
            timeout: seconds; ``config.shutdown_seconds`` if not given. What is left by then is dropped and counted.

        Returns:
            Whether everything has left the process.
        """
        with self._lock:
            first, self._closed = not self._closed, True
        if first:
            self._all_left = self._close(timeout)
            self._has_closed.set()
        else:  # another thread may be at it
            self._has_closed.wait(self.config.shutdown_seconds if timeout is None else timeout)
        return self._all_left

    def _close(self, timeout: float | None) -> bool:
        seconds = self._seconds_left() if timeout is None else timeout
        end = time.monotonic() + seconds
        lost = self._lost()
        self._pipeline.signals = ()
        self._endpoints.close()
        self._loop_monitor.stop()
        self._stand_down.restore()
        self._frameworks.restore()
        self._ask_exports()
        others = self._processors.close(seconds)
        exports_end = end - seconds * _SHARE_OF_LINES
        sent = [queue.close(max(0.0, exports_end - time.monotonic())) for queue in self._exports]
        sent.append(others(exports_end))
        if self._workers.group is not None:  # which is told, as it leaves, what became of the lines
            self._writer.flush(seconds * _SHARE_OF_LINES / 2)
        self._restore()
        written = self._writer.close(max(seconds * _SHARE_OF_LINES, end - time.monotonic()))
        return all(sent) and written and self._lost() == lost

    def _ask_exports(self) -> None:
        """Wake all before waiting for the first: one that hangs must not take the others' time."""
        for queue in self._exports:
            queue.flush(0.0)

    def _lost(self) -> int:
        tallies = [self._writer.tally, *(queue.tally for queue in self._exports)]
        return sum(tally.lost for tally in tallies)

    def _restore(self) -> None:
        try:
            self.undo.close()
        except Exception as error:  # of one of them; the stack has gone through all the others
            contained("close", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- what init() calls --------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether ``close()`` has been called."""
        return self._closed

    def instrument(self, app: Any) -> None:
        """Observe an app of a known framework in place."""
        if not is_instrumented(app):
            self.undo.callback(self._server_spans.instrument(app, self._observed))

    def _observed(self, app: ASGIApp, routed_by: Any, kind: type[A], /) -> A:
        config = self.config
        if config.request_log != "off":
            self._logs.access_gives_way()
        self._stand_down.install()
        options = ServerOptions(
            inbound=self._inbound(),
            client_address=config.client_address,
            response_trace_header=config.response_trace_header or "",
            left_to_app=self._left_to_app,
            not_produced=self._not_produced,
        )
        return kind(app, self._pipeline, self._endpoints, _AppLifecycle(self), options, routed_by=routed_by)

    def _inbound(self) -> Inbound:
        names = self.config.propagators
        read = names if self.config.enabled else [name for name in names if name == BAGGAGE]
        return Inbound(read, self.config.trust_inbound)

    def _left_to_app(self, path: str) -> None:
        if path not in self._told_left:
            self._told_left.add(path)
            logging.getLogger("obskit").warning(
                "the app routes %s itself: obskit leaves it to the app; set another path, or an empty one", path
            )

    def _not_produced(self) -> None:
        if not self._told_not_produced:
            self._told_not_produced = True
            logging.getLogger("obskit").warning(
                "server_spans=%s, but a request came without such a span: obskit makes the SERVER span of those",
                self.config.server_spans,
            )

    # -- the life of an app's server ----------------------------------------------------------------------------

    def _seconds_left(self) -> float:
        """What remains of ``shutdown_seconds`` since the first sign of the end."""
        now = time.monotonic()
        if self._stop_by is None:
            self._stop_by = now + self.config.shutdown_seconds
        return max(0.0, self._stop_by - now)

    def begin(self) -> None:
        """A server is about to run an app of this process."""
        if self._closed:
            return
        self._workers.begin()
        loop: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):  # the loop is not asyncio's
            loop = asyncio.get_running_loop()
            self._loop_monitor.start(loop)
        if self._admin is not None:
            self._admin.start(loop)
        self._stand_down.install()
        self._frameworks.install()
        if self.config.enabled:
            self._clients.look()
        restore = starlette.instrument_background(self._pipeline)
        if restore is not None:
            self.undo.callback(restore)
        if not self._begun:
            self._begun = True
            self._logs.adopt()

    def started(self) -> None:
        """An app's startup is complete; it may have been shut down before, as test clients do."""
        self._stop_by = None
        self._writer.write_through(on=False)
        self._endpoints.started()

    def without_lifespan(self) -> None:
        """No app of this process will tell when it ends; SIGTERM will."""
        if not self._watches_sigterm:
            self._watches_sigterm = True
            self.undo.callback(before_sigterm(self._leave))

    def _leave(self) -> None:
        self._endpoints.stopping()
        for queue in self._exports:
            queue.export_through()
        self._writer.write_through()

    def stopping(self) -> None:
        """An app's shutdown begins."""
        self._endpoints.stopping()

    async def stopped(self) -> None:
        """An app of this process is done; its server may end the process without a further word."""
        if self._spans is not None:
            self._spans.release()
        try:
            await in_thread(self._last_word, self._seconds_left())
        except RuntimeError:  # the loop is not asyncio's, or there is no thread to be had
            self._last_word(self._seconds_left())
        # close(), which would say so, may never run: uvicorn ends by the signal that it was stopped by.
        for queue in self._exports:
            if left := queue.tally.queued:
                what = f"{queue.items} not exported within shutdown_seconds, and lost if the process ends now"
                logging.getLogger("obskit").warning("%s: %d%s", what, left, queue.trouble())
        self._writer.write_through()

    def _last_word(self, timeout: float) -> None:
        self.flush(timeout)
        self._workers.tell()


class _AppLifecycle:
    """One app's view of the handle."""

    def __init__(self, handle: Obskit) -> None:
        self._handle = handle
        self.begun = False

    def begin(self) -> None:
        self.begun = True
        self._handle.begin()

    def started(self) -> None:
        self._handle.started()

    def without_lifespan(self) -> None:
        self._handle.without_lifespan()

    def stopping(self) -> None:
        self._handle.stopping()

    async def stopped(self) -> None:
        await self._handle.stopped()
