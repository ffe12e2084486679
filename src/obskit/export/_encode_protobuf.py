"""Spans as an OTLP trace request in protobuf, written straight to the wire format.

The message is ``ExportTraceServiceRequest`` (https://github.com/open-telemetry/opentelemetry-proto, trace v1), the wire
format https://protobuf.dev/programming-guides/encoding/. Encoding is the largest single cost of a traced request, hence
no message objects in between: a span is joined from chunks, and attributes that recur are remembered encoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link

from obskit._guard import contained
from obskit.export._encode import (
    HAS_IS_REMOTE,
    IS_REMOTE,
    Encoded,
    NoAttributeTypeError,
    facts,
    flags,
    group,
    int64,
    raw_attributes,
    trace_state_text,
)
from obskit.export._protobuf import BYTES, ONE_BYTE, count, field, string, utf8, varint

_UINT64_MASK = (1 << 64) - 1
_DOUBLE = Struct("<d").pack
#: Span.start_time_unix_nano (7) and end_time_unix_nano (8), each a tag and a fixed64.
_TIMES = Struct("<BQBQ").pack
_EVENT_TIME = Struct("<BQ").pack

# What recurs is kept encoded: names of spans and attributes, and the first few values of each attribute, which are all
# that one of low cardinality has; the others pass by. Only short ones, so that it is a few megabytes at the very most.
_CACHED_BYTES, _CACHED_NAMES, _CACHED_KEYS, _CACHED_VALUES = 128, 1024, 256, 64
_names: dict[str, bytes] = {}
_keys: dict[str, bytes] = {}
_key_values: dict[str, dict[str | int, bytes]] = {}


def encode_protobuf(spans: Sequence[ReadableSpan]) -> Encoded:
    """Encode finished spans as the bytes of an ``ExportTraceServiceRequest``.

    Characters that UTF-8 cannot hold become ``?``. An attribute of a type that OTLP has not is left out, a span that
    cannot be encoded likewise; each such fault goes to the guard. Never raises for what a span holds.
    """
    grouped, dropped = group(spans, _span)
    return Encoded(b"".join(_resource_spans(resource, scopes) for resource, scopes in grouped.items()), dropped)


def _resource_spans(resource: Resource, scopes: dict[InstrumentationScope | None, list[bytes]]) -> bytes:
    body = [field(b"\x0a", _attributes(b"\x0a", raw_attributes(resource)))]
    body += [_scope_spans(scope, spans) for scope, spans in scopes.items()]
    body.append(string(b"\x1a", resource.schema_url))
    return field(b"\x0a", b"".join(body))


def _scope_spans(scope: InstrumentationScope | None, spans: list[bytes]) -> bytes:
    if scope is None:
        return field(b"\x12", b"\x0a\x00" + b"".join(spans))
    identity = (
        string(b"\x0a", scope.name) + string(b"\x12", scope.version) + _attributes(b"\x1a", raw_attributes(scope))
    )
    return field(b"\x12", field(b"\x0a", identity) + b"".join(spans) + string(b"\x1a", scope.schema_url))


def _span(span: ReadableSpan) -> bytes:
    """One ``ScopeSpans.spans`` element, tag and length included."""
    (context, parent, name, kind, start, end, status, description,
     attributes, lost_attributes, events, lost_events, links, lost_links) = facts(span)  # fmt: skip
    trace_id, span_id, _, _, trace_state, _ = context
    parts = [
        b"\x0a\x10",
        trace_id.to_bytes(16, "big"),
        b"\x12\x08",
        span_id.to_bytes(8, "big"),
        _names.get(name) or _name(name),
        _KIND_AND_FLAGS[parent is not None and parent.is_remote][kind],
        _TIMES(0x39, start or 0, 0x41, end or 0),
        _attributes(b"\x4a", attributes),
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
    if lost_attributes or lost_events or lost_links:
        parts += (count(b"\x50", lost_attributes), count(b"\x60", lost_events), count(b"\x70", lost_links))
    body = b"".join(parts)
    return b"\x12" + varint(len(body)) + body


_KIND_AND_FLAGS = tuple(
    tuple(bytes((0x30, kind)) + b"\x85\x01" + bits.to_bytes(4, "little") for kind in range(1, 6))
    for bits in (HAS_IS_REMOTE, HAS_IS_REMOTE | IS_REMOTE)
)


def _name(name: str) -> bytes:
    encoded = string(b"\x2a", name)
    _remember(_names, name, encoded)
    return encoded


def _remember(cache: dict[str, bytes], text: str, encoded: bytes) -> None:
    if len(encoded) <= _CACHED_BYTES:
        if len(cache) >= _CACHED_NAMES:
            cache.clear()
        cache[text] = encoded


def _status(code: int, description: str | None) -> bytes:
    return field(b"\x7a", string(b"\x12", description) + count(b"\x18", code))


def _event(event: Event) -> bytes:
    return field(
        b"\x5a",
        _EVENT_TIME(0x09, event.timestamp)
        + string(b"\x12", event.name)
        + _attributes(b"\x1a", raw_attributes(event))
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
        + _attributes(b"\x22", raw_attributes(link))
        + count(b"\x28", link.dropped_attributes)
        + b"\x35"
        + flags(context).to_bytes(4, "little"),
    )


def _attributes(tag: bytes, attributes: Mapping[str, Any]) -> bytes:
    """Repeated ``KeyValue`` of field `tag`."""
    parts = [b""]
    for key, value in attributes.items():
        kind = type(value)
        try:
            # Only types that are never equal to each other may share a table: True == 1 == 1.0.
            if kind is str or kind is int:
                known = _key_values.get(key)
                parts.append((known and known.get(value)) or _remembered_key_value(key, value))
            else:
                parts.append(_key_value(key, value))
        except Exception as error:
            contained("encode", error)
    return tag.join(parts)


def _remembered_key_value(key: str, value: str | int) -> bytes:
    encoded = _key_value(key, value)
    known = _key_values.get(key)
    if known is None:
        if len(_key_values) >= _CACHED_KEYS:
            _key_values.clear()
        known = _key_values[key] = {}
    if len(known) < _CACHED_VALUES and len(encoded) <= _CACHED_BYTES:
        known[value] = encoded
    return encoded


def _key_value(key: str, value: Any) -> bytes:
    """A ``KeyValue`` with its length before it, without its tag."""
    start = _keys.get(key) or _key(key)
    kind = type(value)
    if kind is str:  # the commonest: all in one join where the lengths take one byte each
        text = utf8(value)
        size = len(text)
        whole = len(start) + 3 + size
        if whole < ONE_BYTE:
            return b"".join((BYTES[whole], start, BYTES[size + 2], b"\x0a", BYTES[size], text))
        any_value = field(b"\x0a", text)
    elif kind is int:
        any_value = b"\x18" + varint(int64(value) & _UINT64_MASK)
    elif kind is float:
        any_value = b"\x21" + _DOUBLE(value)
    else:
        any_value = _any_value(value)
    length = varint(len(any_value))
    return b"".join((varint(len(start) + len(length) + len(any_value)), start, length, any_value))


def _key(key: str) -> bytes:
    encoded = field(b"\x0a", utf8(key)) + b"\x12"
    _remember(_keys, key, encoded)
    return encoded


def _any_value(value: Any) -> bytes:  # noqa: PLR0911  (one return a member of the AnyValue union)
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, str):
        return field(b"\x0a", utf8(value))
    if isinstance(value, int):
        return b"\x18" + varint(int64(value) & _UINT64_MASK)
    if isinstance(value, float):
        return b"\x21" + _DOUBLE(value)
    if isinstance(value, bytes):
        return field(b"\x3a", value)
    if isinstance(value, Sequence):
        return field(b"\x2a", b"".join([field(b"\x0a", _any_value(item)) for item in value]))
    if isinstance(value, Mapping):
        pairs = b"\x0a".join([b"", *(_key_value(str(key), item) for key, item in value.items())])
        return field(b"\x32", pairs)
    raise NoAttributeTypeError(value)
