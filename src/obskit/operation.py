"""The operation: one unit of work, observed once, and what user code does with it.

An operation has a kind, a name, a start, an end, an outcome and one flat dict of fields. The signals (traces,
metrics, logs) are projections of it when it starts and when it finishes; none of them measures anything itself, so
they cannot disagree. The current operation travels in the OpenTelemetry context, beside the current span: one
``attach`` makes both current, and code in tasks and threads that copy the context sees the very same object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter_ns, time_ns
from typing import Any, Literal

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind

# Both in one step: the API's set_span_in_context would copy the context once more for each operation.
from opentelemetry.trace.propagation import _SPAN_KEY

from obskit import semconv
from obskit._exception import qualified_name
from obskit._fields import Value
from obskit._guard import contained
from obskit._pipeline import Pipeline
from obskit._rollup import LOCK, roll_up

Outcome = Literal["ok", "error", "cancelled"]

_OPERATION_KEY = otel_context.create_key("obskit-operation")
_EMPTY = Context()


class Operation:
    """One unit of work and its fields.

    Attributes:
        event: what it is, an ``event.name`` of :mod:`obskit.semconv`.
        name: low-cardinality name; the span's name.
        kind: OpenTelemetry's span kind.
        fields: the wide event, flat, named by the semantic conventions.
        context: the OpenTelemetry context of the work, until it ends: it holds the span and this operation.
        parent: the operation of this process that it was started under, if any; None once it has ended.
        remote: the span of another process that it was started under, where `context` does not hold it.
        start_ns: wall clock, nanoseconds since the epoch.
        duration_ns: set by ``finish``; the span ends at ``start_ns + duration_ns``.
        outcome, error_type: set by ``finish``.
        exception: what it ends by, for the signals; None once it has ended.
        written: the exception as the first signal wrote it down, for the others to say the same.
        trace_id, span_id, trace_flags: lower-case hex, empty when there is no trace.
        sampled: whether the trace is recorded.
        span: the OpenTelemetry span that projects it, if there is one.
        adopted: whether that span is of somebody else's making, who also ends it.
        calls: the finished outbound calls below a local root; only kept where a terminal shows them.
        queries: how often each query below it was sent; None where none was.
    """

    __slots__ = (
        "_pipeline",
        "_started",
        "adopted",
        "calls",
        "context",
        "duration_ns",
        "ended",
        "error_type",
        "event",
        "exception",
        "fields",
        "kind",
        "links",
        "name",
        "outcome",
        "parent",
        "queries",
        "remote",
        "sampled",
        "span",
        "span_id",
        "start_ns",
        "stream",
        "trace_flags",
        "trace_id",
        "written",
    )

    def __init__(  # noqa: PLR0913  (what an operation is)
        self,
        pipeline: Pipeline,
        event: str,
        name: str,
        kind: SpanKind,
        *,
        fields: dict[str, Value],
        context: Context | None = None,
        remote: SpanContext | None = None,
        links: Sequence[Link] = (),
        span: Span | None = None,
    ) -> None:
        self._pipeline = pipeline
        self.event = event
        self.name = name
        self.kind = kind
        self.ended = False
        self.fields = fields
        self.links = links
        self.remote = remote
        self.context = otel_context.get_current() if context is None else context
        parent = operation_in(self.context)
        # What is served or consumed stands for itself, also where the caller is in the same process.
        below = kind is not SpanKind.SERVER and kind is not SpanKind.CONSUMER
        self.parent: Operation | None = parent if below and parent is not None and not parent.ended else None
        self.duration_ns = 0
        self.outcome: Outcome = "ok"
        self.error_type: str | None = None
        self.exception: BaseException | None = None
        self.written: dict[str, str] | None = None
        self.trace_id = ""
        self.span_id = ""
        self.trace_flags = ""
        self.sampled = False
        self.span: Span | None = span
        self.adopted = span is not None
        self.stream = False
        self.calls: list[Operation] | None = None
        self.queries: dict[str, int] | None = None
        self.start_ns = time_ns()
        self._started = perf_counter_ns()
        for signal in pipeline.signals:
            try:
                signal.start(self)
            except Exception as error:
                contained(signal.name, error)
        current: dict[str, object] = {**self.context, _OPERATION_KEY: self}
        if self.span is not None:
            current[_SPAN_KEY] = self.span
        self.context = Context(current)

    @property
    def root(self) -> Operation:
        """The outermost operation of this process that is still running above this one, or itself."""
        op = self
        while (above := op.parent) is not None and not above.ended:
            op = above
        return op

    @property
    def duration_ms(self) -> float:
        """Milliseconds, to the microsecond; 0 until it has ended."""
        return round(self.duration_ns / 1e6, 3)

    def elapsed_ms(self) -> float:
        """Milliseconds since the start, to the microsecond."""
        return round((perf_counter_ns() - self._started) / 1e6, 3)

    def annotate(self, mapping: Mapping[str, Any] | None = None, /, **fields: Any) -> None:
        """Add fields; see :func:`annotate`. After the end they are dropped and counted."""
        try:
            given = {**mapping, **fields} if mapping else fields
            dropped = len(given) if self.ended else self._pipeline.policy.add(self.fields, given)
            if dropped:
                self._pipeline.dropped_fields += dropped
        except Exception as error:
            contained("annotate", error)

    def accumulate(self, name: str, amount: float = 1) -> None:
        """Add `amount` to the number in field `name`; see :func:`accumulate`."""
        try:
            name = self._pipeline.policy.name_of(name)  # which may log, and that takes locks of others
            with LOCK:
                before = self.fields.get(name, 0)
                self.annotate({name: before + amount if isinstance(before, (int, float)) else amount})
        except Exception as error:
            contained("annotate", error)

    def finish(
        self,
        *,
        exception: BaseException | None = None,
        error_type: str | None = None,
        cancelled: bool = False,
        ended_at: int | None = None,
    ) -> None:
        """End the operation once; later calls do nothing.

        Args:
            exception: what ended it, if an exception did.
            error_type: `error.type` where no exception tells it, such as a status ("503").
            cancelled: the work was abandoned by who asked for it; that is no error.
            ended_at: when it ended, by ``perf_counter_ns()``, where that is not now.
        """
        if self.ended:
            return
        self.duration_ns = (perf_counter_ns() if ended_at is None else ended_at) - self._started
        self.ended = True
        self.exception = exception
        if cancelled:
            self.outcome = "cancelled"
        else:
            self.error_type = error_type if exception is None else error_type or qualified_name(exception)
            if self.error_type is not None:
                self.outcome = "error"
                self.fields[semconv.ERROR_TYPE] = self.error_type
        if self.parent is not None and self.kind is SpanKind.CLIENT:
            root = self.root
            if root is not self:  # it has outlived what it was called by
                roll_up(self, root)
        for signal in self._pipeline.signals:
            try:
                signal.finish(self)
            except Exception as error:
                contained(signal.name, error)
        # Cycles would wait for the collector: the context holds this operation, and so do frames of the traceback. And
        # of a chain in which each begins the next, all that have ended would be kept by the last.
        self.context, self.exception, self.parent = _EMPTY, None, None


class _NoOperation(Operation):
    """What :func:`current_operation` gives outside of any operation: takes everything, keeps nothing."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Pipeline(), semconv.EVENT_OPERATION, "", SpanKind.INTERNAL, fields={}, context=Context())
        self.ended = True

    def annotate(self, mapping: Mapping[str, Any] | None = None, /, **fields: Any) -> None:
        """Do nothing."""

    def accumulate(self, name: str, amount: float = 1) -> None:
        """Do nothing."""


def operation_in(context: Context) -> Operation | None:
    """The innermost operation of a context: that of its span, where others have made only the span current."""
    op, span = context.get(_OPERATION_KEY), context.get(_SPAN_KEY)
    if op is None or span is not op.span:  # type: ignore[attr-defined]  # the key is this module's own
        op = getattr(span, "operation", op)
    return op if isinstance(op, Operation) else None


#: Ended, and without fields.
NO_OPERATION: Operation = _NoOperation()


def current_operation() -> Operation:
    """The innermost operation of the running code, or a no-op that takes fields and forgets them."""
    return operation_in(otel_context.get_current()) or NO_OPERATION


def annotate(mapping: Mapping[str, Any] | None = None, /, **fields: Any) -> None:
    """Add fields to the current operation: to its span, its log line and, where promoted, its metrics.

    Args:
        mapping: names to values; the way to give dotted names: ``annotate({"user.tier": "gold"})``.
        fields: the same by keyword, names taken verbatim.

    Values are str, bool, int, float or homogeneous lists of these; None is dropped, a mapping is flattened with
    dots, anything else becomes its ``str()``. Never raises; without a current operation it does nothing.
    """
    current_operation().annotate(mapping, **fields)


def accumulate(name: str, amount: float = 1) -> None:
    """Add `amount` to the number that field `name` of the current operation holds, starting at 0. Never raises."""
    current_operation().accumulate(name, amount)
