"""Spans on their way out: the queue as a span processor of the SDK's."""

from __future__ import annotations

import functools
from typing import Final, Unpack

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import TraceFlags

from obskit._tally import SAMPLED_OUT, Tally
from obskit.export._exporter import REASONS, Exporter
from obskit.export._queue import Batching, BatchQueue
from obskit.export._redacted import Redact, redacted
from obskit.export._weighed import weighed

_TRACE_FLAGS = 3
_SAMPLED = int(TraceFlags.SAMPLED)
HELD_FULL: Final = "held_full"
#: Beside the reasons of every queue: not kept by sampling; more ended below roots that still run than can be held.
SPAN_REASONS: Final = (*REASONS, HELD_FULL, SAMPLED_OUT)


class SpanQueue(BatchQueue[ReadableSpan], SpanProcessor):
    """A span processor that batches sampled spans and exports them from a thread of its own.

    Args:
        exporter: what sends a batch.
        redact: takes secrets out of spans that are not obskit's own; see :func:`obskit.export._redacted.redacted`.
        batching: see :class:`obskit.export._queue.Batching`.
    """

    def __init__(
        self, exporter: Exporter[ReadableSpan], *, redact: Redact | None = None, **batching: Unpack[Batching]
    ) -> None:
        prepare = weighed if redact is None else functools.partial(_prepared, redact=redact)
        super().__init__(exporter, items="spans", component="spans", prepare=prepare, **batching)
        self.tally = Tally(SPAN_REASONS)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span, or count it as dropped; never blocks and never raises."""
        context = span.context
        # From the tuple that a SpanContext is: its property for the flags costs a quarter of all this.
        if context is not None and context[_TRACE_FLAGS] & _SAMPLED:
            self.put(span)

    def leave_out(self, reason: str, count: int) -> None:
        """Count spans that ended and are not queued."""
        with self._lock:
            self.tally.produced += count
            self.tally.dropped[reason] += count

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """As the SDK calls :meth:`flush`, in milliseconds; `export_timeout` if it names no time."""
        return self.flush(self._export_timeout if timeout_millis is None else timeout_millis / 1000)

    def shutdown(self) -> None:
        """As the SDK calls :meth:`close`, with `export_timeout`."""
        self.close(self._export_timeout)


def _prepared(span: ReadableSpan, redact: Redact) -> ReadableSpan:
    return redacted(weighed(span), redact)
