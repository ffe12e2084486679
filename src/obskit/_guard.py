"""The one place where obskit's own errors are contained and counted.

After ``init()`` nothing of obskit may raise into the application. Every ``except Exception`` on obskit's side of
the fence ends in :func:`contained`. ``CancelledError``, ``KeyboardInterrupt`` and ``SystemExit`` are not
``Exception`` and always pass.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

_LOG_EVERY_SECONDS = 60.0

#: Contained errors of this process by component; ``obskit_internal_errors_total`` reads it.
errors: Counter[str] = Counter()

#: Called with each contained error. The test suite subscribes, so that no fault hides behind its containment.
observers: list[Callable[[str, Exception], None]] = []

_next_log: dict[str, float] = {}


def contained(component: str, error: Exception) -> None:
    """Count an error of obskit's own, and log it at most once a minute for each component.

    Args:
        component: the module or signal at fault, such as ``"metrics"``; a bounded set of names.
        error: what was raised.
    """
    errors[component] += 1
    for observer in observers:
        observer(component, error)
    now = time.monotonic()
    if now < _next_log.get(component, 0.0):
        return
    _next_log[component] = now + _LOG_EVERY_SECONDS
    with suppress(Exception):  # a handler of somebody else's that raises must not undo the containment
        logging.getLogger("obskit").error(
            "obskit contained an error of its own in %s; the application is not affected",
            component,
            exc_info=error,
        )


def forget_rate() -> None:
    """Let the next error of each component be logged at once again; tests call it."""
    _next_log.clear()
