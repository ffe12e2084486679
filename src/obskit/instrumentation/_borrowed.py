"""Spans that OpenTelemetry's own instrumentors start, as operations.

An instrumentor is given the tracer provider of this module. What it then starts is an operation like any other: it
rolls up into the request above it, whether its trace is recorded or not, and has a span, a metric and, where nothing
stands above it, a line. To the instrumentor it is a recording span of the API.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status
from opentelemetry.util._decorator import _agnosticcontextmanager
from opentelemetry.util.types import Attributes, AttributeValue

from obskit import semconv
from obskit._fields import FieldPolicy, RecurringValues
from obskit._guard import contained
from obskit._pipeline import Pipeline
from obskit.instrumentation._query import without_literals
from obskit.operation import Operation, current_operation

#: The statement that an engine such as SQLAlchemy's has under way: its driver's span would tell of the same query.
_under_way: ContextVar[Operation | None] = ContextVar("obskit-statement", default=None)


class Borrowed(trace.TracerProvider):
    """The tracer provider that an instrumentor is given.

    Args:
        pipeline: what operations pass through.
        event: the event of its CLIENT operations; consumers are messages, the others plain operations.
        engine: whether it instruments an engine that calls a driver, which may be instrumented as well.
        orphans: whether to observe what is called outside of any operation.
    """

    def __init__(self, pipeline: Pipeline, event: str, *, engine: bool = False, orphans: bool = True) -> None:
        self._tracer = _Tracer(pipeline, event, engine=engine, orphans=orphans)

    def get_tracer(
        self,
        instrumenting_module_name: str,  # noqa: ARG002  (the API's signature)
        instrumenting_library_version: str | None = None,  # noqa: ARG002
        schema_url: str | None = None,  # noqa: ARG002
        attributes: Attributes = None,  # noqa: ARG002
    ) -> trace.Tracer:
        """The one tracer."""
        return self._tracer


class _Tracer(trace.Tracer):
    def __init__(self, pipeline: Pipeline, event: str, *, engine: bool, orphans: bool) -> None:
        self._pipeline = pipeline
        self._event = event
        self._engine = engine
        self._orphans = orphans
        policy = pipeline.policy
        self._queries = RecurringValues(lambda text: policy.safe(semconv.DB_QUERY_TEXT, without_literals(text)))

    def start_span(  # noqa: PLR0913  (the API's signature)
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,  # noqa: ARG002
        record_exception: bool = True,  # noqa: ARG002, FBT001, FBT002
        set_status_on_exception: bool = True,  # noqa: ARG002, FBT001, FBT002
    ) -> Span:
        """Begin an operation, unless there is nothing to observe; never raises."""
        try:
            if self._is_to_be_observed():
                return self._begin(name, context, kind, attributes, links or ())
        except Exception as error:
            contained("databases", error)
        # What runs below it still belongs to the span that is current now.
        return NonRecordingSpan(trace.get_current_span(context).get_span_context())

    @_agnosticcontextmanager
    def start_as_current_span(  # noqa: PLR0913  (the API's signature)
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002
        end_on_exit: bool = True,  # noqa: FBT001, FBT002
    ) -> Iterator[Span]:
        """The same, current for the block."""
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(span, end_on_exit, record_exception, set_status_on_exception):
            yield span

    def _is_to_be_observed(self) -> bool:
        if not self._pipeline.signals:
            return False
        if not self._orphans and current_operation().ended:
            return False
        statement = _under_way.get()
        return self._engine or statement is None or statement.ended

    def _begin(
        self, name: str, context: Context | None, kind: SpanKind, attributes: Attributes, links: Sequence[Link]
    ) -> Span:
        event = semconv.EVENT_OPERATION
        if kind is SpanKind.CONSUMER:
            event = semconv.EVENT_MESSAGE
        elif name == _CONNECT:
            kind = SpanKind.INTERNAL
        elif kind is SpanKind.CLIENT:
            event = self._event
        context = otel_context.get_current() if context is None else context
        op = Operation(self._pipeline, event, name, kind, fields={}, context=context, links=links)
        if self._engine and event == self._event:
            _under_way.set(op)
        span = _BorrowedSpan(op, self._pipeline.policy, self._queries)
        span.set_attributes(attributes or {})
        return span


#: How SQLAlchemy's instrumentor names the wait for a connection, which is no query and calls nobody as a rule.
_CONNECT = "connect"

#: Names of the conventions before they were stable, which instrumentors write still or unless told otherwise.
_STABLE_NAMES: Mapping[str, str] = {
    "db.name": semconv.DB_NAMESPACE,
    "db.operation": semconv.DB_OPERATION_NAME,
    "db.statement": semconv.DB_QUERY_TEXT,
    "db.system": semconv.DB_SYSTEM_NAME,
    "messaging.destination": semconv.MESSAGING_DESTINATION_NAME,
    "messaging.message_id": semconv.MESSAGING_MESSAGE_ID,
    "messaging.operation": semconv.MESSAGING_OPERATION_TYPE,
    "net.peer.ip": semconv.NETWORK_PEER_ADDRESS,
    "net.peer.name": semconv.SERVER_ADDRESS,
    "net.peer.port": semconv.SERVER_PORT,
}


class _BorrowedSpan(Span):
    """An operation to the instrumentor that began it.

    Args:
        operation: the one that it stands for, running; where this span is current, so is the operation.
        policy: how attributes become fields. An instrumentor may set what to a user's field is reserved.
        queries: what the texts of queries become.
    """

    def __init__(self, operation: Operation, policy: FieldPolicy, queries: RecurringValues) -> None:
        self.operation = operation
        self._policy = policy
        self._queries = queries
        self._error_type: str | None = None
        self._exception: BaseException | None = None
        self._handled_before = sys.exception()

    @property
    def name(self) -> str:
        """The operation's, as instrumentors read it of the SDK's spans."""
        return self.operation.name

    @property
    def attributes(self) -> Attributes:
        """The operation's fields, likewise."""
        return MappingProxyType(self.operation.fields)

    @property
    def kind(self) -> SpanKind:
        """The operation's, likewise."""
        return self.operation.kind

    def get_span_context(self) -> SpanContext:
        """That of the operation's span."""
        return INVALID_SPAN_CONTEXT if self.operation.span is None else self.operation.span.get_span_context()

    def is_recording(self) -> bool:
        """Whether the operation still runs, sampled or not."""
        return not self.operation.ended

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set a field of the operation, by its stable name."""
        if self.operation.ended or value is None:
            return
        name, fields = _STABLE_NAMES.get(key, key), self.operation.fields
        if name == semconv.ERROR_TYPE:
            self._error_type = str(value)
        elif name not in fields and len(fields) >= self._policy.max_fields:
            return
        elif name == semconv.DB_QUERY_TEXT:
            fields[name] = self._queries[str(value)]
        else:
            fields[name] = self._policy.safe(name, value)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Set fields of the operation."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event to the operation's span."""
        if self.operation.span is not None:
            self.operation.span.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Add a link to the operation's span."""
        if self.operation.span is not None:
            self.operation.span.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """Name the operation."""
        self.operation.name = str(name)

    def set_status(self, status: Status | trace.StatusCode, description: str | None = None) -> None:  # noqa: ARG002
        """An error makes the operation one; its exception is the one being handled, where none was recorded."""
        code = status.status_code if isinstance(status, Status) else status
        if code is trace.StatusCode.ERROR:
            self._exception = self._exception or sys.exception()
            self._error_type = self._error_type or semconv.ERROR_TYPE_OTHER

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,  # noqa: ARG002
        timestamp: int | None = None,  # noqa: ARG002
        escaped: bool = False,  # noqa: ARG002, FBT001, FBT002
    ) -> None:
        """Note what the operation fails with."""
        self._exception = exception

    def end(self, end_time: int | None = None) -> None:  # noqa: ARG002
        """End the operation; never raises."""
        try:
            self._finish()
        except Exception as error:
            contained("databases", error)

    def _finish(self) -> None:
        op, fields, exception = self.operation, self.operation.fields, self._exception
        leaving = sys.exception()  # of a cancellation instrumentors do not tell
        if leaving is not self._handled_before and not isinstance(leaving, Exception):
            exception = leaving
        if op.event == semconv.EVENT_DB_CLIENT:  # some give it, one with the database's name behind it, others do not
            name = str(fields.get(semconv.DB_OPERATION_NAME, op.name))
            fields[semconv.DB_OPERATION_NAME] = name.partition(" ")[0]
        if exception is None:
            op.finish(error_type=self._error_type)
        elif isinstance(exception, Exception):
            op.finish(exception=exception)
        else:
            op.finish(cancelled=True)
        self._exception = None  # the frames of its traceback hold this span
