"""The life of an app's server as obskit follows it: from its first word to the last chance to send what is queued."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from obskit import _sigterm
from obskit._outlets import Outlets
from obskit._pipeline import Pipeline
from obskit._thread import in_thread
from obskit.config import Config
from obskit.export.multiprocess import Workers
from obskit.health.endpoints import Endpoints
from obskit.instrumentation import starlette
from obskit.instrumentation._clients import Clients
from obskit.instrumentation._frameworks import Frameworks
from obskit.instrumentation._loop import LoopMonitor
from obskit.signals._adopt import LogPipeline

if TYPE_CHECKING:
    from obskit.health.admin import Admin

#: What may be left to do after the deadline: to say what has not left, and let the lines of it out.
_WORDS_SECONDS = 1.0


class ServerLife:
    """What happens when the server of an observed app begins, is ready, drains and stops; for all apps of a process.

    Args:
        config: the effective configuration.
        endpoints: answer the probes.
        pipeline: what operations pass through.
        clients: outbound libraries; one may have been imported since.
        logs: the servers' own logging may have been set up since.
        loop_monitor: watches the server's loop.
        outlets: what must be empty before the process ends.
        admin: serves metrics and health on a port of their own.
        workers: the group that this process is one of; it is told, at the end, what became of everything.

    Attributes:
        stand_down: has contrib's middleware leave observed requests alone.
    """

    def __init__(  # noqa: PLR0913  (what a server's life touches)
        self,
        *,
        config: Config,
        endpoints: Endpoints,
        pipeline: Pipeline,
        clients: Clients,
        logs: LogPipeline,
        loop_monitor: LoopMonitor,
        outlets: Outlets,
        workers: Workers,
        admin: Admin | None,
    ) -> None:
        self._config = config
        self._endpoints = endpoints
        self._pipeline = pipeline
        self._clients = clients
        self._logs = logs
        self._loop_monitor = loop_monitor
        self._outlets = outlets
        self._workers = workers
        self._admin = admin
        self.stand_down = starlette.StandDown()
        self._frameworks = Frameworks(pipeline)
        self._undo = ExitStack()
        self._begun = False
        self._closed = False
        self._unchain: Callable[[], None] = lambda: None
        self._told_undrained = False
        self._told_left = False
        self._flushing = threading.RLock()  # a signal may interrupt the thread that is at it
        self._stop_by: float | None = None

    def seconds_left(self) -> float:
        """What remains of ``shutdown_seconds`` since the first sign of the end."""
        now = time.monotonic()
        if self._stop_by is None:
            self._stop_by = now + self._config.shutdown_seconds
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
        self.stand_down.install()
        self._frameworks.install()
        if self._config.enabled:
            self._clients.look()
        restore = starlette.instrument_background(self._pipeline)
        if restore is not None:
            self._undo.callback(restore)
        if not self._begun:
            self._begun = True
            self._logs.adopt()

    def started(self) -> None:
        """An app's startup is complete; it may have been shut down before, as test clients do."""
        self._stop_by = None
        self._told_left = False
        self._outlets.at_leisure()
        self._endpoints.started()
        if self._config.drain_seconds:
            self._chain()

    def without_lifespan(self) -> None:
        """No app of this process will tell when it ends; SIGTERM will."""
        self._chain(leave=self._outlets.through)

    def drain(self) -> None:
        """Let readiness be 503 from now on."""
        self._endpoints.stopping()

    async def stopped(self) -> None:
        """An app of this process is done; its server may end the process without a further word."""
        try:
            await in_thread(self._flush)
        except RuntimeError:  # the loop is not asyncio's, or there is no thread to be had
            self._flush()

    def dying(self) -> None:
        """SIGTERM, which nobody handles, is about to end the process."""
        self.drain()
        self._flush()

    def close(self) -> None:
        """Follow no server any more."""
        self._closed = True
        self._loop_monitor.stop()
        self.stand_down.restore()
        self._frameworks.restore()

    def restore(self) -> None:
        """Give back what was touched."""
        with self._undo:
            self._unchain()

    def _chain(self, leave: Callable[[], None] = lambda: None) -> None:
        """Be the first to know of SIGTERM; `leave` is for where nothing else tells that the process ends."""
        if self._closed:
            return
        self._unchain()
        seconds = self._config.drain_seconds
        unchain = _sigterm.before_server(self.drain, seconds, leave)
        if unchain is not None:
            self._unchain = unchain
        elif seconds and not self._told_undrained and _sigterm.in_main_thread():
            self._told_undrained = True
            logging.getLogger("obskit").warning(
                "drain_seconds=%g has no effect under this server, which takes SIGTERM before obskit can: "
                "wait in a preStop hook instead",
                seconds,
            )

    def _flush(self) -> None:
        """Send what is queued, in what is left of the time, and let what comes after it leave at once.

        Where the end of a lifespan and a signal both ask for it, each returns when it is done: the process ends then.
        """
        held = self._flushing.acquire(timeout=self.seconds_left() + _WORDS_SECONDS)
        try:
            self._outlets.release()
            self._outlets.flush(self.seconds_left())
            self._workers.tell()
            if not self._told_left:
                self._told_left = True
                self._outlets.report_left()
            self._outlets.through(self._config.shutdown_seconds)
        finally:
            if held:
                self._flushing.release()


class AppLife:
    """One app's view of the server's life: whether it has begun for this app.

    Args:
        life: that of the process's server.
    """

    def __init__(self, life: ServerLife) -> None:
        self._life = life
        self.begun = False
        self.started = life.started
        self.without_lifespan = life.without_lifespan
        self.stopping = life.drain
        self.stopped = life.stopped

    def begin(self) -> None:
        """A server is about to run the app."""
        self.begun = True
        self._life.begin()
