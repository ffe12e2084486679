"""What has been added since the last push, for backends that want that instead of sums since the start.

https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/#additional-environment-variable-configuration
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, TypeVar

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

Point = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint
P = TypeVar("P", NumberDataPoint, HistogramDataPoint, ExponentialHistogramDataPoint)
_DELTA = AggregationTemporality.DELTA


class Deltas:
    """Turns sums since the start into what was added since the last push that arrived.

    One that did not arrive takes nothing away: what it held is in the next.

    Args:
        counters: whether counters are turned too, and not only histograms.
    """

    def __init__(self, *, counters: bool) -> None:
        self._kinds = (Sum, Histogram, ExponentialHistogram) if counters else (Histogram, ExponentialHistogram)
        self._arrived: dict[Any, Point] = {}
        self._sent: dict[Any, Point] = {}

    def since_last(self, groups: Iterable[Iterable[Metric]]) -> list[list[Metric]]:
        """The metrics of each group, those that rise as deltas."""
        self._sent = {}
        return [[self._metric(metric) for metric in group] for group in groups]

    def arrived(self) -> None:
        """What was given last has been delivered."""
        self._arrived = self._sent

    def _metric(self, metric: Metric) -> Metric:
        data = metric.data
        if not isinstance(data, self._kinds) or (isinstance(data, Sum) and not data.is_monotonic):
            return metric
        points: Any = [self._delta(metric.name, point) for point in data.data_points]
        return replace(metric, data=replace(data, data_points=points, aggregation_temporality=_DELTA))

    def _delta(self, name: str, point: Point) -> Point:
        key = name, frozenset((point.attributes or {}).items())
        self._sent[key] = point
        before = self._arrived.get(key)
        if before is None or type(before) is not type(point) or _reset(point, before):
            return point
        since: Any = {"start_time_unix_nano": before.time_unix_nano}
        since["exemplars"] = [each for each in point.exemplars if each.time_unix_nano > before.time_unix_nano]
        if isinstance(point, NumberDataPoint):
            return replace(point, value=point.value - before.value, **since)  # type: ignore[union-attr]
        since |= {"count": point.count - before.count, "sum": point.sum - before.sum}  # type: ignore[union-attr]
        if isinstance(point, HistogramDataPoint):
            counts = zip(point.bucket_counts, before.bucket_counts, strict=True)  # type: ignore[union-attr]
            return replace(point, bucket_counts=[now - then for now, then in counts], **since)
        return _exponential(point, before, since)  # type: ignore[arg-type]


def _reset(point: Any, before: Any) -> bool:
    """Whether counting has begun anew in between."""
    if isinstance(point, NumberDataPoint):
        return bool(point.value < before.value)
    return bool(point.count < before.count)


def _exponential(
    point: ExponentialHistogramDataPoint, before: ExponentialHistogramDataPoint, since: dict[str, Any]
) -> ExponentialHistogramDataPoint:
    then: dict[int, int] = {}
    for index, count in enumerate(before.positive.bucket_counts, before.positive.offset):
        coarser = index >> (before.scale - point.scale)  # a scale only ever falls
        then[coarser] = then.get(coarser, 0) + count
    first = point.positive.offset
    counts = [count - then.get(index, 0) for index, count in enumerate(point.positive.bucket_counts, first)]
    zero_count = point.zero_count - before.zero_count
    return replace(point, positive=Buckets(first, counts), zero_count=zero_count, **since)
