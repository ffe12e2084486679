"""The span processors of obskit's own provider: its queue, and what others add.

The SDK's processors that export may take far longer to flush than they are told, and a dead collector is when: each is
flushed and shut down in a thread of its own, and waited for until a deadline.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor

from obskit._guard import contained

Waiting = Callable[[float], bool]
"""Waits until a time of ``time.monotonic()``; whether all have said by then that they are done."""


class Processors(SynchronousMultiSpanProcessor):
    """A provider's span processors, obskit's queue first.

    Args:
        *own: obskit's, which it flushes and closes by itself.

    Attributes:
        exports: whether there are any of obskit's.
        others: those that others have added.
        kept: a provider of somebody else's that takes the place of obskit's: flushed, and never shut down.
    """

    def __init__(self, *own: SpanProcessor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the SDK's own gap
        for processor in own:
            super().add_span_processor(processor)
        self.exports = bool(own)
        self.others: list[SpanProcessor] = []
        self.kept: trace.TracerProvider | None = None

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add one that is not obskit's."""
        super().add_span_processor(span_processor)
        self.others.append(span_processor)

    def flush(self, timeout: float) -> Waiting:
        """Begin to flush what is not obskit's.

        Args:
            timeout: seconds that each is told it may take.
        """
        return _each(self._not_own(), lambda each: each.force_flush(_milliseconds(timeout)))

    def close(self, timeout: float) -> Waiting:
        """Begin to flush it, and to shut down what others have added: it gets no more spans. See :meth:`flush`."""

        def end(each: Any) -> Any:
            flushed = each.force_flush(_milliseconds(timeout))
            if each is not self.kept:
                each.shutdown()
            return flushed

        return _each(self._not_own(), end)

    def _not_own(self) -> list[Any]:
        return self.others + [self.kept] * hasattr(self.kept, "force_flush")


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _each(flushed: Sequence[Any], call: Callable[[Any], Any]) -> Waiting:
    done: list[bool] = []

    def run(each: Any) -> None:
        try:
            done.append(call(each) is not False)  # some of the SDK's say nothing
        except Exception as error:
            contained("traces", error)

    threads = [threading.Thread(target=run, args=(each,), name="obskit-flush", daemon=True) for each in flushed]
    for thread, each in zip(threads, flushed, strict=True):
        try:
            thread.start()
        except RuntimeError:  # at the interpreter's exit no thread starts any more
            run(each)

    def wait(until: float) -> bool:
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))
        return len(done) == len(threads) and all(done)

    return wait
