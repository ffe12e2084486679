"""Keep: whether the trace of an operation is kept, decided when its local root ends."""

from __future__ import annotations

from typing import Protocol

from opentelemetry import trace
from opentelemetry.trace import SpanContext

from obskit import semconv
from obskit._hold import ALONE, Hold, hold_of, share
from obskit._keep import Keeping, names_of
from obskit._probability import ALWAYS, NEVER, randomness_of
from obskit.operation import Operation


class Holder(Protocol):
    """What holds spans back."""

    def settle(self, hold: Hold, threshold: int) -> None:
        """Let the spans of a root go, by the threshold that they are kept by."""
        ...


class Keep:
    """The signal that decides. It stands after the traces, whose spans it lets go, and before all that speaks of them.

    Args:
        keeping: the rules, and the share of the rest.
        holder: holds the spans back; None where they go nowhere, or leave by an exporter of somebody else's.
        exported: whether they leave whatever is decided.

    An operation below the root ends before it is known whether its trace is kept. Its exemplar names the trace only
    where that is certain already: by a rule, or by the trace's randomness.
    """

    name = "keep"

    def __init__(self, keeping: Keeping, holder: Holder | None, *, exported: bool = False) -> None:
        self._keeping = keeping
        self._holder = holder
        self._exported = exported

    def start(self, op: Operation) -> None:
        """Let the operation share the hold of the one above it, or have one of its own."""
        context = _context_of(op)
        if context is None:
            return
        above = None if op.parent is None else hold_of(_context_of(op.parent) or context)
        if above is not None:
            share(context, above)
            return
        outer = hold_of(trace.get_current_span(op.context).get_span_context())
        # Work that goes on after its root has ended. Another thread may be deciding about that: open is asked first.
        if outer is not None and (outer.is_open or outer.is_kept) and op.kind not in ALONE:
            share(context, outer)
            return
        own = hold_of(context)
        if own is None or own.root_id != context.span_id:
            own = Hold(context.span_id, outer, by_operation=True)
        own.by_operation = True
        share(context, own)

    def finish(self, op: Operation) -> None:
        """Ask the rules, and decide if the operation is a local root."""
        context = _context_of(op)
        hold = None if context is None else hold_of(context)
        if context is None or hold is None:
            return
        is_root = hold.root_id == context.span_id
        if not hold.ruled and self._keeps(op, is_root=is_root):
            hold.rule()
        if is_root and hold.threshold is None:
            threshold = self._keeping.applied(context, ruled=hold.ruled)
            if self._holder is None:
                hold.decide(threshold)
            else:
                self._holder.settle(hold, threshold)
        if op.sampled and not self._exported:
            certain = self._keeping.applied(context, ruled=hold.ruled) if hold.threshold is None else hold.threshold
            op.sampled = certain != NEVER

    def _keeps(self, op: Operation, *, is_root: bool) -> bool:
        rules = self._keeping.rules
        if (rules.errors and op.outcome == semconv.OUTCOME_ERROR) or rules.has_field(op.fields):
            return True
        if not is_root:
            return False
        duration = op.duration_ns
        if op.stream:  # how long it goes on is the reader's business: as in the metrics, the first byte counts
            first = op.fields.get(semconv.TIME_TO_FIRST_BYTE_MS)
            duration = int(first * 1e6) if isinstance(first, float) else duration
        socket = op.event == semconv.EVENT_WEBSOCKET
        return rules.is_slow(names_of(op.name, op.fields), duration, by_name_only=socket)


class LineShare:
    """By which threshold the line of a local root is kept where all have lines: 0 always, NEVER where it is not.

    Lines are not sampled at the start of a trace, so that they add up to all that happened here.

    Args:
        keeping: the share of what no rule keeps.
    """

    def __init__(self, keeping: Keeping) -> None:
        self._threshold = keeping.threshold

    def __call__(self, op: Operation) -> int:
        """The threshold for the line of an operation that has ended."""
        context = _context_of(op)
        hold = None if context is None else hold_of(context)
        if context is None or hold is None or hold.ruled:
            return ALWAYS
        return self._threshold if self._threshold <= randomness_of(context.trace_id, context.trace_state) else NEVER


def trace_share(op: Operation) -> int:
    """The same where what a rule keeps, and what the trace's sampling keeps, has a line."""
    context = _context_of(op)
    hold = None if context is None else hold_of(context)
    if hold is None:
        return ALWAYS if op.sampled else NEVER
    if hold.ruled:
        return ALWAYS
    return hold.threshold if op.sampled and hold.threshold is not None else NEVER


def _context_of(op: Operation) -> SpanContext | None:
    span = op.span
    context = None if span is None else span.get_span_context()
    return context if context is not None and context.is_valid else None
