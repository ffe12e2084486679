"""The queue of spans where keep rules are: it holds those of a local root back until the root has ended."""

from __future__ import annotations

from typing import Any, Final, Unpack

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import SpanContext, StatusCode

from obskit._guard import contained
from obskit._hold import ALONE, Hold, hold_of, share
from obskit._keep import Keeping, names_of
from obskit._probability import NEVER
from obskit._tally import SAMPLED_OUT
from obskit.export._exporter import Exporter
from obskit.export._queue import Batching
from obskit.export._redacted import Redact
from obskit.export.spans import HELD_FULL, SpanQueue

_SHARE_OF_ONE: Final = 4


class HeldSpans(SpanQueue):
    """Queues the spans of a local root when it has ended and is kept; counts them as ``sampled_out`` when it is not.

    Args:
        exporter, redact, batching: see :class:`SpanQueue`.
        keeping: decides about roots that are no operations.

    At most `max_queue_size` spans are held, a quarter of them for one root. Past its quarter a root's further spans are
    dropped, past the whole the spans of the root that has held for longest, as ``held_full``. A span is counted as
    produced when it is decided about. What ends after its root goes the root's way.
    """

    def __init__(
        self,
        exporter: Exporter[ReadableSpan],
        keeping: Keeping,
        *,
        redact: Redact | None = None,
        **batching: Unpack[Batching],
    ) -> None:
        super().__init__(exporter, redact=redact, **batching)
        self._keeping = keeping
        self._room_of_all = self._room
        self._room_of_one = max(self._room // _SHARE_OF_ONE, 1)
        self._holding: dict[Hold, None] = {}
        self._held = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002  (the SDK's interface)
        """Let a span share its parent's hold, or have one of its own."""
        try:
            context: Any = span.context
            hold = above = None if span.parent is None else hold_of(span.parent)
            if hold is None or span.kind in ALONE:
                hold = Hold(context.span_id, above, by_operation=False)
            share(context, hold)
        except Exception as error:
            contained("spans", error)

    def on_end(self, span: ReadableSpan) -> None:
        """Hold a sampled span, or let it go the way of its root; never blocks and never raises."""
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        hold = hold_of(context)
        if hold is None:
            self.put(span)
            return
        if hold.threshold is None:
            self._judge(span, hold)
            is_root = hold.root_id == context.span_id
            if self._hold(span, hold, is_root=is_root):
                if is_root and not hold.by_operation:
                    self.settle(hold, self._keeping.applied(context, ruled=hold.ruled))
                return
        self._let_go([span], hold)

    def settle(self, hold: Hold, threshold: int) -> None:
        """Decide about the spans of a root, those that have ended and those that will.

        Args:
            hold: the root's.
            threshold: what they are kept by; NEVER: they are not.
        """
        with self._lock:
            hold.decide(threshold)
            spans = self._forget(hold)
        self._let_go(spans, hold)

    def release(self) -> None:
        """Keep what is held now, though its roots still run: the process ends, and nobody will ask again."""
        for hold in list(self._holding):
            spans = hold.spans  # looked at once: its root may end meanwhile
            context: SpanContext | None = spans[0].context if spans else None
            if context is not None:
                self.settle(hold, self._keeping.applied(context, ruled=True))

    def close(self, timeout: float) -> bool:
        """As the queue's, once all that is held is released."""
        self.release()
        return super().close(timeout)

    def _judge(self, span: ReadableSpan, hold: Hold) -> None:
        """Ask the rules about a span that may be another instrumentation's; operations are asked by their signal."""
        rules = self._keeping.rules
        if hold.ruled or getattr(span, "facts", None) is not None:
            return
        attributes = span.attributes or {}
        failed = rules.errors and span.status.status_code is StatusCode.ERROR
        is_root = span.context is not None and hold.root_id == span.context.span_id
        duration = (span.end_time or 0) - (span.start_time or 0)
        slow = is_root and rules.is_slow(names_of(span.name, attributes), duration)
        if failed or slow or rules.has_field(attributes):
            hold.rule()

    def _hold(self, span: ReadableSpan, hold: Hold, *, is_root: bool) -> bool:
        """Hold a span, or drop it where there is no room; False where its root was settled meanwhile."""
        with self._lock:
            if hold.threshold is not None:
                return False
            if len(hold.spans) >= self._room_of_one and not is_root:
                self.leave_out(HELD_FULL, 1)
                return True
            hold.spans.append(span)
            self._holding[hold] = None
            self._held += 1
            while self._held > self._room_of_all:
                self.leave_out(HELD_FULL, len(self._forget(next(iter(self._holding)))))
            return True

    def _forget(self, hold: Hold) -> list[ReadableSpan]:
        spans, hold.spans = hold.spans, []
        self._holding.pop(hold, None)
        self._held -= len(spans)
        return spans

    def _let_go(self, spans: list[ReadableSpan], hold: Hold) -> None:
        if hold.threshold == NEVER:
            self.leave_out(SAMPLED_OUT, len(spans))
            return
        for span in spans:
            self.put(span)

    def _after_fork(self) -> None:
        for hold in self._holding:
            hold.spans = []
        self._holding.clear()
        self._held = 0
        super()._after_fork()
