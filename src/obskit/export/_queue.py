"""The bounded queue between the code that produces items, spans or log records, and the exporter that sends them.

Putting an item in costs an append under a lock; one daemon thread does the rest. Whatever the exporter does, memory is
bounded by the queue, flush and close return by their deadlines, and every item is accounted for in the tally.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Generic, TypedDict, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context

from obskit._guard import contained
from obskit._tally import Tally
from obskit.export._exporter import ERROR, QUEUE_FULL, REASONS, SHUTDOWN, UNREACHABLE, Exporter, ExportResult

T = TypeVar("T")

_WARN_EVERY_SECONDS = 60.0
#: What export_through() lets an item wait for a collector that does not answer; the wait halves each time, so twice
#: this in all. It is the server's loop that waits.
_PATIENCE_SECONDS = 0.25


class Batching(TypedDict, total=False):
    """How items are batched; the defaults are the specification's.

    Attributes:
        max_queue_size: items that may wait; more are dropped as ``queue_full``.
        schedule_delay: seconds between the first item that waits and its export.
        max_batch_size: items in one export; as many waiting are exported at once.
        export_timeout: seconds for one export, all its attempts included.
    """

    max_queue_size: int
    schedule_delay: float
    max_batch_size: int
    export_timeout: float


class BatchQueue(Generic[T]):
    """Batches items and exports them from a thread of its own.

    Args:
        exporter: what sends a batch.
        items: what they are, in the plural, for messages: ``spans``.
        component: who is named where an error is contained.
        max_queue_size, schedule_delay, max_batch_size, export_timeout: see :class:`Batching`.
        prepare: what each item becomes in the thread, before it is exported.

    The defaults are the specification's (https://opentelemetry.io/docs/specs/otel/trace/sdk/#batching-processor). The
    thread starts with the first item, sleeps while there is none, and starts anew in a forked child, where the queue
    and the tally begin empty: the parent sends what it holds.

    Attributes:
        tally: produced, exported and dropped items, by the reasons in :data:`REASONS`; what is in flight is queued.
    """

    def __init__(  # noqa: PLR0913  (the specification's, and what is sent)
        self,
        exporter: Exporter[Any],
        *,
        items: str,
        component: str,
        max_queue_size: int = 2048,
        schedule_delay: float = 5.0,
        max_batch_size: int = 512,
        export_timeout: float = 30.0,
        prepare: Callable[[T], Any] | None = None,
    ) -> None:
        self.tally = Tally(REASONS)
        self.items = items
        self._component = component
        self._exporter = exporter
        self._prepare = prepare
        self._room = max_queue_size
        self._schedule_delay = schedule_delay
        self._max_batch_size = min(max_batch_size, max_queue_size)
        self._last_of_batch = self._max_batch_size - 1
        self._export_timeout = export_timeout
        self._closed = False
        self._through_until = 0.0
        self._patience = _PATIENCE_SECONDS
        self._close_deadline = math.inf
        self._next_warning = -math.inf
        self._failing = False
        self._queue: deque[T] = deque()
        self._begin()
        _watch_forks()
        _queues.add(self)

    def _begin(self) -> None:
        # Re-entrant: a span may end in a signal handler or a finalizer that interrupts put() itself.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._in_flight: list[T] = []
        self._settled = 0
        self._too_late = 0
        self._flush_to = 0
        self._thread: threading.Thread | None = None

    def put(self, item: T) -> None:
        """Queue an item, or count it as dropped; never blocks and never raises."""
        fault = None
        with self._lock:
            self.tally.produced += 1
            waiting = len(self._queue)
            if waiting < self._room:
                self._queue.append(item)
                # The thread sleeps until there is something, then until a batch is full: wake it at these edges only,
                # and try again where it could not be started.
                if not waiting or waiting == self._last_of_batch or self._thread is None:
                    fault = self._wake()
            else:
                self.tally.dropped[SHUTDOWN if self._closed else QUEUE_FULL] += 1
        if fault is not None:
            contained(self._component, fault)
        if self._through_until and monotonic() < self._through_until:
            self._flush_briefly()

    def release(self) -> None:
        """Queue what is held back until it is known whether to keep it; here nothing is."""

    def export_through(self, seconds: float = math.inf) -> None:
        """Export what is queued, and for `seconds` from now each item as it comes, waiting for it a little.

        For the time after the server's shutdown or a signal, when the process may end before anything else runs.
        """
        self._through_until = monotonic() + seconds if seconds else 0.0
        if seconds:
            self._flush_briefly()

    def _flush_briefly(self) -> None:
        self._patience = _PATIENCE_SECONDS if self.flush(self._patience) else self._patience / 2

    def flush(self, timeout: float) -> bool:
        """Export what is queued now.

        Args:
            timeout: seconds after which this returns, whatever the exporter does.

        Returns:
            Whether all of it was exported or dropped for a reason in time.
        """
        with self._lock:
            target = self._settled + len(self._in_flight) + len(self._queue)
            if target == self._settled:
                return True
            self._flush_to = max(self._flush_to, target)
            fault = self._wake()
            done = self._changed.wait_for(lambda: self._settled >= target, timeout)
        if fault is not None:
            contained(self._component, fault)
        return done

    def close(self, timeout: float) -> bool:
        """Export what is queued, stop the thread, and close the exporter; later calls do nothing.

        Args:
            timeout: seconds after which what is left is dropped as ``shutdown``, and a hung export abandoned.

        Returns:
            Whether nothing had to be abandoned.
        """
        with self._lock:
            if self._closed:
                return not self.tally.queued
            self._closed, self._room = True, 0
            self._close_deadline = monotonic() + timeout
            self.flush(timeout)
            left = len(self._in_flight) + len(self._queue)
            self.tally.dropped[SHUTDOWN] += left
            left += self._too_late
            self._in_flight = []
            self._queue.clear()
            self._changed.notify_all()
            thread = self._thread
        if left:
            _logger().warning(
                "%s not exported before the process stopped, and lost: %d%s", self.items, left, self.trouble()
            )
        elif thread is not None:
            thread.join(max(0.0, self._close_deadline - monotonic()))
        self._close_exporter()
        return not left

    def trouble(self) -> str:
        """What keeps items from being exported now, or else who has not taken them, as the end of a sentence."""
        endpoint: str = getattr(self._exporter, "endpoint", "")
        trouble: str = getattr(self._exporter, "trouble", "") or (endpoint and f"{endpoint} has not taken them")
        return trouble and f" ({trouble})"

    def _close_exporter(self) -> None:
        try:
            self._exporter.close()
        except Exception as error:
            contained(self._component, error)

    def _wake(self) -> Exception | None:
        """Let the thread look; what keeps it from running, for the caller to log once it holds no lock."""
        fault = None
        if self._thread is None or not self._thread.is_alive():
            try:
                self._thread = threading.Thread(target=self._run, name=f"obskit-{self._component}", daemon=True)
                self._thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is going down
                self._thread, fault = None, error
        self._changed.notify_all()
        return fault

    def _run(self) -> None:
        # Clients that other instrumentations observe must not make spans of an export.
        otel_context.attach(Context({_SUPPRESS_INSTRUMENTATION_KEY: True}))
        while batch := self._next_batch():
            self._settle(batch, self._export(batch))

    def _next_batch(self) -> list[T]:
        """Wait for the next batch; empty when the queue is closed and drained."""
        with self._lock:
            while not self._queue:
                if self._closed:
                    return []
                self._changed.wait()
            due = monotonic() + self._schedule_delay
            while len(self._queue) < self._max_batch_size and self._settled >= self._flush_to:
                if (remaining := due - monotonic()) <= 0:
                    break
                self._changed.wait(remaining)
            size = min(len(self._queue), self._max_batch_size)
            self._in_flight = [self._queue.popleft() for _ in range(size)]
            return self._in_flight

    def _export(self, batch: list[T]) -> ExportResult:
        try:
            safe = batch if self._prepare is None else [self._prepare(item) for item in batch]
            dropped, error = self._exporter.export(safe, min(monotonic() + self._export_timeout, self._close_deadline))
            return ExportResult({reason: int(count) for reason, count in dropped.items()}, error)
        except Exception as fault:
            contained(self._component, fault)
            return ExportResult({ERROR: len(batch)}, f"the exporter raised {type(fault).__name__}")

    def _settle(self, batch: list[T], result: ExportResult) -> None:
        dropped, too_late = dict(result.dropped), 0
        with self._lock:
            if self._in_flight is not batch:  # close() gave it up and has counted it
                return
            if self._closed and UNREACHABLE in dropped:  # as if close() had: it gives both the same deadline
                too_late = dropped.pop(UNREACHABLE)
                dropped[SHUTDOWN] = dropped.get(SHUTDOWN, 0) + too_late
                self._too_late += too_late
            self._in_flight = []
            self._settled += len(batch)
            self.tally.exported += len(batch) - sum(dropped.values())
            for reason, count in dropped.items():
                self.tally.dropped[reason] = self.tally.dropped.get(reason, 0) + count
            self._changed.notify_all()
        if too_late:  # close() says it
            return
        try:
            self._report(result)
        except Exception as error:  # of somebody else's filter or handler: the thread goes on
            contained(self._component, error)

    def _report(self, result: ExportResult) -> None:
        """Say that items are lost at most once a minute, and once that it is over."""
        lost = self.tally.lost
        if result.error:
            self._failing = True
            if monotonic() >= self._next_warning:
                self._next_warning = monotonic() + _WARN_EVERY_SECONDS
                _logger().warning("%s are being lost: %s; %d dropped so far", self.items, result.error, lost)
        elif self._failing:
            self._failing = False
            _logger().info("%s are exported again; %d were dropped in all", self.items, lost)

    def _after_fork(self) -> None:
        self.tally.produced = self.tally.exported = 0
        self.tally.dropped.update(dict.fromkeys(self.tally.dropped, 0))
        self._queue.clear()
        self._begin()


def _logger() -> logging.Logger:
    return logging.getLogger("obskit")


_queues: weakref.WeakSet[BatchQueue[Any]] = weakref.WeakSet()


@functools.cache
def _watch_forks() -> None:
    """Register once a process: a fork hook cannot be taken back."""
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _after_fork_in_child() -> None:
    for queue in list(_queues):
        queue._after_fork()  # noqa: SLF001  (of this module)
