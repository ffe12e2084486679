"""The handle that ``init()`` returns: it owns what was touched, and ``close()`` gives all of it back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from prometheus_client import CollectorRegistry

from obskit._asgi import ASGIApp
from obskit._config_table import PATHS, SETTINGS
from obskit._guard import contained
from obskit._life import AppLife, ServerLife
from obskit._outlets import Outlets
from obskit._pipeline import Pipeline
from obskit.config import Config
from obskit.health.checks import Checks
from obskit.health.endpoints import Endpoints
from obskit.instrumentation._frameworks import is_instrumented
from obskit.instrumentation._inbound import Inbound
from obskit.instrumentation._server_spans import ServerSpans
from obskit.instrumentation.asgi import ObservedApp, ServerOptions
from obskit.propagation import BAGGAGE
from obskit.signals._adopt import LogPipeline

F = TypeVar("F", bound=Callable[..., object])
A = TypeVar("A", bound=ObservedApp)


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
        outlets: Outlets,
        logs: LogPipeline,
        life: ServerLife,
        server_spans: ServerSpans,
    ) -> None:
        self.config = config
        self.asked_for = asked_for
        self.registry = registry
        self.health = health
        self.place = place
        self._endpoints = endpoints
        self._pipeline = pipeline
        self._outlets = outlets
        self._logs = logs
        self._life = life
        self._server_spans = server_spans
        #: What init() touched, to be undone.
        self.undo = ExitStack()
        self._lock = threading.Lock()
        self._closed = False
        self._has_closed = threading.Event()
        self._all_left = False
        self._told_left: set[str] = set()
        self._told_not_produced = False

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

    def drain(self) -> None:
        """Take this process out of the load balancer's rotation: ``/readyz`` is 503 from now on.

        Nothing else changes: requests are served until the server stops. For what ends by other means than SIGTERM, or
        under a server that takes SIGTERM before obskit can. Of several workers, the one that it is called in.
        """
        self._endpoints.stopping()

    def flush(self, timeout: float = 5.0) -> bool:
        """Send what is queued.

        Args:
            timeout: seconds; it returns by then whatever the receivers do.

        Returns:
            Whether everything has left the process.
        """
        return self._outlets.flush(timeout)

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
        seconds = self._life.seconds_left() if timeout is None else timeout
        self._pipeline.signals = ()
        self._endpoints.close()
        self._life.close()
        return self._outlets.close(seconds, self._restore)

    def _restore(self) -> None:
        try:
            with self.undo:
                self._life.restore()
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
        self._life.stand_down.install()
        options = ServerOptions(
            inbound=self._inbound(),
            client_address=config.client_address,
            response_trace_header=config.response_trace_header or "",
            left_to_app=self._left_to_app,
            not_produced=self._not_produced,
        )
        return kind(app, self._pipeline, self._endpoints, AppLife(self._life), options, routed_by=routed_by)

    def _inbound(self) -> Inbound:
        names = self.config.propagators
        read = names if self.config.enabled else [name for name in names if name == BAGGAGE]
        return Inbound(read, self.config.trust_inbound)

    def _left_to_app(self, path: str) -> None:
        if path not in self._told_left:
            self._told_left.add(path)
            name = next(name for name in PATHS if getattr(self.config, name) == path)
            logging.getLogger("obskit").warning(
                "the app routes %s itself: obskit leaves it to the app; set %s to another path, or to an empty one",
                path,
                SETTINGS[name].variables[0],
            )

    def _not_produced(self) -> None:
        if not self._told_not_produced:
            self._told_not_produced = True
            logging.getLogger("obskit").warning(
                "server_spans=%s, but a request came without such a span: obskit makes the SERVER span of those",
                self.config.server_spans,
            )
