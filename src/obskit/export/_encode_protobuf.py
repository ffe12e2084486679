"""Spans as an OTLP trace request in protobuf, written straight to the wire format.

The message is ``ExportTraceServiceRequest`` (https://github.com/open-telemetry/opentelemetry-proto, trace v1), the wire
format https://protobuf.dev/programming-guides/encoding/. Encoding is the largest single cost of a traced request, hence
no message objects in between: a span is joined from chunks, and attributes that recur are remembered encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link

from obskit.export._encode import (
    HAS_IS_REMOTE,
    IS_REMOTE,
    Encoded,
    facts,
    flags,
    group,
    raw_attributes,
    trace_state_text,
)
from obskit.export._protobuf import count, field, string, varint
from obskit.export._values_protobuf import attributes, remember, request

#: Span.start_time_unix_nano (7) and end_time_unix_nano (8), each a tag and a fixed64.
_TIMES = Struct("<BQBQ").pack
_EVENT_TIME = Struct("<BQ").pack

_names: dict[str, bytes] = {}


def encode_protobuf(spans: Sequence[ReadableSpan]) -> Encoded:
    """Encode finished spans as the bytes of an ``ExportTraceServiceRequest``.

    Characters that UTF-8 cannot hold become ``?``. An attribute of a type that OTLP has not is left out, a span that
    cannot be encoded likewise; each such fault goes to the guard. Never raises for what a span holds.
    """
    grouped, dropped = group(spans, _span)
    return Encoded(request(grouped), dropped)


def _span(span: ReadableSpan) -> bytes:
    """One ``ScopeSpans.spans`` element, tag and length included."""
    (context, parent, name, kind, start, end, status, description,
     fields, lost_fields, events, lost_events, links, lost_links) = facts(span)  # fmt: skip
    trace_id, span_id, _, _, trace_state, _ = context
    parts = [
        b"\x0a\x10",
        trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        span_id.to_bytes(8, "big"),
        _names.get(name) or _name(name),
        _KIND_AND_FLAGS[parent is not None and parent.is_remote][kind],
        _TIMES(0x39, start or 0, 0x41, end or 0),
        attributes(b"\x4a", fields),
        _status(status, description) if status else b"\x7a\x00",
    ]
    if parent is not None:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
    if trace_state:
        parts.append(string(b"\x1a", trace_state_text(trace_state)))
    if events:
        parts += [_event(event) for event in events]
    if links:
        parts += [_link(link) for link in links]
    if lost_fields or lost_events or lost_links:
        parts += (count(b"\x50", lost_fields), count(b"\x60", lost_events), count(b"\x70", lost_links))
    body = b"".join(parts)
    return b"\x12" + varint(len(body)) + body


_KIND_AND_FLAGS = tuple(
    tuple(bytes((0x30, kind)) + b"\x85\x01" + bits.to_bytes(4, "little") for kind in range(1, 6))
    for bits in (HAS_IS_REMOTE, HAS_IS_REMOTE | IS_REMOTE)
)


def _name(name: str) -> bytes:
    encoded = string(b"\x2a", name)
    remember(_names, name, encoded)
    return encoded


def _status(code: int, description: str | None) -> bytes:
    return field(b"\x7a", string(b"\x12", description) + count(b"\x18", code))


def _event(event: Event) -> bytes:
    return field(
        b"\x5a",
        _EVENT_TIME(0x09, event.timestamp)
        + string(b"\x12", event.name)
        + attributes(b"\x1a", raw_attributes(event))
        + count(b"\x20", event.dropped_attributes),
    )


def _link(link: Link) -> bytes:
    context = link.context
    return field(
        b"\x6a",
        b"\x0a\x10"
        + context.trace_id.to_bytes(16, "big")
        + b"\x12\x08"
        + context.span_id.to_bytes(8, "big")
        + attributes(b"\x22", raw_attributes(link))
        + count(b"\x28", link.dropped_attributes)
        + b"\x35"
        + flags(context).to_bytes(4, "little"),
    )
