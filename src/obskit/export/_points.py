"""The families of a prometheus_client registry as OTLP's metrics: the objects that ``/metrics`` shows, read once more.

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#prometheus-metric-points-to-otlp
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from opentelemetry.sdk.metrics._internal.exemplar import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Exemplar as Seen
from prometheus_client.samples import Sample

from obskit import semconv
from obskit._metric_names import ATTRIBUTES, is_obskits, otlp_name
from obskit.export._encode import in_turns

_CUMULATIVE = AggregationTemporality.CUMULATIVE
#: What is under way is a sum that falls as well as rises, by the conventions.
_UP_DOWN = frozenset({semconv.METRIC_HTTP_SERVER_ACTIVE, semconv.METRIC_WEBSOCKET_ACTIVE})
_NUMBERS = frozenset({semconv.HTTP_RESPONSE_STATUS_CODE, semconv.SERVER_PORT, semconv.WEBSOCKET_CLOSE_CODE})
_NO_BUCKETS = Buckets(0, ())


class Times(NamedTuple):
    """When counting began, and now, in nanoseconds since the epoch."""

    start: int
    now: int


def own_histogram(collector: Any, promoted: Mapping[str, str], times: Times) -> Metric:
    """A histogram of obskit's own, with its exemplars, exponential where its series keep such buckets.

    Args:
        collector: a ``Histogram`` of obskit's metrics signal.
        promoted: the fields that labels stand for, beside those of the conventions.
        times: of the points.
    """
    [family] = collector.describe()
    name, unit = otlp_name(collector.name)
    series = collector.series.all()
    labels = {**promoted, **ATTRIBUTES}
    if series and hasattr(series[0], "read_exponential"):
        points = [_exponential(one, labels, times) for one in in_turns(series)]
        return Metric(name, family.documentation, unit, ExponentialHistogram(points, _CUMULATIVE))
    explicit = [_explicit(one, collector.bounds, labels, times) for one in in_turns(series)]
    return Metric(name, family.documentation, unit, Histogram(explicit, _CUMULATIVE))


def _explicit(series: Any, bounds: tuple[float, ...], labels: Mapping[str, str], times: Times) -> HistogramDataPoint:
    counts, total, seen = series.read()
    return HistogramDataPoint(
        attributes=_attributes(series.labels, labels),
        start_time_unix_nano=times.start,
        time_unix_nano=times.now,
        count=sum(counts),
        sum=total,
        bucket_counts=counts,
        explicit_bounds=bounds,
        min=None,  # type: ignore[arg-type]  # OTLP's is optional
        max=None,  # type: ignore[arg-type]
        exemplars=_exemplars(seen),
    )


def _exponential(series: Any, labels: Mapping[str, str], times: Times) -> ExponentialHistogramDataPoint:
    exponential, total, seen = series.read_exponential()
    return ExponentialHistogramDataPoint(
        attributes=_attributes(series.labels, labels),
        start_time_unix_nano=times.start,
        time_unix_nano=times.now,
        count=exponential.zero + sum(exponential.counts),
        sum=total,
        scale=exponential.scale,
        zero_count=exponential.zero,
        positive=Buckets(exponential.offset, exponential.counts),
        negative=_NO_BUCKETS,
        flags=0,
        min=None,  # type: ignore[arg-type]  # as above
        max=None,  # type: ignore[arg-type]
        exemplars=_exemplars(seen),
    )


def _attributes(labels: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    """Labels as attributes: an empty one is absent, and what the conventions have as a number is one."""
    attributes: dict[str, Any] = {}
    for label, value in labels.items():
        if value:
            name = names.get(label, label)
            attributes[name] = int(value) if name in _NUMBERS and value.isdecimal() else value
    return attributes


def _exemplars(seen: Iterable[tuple[str, str, float, int] | None]) -> list[Exemplar]:
    return [
        Exemplar({}, value, ns, span_id=int(span_id, 16), trace_id=int(trace_id, 16))
        for trace_id, span_id, value, ns in filter(None, seen)
    ]


def metrics_of(family: Family, times: Times) -> Iterator[Metric]:
    """Any other family; what OTLP has no kind for becomes gauges by the names of the samples."""
    labels = ATTRIBUTES if is_obskits(family.name) else {}
    name, unit = otlp_name(family.name)
    samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    if family.type == "counter":
        points = [_number(sample, labels, times) for sample in samples]
        yield Metric(name, family.documentation, unit, Sum(points, _CUMULATIVE, is_monotonic=True))
    elif family.name in _UP_DOWN:
        points = [_number(sample, labels, times) for sample in samples]
        yield Metric(name, family.documentation, unit, Sum(points, _CUMULATIVE, is_monotonic=False))
    elif family.type in ("histogram", "summary"):
        histogram = Histogram(list(_histogram_points(samples, labels, times)), _CUMULATIVE)
        yield Metric(name, family.documentation, unit, histogram)
    else:
        by_name: dict[str, list[Sample]] = {}
        for sample in samples:
            by_name.setdefault(sample.name, []).append(sample)
        for each, found in by_name.items():
            name, unit = otlp_name(each)
            points = [_number(sample, labels, times) for sample in found]
            yield Metric(name, family.documentation, unit, Gauge(points))


def _number(sample: Sample, labels: Mapping[str, str], times: Times) -> NumberDataPoint:
    return NumberDataPoint(
        attributes=_attributes(sample.labels, labels),
        start_time_unix_nano=times.start,
        time_unix_nano=times.now,
        value=sample.value,
        exemplars=[] if sample.exemplar is None else [_exemplar(sample.exemplar, times)],
    )


def _histogram_points(
    samples: Iterable[Sample], labels: Mapping[str, str], times: Times
) -> Iterator[HistogramDataPoint]:
    """Points of a histogram's or a summary's samples; a summary, which has no buckets, is one bucket."""
    sets: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        key = tuple((name, value) for name, value in sample.labels.items() if name not in ("le", "quantile"))
        sets.setdefault(key, []).append(sample)
    for key, found in sets.items():
        buckets = sorted((float(sample.labels["le"]), sample) for sample in found if sample.name.endswith("_bucket"))
        named = {sample.name.rpartition("_")[2]: sample.value for sample in found}
        count = int(named.get("count", buckets[-1][1].value if buckets else 0))
        running = [0, *(int(sample.value) for _bound, sample in buckets)]
        yield HistogramDataPoint(
            attributes=_attributes(dict(key), labels),
            start_time_unix_nano=times.start,
            time_unix_nano=times.now,
            count=count,
            sum=named.get("sum", 0.0),
            bucket_counts=[high - low for low, high in pairwise(running)] or [count],
            explicit_bounds=[bound for bound, _sample in buckets[:-1]],
            min=None,  # type: ignore[arg-type]  # OTLP's is optional
            max=None,  # type: ignore[arg-type]
            exemplars=[_exemplar(sample.exemplar, times) for _bound, sample in buckets if sample.exemplar is not None],
        )


def _exemplar(seen: Seen, times: Times) -> Exemplar:
    others = dict(seen.labels)
    trace_id, span_id = others.pop(semconv.TRACE_ID, ""), others.pop(semconv.SPAN_ID, "")
    ns = times.now if seen.timestamp is None else int(float(seen.timestamp) * 1e9)
    return Exemplar(others, seen.value, ns, span_id=_id(span_id), trace_id=_id(trace_id))


def _id(text: str) -> int | None:
    try:
        return int(text, 16)
    except ValueError:
        return None
