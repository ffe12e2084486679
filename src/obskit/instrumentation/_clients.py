"""Which outbound client libraries are observed: those that are wanted, as soon as the process has imported them."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from functools import partial

from obskit._guard import contained
from obskit._pipeline import Pipeline
from obskit.instrumentation._imports import ImportWatch, is_ready
from obskit.instrumentation._outbound import Outbound, TooOldError
from obskit.instrumentation._outgoing import Outgoing
from obskit.instrumentation._patch import replace
from obskit.instrumentation._unbounded import Unbounded

#: Each supported library's module, which obskit's module of the same name instruments, and contrib's for the same.
_CONTRIB = {
    "httpx": "opentelemetry.instrumentation.httpx",
    "httpx2": "opentelemetry.instrumentation.httpx",
    "aiohttp": "opentelemetry.instrumentation.aiohttp_client",
    "requests": "opentelemetry.instrumentation.requests",
    "urllib3": "opentelemetry.instrumentation.urllib3",
}
SUPPORTED = tuple(_CONTRIB)
#: What contrib's instrumentors ask before each call, by this name in a module of theirs.
_CONTRIBS_GATE = "is_http_instrumentation_enabled"


class Clients:
    """The observed libraries of the process.

    Args:
        pipeline: what operations pass through.
        wanted: names of libraries; None for all that are supported.
        outgoing: writes the headers of requests.
    """

    def __init__(self, pipeline: Pipeline, wanted: Collection[str] | None, outgoing: Outgoing) -> None:
        self._pipeline = pipeline
        self._wanted = SUPPORTED if wanted is None else [name for name in SUPPORTED if name in wanted]
        self._outgoing = outgoing
        self._unbounded = Unbounded(SUPPORTED)
        self._restore: dict[str, Callable[[], None]] = {}
        self._refused: set[str] = set()
        self._contrib = ExitStack()
        self._stood_down: set[str] = set()
        # Held while libraries are patched; nothing is imported under it that another thread may be importing.
        self._lock = threading.RLock()
        self._watch = ImportWatch({*self._wanted, *_CONTRIB.values()}, self._imported)

    @property
    def installed(self) -> list[str]:
        """The names of the libraries that are observed now."""
        return [name for name in self._wanted if name in self._restore]

    @property
    def without_timeout(self) -> int:
        """How many calls had no timeout."""
        return self._unbounded.count

    def install(self) -> None:
        """Observe what has been imported, now, and what will be, as soon as it is."""
        if self._wanted:
            self._watch.start()
            self.look()

    def look(self) -> None:
        """Observe what has been imported by now, also past the import system's finders."""
        for name in self._wanted:
            if is_ready(name):
                self._observe(name)
        self._stand_contrib_down()

    def restore(self) -> None:
        """Give every library its own methods back."""
        self._watch.stop()
        with self._lock:
            self._contrib.close()
            while self._restore:
                self._restore.popitem()[1]()

    def _imported(self, name: str) -> None:
        if name in self._wanted:
            self._observe(name)
        self._stand_contrib_down(imported=name)

    def _observe(self, name: str) -> None:
        with self._lock:
            if name in self._restore or name in self._refused:
                return
            try:
                module = importlib.import_module(f"obskit.instrumentation.{name}")
                self._restore[name] = module.instrument(self._outbound(name))
            except TooOldError as error:
                self._refused.add(name)
                logging.getLogger("obskit").warning("calls by %s are not observed: %s", name, error)
            except Exception as error:
                self._refused.add(name)
                contained(name, error)

    def _outbound(self, name: str) -> Outbound:
        return Outbound(name, self._pipeline, self._outgoing, self._unbounded, self._wanted.__contains__)

    def _stand_contrib_down(self, imported: str = "") -> None:
        """Have contrib's instrumentors leave alone what has its operation already.

        Args:
            imported: the module that has just been executed, and is ready though the import system has yet to say so.
        """
        with self._lock:
            for contrib, observed in self._observed_for():
                if contrib not in self._stood_down and (contrib == imported or is_ready(contrib)):
                    self._stood_down.add(contrib)
                    restore = replace(sys.modules[contrib], _CONTRIBS_GATE, partial(_gate, observed))
                    self._contrib.callback(restore)

    def _observed_for(self) -> Iterator[tuple[str, Callable[[], bool]]]:
        """Contrib's modules, and what tells whether a call that they see has its operation already."""
        for name in self.installed:
            module = sys.modules[f"obskit.instrumentation.{name}"]
            yield _CONTRIB[name], module.observed
            if name == "requests" and "urllib3" not in self._wanted:
                yield _CONTRIB["urllib3"], module.urllib3.observed_for_requests


def _gate(observed: Callable[[], bool], original: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: original() and not observed()
