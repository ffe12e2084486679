"""Spans as an OTLP trace request in JSON; the mapping is :mod:`obskit.export._values_json`'s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link

from obskit.export._encode import Encoded, facts, flags, group, raw_attributes, trace_state_text
from obskit.export._values_json import attributes, dumps, request, text_of, uint64


def encode_json(spans: Sequence[ReadableSpan]) -> Encoded:
    """Encode finished spans as an OTLP/JSON ``ExportTraceServiceRequest``; faults as in ``encode_protobuf``."""
    grouped, dropped = group(spans, _span)
    return Encoded(request(grouped, "resourceSpans", "scopeSpans", "spans"), dropped)


def _span(span: ReadableSpan) -> bytes:
    (context, parent, name, kind, start, end, status, description,
     fields, lost_fields, events, lost_events, links, lost_links) = facts(span)  # fmt: skip
    message = {
        "traceId": context.trace_id.to_bytes(16, "big").hex(),
        "spanId": context.span_id.to_bytes(8, "big").hex(),
        "name": text_of(name),
        "kind": kind + 1,
        "flags": flags(parent),
        "startTimeUnixNano": uint64(start or 0),
        "endTimeUnixNano": uint64(end or 0),
        "attributes": attributes(fields),
        "status": {"code": status, "message": description} if description else {"code": status},
    }
    if parent is not None:
        message["parentSpanId"] = parent.span_id.to_bytes(8, "big").hex()
    if context.trace_state:
        message["traceState"] = trace_state_text(context.trace_state)
    if events:
        message["events"] = [_event(event) for event in events]
    if links:
        message["links"] = [_link(link) for link in links]
    if lost_fields or lost_events or lost_links:
        message["droppedAttributesCount"] = lost_fields
        message["droppedEventsCount"] = lost_events
        message["droppedLinksCount"] = lost_links
    return dumps(message)


def _event(event: Event) -> dict[str, Any]:
    return {
        "name": text_of(event.name),
        "timeUnixNano": uint64(event.timestamp),
        "attributes": attributes(raw_attributes(event)),
        "droppedAttributesCount": event.dropped_attributes,
    }


def _link(link: Link) -> dict[str, Any]:
    return {
        "traceId": link.context.trace_id.to_bytes(16, "big").hex(),
        "spanId": link.context.span_id.to_bytes(8, "big").hex(),
        "flags": flags(link.context),
        "attributes": attributes(raw_attributes(link)),
        "droppedAttributesCount": link.dropped_attributes,
    }
