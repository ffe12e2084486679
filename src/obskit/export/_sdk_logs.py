"""Log records as the SDK's own, for its exporters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import LogRecord as ApiLogRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from obskit.export.log_records import LogRecord


def console() -> tuple[Any, Callable[[Sequence[LogRecord]], list[ReadableLogRecord]]]:
    """The SDK's exporter that prints records, and what it takes."""
    return ConsoleLogRecordExporter(), sdk_records


def sdk_records(records: Sequence[LogRecord]) -> list[ReadableLogRecord]:
    """The same records in the SDK's classes."""
    return [_sdk_record(record) for record in records]


def _sdk_record(record: LogRecord) -> ReadableLogRecord:
    own = ApiLogRecord(
        timestamp=record.time_ns,
        observed_timestamp=record.time_ns,
        context=_context(record),
        severity_text=record.severity_text,
        severity_number=SeverityNumber(record.severity_number),
        body=record.body,
        attributes=record.attributes,
        event_name=record.event_name or None,
    )
    return ReadableLogRecord(own, record.resource, record.instrumentation_scope)


def _context(record: LogRecord) -> Context:
    if not record.trace_id:
        return Context({"outside of": "any trace"})  # an empty one is taken for the current one
    ids = SpanContext(
        int(record.trace_id, 16), int(record.span_id, 16), is_remote=False, trace_flags=TraceFlags(record.trace_flags)
    )
    return trace.set_span_in_context(NonRecordingSpan(ids), Context())
