"""Values, resources and scopes in protobuf: what the requests of all signals are made of.

The messages are ``AnyValue``, ``KeyValue``, ``Resource`` and ``InstrumentationScope`` of
https://github.com/open-telemetry/opentelemetry-proto, and the frame that each request puts around its items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from obskit._guard import contained
from obskit.export._encode import Grouped, NoAttributeTypeError, int64, raw_attributes
from obskit.export._protobuf import BYTES, ONE_BYTE, field, string, utf8, varint

_UINT64_MASK = (1 << 64) - 1
_DOUBLE = Struct("<d").pack

# What recurs is kept encoded: names of attributes, and the first few values of each, which are all that one of low
# cardinality has; the others pass by. Only short ones, so that it is a few megabytes at the very most.
_CACHED_BYTES, _CACHED_NAMES, _CACHED_KEYS, _CACHED_VALUES = 128, 1024, 256, 64
_keys: dict[str, bytes] = {}
_key_values: dict[str, dict[str | int, bytes]] = {}


def request(grouped: Grouped) -> bytes:
    """Write the request around encoded items: ``Export…ServiceRequest``, alike for every signal."""
    return b"".join([_of_resource(resource, scopes) for resource, scopes in grouped.items()])


def _of_resource(resource: Resource, scopes: dict[InstrumentationScope | None, list[bytes]]) -> bytes:
    body = [field(b"\x0a", attributes(b"\x0a", raw_attributes(resource)))]
    body += [_of_scope(scope, items) for scope, items in scopes.items()]
    body.append(string(b"\x1a", resource.schema_url))
    return field(b"\x0a", b"".join(body))


def _of_scope(scope: InstrumentationScope | None, items: list[bytes]) -> bytes:
    if scope is None:
        return field(b"\x12", b"\x0a\x00" + b"".join(items))
    identity = string(b"\x0a", scope.name) + string(b"\x12", scope.version) + attributes(b"\x1a", raw_attributes(scope))
    return field(b"\x12", field(b"\x0a", identity) + b"".join(items) + string(b"\x1a", scope.schema_url))


def remember(cache: dict[str, bytes], text: str, encoded: bytes) -> None:
    """Keep what was encoded, if it is short; a full cache starts anew."""
    if len(encoded) <= _CACHED_BYTES:
        if len(cache) >= _CACHED_NAMES:
            cache.clear()
        cache[text] = encoded


def attributes(tag: bytes, given: Mapping[str, Any]) -> bytes:
    """Write repeated ``KeyValue`` of field `tag`."""
    parts = [b""]
    for key, value in given.items():
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
        content = field(b"\x0a", text)
    elif kind is int:
        content = b"\x18" + varint(int64(value) & _UINT64_MASK)
    elif kind is float:
        content = b"\x21" + _DOUBLE(value)
    else:
        content = any_value(value)
    length = varint(len(content))
    return b"".join((varint(len(start) + len(length) + len(content)), start, length, content))


def _key(key: str) -> bytes:
    encoded = field(b"\x0a", utf8(key)) + b"\x12"
    remember(_keys, key, encoded)
    return encoded


def any_value(value: Any) -> bytes:  # noqa: PLR0911  (one return a member of the union)
    """Write an ``AnyValue``, without tag and length."""
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
        return field(b"\x2a", b"".join([field(b"\x0a", any_value(item)) for item in value]))
    if isinstance(value, Mapping):
        pairs = b"\x0a".join([b"", *(_key_value(str(key), item) for key, item in value.items())])
        return field(b"\x32", pairs)
    raise NoAttributeTypeError(value)
