"""A collector's answer to an export: how much of an accepted request it refused after all."""

from __future__ import annotations

import orjson

from obskit.export._protobuf import fields

_INT64 = 1 << 63
_REJECTED = ("rejectedSpans", "rejectedLogRecords", "rejectedDataPoints")


def partial_success(body: bytes, content_type: str) -> tuple[int, str]:
    """Read an ``Export…ServiceResponse``, alike for all signals (https://opentelemetry.io/docs/specs/otlp/#partial-success-1).

    Args:
        body: of a successful response; one that cannot be read refuses nothing.
        content_type: its header; ``application/json`` or else protobuf.

    Returns:
        How many items were rejected, at least 0, and the collector's message.
    """
    try:
        rejected, message = _from_json(body) if "json" in content_type.lower() else _from_protobuf(body)
    except (ValueError, TypeError, AttributeError):
        return 0, ""
    return (rejected, message) if 0 < rejected < _INT64 else (0, "")


def _from_json(body: bytes) -> tuple[int, str]:
    found = orjson.loads(body).get("partialSuccess", {}) if body else {}
    rejected = next((found[name] for name in _REJECTED if name in found), 0)
    return int(rejected), str(found.get("errorMessage", ""))


def _from_protobuf(body: bytes) -> tuple[int, str]:
    rejected, message = 0, ""
    for number, value in fields(body):
        if number == 1 and isinstance(value, bytes):
            for inner, content in fields(value):
                if inner == 1 and isinstance(content, int):
                    rejected = content
                elif inner == 2 and isinstance(content, bytes):  # noqa: PLR2004  (error_message)
                    message = content.decode("utf-8", "replace")
    return rejected, message
