"""Metrics as the bytes of an OTLP request in protobuf.

The message is ``ExportMetricsServiceRequest`` (https://github.com/open-telemetry/opentelemetry-proto, metrics v1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct, pack
from typing import Any

from opentelemetry.sdk.metrics._internal.exemplar import Exemplar
from opentelemetry.sdk.metrics.export import (
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    Sum,
)

from obskit._guard import contained
from obskit.export._encode import Encoded, Grouped, in_turns
from obskit.export._protobuf import count, field, string, varint
from obskit.export._values_protobuf import attributes, request

_TIMES = Struct("<BQBQ").pack
_FIXED64 = Struct("<BQ").pack
_INT = Struct("<Bq").pack
_DOUBLE = Struct("<Bd").pack


def points_in(resource_metrics: Iterable[ResourceMetrics]) -> int:
    """How many data points there are, which is what collectors count."""
    return sum(
        len(metric.data.data_points)
        for each in resource_metrics
        for scope in each.scope_metrics
        for metric in scope.metrics
    )


def group_metrics(
    resource_metrics: Iterable[ResourceMetrics], encode: Callable[[Metric], bytes]
) -> tuple[Grouped, int]:
    """Encode each metric under its resource and scope.

    Returns:
        The encoded metrics, and how many points `encode` raised for.
    """
    grouped: Grouped = {}
    dropped = 0
    for each in resource_metrics:
        scopes = grouped.setdefault(each.resource, {})
        for scope in each.scope_metrics:
            place = scopes.setdefault(scope.scope, [])
            for metric in scope.metrics:
                try:
                    place.append(encode(metric))
                except Exception as error:
                    contained("encode", error)
                    dropped += len(metric.data.data_points)
    return grouped, dropped


def metrics_protobuf(resource_metrics: Sequence[ResourceMetrics]) -> Encoded:
    """Encode metrics as the bytes of an ``ExportMetricsServiceRequest``; one that cannot be encoded is left out."""
    grouped, dropped = group_metrics(resource_metrics, _metric)
    return Encoded(request(grouped), dropped)


def _metric(metric: Metric) -> bytes:
    """One ``ScopeMetrics.metrics`` element, tag and length included."""
    head = string(b"\x0a", metric.name) + string(b"\x12", metric.description) + string(b"\x1a", metric.unit)
    return field(b"\x12", head + _data(metric.data))


def _data(data: Any) -> bytes:
    if isinstance(data, Gauge):
        return field(b"\x2a", b"".join(map(_number, in_turns(data.data_points))))
    temporality = count(b"\x10", int(data.aggregation_temporality))
    if isinstance(data, Sum):
        monotonic = b"\x18\x01" if data.is_monotonic else b""
        return field(b"\x3a", b"".join(map(_number, in_turns(data.data_points))) + temporality + monotonic)
    if isinstance(data, Histogram):
        return field(b"\x4a", b"".join(map(_histogram, in_turns(data.data_points))) + temporality)
    if isinstance(data, ExponentialHistogram):
        return field(b"\x52", b"".join(map(_exponential, in_turns(data.data_points))) + temporality)
    msg = f"{type(data).__qualname__} is no kind of metric"
    raise TypeError(msg)


def _number(point: NumberDataPoint) -> bytes:
    value = _INT(0x31, point.value) if isinstance(point.value, int) else _DOUBLE(0x21, point.value)
    return field(
        b"\x0a",
        _TIMES(0x11, point.start_time_unix_nano or 0, 0x19, point.time_unix_nano)
        + value
        + _exemplars(b"\x2a", point.exemplars)
        + attributes(b"\x3a", point.attributes or {}),
    )


def _histogram(point: HistogramDataPoint) -> bytes:
    counts, bounds = point.bucket_counts, point.explicit_bounds
    return field(
        b"\x0a",
        _TIMES(0x11, point.start_time_unix_nano or 0, 0x19, point.time_unix_nano)
        + _FIXED64(0x21, point.count)
        + _DOUBLE(0x29, point.sum)
        + field(b"\x32", pack(f"<{len(counts)}Q", *counts))
        + (field(b"\x3a", pack(f"<{len(bounds)}d", *bounds)) if bounds else b"")
        + _exemplars(b"\x42", point.exemplars)
        + attributes(b"\x4a", point.attributes or {})
        + _optional(0x59, point.min)
        + _optional(0x61, point.max),
    )


def _exponential(point: ExponentialHistogramDataPoint) -> bytes:
    return field(
        b"\x0a",
        attributes(b"\x0a", point.attributes or {})
        + _TIMES(0x11, point.start_time_unix_nano or 0, 0x19, point.time_unix_nano)
        + _FIXED64(0x21, point.count)
        + _DOUBLE(0x29, point.sum)
        + count(b"\x30", _zigzag(point.scale))
        + _FIXED64(0x39, point.zero_count)
        + _buckets(b"\x42", point.positive)
        + _buckets(b"\x4a", point.negative)
        + count(b"\x50", point.flags)
        + _exemplars(b"\x5a", point.exemplars)
        + _optional(0x61, point.min)
        + _optional(0x69, point.max),
    )


def _buckets(tag: bytes, buckets: Buckets) -> bytes:
    if not buckets.bucket_counts:
        return b""
    counts = b"".join(map(varint, buckets.bucket_counts))
    return field(tag, count(b"\x08", _zigzag(buckets.offset)) + field(b"\x12", counts))


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


def _optional(tag: int, number: float | None) -> bytes:
    return b"" if number is None else _DOUBLE(tag, number)


def _exemplars(tag: bytes, exemplars: Iterable[Exemplar]) -> bytes:
    return b"".join([field(tag, _exemplar(each)) for each in exemplars])


def _exemplar(exemplar: Exemplar) -> bytes:
    value = _INT(0x31, exemplar.value) if isinstance(exemplar.value, int) else _DOUBLE(0x19, exemplar.value)
    ids = b""
    if exemplar.span_id and exemplar.trace_id:
        ids = field(b"\x22", exemplar.span_id.to_bytes(8, "big")) + field(
            b"\x2a", exemplar.trace_id.to_bytes(16, "big")
        )
    return (
        _FIXED64(0x11, exemplar.time_unix_nano) + value + ids + attributes(b"\x3a", exemplar.filtered_attributes or {})
    )
