"""OpenTelemetry's SDK, imported so that a malformed ``OTEL_*`` variable cannot stop the process.

Some of its modules read variables when they are imported, and raise. obskit reports such a value itself and passes
its own settings to whatever it builds, so nothing is lost by hiding the variables from an import that failed.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_variables(*parts: str) -> Iterator[None]:
    """Hide the ``OTEL_*`` variables whose names contain one of `parts`; they are back afterwards."""
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith("OTEL_") and any(part in name for part in parts)
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def tolerant_import(name: str) -> None:
    """Import the module `name`; where that fails over a variable's value, as if the variable were not set."""
    try:
        importlib.import_module(name)
    except ValueError:
        with without_variables("_LIMIT", "_PROPAGATORS"):
            importlib.import_module(name)


tolerant_import("opentelemetry.sdk.trace")
tolerant_import("opentelemetry.propagate")
