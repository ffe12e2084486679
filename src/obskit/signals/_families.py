"""Metric families that are cheap to record and cheap to expose: a histogram with exemplars and a gauge.

Both are prometheus_client collectors, so that any reader of the registry sees them. What they hold is plain data: a
list of counts, a sum, and the last exemplar of each bucket. Where it is kept is decided from outside: in lists, or in
memory that several workers share.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from obskit.semconv import SPAN_ID, TRACE_ID
from obskit.signals.cardinality import CappedSeries

_number: Callable[[float], str] = floatToGoString

_SERIES_A_TURN = 20

Seen = tuple[str, str, float, int]
"""An exemplar as it is recorded: trace id, span id, value, nanoseconds since the epoch."""


Kept = tuple[Any, Any, Any]
"""Where a histogram's numbers are kept: the count of each bucket, the sum as the only item, the exemplars."""


class Keep(Protocol):
    """Says where the numbers of a histogram's label set are kept."""

    def __call__(self, metric: str, labels: str, bounds: Sequence[float]) -> Kept:
        """Room for `metric`'s label set with this text, all 0, with a bucket more than there are bounds."""
        ...


def in_lists(metric: str, labels: str, bounds: Sequence[float]) -> Kept:  # noqa: ARG001  (the interface)
    """Keep them in this process."""
    buckets = len(bounds) + 1
    return [0] * buckets, [0.0], [None] * buckets


class HistogramSeries:
    """The observations of one label set.

    Args:
        labels: names and values.
        bounds: upper bounds of the buckets, inclusive, rising, without infinity.
        metric: the metric's name.
        keep: says where the numbers are kept.
    """

    __slots__ = ("_bounds", "_lock", "counts", "exemplars", "labels", "sums", "text")

    def __init__(
        self, labels: dict[str, str], bounds: Sequence[float], metric: str = "", keep: Keep = in_lists
    ) -> None:
        self.labels = labels
        self.text = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
        self.counts, self.sums, self.exemplars = keep(metric, self.text, bounds)
        self._bounds = bounds
        # Re-entrant: a finalizer that the collector runs in here may finish an operation of its own.
        self._lock = threading.RLock()

    def observe(self, value: float, exemplar: Seen | None = None) -> None:
        """Record `value`; the exemplar replaces the bucket's last one."""
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self.counts[bucket] += 1
            self.sums[0] += value
            if exemplar is not None:
                self.exemplars[bucket] = exemplar

    def read(self) -> tuple[list[int], float, list[Seen | None]]:
        """Counts of each bucket (not cumulative), their sum, their exemplars: all from one moment."""
        with self._lock:
            return list(self.counts), self.sums[0], self.exemplars.copy()


class ReadSeries(Protocol):
    """A label set of a histogram as it is exposed."""

    @property
    def text(self) -> str:
        """The labels as they are written between braces."""
        ...

    def read(self) -> tuple[list[int], float, list[Seen | None]]:
        """Counts of each bucket (not cumulative), their sum, their exemplars."""
        ...


class Histogram:
    """A histogram family as a collector.

    Args:
        series: the family's label sets.
        documentation: its help text, one line.
        bounds: those of the series.
        registry: where it shows.
    """

    def __init__(
        self,
        series: CappedSeries[HistogramSeries],
        documentation: str,
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self.series = series
        self.name = series.metric
        self._documentation = documentation
        self.bounds = tuple(bounds)
        self._bounds = [_number(bound) for bound in (*bounds, float("inf"))]
        registry.register(self)
        _renew_in_children(series)

    def describe(self) -> list[Metric]:
        """The family without samples."""
        return [Metric(self.name, self._documentation, "histogram", unit="seconds")]

    def collect(self) -> list[Metric]:
        """The family as prometheus_client sees it."""
        [metric] = self.describe()
        for series in self.series.all():
            counts, total, exemplars = series.read()
            running = list(accumulate(counts))
            for bound, count, seen in zip(self._bounds, running, exemplars, strict=True):
                exemplar = None if seen is None else _exemplar(seen)
                metric.add_sample(f"{self.name}_bucket", {**series.labels, "le": bound}, count, exemplar=exemplar)
            metric.add_sample(f"{self.name}_count", series.labels, running[-1])
            metric.add_sample(f"{self.name}_sum", series.labels, total)
        return [metric]

    def obskit_text(self, series: Iterable[ReadSeries] | None = None, *, openmetrics: bool) -> str:
        """The family in the text format 0.0.4 or in OpenMetrics 1.0.0: what ``collect`` gives, many times faster.

        Args:
            series: shown instead of its own.
            openmetrics: the format.
        """
        parts = [f"# HELP {self.name} {self._documentation}\n# TYPE {self.name} histogram\n"]
        if openmetrics:
            parts.append(f"# UNIT {self.name} seconds\n")
        tails = [f'le="{bound}"}} ' for bound in self._bounds]
        for index, one in enumerate(self.series.all() if series is None else series):
            if index % _SERIES_A_TURN == 0:
                time.sleep(0)  # lets the event loop's thread have the interpreter before its switch interval is over
            parts.append(_series_text(self.name, one, tails, openmetrics=openmetrics))
        return "".join(parts)


def _series_text(name: str, series: ReadSeries, tails: list[str], *, openmetrics: bool) -> str:
    counts, total, exemplars = series.read()
    running = list(accumulate(counts))
    head = f"{name}_bucket{{{series.text}{',' if series.text else ''}"
    if openmetrics and any(exemplars):
        lines = [
            f"{head}{tail}{count}{'' if seen is None else _exemplar_text(seen)}\n"
            for tail, count, seen in zip(tails, running, exemplars, strict=True)
        ]
    else:
        lines = [f"{head}{tail}{count}\n" for tail, count in zip(tails, running, strict=True)]
    labels = f"{{{series.text}}}" if series.text else ""
    lines.append(f"{name}_count{labels} {running[-1]}\n{name}_sum{labels} {_number(total)}\n")
    return "".join(lines)


class Level:
    """The value of one label set of a gauge that counts what is under way."""

    __slots__ = ("_lock", "labels", "value")

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels
        self.value = 0
        self._lock = threading.RLock()  # re-entrant for the same reason as the histogram's

    def add(self, amount: int) -> None:
        """Add `amount`, which may be negative."""
        with self._lock:
            self.value += amount


class Gauge:
    """A family of levels as a collector.

    Args:
        series: the family's label sets.
        documentation: its help text, one line.
        registry: where it shows.
    """

    def __init__(self, series: CappedSeries[Level], documentation: str, registry: CollectorRegistry) -> None:
        self.series = series
        self._documentation = documentation
        registry.register(self)
        _renew_in_children(series)

    def describe(self) -> list[Metric]:
        """The family without samples."""
        return [Metric(self.series.metric, self._documentation, "gauge")]

    def collect(self) -> Iterable[Metric]:
        """The family as prometheus_client sees it."""
        [metric] = self.describe()
        for level in self.series.all():
            metric.add_sample(metric.name, level.labels, level.value)
        return [metric]


_series: weakref.WeakSet[CappedSeries[Any]] = weakref.WeakSet()


def _renew_in_children(series: CappedSeries[Any]) -> None:
    """A forked child counts from nothing: what was counted before the fork is the parent's to show."""
    _series.add(series)
    _follow_forks()


@functools.cache
def _follow_forks() -> None:
    """Once a process: what is registered at fork cannot be taken back."""

    def renew() -> None:
        for series in list(_series):
            series.renew()

    os.register_at_fork(after_in_child=renew)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _exemplar(seen: Seen) -> Exemplar:
    trace_id, span_id, value, nanoseconds = seen
    return Exemplar({TRACE_ID: trace_id, SPAN_ID: span_id}, value, nanoseconds / 1e9)


def _exemplar_text(seen: Seen) -> str:
    trace_id, span_id, value, nanoseconds = seen
    return f' # {{{TRACE_ID}="{trace_id}",{SPAN_ID}="{span_id}"}} {value!r} {nanoseconds / 1e9:.3f}'
