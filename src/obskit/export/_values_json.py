"""Values, resources and scopes in JSON: what the requests of all signals are made of.

The mapping is OTLP's own variant of protobuf's (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): ids
in hex, 64-bit integers as decimal strings, enumerations as numbers, bytes in base64, lowerCamelCase names.
"""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from obskit._guard import contained
from obskit.export._encode import Grouped, NoAttributeTypeError, int64, raw_attributes

_UINT64 = 1 << 64
_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def request(grouped: Grouped, of_resource: str, of_scope: str, items: str) -> bytes:
    """Write the request around encoded items; the names are the signal's, such as ``resourceSpans`` … ``spans``."""
    return dumps(
        {
            of_resource: [
                {
                    "resource": {"attributes": attributes(raw_attributes(resource))},
                    of_scope: [_of_scope(scope, items, encoded) for scope, encoded in scopes.items()],
                    "schemaUrl": resource.schema_url,
                }
                for resource, scopes in grouped.items()
            ]
        }
    )


def _of_scope(scope: InstrumentationScope | None, items: str, encoded: list[bytes]) -> dict[str, Any]:
    fragments = [orjson.Fragment(item) for item in encoded]
    if scope is None:
        return {"scope": {}, items: fragments}
    identity = {
        "name": scope.name or "",
        "version": scope.version or "",
        "attributes": attributes(raw_attributes(scope)),
    }
    return {"scope": identity, items: fragments, "schemaUrl": scope.schema_url or ""}


def dumps(message: dict[str, Any]) -> bytes:
    """Write a message; the characters that UTF-8 cannot hold, lone surrogates, become ``?``."""
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


def text_of(text: str | None) -> str:
    """Take a string as it is; raises TypeError for what is none."""
    # str.__str__ raises for what is no string, where orjson would write a number that spoils the whole request.
    return "" if text is None else str.__str__(text)


def uint64(number: int) -> str:
    """Write a number that protobuf has in 64 bits; raises OverflowError for any other."""
    if not 0 <= number < _UINT64:
        msg = "a number outside of 64 bits"
        raise OverflowError(msg)
    return f"{number:d}"


def attributes(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write repeated ``KeyValue``."""
    encoded = []
    for key, value in given.items():
        try:
            encoded.append({"key": str.__str__(key), "value": any_value(value)})
        except Exception as error:
            contained("encode", error)
    return encoded


def any_value(value: Any) -> dict[str, Any]:  # noqa: PLR0911  (one return a member of the union)
    """Write an ``AnyValue``."""
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
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    if isinstance(value, Mapping):
        pairs = [{"key": str(key), "value": any_value(item)} for key, item in value.items()]
        return {"kvlistValue": {"values": pairs}}
    raise NoAttributeTypeError(value)
