"""Databases, caches and brokers: OpenTelemetry's own instrumentors, switched on where library and extra are there.

They bring what is hard, the seams of each library; obskit gives them a tracer whose spans are operations
(:mod:`obskit.instrumentation._borrowed`), so that calls roll up into the request, sampled or not, under the stable
conventions (https://opentelemetry.io/docs/specs/semconv/database/).
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

from opentelemetry.metrics import NoOpMeterProvider

from obskit import semconv
from obskit._guard import contained
from obskit._pipeline import Pipeline
from obskit.instrumentation._borrowed import Borrowed
from obskit.instrumentation._imports import ImportWatch, is_ready

_OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"
_CONTRIB = "opentelemetry.instrumentation"


class _Library(NamedTuple):
    """How one library is instrumented.

    Attributes:
        instrumentor: the class, in contrib's module of the same name as the library.
        engine: see :class:`obskit.instrumentation._borrowed.Borrowed`; so is `orphans`.
        beside: obskit's module, if any, whose ``observe()`` adds what the instrumentor does not see.
    """

    instrumentor: str
    engine: bool = False
    orphans: bool = True
    beside: str = ""


#: By the name of the library's module.
LIBRARIES = MappingProxyType(
    {
        "aio_pika": _Library("AioPikaInstrumentor"),
        "asyncpg": _Library("AsyncPGInstrumentor"),
        "kafka": _Library("KafkaInstrumentor"),
        "psycopg": _Library("PsycopgInstrumentor"),
        "pymongo": _Library("PymongoInstrumentor"),
        "redis": _Library("RedisInstrumentor"),
        "sqlalchemy": _Library("SQLAlchemyInstrumentor", engine=True),
        # Not outside of an operation: aiosqlite and the like call it in threads that know of none.
        "sqlite3": _Library("SQLite3Instrumentor", orphans=False, beside="_sqlite3"),
    }
)


def instrument(name: str, pipeline: Pipeline) -> Callable[[], None] | None:
    """Observe a library that has been imported.

    Args:
        name: of :data:`LIBRARIES`.
        pipeline: what operations pass through.

    Returns:
        A function that gives the library its own methods back. None where its instrumentor is not installed, does not
        take the library's version, which is said once, or has been switched on by somebody else.
    """
    library = LIBRARIES[name]
    try:
        instrumentor: Any = getattr(importlib.import_module(f"{_CONTRIB}.{name}"), library.instrumentor)()
    except ImportError as error:
        if not str(getattr(error, "name", "")).startswith(_CONTRIB):  # it is there, but not for this version
            _tell(name, str(error))
        return None
    if instrumentor.is_instrumented_by_opentelemetry:
        return None
    conflict = instrumentor._check_dependency_conflicts()  # noqa: SLF001  (instrument() would log it as an error)
    if conflict is not None:
        _tell(name, str(conflict))
        return None
    provider = Borrowed(pipeline, semconv.EVENT_DB_CLIENT, engine=library.engine, orphans=library.orphans)
    with stable_conventions():
        # Durations are the operation's: a histogram of the instrumentor's would measure them once more.
        instrumentor.instrument(tracer_provider=provider, meter_provider=NoOpMeterProvider(), skip_dep_check=True)
    undo = ExitStack()
    undo.callback(instrumentor.uninstrument)
    if library.beside:
        undo.callback(importlib.import_module(f"obskit.instrumentation.{library.beside}").observe())
    return undo.close


def _tell(name: str, why: str) -> None:
    logging.getLogger("obskit").warning("%s is not observed: its instrumentor does not take it: %s", name, why)


@contextmanager
def stable_conventions() -> Iterator[None]:
    """Have instrumentors choose the stable conventions, which the first of the process does for all."""
    before = os.environ.get(_OPT_IN)
    os.environ[_OPT_IN] = ",".join(filter(None, (before, "http", "database")))
    try:
        yield
    finally:
        if before is None:
            del os.environ[_OPT_IN]
        else:
            os.environ[_OPT_IN] = before


class Databases:
    """The observed libraries of the process.

    Args:
        pipeline: what operations pass through.
        wanted: names of libraries; None for all that are supported.
    """

    def __init__(self, pipeline: Pipeline, wanted: Collection[str] | None) -> None:
        self._pipeline = pipeline
        self._wanted = [name for name in LIBRARIES if wanted is None or name in wanted]
        self._restore: dict[str, Callable[[], None]] = {}
        self._passed_over: set[str] = set()
        self._lock = threading.RLock()
        self._watch = ImportWatch(self._wanted, self._observe)

    @property
    def installed(self) -> list[str]:
        """The names of the libraries that are observed now."""
        return list(self._restore)

    def install(self) -> None:
        """Observe what has been imported, now, and what will be, as soon as it is."""
        self._watch.start()
        for name in filter(is_ready, self._wanted):
            self._observe(name)

    def _observe(self, name: str) -> None:
        with self._lock:
            if name in self._restore or name in self._passed_over:
                return
            self._passed_over.add(name)  # also while it is under way: an instrumentor imports its library
            try:
                restore = instrument(name, self._pipeline)
            except Exception as error:
                contained("databases", error)
                return
            if restore is not None:
                self._restore[name] = restore

    def restore(self) -> None:
        """Give every library its own methods back."""
        self._watch.stop()
        with self._lock:
            while self._restore:
                self._restore.popitem()[1]()
