"""What other libraries measure by OpenTelemetry's API, on ``/metrics``, by the names that Prometheus gives it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import orjson
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from obskit import semconv
from obskit._metric_names import prometheus_label, prometheus_name

_number: Callable[[float], str] = floatToGoString


class OtelMetrics:
    """The collector of these metrics. It registers itself.

    Args:
        read: gives the scopes' metrics, as the SDK has them.
        registry: where they show.
    """

    #: They are pushed as they are, not by way of the registry.
    obskit_pull_only = True

    def __init__(self, read: Callable[[], Sequence[Any]], registry: CollectorRegistry) -> None:
        self._read = read
        registry.register(self)

    def describe(self) -> list[Metric]:
        """Nothing: what there will be is not known yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now; of two with one name the first."""
        shown: set[str] = set()
        for scope in self._read():
            for metric in scope.metrics:
                family = _family(metric)
                if family.name not in shown:
                    shown.add(family.name)
                    yield family


def _family(metric: Any) -> Metric:
    data = metric.data
    monotonic = bool(getattr(data, "is_monotonic", False))
    histogram = hasattr(data, "aggregation_temporality") and not hasattr(data, "is_monotonic")
    is_gauge = not histogram and not hasattr(data, "is_monotonic")
    kind = "histogram" if histogram else "counter" if monotonic else "gauge"
    name = prometheus_name(metric.name, metric.unit or "", counter=monotonic, gauge=is_gauge)
    family = Metric(name, " ".join((metric.description or "").split()), kind)
    for point in data.data_points:
        labels = _labels(point.attributes or {})
        if histogram:
            _add_histogram(family, labels, point)
        else:
            exemplar = _exemplar(point.exemplars[-1]) if monotonic and point.exemplars else None
            family.add_sample(f"{name}_total" if monotonic else name, labels, point.value, exemplar=exemplar)
    return family


def _add_histogram(family: Metric, labels: dict[str, str], point: Any) -> None:
    exemplars: dict[int, Exemplar] = {}
    for each in point.exemplars:
        exemplars[bisect_left(point.explicit_bounds, each.value)] = _exemplar(each)
    bounds = (*point.explicit_bounds, float("inf"))
    for index, (bound, running) in enumerate(zip(bounds, accumulate(point.bucket_counts), strict=True)):
        sample_labels = {**labels, "le": _number(bound)}
        family.add_sample(f"{family.name}_bucket", sample_labels, running, exemplar=exemplars.get(index))
    family.add_sample(f"{family.name}_count", labels, point.count)
    family.add_sample(f"{family.name}_sum", labels, point.sum)


def _labels(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Attributes as labels; those that become one label share it, in the order of their names."""
    labels: dict[str, str] = {}
    for attribute in sorted(attributes):
        label, value = prometheus_label(attribute), _text(attributes[attribute])
        labels[label] = f"{labels[label]};{value}" if label in labels else value
    return labels


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return orjson.dumps(value).decode() if isinstance(value, (list, tuple)) else str(value)


def _exemplar(exemplar: Any) -> Exemplar:
    labels = {}
    if exemplar.trace_id and exemplar.span_id:
        labels = {semconv.TRACE_ID: f"{exemplar.trace_id:032x}", semconv.SPAN_ID: f"{exemplar.span_id:016x}"}
    return Exemplar(labels, exemplar.value, exemplar.time_unix_nano / 1e9)
