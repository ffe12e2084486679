"""Metrics pushed by OTLP: what ``/metrics`` shows, at intervals and once more at the end.

Only what is pushed is imported here: a process that is scraped does without this module.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, Metric, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

from obskit import semconv
from obskit._guard import contained
from obskit._metric_names import is_obskits
from obskit._version import __version__
from obskit.config import Config
from obskit.export._deltas import Deltas
from obskit.export._encode_metrics import metrics_protobuf, points_in
from obskit.export._encode_metrics_json import metrics_json
from obskit.export._encodings import Encoding
from obskit.export._exporter import SdkExporter
from obskit.export._points import Times, metrics_of, own_histogram
from obskit.export.exposition import collectors

METRICS: Encoding[ResourceMetrics] = Encoding("metric points", metrics_protobuf, metrics_json, points_in)

_OWN_SCOPE = InstrumentationScope("obskit", __version__)
_USERS_SCOPE = InstrumentationScope("prometheus_client")
#: What a scrape tells of the process; the resource says it on this way.
_PULL_ONLY = (ProcessCollector, PlatformCollector, GCCollector)
_TARGET = semconv.METRIC_TARGET_INFO.removesuffix("_info")


class Source:
    """Reads what is to be pushed.

    Args:
        registries: prometheus_client's, of two metrics with the same name the first counts.
        resource: whose metrics they are.
        metric_fields: the fields that are promoted to labels.
        others: gives the metrics of other libraries, which come by OpenTelemetry's API.
        deltas: makes deltas of what the registries have; None: sums since the start are pushed.
    """

    def __init__(
        self,
        registries: Sequence[Any],
        resource: Resource,
        *,
        metric_fields: Iterable[str],
        others: Callable[[], Sequence[ScopeMetrics]],
        deltas: Deltas | None,
    ) -> None:
        self._registries = registries
        self._resource = resource
        self._promoted = {re.sub(r"\W", "_", name, flags=re.ASCII): name for name in metric_fields}
        self._others = others
        self._deltas = deltas
        self.begin()

    def begin(self) -> None:
        """Counting begins now: at the start, and in a forked child."""
        self._start = time.time_ns()

    def read(self) -> ResourceMetrics:
        """Every metric as it is now."""
        own: list[Metric] = []
        users: list[Metric] = []
        times = Times(self._start, time.time_ns())
        for name, metric in self._metrics(times):
            (own if is_obskits(name) else users).append(metric)
        if self._deltas is not None:
            own, users = self._deltas.since_last([own, users])
        scopes = [
            ScopeMetrics(scope, metrics, "") for scope, metrics in ((_OWN_SCOPE, own), (_USERS_SCOPE, users)) if metrics
        ]
        try:
            scopes += self._others()
        except Exception as error:
            contained("metrics", error)
        return ResourceMetrics(self._resource, scopes, self._resource.schema_url)

    def arrived(self) -> None:
        """What was read last has been delivered."""
        if self._deltas is not None:
            self._deltas.arrived()

    def _metrics(self, times: Times) -> Iterator[tuple[str, Metric]]:
        seen = {_TARGET}
        for collector in [each for registry in self._registries for each in collectors(registry)]:
            time.sleep(0)  # lets the event loop's thread have the interpreter before its switch interval is over
            if isinstance(collector, _PULL_ONLY) or getattr(collector, "obskit_pull_only", False):
                continue
            try:
                found = list(_of(collector, self._promoted, times, seen))
            except Exception as error:
                contained("metrics", error)
                continue
            yield from found


def _of(collector: Any, promoted: Mapping[str, str], times: Times, seen: set[str]) -> Iterator[tuple[str, Metric]]:
    """The metrics of a collector under the names of their families, those that are taken left out."""
    if hasattr(collector, "obskit_text"):
        if collector.name not in seen and len(collector.series):
            seen.add(collector.name)
            yield collector.name, own_histogram(collector, promoted, times)
        return
    for family in collector.collect():
        if family.name not in seen:
            seen.add(family.name)
            for metric in metrics_of(family, times):
                if metric.data.data_points:
                    yield family.name, metric


def data_of(resource_metrics: Sequence[ResourceMetrics]) -> MetricsData:
    """The same as the exporters of the SDK take it."""
    return MetricsData(resource_metrics)


def console() -> SdkExporter:
    """Prints metrics."""
    return SdkExporter(ConsoleMetricExporter(), data_of, points_in)


def source(
    config: Config, resource: Resource, registries: Sequence[Any], others: Callable[[], Sequence[ScopeMetrics]]
) -> Source:
    """What a push reads, as configured."""
    cumulative = config.metric_temporality == "cumulative"
    deltas = None if cumulative else Deltas(counters=config.metric_temporality == "delta")
    return Source(registries, resource, metric_fields=config.metric_fields, others=others, deltas=deltas)
