"""The span of an operation: no copy of its facts, but a view of them.

The SDK's span keeps attributes of its own, cleans each value, and is copied when it ends; an operation's fields are
clean and bounded already. This span is as good to every other instrumentation (the API's ``Span`` while it runs, the
SDK's ``ReadableSpan`` once it has ended), and what is set on it becomes a field, so that it shows in every signal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from obskit import semconv
from obskit._exception import Exceptions
from obskit._version import __version__
from obskit.operation import NO_OPERATION, Operation

if TYPE_CHECKING:
    from obskit.signals._source import SpanSource

_SCOPE = InstrumentationScope("obskit", __version__)
_ATTRIBUTES = 8
_UNSET = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)
_KEPT_BY_READABLE = frozenset(vars(ReadableSpan("", resource=Resource.get_empty())))  # without one it detects its own


def error_status(written: Mapping[str, str]) -> Status:
    """The status of a span whose operation ended by an exception.

    Args:
        written: the exception as :class:`obskit._exception.Exceptions` describes it.
    """
    return Status(StatusCode.ERROR, f"{written[semconv.EXCEPTION_TYPE]}: {written[semconv.EXCEPTION_MESSAGE]}")


def is_recorded(written: Mapping[str, str], events: Iterable[Event], exceptions: Exceptions) -> bool:
    """Whether one of `events` tells of an exception already: other instrumentations record what passes them by.

    Args:
        written: the exception as `exceptions` describes it.
        events: a span's.
        exceptions: takes out of their texts what it has taken out of `written`.
    """
    kind, message = written[semconv.EXCEPTION_TYPE], written[semconv.EXCEPTION_MESSAGE]
    return any(
        told.get(semconv.EXCEPTION_TYPE) == kind
        and exceptions.message(str(told.get(semconv.EXCEPTION_MESSAGE))) == message
        for told in (event.attributes or {} for event in events)
    )


class OperationSpan(Span, ReadableSpan):
    """A recording span over an operation's fields.

    Args:
        op: the operation, running.
        context: the span's own.
        parent: the parent's, if it has one.
        source: where it was started.

    Attributes:
        facts: once it has ended, what an exporter writes down, in the order of :func:`obskit.export._encode.facts`;
            None until then. The SDK's own slots are only filled where somebody reads them.
    """

    facts: tuple[Any, ...] | None = None

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
        self._become_readable()
        return getattr(self, name)

    @property
    def context(self) -> SpanContext:
        """The same as :meth:`get_span_context`."""
        return self._own_context

    @property
    def resource(self) -> Resource:
        """The provider's."""
        return self._source.provider.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """The same for all of obskit's spans."""
        return _SCOPE

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
            code, text = (
                (status.status_code, status.description) if isinstance(status, Status) else (status, description)
            )
            self._told_status = Status(
                code, text if text is None else str(self._source.cleaned({"status": text})["status"])
            )

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
        self._become_readable()
        self._source.processors.on_start(self, parent_context)  # type: ignore[arg-type]  # readable and writable, as theirs

    def finish(self, attributes: dict[str, Any], end_ns: int) -> None:
        """Become a finished span with these attributes, and go to the processors."""
        op = self._op
        if op.exception is not None and op.outcome == "error":
            written = op.written = self._source.exceptions.describe(op.exception)
            if not is_recorded(written, self._told_events, self._source.exceptions):
                self._told_events.append(Event("exception", dict(written), end_ns))
            self._told_status = error_status(written)
        elif op.outcome == "error":
            self._told_status = _ERROR
        status = self._told_status
        self.facts = (
            self._own_context, self._parent_context, op.name, op.kind.value, op.start_ns, end_ns,
            status.status_code.value, status.description, attributes, 0, self._told_events, 0, self._told_links, 0,
        )  # fmt: skip
        if "_name" in self.__dict__:  # somebody has read it, or will, as the SDK's span
            self._become_readable()
        self._op = NO_OPERATION  # no cycle for the collector, and the queue holds no fields twice
        self._source.processors.on_end(self)

    def weigh(self, context: SpanContext, rate: Mapping[str, float]) -> None:
        """Say, once finished and before it is exported, how many such spans this one stands for.

        Args:
            context: its own, with a tracestate that says so.
            rate: an attribute that does.
        """
        self._own_context = context
        if self.facts is not None:
            self.facts = (context, *self.facts[1:])
            self.facts[_ATTRIBUTES].update(rate)

    def _become_readable(self) -> None:
        name, kind, start_ns = self._op.name, self._op.kind, self._op.start_ns
        attributes, end_ns = dict(self._op.fields), None
        if self.facts is not None:
            _, _, name, number, start_ns, end_ns, _, _, attributes, *_ = self.facts
            kind = SpanKind(number)
        ReadableSpan.__init__(
            self,
            name=name,
            context=self._own_context,
            parent=self._parent_context,
            resource=self._source.provider.resource,
            attributes=attributes,
            events=self._told_events,
            links=self._told_links,
            kind=kind,
            status=self._told_status,
            start_time=start_ns,
            end_time=end_ns,
            instrumentation_scope=_SCOPE,
        )
