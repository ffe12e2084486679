"""Metrics as an OTLP request in JSON; the mapping is :mod:`obskit.export._values_json`'s."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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

from obskit.export._encode import Encoded, in_turns, int64
from obskit.export._encode_metrics import group_metrics
from obskit.export._values_json import attributes, dumps, request, uint64


def metrics_json(resource_metrics: Sequence[ResourceMetrics]) -> Encoded:
    """Encode metrics as an OTLP/JSON ``ExportMetricsServiceRequest``; one that cannot be encoded is left out."""
    grouped, dropped = group_metrics(resource_metrics, _metric)
    return Encoded(request(grouped, "resourceMetrics", "scopeMetrics", "metrics"), dropped)


def _metric(metric: Metric) -> bytes:
    message = {"name": metric.name, "description": metric.description or "", "unit": metric.unit or ""}
    return dumps({**message, **_data(metric.data)})


def _data(data: Any) -> dict[str, Any]:
    if isinstance(data, Gauge):
        return {"gauge": {"dataPoints": [_number(point) for point in in_turns(data.data_points)]}}
    temporality = {"aggregationTemporality": int(data.aggregation_temporality)}
    if isinstance(data, Sum):
        points = [_number(point) for point in in_turns(data.data_points)]
        return {"sum": {"dataPoints": points, **temporality, "isMonotonic": data.is_monotonic}}
    if isinstance(data, Histogram):
        return {"histogram": {"dataPoints": [_histogram(point) for point in in_turns(data.data_points)], **temporality}}
    if isinstance(data, ExponentialHistogram):
        exponential = [_exponential(point) for point in in_turns(data.data_points)]
        return {"exponentialHistogram": {"dataPoints": exponential, **temporality}}
    msg = f"{type(data).__qualname__} is no kind of metric"
    raise TypeError(msg)


def _common(point: NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint) -> dict[str, Any]:
    return {
        "attributes": attributes(point.attributes or {}),
        "startTimeUnixNano": uint64(point.start_time_unix_nano or 0),
        "timeUnixNano": uint64(point.time_unix_nano),
        "exemplars": [_exemplar(each) for each in point.exemplars],
    }


def _number(point: NumberDataPoint) -> dict[str, Any]:
    return {**_common(point), **_value(point.value)}


def _value(value: float) -> dict[str, Any]:
    return {"asInt": str(int64(value))} if isinstance(value, int) else {"asDouble": _double(value)}


def _double(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _histogram(point: HistogramDataPoint) -> dict[str, Any]:
    return {
        **_common(point),
        "count": uint64(point.count),
        "sum": _double(point.sum),
        "bucketCounts": [uint64(count) for count in point.bucket_counts],
        "explicitBounds": list(point.explicit_bounds),
        **_extremes(point),
    }


def _exponential(point: ExponentialHistogramDataPoint) -> dict[str, Any]:
    return {
        **_common(point),
        "count": uint64(point.count),
        "sum": _double(point.sum),
        "scale": point.scale,
        "zeroCount": uint64(point.zero_count),
        **{
            name: _buckets(buckets)
            for name, buckets in (("positive", point.positive), ("negative", point.negative))
            if buckets.bucket_counts
        },
        "flags": point.flags,
        **_extremes(point),
    }


def _buckets(buckets: Buckets) -> dict[str, Any]:
    return {"offset": buckets.offset, "bucketCounts": [uint64(count) for count in buckets.bucket_counts]}


def _extremes(point: HistogramDataPoint | ExponentialHistogramDataPoint) -> dict[str, Any]:
    given: Iterable[tuple[str, float | None]] = (("min", point.min), ("max", point.max))
    return {name: _double(value) for name, value in given if value is not None}


def _exemplar(exemplar: Exemplar) -> dict[str, Any]:
    message = {
        "timeUnixNano": uint64(exemplar.time_unix_nano),
        "filteredAttributes": attributes(exemplar.filtered_attributes or {}),
        **_value(exemplar.value),
    }
    if exemplar.span_id and exemplar.trace_id:
        message |= {"spanId": f"{exemplar.span_id:016x}", "traceId": f"{exemplar.trace_id:032x}"}
    return message
