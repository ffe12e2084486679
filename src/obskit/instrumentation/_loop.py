"""Event-loop lag: how late the loop runs what is due, and which code and route held it.

A tick on the loop measures the lag. A watchdog thread waits for each tick; while one is overdue it reads the stack
of the loop's thread, which at that moment is the stack of the code that blocks. Idle, both wake once an interval.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import threading
import weakref
from time import monotonic
from typing import TYPE_CHECKING

from obskit import semconv
from obskit._guard import contained
from obskit.instrumentation._blame import Culprit, culprit_of, stack_below

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("obskit.loop")

_LOG_EVERY_SECONDS = 10.0
# A block that lasts longer is logged before it ends: it may never end.
_HUNG_AFTER_SECONDS = 1.0


class LoopMonitor:
    """Watches one event loop at a time.

    Args:
        observe: takes the lag of each tick, in seconds; called on the loop.
        interval: seconds between two ticks. A block of `interval + blocked_after` is always seen, a shorter one by
            chance.
        blocked_after: seconds by which a tick must be overdue for the loop to count as blocked.
        route_of: names the route in progress where the blocked stack does not; called in the watchdog's thread.
    """

    def __init__(
        self,
        observe: Callable[[float], None],
        *,
        interval: float = 0.25,
        blocked_after: float = 0.1,
        route_of: Callable[[], str | None] | None = None,
    ) -> None:
        self.observe = observe
        self.interval = interval
        self.blocked_after = blocked_after
        self._route_of = route_of
        self._log_from = -math.inf
        self._watch: _Watch | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch `loop`, instead of the one before; for the same loop again it does nothing. Never raises."""
        try:
            if self._watch is None or not self._watch.watches(loop):
                self.stop()
                self._watch = _Watch(self, loop)
        except Exception as error:
            contained("loop", error)

    def stop(self) -> None:
        """Watch no more. Never raises."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()

    def may_log(self) -> bool:
        """Whether a line may be written: at most one in ten seconds."""
        return monotonic() >= self._log_from

    def log(self, seconds: float, culprit: Culprit, *, ended: bool) -> None:
        """Write the line that names what blocks the loop.

        Args:
            seconds: how long it has, from the moment when a tick was due.
            culprit: the code and the route.
            ended: whether the block is over.
        """
        self._log_from = monotonic() + _LOG_EVERY_SECONDS
        route = culprit.route or (self._route_of() if self._route_of is not None else None)
        extra = {
            semconv.CODE_FUNCTION_NAME: culprit.function,
            semconv.CODE_FILE_PATH: culprit.file,
            semconv.CODE_LINE_NUMBER: culprit.line,
            semconv.DURATION_MS: round(seconds * 1e3, 3),
        }
        if route is not None:
            extra[semconv.HTTP_ROUTE] = route
        _log.warning(
            "event loop %s for %.0f ms by %s (%s:%d)%s",
            "was blocked" if ended else "is still blocked, so far",
            seconds * 1e3,
            culprit.function,
            culprit.file,
            culprit.line,
            f", serving {route or culprit.operation}" if route or culprit.operation else "",
            extra=extra,
        )


class _Watch:
    """The watch over one loop, from `start` to `stop`; it does not keep the loop alive."""

    def __init__(self, monitor: LoopMonitor, loop: asyncio.AbstractEventLoop) -> None:
        self._monitor = monitor
        self._loop = weakref.ref(loop)
        self._changed = threading.Condition()
        self._stopped = False
        self._stack_below = frozenset[object]()
        self._loop_thread = 0
        self._due = math.inf
        self._ticks = 0
        self._overdue = False
        self._stood_still = False
        self._blocked_seconds = 0.0
        loop.call_soon_threadsafe(self._begin)
        self._thread = threading.Thread(target=self._guard, name="obskit-loop", daemon=True)
        self._thread.start()

    def watches(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self._loop() is loop and self._thread.is_alive()  # after a fork the thread is not

    def stop(self) -> None:
        self._stopped = True
        with self._changed:
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(1.0)

    # -- on the loop ----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._loop_thread = threading.get_ident()
        self._stack_below = stack_below(sys._getframe())  # noqa: SLF001  (documented, of CPython)
        self._schedule()

    def _schedule(self) -> None:
        if not self._stopped:
            self._due = monotonic() + self._monitor.interval
            # The handle is not kept: it holds the loop. The tick after the end does nothing.
            asyncio.get_running_loop().call_later(self._monitor.interval, self._tick)

    def _tick(self) -> None:
        late = max(0.0, monotonic() - self._due)
        try:
            if not self._stood_still and not self._stopped:
                self._monitor.observe(late)
        except Exception as error:
            contained("loop", error)
        self._stood_still = False
        with self._changed:
            self._schedule()
            self._ticks += 1
            if self._overdue:
                self._overdue = False
                self._blocked_seconds = late
                self._changed.notify_all()

    # -- in the watchdog's thread ---------------------------------------------------------------------------------

    def _guard(self) -> None:
        while self._alive():
            with self._changed:
                ticks, due = self._ticks, self._due
            try:
                self._turn(ticks, due)
            except Exception as error:
                contained("loop", error)
                self._wait(ticks, _HUNG_AFTER_SECONDS)

    def _turn(self, ticks: int, due: float) -> None:
        seconds = due + self._monitor.blocked_after - monotonic()
        if seconds > 0:
            self._wait(ticks, min(seconds, self._monitor.interval))
        elif self._runs():
            self._look(ticks, due)
        else:  # between two runs of the loop nobody waits for it
            self._stood_still = True
            self._wait(ticks, self._monitor.interval)

    def _alive(self) -> bool:
        loop = self._loop()
        return not self._stopped and loop is not None and not loop.is_closed()

    def _runs(self) -> bool:
        loop = self._loop()
        return loop is not None and loop.is_running()

    def _wait(self, ticks: int, seconds: float) -> bool:
        """Wait for the tick after `ticks`, or for the end; False if neither came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stopped or self._ticks != ticks, seconds)

    def _look(self, ticks: int, due: float) -> None:
        """A tick is overdue: see why, and come back when it has run."""
        culprit = culprit_of(self._loop_thread, self._stack_below) if self._monitor.may_log() else None
        with self._changed:
            if self._ticks != ticks:  # it ended meanwhile: what was read may be another's stack
                return
            self._overdue = True
        ended = self._wait(ticks, due + _HUNG_AFTER_SECONDS - monotonic())
        if culprit is not None and not self._stopped:
            self._monitor.log(self._blocked_seconds if ended else monotonic() - due, culprit, ended=ended)
        while self._alive() and not self._wait(ticks, _HUNG_AFTER_SECONDS):
            pass
