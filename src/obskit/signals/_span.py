"""The span of an operation: no copy of its facts, but a view of them.

The SDK's span keeps attributes of its own, cleans each value, and is copied when it ends; an operation's fields are
clean and bounded already. This span is as good to every other instrumentation (the API's ``Span`` while it runs, the
SDK's ``ReadableSpan`` once it has ended), and what is set on it becomes a field, so that it shows in every signal.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    Event,
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
)
from opentelemetry.util.types import Attributes, AttributeValue

from obskit import semconv
from obskit._exception import Exceptions
from obskit._fields import FieldPolicy, Value
from obskit._guard import contained
from obskit._version import __version__
from obskit.operation import NO_OPERATION, Operation

_SCOPE = InstrumentationScope("obskit", __version__)
_UNSET = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)
_SAMPLED, _RANDOM, _KNOWN_FLAGS = 0x01, 0x02, 0x03
_FLAGS = tuple(TraceFlags(flags) for flags in range(4))
_getrandbits = random.getrandbits
_KEPT_BY_READABLE = frozenset(vars(ReadableSpan("")))


def error_status(written: Mapping[str, str]) -> Status:
    """The status of a span whose operation ended by an exception.

    Args:
        written: the exception as :class:`obskit._exception.Exceptions` describes it.
    """
    return Status(StatusCode.ERROR, f"{written[semconv.EXCEPTION_TYPE]}: {written[semconv.EXCEPTION_MESSAGE]}")


def is_recorded(written: Mapping[str, str], events: Iterable[Event]) -> bool:
    """Whether one of `events` tells of an exception already: other instrumentations record what passes them by."""
    what = written[semconv.EXCEPTION_TYPE], written[semconv.EXCEPTION_MESSAGE]
    return any(
        (told.get(semconv.EXCEPTION_TYPE), told.get(semconv.EXCEPTION_MESSAGE)) == what
        for told in (event.attributes or {} for event in events)
    )


class OperationSpan(Span, ReadableSpan):
    """A recording span over an operation's fields.

    Args:
        op: the operation, running.
        context: the span's own.
        parent: the parent's, if it has one.
        source: where it was started.
    """

    def __init__(self, op: Operation, context: SpanContext, parent: SpanContext | None, source: SpanSource) -> None:
        self._op = op
        self._own_context = context
        self._parent_context = parent
        self._source = source
        self._told_status = _UNSET
        self._told_events: list[Event] = []
        self._told_links: list[Link] = [*op.links]

    def __getattr__(self, name: str) -> Any:
        # What the SDK's span keeps from its start, and a reader may ask of one that runs, is made when it is asked for.
        if name not in _KEPT_BY_READABLE:
            raise AttributeError(name)
        self._become_readable(dict(self._op.fields), None)
        return getattr(self, name)

    @property
    def name(self) -> str:
        """The operation's, as it is now."""
        return self._name if self._op.ended else self._op.name

    @property
    def attributes(self) -> Attributes:
        """The operation's fields, as they are now."""
        return MappingProxyType(dict(self._attributes or {}) if self._op.ended else self._op.fields)

    @property
    def status(self) -> Status:
        """What was set, or how the operation has ended."""
        return self._told_status

    def get_span_context(self) -> SpanContext:
        """The ids, flags and state that are propagated."""
        return self._own_context

    def is_recording(self) -> bool:
        """Whether the operation still runs."""
        return not self._op.ended

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Add a field to the operation."""
        self._op.annotate({key: value})

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Add fields to the operation."""
        self._op.annotate(attributes)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event, if there is room."""
        if self.is_recording() and len(self._told_events) < self._source.max_events:
            self._told_events.append(Event(name, self._source.cleaned(attributes), timestamp))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Add a link, if there is room."""
        if self.is_recording() and len(self._told_links) < self._source.max_links:
            self._told_links.append(Link(context, self._source.cleaned(attributes)))

    def update_name(self, name: str) -> None:
        """Name the operation."""
        if self.is_recording():
            self._op.name = str(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; an operation that fails has status error whatever was set."""
        if self.is_recording() and self._told_status.status_code is not StatusCode.OK:
            self._told_status = status if isinstance(status, Status) else Status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002, ARG002  (the API's signature)
    ) -> None:
        """Add an event that describes `exception`, redacted."""
        self.add_event("exception", {**self._source.exceptions.describe(exception), **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """Nothing: the span ends when its operation does."""

    def begin(self, parent_context: Context) -> None:
        """Tell the processors that others have added, who read spans at their start as well."""
        self._become_readable(dict(self._op.fields), None)
        self._source.processors.on_start(self, parent_context)  # type: ignore[arg-type]  # readable and writable, as theirs

    def finish(self, attributes: dict[str, Any], end_ns: int) -> None:
        """Become a finished span with these attributes, and go to the processors."""
        op = self._op
        if op.exception is not None and op.outcome == "error":
            written = self._source.exceptions.describe(op.exception)
            if not is_recorded(written, self._told_events):
                self._told_events.append(Event("exception", dict(written), end_ns))
            self._told_status = error_status(written)
        elif op.outcome == "error":
            self._told_status = _ERROR
        self._become_readable(attributes, end_ns)
        self._op = NO_OPERATION  # no cycle for the collector, and the queue holds no fields twice
        self._source.processors.on_end(self)

    def _become_readable(self, attributes: dict[str, Any], end_ns: int | None) -> None:
        op = self._op
        ReadableSpan.__init__(
            self,
            name=op.name,
            context=self._own_context,
            parent=self._parent_context,
            resource=self._source.provider.resource,
            attributes=attributes,
            events=self._told_events,
            links=self._told_links,
            kind=op.kind,
            status=self._told_status,
            start_time=op.start_ns,
            end_time=end_ns,
            instrumentation_scope=_SCOPE,
        )


def context_of(op: Operation) -> Context:
    """The context that an operation was started under, as samplers and processors of others expect it."""
    return op.context if op.remote is None else trace.set_span_in_context(NonRecordingSpan(op.remote), op.context)


class Processors(SynchronousMultiSpanProcessor):
    """A provider's span processors, obskit's queue first.

    Attributes:
        foreign: whether others have added theirs.
    """

    def __init__(self, *own: SpanProcessor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the SDK's own gap
        for processor in own:
            super().add_span_processor(processor)
        self.foreign = False

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Add one that is not obskit's."""
        super().add_span_processor(span_processor)
        self.foreign = True


class SpanSource:
    """Starts the spans of operations for a provider of obskit's own.

    Args:
        provider: for its resource.
        processors: the provider's.
        sampler: the provider's.
        policy: what may stand in an event's or a link's attributes.
        exceptions: writes exceptions down.
        limits: how many events and links a span holds.
    """

    def __init__(  # noqa: PLR0913  (each is a part of its own)
        self,
        provider: TracerProvider,
        processors: Processors,
        sampler: Sampler,
        policy: FieldPolicy,
        exceptions: Exceptions,
        limits: SpanLimits,
    ) -> None:
        self.provider = provider
        self.processors = processors
        self.exceptions = exceptions
        self.max_events = limits.max_events or 0
        self.max_links = limits.max_links or 0
        self._policy = policy
        self._sampler = sampler
        # What ParentBased would answer for a parent, without asking it for each request.
        self._follows_parent = type(sampler) is ParentBased

    def cleaned(self, attributes: Attributes) -> dict[str, Value]:
        """Attributes of an event or a link as they may leave the process."""
        policy = self._policy
        return {name: policy.redact(name, policy.clean(value)) for name, value in (attributes or {}).items()}

    def start(self, op: Operation) -> Span:
        """The span of an operation that begins: recording if its trace is sampled, else only its ids."""
        parent: SpanContext | None = op.remote
        if parent is None:
            parent = trace.get_current_span(op.context).get_span_context()
        if parent is not None and parent.is_valid and self._follows_parent:
            trace_id, flags, state = parent.trace_id, parent.trace_flags & _KNOWN_FLAGS, parent.trace_state
            recording = flags & _SAMPLED
        else:
            if parent is None or not parent.is_valid:
                parent, trace_id, flags = None, _getrandbits(128) or 1, 0
            else:
                trace_id, flags = parent.trace_id, parent.trace_flags & _RANDOM
            result = self._sampler.should_sample(op.context, trace_id, op.name, op.kind, op.fields, op.links)
            recording = result.decision.is_sampled()  # type: ignore[no-untyped-call]  # the SDK's own gap
            state = result.trace_state or DEFAULT_TRACE_STATE
            flags |= _SAMPLED if recording else 0
        context = SpanContext(trace_id, _getrandbits(64) or 1, False, _FLAGS[flags], state)  # noqa: FBT003  (is_remote)
        if not recording:
            return NonRecordingSpan(context)
        span = OperationSpan(op, context, parent, self)
        if self.processors.foreign:
            try:
                span.begin(context_of(op))
            except Exception as error:  # of a processor of somebody else's
                contained("traces", error)
        return span
