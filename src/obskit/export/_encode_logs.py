"""Log records as an OTLP request, in protobuf and in JSON.

The message is ``ExportLogsServiceRequest`` (https://github.com/open-telemetry/opentelemetry-proto, logs v1).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

from obskit.export import _values_json as as_json
from obskit.export import _values_protobuf as as_protobuf
from obskit.export._encode import Encoded, group
from obskit.export._protobuf import count, field, string, varint
from obskit.export.log_records import LogRecord

#: LogRecord.time_unix_nano (1) and observed_time_unix_nano (11): a line is observed when it is written.
_TIMES = Struct("<BQBQ").pack
_FLAGS = Struct("<BI").pack


def logs_protobuf(records: Sequence[LogRecord]) -> Encoded:
    """Encode records as the bytes of an ``ExportLogsServiceRequest``; faults as in ``encode_protobuf``."""
    grouped, dropped = group(records, _protobuf)
    return Encoded(as_protobuf.request(grouped), dropped)


def logs_json(records: Sequence[LogRecord]) -> Encoded:
    """Encode records as an OTLP/JSON ``ExportLogsServiceRequest``; faults as in ``encode_protobuf``."""
    grouped, dropped = group(records, _json)
    return Encoded(as_json.request(grouped, "resourceLogs", "scopeLogs", "logRecords"), dropped)


def _protobuf(record: LogRecord) -> bytes:
    """One ``ScopeLogs.log_records`` element, tag and length included."""
    parts = [
        _TIMES(0x09, record.time_ns, 0x59, record.time_ns),
        count(b"\x10", record.severity_number),
        string(b"\x1a", record.severity_text),
        field(b"\x2a", as_protobuf.any_value(record.body)),
        as_protobuf.attributes(b"\x32", record.attributes),
        count(b"\x38", record.dropped_attributes),
        string(b"\x62", record.event_name),
    ]
    if record.trace_id:
        parts += (_FLAGS(0x45, record.trace_flags), field(b"\x4a", bytes.fromhex(record.trace_id)))
        parts.append(field(b"\x52", bytes.fromhex(record.span_id)))
    body = b"".join(parts)
    return b"\x12" + varint(len(body)) + body


def _json(record: LogRecord) -> bytes:
    message: dict[str, Any] = {
        "timeUnixNano": as_json.uint64(record.time_ns),
        "observedTimeUnixNano": as_json.uint64(record.time_ns),
        "severityNumber": record.severity_number,
        "severityText": record.severity_text,
        "body": as_json.any_value(record.body),
        "attributes": as_json.attributes(record.attributes),
        "droppedAttributesCount": record.dropped_attributes,
        "eventName": record.event_name,
    }
    if record.trace_id:
        message |= {"traceId": record.trace_id, "spanId": record.span_id, "flags": record.trace_flags}
    return as_json.dumps(message)
