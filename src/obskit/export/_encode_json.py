"""Spans as an OTLP trace request in JSON.

The mapping is OTLP's own variant of protobuf's (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): ids
in hex, 64-bit integers as decimal strings, enumerations as numbers, bytes in base64, lowerCamelCase names.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link

from obskit._guard import contained
from obskit.export._encode import (
    Encoded,
    NoAttributeTypeError,
    facts,
    flags,
    group,
    int64,
    raw_attributes,
    trace_state_text,
)

_UINT64 = 1 << 64


def encode_json(spans: Sequence[ReadableSpan]) -> Encoded:
    """Encode finished spans as an OTLP/JSON ``ExportTraceServiceRequest``; faults as in ``encode_protobuf``."""
    grouped, dropped = group(spans, _span)
    request = {"resourceSpans": [_resource_spans(resource, scopes) for resource, scopes in grouped.items()]}
    return Encoded(_dumps(request), dropped)


def _dumps(message: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(message)
    except orjson.JSONEncodeError:  # a lone surrogate: rare enough to look for it only now
        return orjson.dumps(_replaced(message))


def _replaced(value: Any) -> Any:
    """The same with `?` for the characters that UTF-8 cannot hold."""
    if isinstance(value, str):
        return str.encode(value, "utf-8", "replace").decode()
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    if isinstance(value, dict):
        return {key: _replaced(item) for key, item in value.items()}
    return value


def _resource_spans(resource: Resource, scopes: dict[InstrumentationScope | None, list[bytes]]) -> dict[str, Any]:
    return {
        "resource": {"attributes": _attributes(raw_attributes(resource))},
        "scopeSpans": [_scope_spans(scope, spans) for scope, spans in scopes.items()],
        "schemaUrl": resource.schema_url,
    }


def _scope_spans(scope: InstrumentationScope | None, spans: list[bytes]) -> dict[str, Any]:
    encoded = [orjson.Fragment(span) for span in spans]
    if scope is None:
        return {"scope": {}, "spans": encoded}
    identity = {
        "name": scope.name or "",
        "version": scope.version or "",
        "attributes": _attributes(raw_attributes(scope)),
    }
    return {"scope": identity, "spans": encoded, "schemaUrl": scope.schema_url or ""}


def _span(span: ReadableSpan) -> bytes:
    (context, parent, name, kind, start, end, status, description,
     attributes, lost_attributes, events, lost_events, links, lost_links) = facts(span)  # fmt: skip
    message = {
        "traceId": context.trace_id.to_bytes(16, "big").hex(),
        "spanId": context.span_id.to_bytes(8, "big").hex(),
        "name": _text(name),
        "kind": kind + 1,
        "flags": flags(parent),
        "startTimeUnixNano": _uint64(start or 0),
        "endTimeUnixNano": _uint64(end or 0),
        "attributes": _attributes(attributes),
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
    if lost_attributes or lost_events or lost_links:
        message["droppedAttributesCount"] = lost_attributes
        message["droppedEventsCount"] = lost_events
        message["droppedLinksCount"] = lost_links
    return _dumps(message)


def _event(event: Event) -> dict[str, Any]:
    return {
        "name": _text(event.name),
        "timeUnixNano": _uint64(event.timestamp),
        "attributes": _attributes(raw_attributes(event)),
        "droppedAttributesCount": event.dropped_attributes,
    }


def _link(link: Link) -> dict[str, Any]:
    return {
        "traceId": link.context.trace_id.to_bytes(16, "big").hex(),
        "spanId": link.context.span_id.to_bytes(8, "big").hex(),
        "flags": flags(link.context),
        "attributes": _attributes(raw_attributes(link)),
        "droppedAttributesCount": link.dropped_attributes,
    }


def _text(text: str | None) -> str:
    # str.__str__ raises for what is no string, where orjson would write a number that spoils the whole request.
    return "" if text is None else str.__str__(text)


def _uint64(number: int) -> str:
    if not 0 <= number < _UINT64:
        msg = "a time outside of 64 bits"
        raise OverflowError(msg)
    return f"{number:d}"


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    encoded = []
    for key, value in attributes.items():
        try:
            encoded.append({"key": str.__str__(key), "value": _any_value(value)})
        except Exception as error:
            contained("encode", error)
    return encoded


def _any_value(value: Any) -> dict[str, Any]:  # noqa: PLR0911  (one return a member of the AnyValue union)
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, str):
        return {"stringValue": str.__str__(value)}
    if isinstance(value, int):
        return {"intValue": int.__repr__(int64(value))}
    if isinstance(value, float):
        return {"doubleValue": float(value) if math.isfinite(value) else _NON_FINITE[repr(float(value))]}
    if isinstance(value, bytes):
        return {"bytesValue": b64encode(value).decode()}
    if isinstance(value, Sequence):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    if isinstance(value, Mapping):
        pairs = [{"key": str(key), "value": _any_value(item)} for key, item in value.items()]
        return {"kvlistValue": {"values": pairs}}
    raise NoAttributeTypeError(value)


_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
