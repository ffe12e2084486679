"""Which outbound client libraries are observed: those that are wanted, as soon as the process has imported them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection

from opentelemetry.propagators.textmap import TextMapPropagator

from obskit._pipeline import Pipeline

#: Each supported library's module, which obskit's module of the same name instruments.
SUPPORTED = ("httpx",)


class Clients:
    """The observed libraries of the process.

    Args:
        pipeline: what operations pass through.
        wanted: names of libraries; None for all that are supported.
        propagator: writes trace context into requests.

    Attributes:
        installed: names of those that are observed.
    """

    def __init__(self, pipeline: Pipeline, wanted: Collection[str] | None, propagator: TextMapPropagator) -> None:
        self._pipeline = pipeline
        self._wanted = SUPPORTED if wanted is None else [name for name in SUPPORTED if name in wanted]
        self._propagator = propagator
        self._restore: dict[str, Callable[[], None]] = {}

    @property
    def installed(self) -> list[str]:
        """The names of the libraries that are observed now."""
        return list(self._restore)

    def install(self) -> None:
        """Observe what has been imported by now; call again when more may have been."""
        for name in self._wanted:
            if name in sys.modules and name not in self._restore:
                module = importlib.import_module(f"obskit.instrumentation.{name}")
                self._restore[name] = module.instrument(self._pipeline, self._propagator)

    def restore(self) -> None:
        """Give every library its own methods back."""
        while self._restore:
            self._restore.popitem()[1]()
