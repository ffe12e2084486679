"""Pushes at intervals what is read at that moment, from a thread of its own, and once more before the process ends.

Like the queue of spans it bounds every wait: whatever the exporter does, flush and close return by their deadlines.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context

from obskit._guard import contained
from obskit._tally import Tally
from obskit.export._exporter import ERROR, REASONS, SHUTDOWN, Exporter, ExportResult

_WARN_EVERY_SECONDS = 60.0
_PATIENCE_SECONDS = 0.25


class Source(Protocol):
    """What is read at each push."""

    def begin(self) -> None:
        """Counting begins anew, in a forked child."""
        ...

    def read(self) -> Any:
        """Everything as it is now."""
        ...

    def arrived(self) -> None:
        """What was read last has been delivered."""
        ...


class Push:
    """Reads a source and exports it every `interval` seconds.

    Args:
        source: what is read.
        exporter: what sends it.
        count: how many points a batch holds.
        interval: seconds between pushes.
        timeout: seconds for one push, all its attempts included.

    The thread starts with :meth:`start`, and anew in a forked child, whose tally begins empty.

    Attributes:
        items: what is counted, for messages.
        tally: produced, exported and dropped points; what is on its way is queued.
    """

    items = "metric points"

    def __init__(
        self,
        source: Source,
        exporter: Exporter[Any],
        count: Callable[[Any], int],
        *,
        interval: float,
        timeout: float,
    ) -> None:
        self.tally = Tally(REASONS)
        self._source = source
        self._exporter = exporter
        self._count = count
        self._interval = interval
        self._timeout = timeout
        self._close_deadline = math.inf
        self._next_warning = -math.inf
        self._failing = False
        self._closed = False
        self._started = False
        self._begin()
        _watch_forks()
        _pushes.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._asked = self._done = 0
        self._in_flight = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to push; the first time is after an interval."""
        self._started = True
        with self._lock:
            self._ensure_thread()

    def flush(self, timeout: float) -> bool:
        """Push now.

        Args:
            timeout: seconds after which this returns, whatever the exporter does; with 0 it only asks.

        Returns:
            Whether what holds now was exported, or dropped for a reason, in time.
        """
        with self._lock:
            if self._closed or not self._started:
                return True
            if timeout <= 0 or self._asked == self._done:
                self._asked += 1
            wanted = self._asked
            self._ensure_thread()
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= wanted, timeout)

    def release(self) -> None:
        """Nothing is held back."""

    def export_through(self, seconds: float = math.inf) -> None:
        """Push once more if within `seconds` the process may end: that may be before the next time."""
        if seconds:
            self.flush(_PATIENCE_SECONDS)

    def close(self, timeout: float) -> bool:
        """Push a last time, stop the thread, and close the exporter; later calls do nothing.

        Args:
            timeout: seconds after which what is on its way is dropped as ``shutdown``, and a hung export abandoned.

        Returns:
            Whether nothing had to be abandoned.
        """
        with self._lock:
            if self._closed:
                return not self.tally.queued
            self._close_deadline = monotonic() + timeout
            done = self.flush(timeout)
            self._closed = True
            left, self._in_flight = self._in_flight, 0
            self.tally.dropped[SHUTDOWN] += left
            self._changed.notify_all()
            thread = self._thread
        if done and thread is not None:
            thread.join(max(0.0, self._close_deadline - monotonic()))
        try:
            self._exporter.close()
        except Exception as error:
            contained("metrics", error)
        return done

    def trouble(self) -> str:
        """What keeps points from being exported now, or else who has not taken them, as the end of a sentence."""
        endpoint: str = getattr(self._exporter, "endpoint", "")
        trouble: str = getattr(self._exporter, "trouble", "") or (endpoint and f"{endpoint} has not taken them")
        return trouble and f" ({trouble})"

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            try:
                self._thread = threading.Thread(target=self._run, name="obskit-metrics", daemon=True)
                self._thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is going down
                self._thread = None
                contained("metrics", error)

    def _run(self) -> None:
        # Clients that other instrumentations observe must not make spans of an export.
        otel_context.attach(Context({_SUPPRESS_INSTRUMENTATION_KEY: True}))
        due = monotonic() + self._interval
        while (asked := self._next(due)) is not None:
            due = max(due + self._interval, monotonic()) if monotonic() >= due else due
            result = self._push()
            with self._lock:
                self._done = max(self._done, asked)
                self._changed.notify_all()
            self._report(result)

    def _next(self, due: float) -> int | None:
        """Wait until it is time, or somebody asks; None when the push is closed."""
        with self._lock:
            while not self._closed and self._asked == self._done and (wait := due - monotonic()) > 0:
                self._changed.wait(min(wait, threading.TIMEOUT_MAX))
            return None if self._closed else self._asked

    def _push(self) -> ExportResult:
        size = 0
        try:
            batch = [self._source.read()]
            size = self._count(batch)
            with self._lock:
                self.tally.produced += size
                self._in_flight = size
            result = self._exporter.export(batch, min(monotonic() + self._timeout, self._close_deadline))
            result = ExportResult({reason: int(count) for reason, count in result.dropped.items()}, result.error)
        except Exception as fault:
            contained("metrics", fault)
            result = ExportResult({ERROR: size} if size else {}, f"the exporter raised {type(fault).__name__}")
        with self._lock:
            if self._in_flight or not size:  # else close() gave it up and has counted it
                self._in_flight = 0
                self.tally.exported += size - sum(result.dropped.values())
                for reason, count in result.dropped.items():
                    self.tally.dropped[reason] = self.tally.dropped.get(reason, 0) + count
        if not result.dropped:
            self._source.arrived()
        return result

    def _report(self, result: ExportResult) -> None:
        """Say that points are lost at most once a minute, and once that it is over."""
        log = logging.getLogger("obskit")
        if result.error:
            self._failing = True
            if monotonic() >= self._next_warning:
                self._next_warning = monotonic() + _WARN_EVERY_SECONDS
                log.warning("%s do not arrive: %s; the next push makes up for it", self.items, result.error)
        elif self._failing:
            self._failing = False
            log.info("%s arrive again", self.items)

    def _after_fork(self) -> None:
        self.tally.produced = self.tally.exported = 0
        self.tally.dropped.update(dict.fromkeys(self.tally.dropped, 0))
        self._begin()
        self._source.begin()
        if self._started and not self._closed:
            self._ensure_thread()


_pushes: weakref.WeakSet[Push] = weakref.WeakSet()


@functools.cache
def _watch_forks() -> None:
    """Register once a process: a fork hook cannot be taken back."""
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _after_fork_in_child() -> None:
    for push in list(_pushes):
        push._after_fork()  # noqa: SLF001  (of this module)
