"""What OTLP carries: each signal with the way it is written, as protobuf and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from opentelemetry.sdk.trace import ReadableSpan

from obskit.export._encode import Encoded
from obskit.export._encode_json import encode_json
from obskit.export._encode_logs import logs_json, logs_protobuf
from obskit.export._encode_protobuf import encode_protobuf
from obskit.export.log_records import LogRecord

T = TypeVar("T")


class Encoding(NamedTuple, Generic[T]):
    """How one signal is written.

    Attributes:
        what: its items in the plural, for messages.
        protobuf, json: write a request's body.
        count: how many items a batch holds, as collectors count what they refuse.
    """

    what: str
    protobuf: Callable[[Sequence[T]], Encoded]
    json: Callable[[Sequence[T]], Encoded]
    count: Callable[[Sequence[T]], int] = len


SPANS: Encoding[ReadableSpan] = Encoding("spans", encode_protobuf, encode_json)
LOG_RECORDS: Encoding[LogRecord] = Encoding("log records", logs_protobuf, logs_json)
