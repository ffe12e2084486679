"""The SDK's side of :mod:`obskit.signals._meters`: a provider with a reader for each way that metrics leave."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, ScopeMetrics
from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource

from obskit._sdk import without_variables
from obskit.config import Config

_DELTA = AggregationTemporality.DELTA
#: https://opentelemetry.io/docs/specs/otel/metrics/sdk_exporters/otlp/#additional-environment-variable-configuration
_TEMPORALITIES: dict[str, dict[type, AggregationTemporality]] = {
    "cumulative": {},
    "delta": {Counter: _DELTA, ObservableCounter: _DELTA, Histogram: _DELTA},
    "lowmemory": {Counter: _DELTA, Histogram: _DELTA},
}


class SdkMeters:
    """A meter provider of the SDK, read at each scrape and at each push.

    Args:
        config: which of the two there are, and what is preferred.
        resource: whose metrics they are.
    """

    def __init__(self, config: Config, resource: Resource) -> None:
        self._scrape = InMemoryMetricReader() if "prometheus" in config.metrics_exporter else None
        self._push = None
        if config.pushes("metrics"):
            aggregations: dict[type, Aggregation] = {}
            if config.metric_histograms == "base2_exponential_bucket_histogram":
                aggregations[Histogram] = ExponentialBucketHistogramAggregation()
            self._push = InMemoryMetricReader(_TEMPORALITIES[config.metric_temporality], aggregations)
        readers = [reader for reader in (self._scrape, self._push) if reader is not None]
        with without_variables("SDK_DISABLED"):  # `enabled` has been decided; arguments beat the environment
            self.provider = MeterProvider(readers, resource, TraceBasedExemplarFilter(), shutdown_on_exit=False)

    def scraped(self) -> Sequence[ScopeMetrics]:
        """The scopes' metrics, sums since the start in explicit buckets."""
        return _read(self._scrape)

    def pushed(self) -> Sequence[ScopeMetrics]:
        """The scopes' metrics as they are to be pushed."""
        return _read(self._push)

    def close(self) -> None:
        """Measure no more."""
        self.provider.shutdown()


def _read(reader: InMemoryMetricReader | None) -> Sequence[ScopeMetrics]:
    data = None if reader is None else reader.get_metrics_data()
    return [scope for each in data.resource_metrics for scope in each.scope_metrics] if data else ()
