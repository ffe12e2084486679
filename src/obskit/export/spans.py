"""The bounded queue between the code that ends spans and the exporter that sends them.

Ending a span costs an append under a lock; one daemon thread does the rest. Whatever the exporter does, memory is
bounded by the queue, flush and close return by their deadlines, and every span is accounted for in the tally.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import weakref
from collections import deque
from time import monotonic

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import TraceFlags

from obskit._guard import contained
from obskit._tally import Tally
from obskit.export._exporter import ERROR, QUEUE_FULL, REASONS, SHUTDOWN, ExportResult, SpanExporter
from obskit.export._redacted import Redact, redacted

_TRACE_FLAGS = 3
_SAMPLED = int(TraceFlags.SAMPLED)
_WARN_EVERY_SECONDS = 60.0
#: What export_through() lets a span wait for a collector that does not answer; the wait halves each time, so twice
#: this in all. It is the server's loop that waits.
_PATIENCE_SECONDS = 0.25


class SpanQueue(SpanProcessor):
    """A span processor that batches sampled spans and exports them from a thread of its own.

    Args:
        exporter: what sends a batch.
        max_queue_size: spans that may wait; more are dropped as ``queue_full``.
        schedule_delay: seconds between the first span that waits and its export.
        max_batch_size: spans in one export; as many waiting are exported at once.
        export_timeout: seconds for one export, all its attempts included.
        redact: takes secrets out of spans that are not obskit's own; see :func:`obskit.export._redacted.redacted`.

    The defaults are the specification's (https://opentelemetry.io/docs/specs/otel/trace/sdk/#batching-processor). The
    thread starts with the first span, sleeps while there is none, and starts anew in a forked child, where the queue
    and the tally begin empty: the parent sends what it holds.

    Attributes:
        tally: produced, exported and dropped spans, by the reasons in :data:`REASONS`; what is in flight is queued.
    """

    def __init__(  # noqa: PLR0913  (the specification's, and what takes secrets out)
        self,
        exporter: SpanExporter,
        *,
        max_queue_size: int = 2048,
        schedule_delay: float = 5.0,
        max_batch_size: int = 512,
        export_timeout: float = 30.0,
        redact: Redact | None = None,
    ) -> None:
        self.tally = Tally(REASONS)
        self._exporter = exporter
        self._redact = redact
        self._room = max_queue_size
        self._schedule_delay = schedule_delay
        self._max_batch_size = min(max_batch_size, max_queue_size)
        self._last_of_batch = self._max_batch_size - 1
        self._export_timeout = export_timeout
        self._closed = False
        self._through = False
        self._patience = _PATIENCE_SECONDS
        self._close_deadline = math.inf
        self._next_warning = -math.inf
        self._failing = False
        self._queue: deque[ReadableSpan] = deque()
        self._begin()
        _watch_forks()
        _queues.add(self)

    def _begin(self) -> None:
        # Re-entrant: a span may end in a signal handler or a finalizer that interrupts on_end itself.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._in_flight: list[ReadableSpan] = []
        self._settled = 0
        self._flush_to = 0
        self._thread: threading.Thread | None = None

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span, or count it as dropped; never blocks and never raises."""
        context = span.context
        # From the tuple that a SpanContext is: its property for the flags costs a quarter of all this.
        if context is None or not context[_TRACE_FLAGS] & _SAMPLED:
            return
        with self._lock:
            self.tally.produced += 1
            waiting = len(self._queue)
            if waiting < self._room:
                self._queue.append(span)
                # The thread sleeps until there is something, then until a batch is full: wake it at these edges only.
                if not waiting or waiting == self._last_of_batch:
                    self._wake()
            else:
                self.tally.dropped[SHUTDOWN if self._closed else QUEUE_FULL] += 1
        if self._through:
            self._flush_briefly()

    def export_through(self) -> None:
        """Export what is queued, and from now on each span as it ends, waiting for it a little.

        For the time between a signal that ends the process and its end, of which nobody tells.
        """
        self._through = True
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
            self._wake()
            return self._changed.wait_for(lambda: self._settled >= target, timeout)

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
            self._in_flight = []
            self._queue.clear()
            self._changed.notify_all()
            thread = self._thread
        if left:
            _logger().warning("spans not exported before the process stopped, and lost: %d%s", left, self.trouble())
        elif thread is not None:
            thread.join(max(0.0, self._close_deadline - monotonic()))
        self._close_exporter()
        return not left

    def trouble(self) -> str:
        """What keeps spans from being exported now, as the end of a sentence; empty when nothing is known to."""
        trouble: str = getattr(self._exporter, "trouble", "")
        return trouble and f" ({trouble})"

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """As the SDK calls :meth:`flush`, in milliseconds; `export_timeout` if it names no time."""
        return self.flush(self._export_timeout if timeout_millis is None else timeout_millis / 1000)

    def shutdown(self) -> None:
        """As the SDK calls :meth:`close`, with `export_timeout`."""
        self.close(self._export_timeout)

    def _close_exporter(self) -> None:
        try:
            self._exporter.close()
        except Exception as error:
            contained("spans", error)

    def _wake(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            try:
                self._thread = threading.Thread(target=self._run, name="obskit-spans", daemon=True)
                self._thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is going down
                self._thread = None
                contained("spans", error)
        self._changed.notify_all()

    def _run(self) -> None:
        # Clients that other instrumentations observe must not make spans of the export of spans.
        otel_context.attach(Context({_SUPPRESS_INSTRUMENTATION_KEY: True}))
        while batch := self._next_batch():
            self._settle(batch, self._export(batch))

    def _next_batch(self) -> list[ReadableSpan]:
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

    def _export(self, batch: list[ReadableSpan]) -> ExportResult:
        try:
            safe = batch if self._redact is None else [redacted(span, self._redact) for span in batch]
            dropped, error = self._exporter.export(safe, min(monotonic() + self._export_timeout, self._close_deadline))
            return ExportResult({reason: int(count) for reason, count in dropped.items()}, error)
        except Exception as fault:
            contained("spans", fault)
            return ExportResult({ERROR: len(batch)}, f"the exporter raised {type(fault).__name__}")

    def _settle(self, batch: list[ReadableSpan], result: ExportResult) -> None:
        with self._lock:
            if self._in_flight is not batch:  # close() gave it up and has counted it
                return
            self._in_flight = []
            self._settled += len(batch)
            self.tally.exported += len(batch) - sum(result.dropped.values())
            for reason, count in result.dropped.items():
                self.tally.dropped[reason] = self.tally.dropped.get(reason, 0) + count
            self._changed.notify_all()
        self._report(result)

    def _report(self, result: ExportResult) -> None:
        """Say that spans are lost at most once a minute, and once that it is over."""
        lost = sum(self.tally.dropped.values())
        if result.error:
            self._failing = True
            if monotonic() >= self._next_warning:
                self._next_warning = monotonic() + _WARN_EVERY_SECONDS
                _logger().warning("spans are being lost: %s; %d dropped so far", result.error, lost)
        elif self._failing:
            self._failing = False
            _logger().info("spans are exported again; %d were dropped in all", lost)

    def _after_fork(self) -> None:
        self.tally.produced = self.tally.exported = 0
        self.tally.dropped.update(dict.fromkeys(self.tally.dropped, 0))
        self._queue.clear()
        self._begin()


def _logger() -> logging.Logger:
    return logging.getLogger("obskit")


_queues: weakref.WeakSet[SpanQueue] = weakref.WeakSet()


@functools.cache
def _watch_forks() -> None:
    """Register once a process: a fork hook cannot be taken back."""
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _after_fork_in_child() -> None:
    for queue in list(_queues):
        queue._after_fork()  # noqa: SLF001  (of this module)
