"""What obskit says about itself on ``/metrics``, read at the moment of the scrape.

What became of spans and log lines, the faults that were contained, the room that label sets take, the health
checks' last results, the lag of the event loop, and the resource.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from obskit import _guard, semconv
from obskit._tally import Tally
from obskit.signals._exponential import ExponentialSeries
from obskit.signals._families import Histogram, HistogramSeries, Keep, in_lists
from obskit.signals.cardinality import CappedSeries

#: What calls ``_guard.contained``, so that each counter exists from the start.
_COMPONENTS = (
    "aiohttp", "annotate", "asgi", "clients", "close", "databases", "encode", "health", "httpx", "httpx2", "keep",
    "log_records", "logs", "loop", "metrics", "propagation", "requests", "server_spans", "sigterm", "spans", "traces",
    "urllib3", "workers", "writer",
)  # fmt: skip
_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class CheckState(Protocol):
    """The last result of one health check."""

    @property
    def name(self) -> str:
        """The check's name."""
        ...

    @property
    def ok(self) -> bool | None:
        """Whether it passed; None when it has not run yet."""
        ...

    @property
    def duration_seconds(self) -> float:
        """How long it took, in seconds."""
        ...


class EventLoopLag:
    """The histogram ``obskit_event_loop_lag_seconds``.

    Args:
        registry: where it shows.
        keep: says where its numbers are kept.
        exponential: whether it keeps exponential buckets as well, for what pushes them.
    """

    def __init__(self, registry: CollectorRegistry, keep: Keep = in_lists, *, exponential: bool = False) -> None:
        name = semconv.METRIC_EVENT_LOOP_LAG
        series = ExponentialSeries if exponential else HistogramSeries
        make = partial(series, bounds=_LAG_BUCKETS, metric=name, keep=keep)
        self._series = CappedSeries(name, (), 1, make)
        Histogram(self._series, "How late the event loop ran what was due.", _LAG_BUCKETS, registry)
        self._series[()]  # shows from the start

    def observe(self, seconds: float) -> None:
        """Record that the loop was `seconds` late."""
        self._series[()].observe(seconds)


class Internals:
    """The collector of obskit's own numbers. It registers itself.

    Args:
        registry: where they show.
        resource: the resource's attributes, for ``target_info``.
        spans, log_lines, log_records, metric_points: what became of them; records are what leaves by OTLP, lines by
            standard output.
        log_bytes: bytes of log lines that were written.
        dropped_fields: fields that operations had no room for.
        calls_without_timeout: outbound calls that nothing ends if nobody answers.
        series_counts: label sets by metric.
        checks: the health checks' last results.
    """

    #: That it is obskit's own, cheap to collect, and to be told to other workers without being asked.
    obskit_own = True

    def __init__(  # noqa: PLR0913  (each is a source of numbers of its own)
        self,
        *,
        registry: CollectorRegistry,
        resource: Mapping[str, Any],
        spans: Tally,
        log_lines: Tally,
        log_records: Tally,
        metric_points: Tally,
        log_bytes: Callable[[], int],
        dropped_fields: Callable[[], int],
        calls_without_timeout: Callable[[], int],
        series_counts: Callable[[], Mapping[str, int]],
        checks: Callable[[], Iterable[CheckState]],
    ) -> None:
        self._target = {re.sub(r"\W", "_", name, flags=re.ASCII): str(value) for name, value in resource.items()}
        self._spans = spans
        self._log_lines = log_lines
        self._log_records = log_records
        self._metric_points = metric_points
        self._log_bytes = log_bytes
        self._dropped_fields = dropped_fields
        self._calls_without_timeout = calls_without_timeout
        self._series_counts = series_counts
        self._checks = checks
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The numbers as they are now."""
        target = Metric("target", "The resource that the metrics are about.", "info")
        target.add_sample(semconv.METRIC_TARGET_INFO, self._target, 1)
        yield target
        yield from _tally(semconv.METRIC_SPANS, "Spans", self._spans)
        yield from _tally(semconv.METRIC_LOG_LINES, "Log lines", self._log_lines)
        yield from _tally(semconv.METRIC_LOG_RECORDS, "Log records", self._log_records)
        yield from _tally(semconv.METRIC_POINTS, "Data points of pushed metrics", self._metric_points)
        yield CounterMetricFamily(semconv.METRIC_LOG_BYTES, "Bytes of log lines written.", self._log_bytes())
        yield CounterMetricFamily(
            semconv.METRIC_FIELDS_DROPPED, "Fields that operations had no room for.", self._dropped_fields()
        )
        yield CounterMetricFamily(
            semconv.METRIC_CALLS_WITHOUT_TIMEOUT, "Outbound calls without a timeout.", self._calls_without_timeout()
        )
        yield _counter(
            semconv.METRIC_INTERNAL_ERRORS,
            "Errors of obskit's own, contained.",
            semconv.LABEL_COMPONENT,
            {**dict.fromkeys(_COMPONENTS, 0), **_guard.errors},
        )
        series = GaugeMetricFamily(semconv.METRIC_SERIES, "Label sets of a metric.", labels=[semconv.LABEL_METRIC])
        for metric, count in self._series_counts().items():
            series.add_metric([metric], count)
        yield series
        yield from self._health()

    def _health(self) -> Iterator[Metric]:
        labels = [semconv.LABEL_CHECK]
        status = GaugeMetricFamily(
            semconv.METRIC_HEALTH_STATUS, "Whether the health check passed, 1 or 0.", labels=labels
        )
        duration = GaugeMetricFamily(
            semconv.METRIC_HEALTH_DURATION, "How long the health check took last.", labels=labels, unit="seconds"
        )
        for check in self._checks():
            if check.ok is not None:
                status.add_metric([check.name], int(check.ok))
                duration.add_metric([check.name], check.duration_seconds)
        yield from (status, duration)


def register_process_metrics(registry: CollectorRegistry) -> None:
    """Make ``process_*`` and ``python_*`` show, unless prometheus_client's default registry shows them already.

    Args:
        registry: obskit's own.
    """
    shown = {type(collector) for collector in dict(REGISTRY._collector_to_names)}  # noqa: SLF001  (no public way)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        if collector not in shown:
            collector(registry=registry)


def _tally(metric: str, what: str, tally: Tally) -> Iterator[Metric]:
    # Produced is read last, so that a scrape never shows more that left than were produced.
    dropped = _counter(f"{metric}_dropped", f"{what} that were dropped.", semconv.LABEL_REASON, tally.dropped.copy())
    exported = CounterMetricFamily(f"{metric}_exported", f"{what} that left the process.", tally.exported)
    yield CounterMetricFamily(f"{metric}_produced", f"{what} that were produced.", tally.produced)
    yield exported
    yield dropped


def _counter(name: str, documentation: str, label: str, values: Mapping[str, int]) -> Metric:
    counter = CounterMetricFamily(name, documentation, labels=[label])
    for value, count in values.items():
        counter.add_metric([value], count)
    return counter
