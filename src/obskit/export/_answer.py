"""A collector's answer to an export: how much of an accepted request it refused after all."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_INT64 = 1 << 63


def partial_success(body: bytes, content_type: str) -> tuple[int, str]:
    """Read an ``ExportTraceServiceResponse`` (https://opentelemetry.io/docs/specs/otlp/#partial-success-1).

    Args:
        body: of a successful response; one that cannot be read refuses nothing.
        content_type: its header; ``application/json`` or else protobuf.

    Returns:
        How many spans were rejected, at least 0, and the collector's message.
    """
    try:
        rejected, message = _from_json(body) if "json" in content_type.lower() else _from_protobuf(body)
    except (ValueError, TypeError, AttributeError):
        return 0, ""
    return (rejected, message) if 0 < rejected < _INT64 else (0, "")


def _from_json(body: bytes) -> tuple[int, str]:
    found = orjson.loads(body).get("partialSuccess", {}) if body else {}
    return int(found.get("rejectedSpans", 0)), str(found.get("errorMessage", ""))


def _from_protobuf(body: bytes) -> tuple[int, str]:
    rejected, message = 0, ""
    for number, value in _fields(body):
        if number == 1 and isinstance(value, bytes):
            for inner, content in _fields(value):
                if inner == 1 and isinstance(content, int):
                    rejected = content
                elif inner == 2 and isinstance(content, bytes):  # noqa: PLR2004  (error_message)
                    message = content.decode("utf-8", "replace")
    return rejected, message


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire_type = key & 7
        if wire_type == _VARINT:
            number, at = _varint(message, at)
            yield key >> 3, number
            continue
        if wire_type == _LENGTH_DELIMITED:
            size, at = _varint(message, at)
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
        else:
            msg = "no wire type of protobuf 3"
            raise ValueError(msg)
        content = message[at : at + size]
        at += size
        if at > len(message):
            msg = "cut short"
            raise ValueError(msg)
        yield key >> 3, content


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  (no continuation bit)
            return number, at
    msg = "no varint"
    raise ValueError(msg)
