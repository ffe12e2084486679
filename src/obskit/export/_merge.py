"""One view of all workers: what counts is added up, also of those that have ended; gauges are of those that live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from math import fsum, isfinite
from operator import add
from typing import Any

import orjson
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

from obskit import semconv
from obskit.export._cells import (
    FAMILY,
    HISTOGRAM,
    SAMPLE,
    VALUE,
    ExemplarCells,
    Seen,
    buckets_of,
    histogram_cells,
    records,
)
from obskit.export._snapshot import Family, Read

_RECORDS_A_TURN = 250
_ADDED = frozenset({"counter", "histogram", "summary", "gaugehistogram"})
#: How gauges without a mode of their own become one, where a sum would say nothing.
_MODES = {
    "process_open_fds": "max",
    "process_max_fds": "max",
    "process_start_time_seconds": "min",
    "python_info": "max",
    semconv.METRIC_SERIES: "max",
    semconv.METRIC_HEALTH_STATUS: "min",
    semconv.METRIC_HEALTH_DURATION: "max",
}
_COMBINE: dict[str, Callable[[float, float], float]] = {"min": min, "max": max}

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Reading:
    """What is known of one worker, or of all that have ended.

    Attributes:
        pid: of the worker.
        alive: whether it runs.
        cells: its file.
        families: what it said when it was asked last.
    """

    pid: int
    alive: bool
    cells: memoryview
    families: list[Family]


def total(parts: list[float]) -> float:
    """The sum, rounded once: in whatever order workers come, and however many have been folded, it never goes back."""
    try:
        return fsum(parts)
    except (OverflowError, ValueError):  # infinities
        return sum(parts)


def exact(parts: list[float]) -> list[float]:
    """A few numbers whose sum is that of `parts`, nothing rounded (Shewchuk 1997, as in ``math.fsum``)."""
    if not all(map(isfinite, parts)):
        return [sum(parts)]
    found: list[float] = []
    for part in parts:
        high, kept = part, []
        for other in found:
            larger, smaller = (high, other) if abs(high) >= abs(other) else (other, high)
            high = larger + smaller
            low = smaller - (high - larger)
            if low:
                kept.append(low)
        found = [*kept, high]
    return found


class MergedHistogram:
    """A label set of one of obskit's histograms, over all workers."""

    __slots__ = ("_origins", "_stamps", "counts", "sums", "text")

    def __init__(self, text: str, buckets: int) -> None:
        self.text = text
        self.counts = [0] * buckets
        self.sums: list[float] = []
        self._stamps = [0] * buckets
        self._origins: list[ExemplarCells | None] = [None] * buckets

    def take(self, memory: memoryview) -> None:
        """Add what a worker has observed."""
        counts, sums, exemplars = histogram_cells(memory, len(self.counts))
        self.counts = list(map(add, self.counts, counts))
        self.sums.append(sums[0])
        stamps = exemplars.stamps()
        if any(stamps):
            mine = self._stamps
            for bucket, stamp in enumerate(stamps):
                if stamp > mine[bucket]:
                    mine[bucket] = stamp
                    self._origins[bucket] = exemplars

    def add(self, other: MergedHistogram) -> None:
        """Add another label set's; its exemplars stay behind."""
        self.counts = list(map(add, self.counts, other.counts))
        self.sums += other.sums

    def read(self) -> tuple[list[int], float, list[Seen | None]]:
        """Counts of each bucket (not cumulative), their sum, the latest exemplar of each."""
        seen = [None if origin is None else origin[bucket] for bucket, origin in enumerate(self._origins)]
        return self.counts, total(self.sums), seen


@dataclass(slots=True)
class MergedFamily:
    """A family of prometheus_client's kind, over all workers: one value, and maybe an exemplar, a label set."""

    head: Family
    values: dict[tuple[str, Labels], float] = field(default_factory=dict)
    exemplars: dict[tuple[str, Labels], Any] = field(default_factory=dict)
    #: What is added up, worker by worker; of cells, where buckets are not cumulative, and of samples.
    cells: dict[tuple[str, Labels], list[float]] = field(default_factory=dict)
    sums: dict[tuple[str, Labels], list[float]] = field(default_factory=dict)
    _set_at: dict[tuple[str, Labels], float] = field(default_factory=dict)

    @property
    def adds_up(self) -> bool:
        """Whether it counts, so that what an ended worker has counted stays."""
        return self.head.type in _ADDED

    def take(self, sample: Read, pid: int) -> None:
        """Take in a sample of a worker."""
        name, labels, value, when, exemplar = sample
        mode = self._mode(labels)
        key = name, tuple(labels.items()) if mode != "all" else (*labels.items(), ("pid", str(pid)))
        if exemplar is not None and exemplar[2] >= self.exemplars.get(key, (0, 0, 0.0))[2]:
            self.exemplars[key] = exemplar
        if self.head.stored:
            return
        if mode == "mostrecent":
            if when >= self._set_at.get(key, 0.0):
                self._set_at[key], self.values[key] = when, value
        elif mode == "sum":
            self.sums.setdefault(key, []).append(value)
        elif key in self.values and mode != "all":
            self.values[key] = _COMBINE[mode](self.values[key], value)
        else:
            self.values[key] = value

    def _mode(self, labels: dict[str, str]) -> str:
        kind = self.head.type
        if kind in _ADDED:
            return "max" if kind == "summary" and "quantile" in labels else "sum"
        if kind in ("info", "stateset"):
            return "max"
        return self.head.mode.removeprefix("live") or _MODES.get(self.head.name, "sum")

    def metric(self) -> Metric:
        """The family as prometheus_client's formats take it."""
        metric = Metric(self.head.name, self.head.documentation, self.head.type)
        metric.name, metric.unit = self.head.name, self.head.unit
        cells = {key: total(parts) for key, parts in self.cells.items()}
        sums = {key: total(parts) for key, parts in self.sums.items()}
        values = self.values | sums | _cumulative(cells, self.head)
        for key, value in values.items():
            name, labels = key
            exemplar = self.exemplars.get(key)
            shown = None if exemplar is None else Exemplar(exemplar[0], exemplar[1], exemplar[2] or None)
            metric.add_sample(name, dict(labels), value, exemplar=shown)
        return metric


def _cumulative(cells: dict[tuple[str, Labels], float], head: Family) -> dict[tuple[str, Labels], float]:
    """Samples of the values in cells: buckets of a histogram as they are exposed, its count with them."""
    if head.type != "histogram":
        return cells
    buckets: dict[Labels, list[tuple[float, str, float]]] = {}
    for (_, labels), value in cells.items():
        if labels and labels[-1][0] == "le":
            buckets.setdefault(labels[:-1], []).append((float(labels[-1][1]), labels[-1][1], value))
    found: dict[tuple[str, Labels], float] = {}
    for labels, some in buckets.items():
        some.sort()
        running = list(accumulate(value for _, _, value in some))
        for (_, bound, _), value in zip(some, running, strict=True):
            found[f"{head.name}_bucket", (*labels, ("le", bound))] = value
        found[f"{head.name}_count", labels] = running[-1]
        total = cells.get((f"{head.name}_sum", labels), 0.0)
        if some[0][0] >= 0:  # as prometheus_client has it: a sum that may fall is no counter
            found[f"{head.name}_sum", labels] = total
    return found


class Merged:
    """All workers as one.

    Args:
        readings: of the workers; families show in the order in which they come here.
        known: families of workers that are not read, whose names are to be known.
    """

    def __init__(self, readings: Iterable[Reading], known: Iterable[Family] = ()) -> None:
        self.families: dict[str, MergedFamily] = {}
        #: Values in cells of metrics that no worker has told of, by their keys: not yet, or of a registry not shown.
        self.unknown: dict[bytes, list[float]] = {}
        #: What is shown besides, added up by somebody else.
        self.others: Iterable[Metric] = ()
        self._histograms: dict[bytes, MergedHistogram] = {}
        self._cells: dict[bytes, list[float]] = {}
        self._samples: dict[bytes, list[float]] = {}
        for reading in readings:
            for family in with_losses(reading):
                self._take_family(family, reading)
            self._take_cells(reading.cells)
        for head in known:
            self._family(head)
        self._settle(self._cells, stored=True)
        self._settle(self._samples, stored=False)

    def histogram(self, key: bytes) -> list[MergedHistogram]:
        """The label sets of a histogram of obskit's, whose keys begin with `key`."""
        return [series for name, series in self._histograms.items() if name.startswith(key)]

    def metrics(self) -> list[Metric]:
        """All other families, as they are exposed."""
        return [*(family.metric() for family in self.families.values()), *self.others]

    def histograms(self) -> dict[bytes, MergedHistogram]:
        """All of them, by their keys."""
        return self._histograms

    def _family(self, head: Family) -> MergedFamily:
        family = self.families.get(head.name)
        if family is None:
            family = self.families[head.name] = MergedFamily(head)
        return family

    def _take_family(self, head: Family, reading: Reading) -> None:
        if reading.alive or head.type in _ADDED:
            family = self._family(head)
            for sample in head.samples:
                family.take(sample, reading.pid)

    def _take_cells(self, memory: memoryview) -> None:
        for number, (kind, key, cells) in enumerate(records(memory)):
            if number % _RECORDS_A_TURN == 0:
                time.sleep(0)  # as in _families: the event loop's thread need not wait for its switch interval
            if kind == HISTOGRAM:
                buckets = buckets_of(cells)
                series = self._histograms.get(key)
                if series is None:
                    series = self._histograms[key] = MergedHistogram(key.split(b"\n", 2)[2].decode(), buckets)
                series.take(cells)
            elif kind == VALUE:
                self._cells.setdefault(key, []).append(cells.cast("d")[0])
            elif kind == SAMPLE:
                self._samples.setdefault(key, []).append(cells.cast("d")[0])
            elif kind == FAMILY:
                self._family(Family._make([*orjson.loads(key), []]))

    def _settle(self, values: dict[bytes, list[float]], *, stored: bool) -> None:
        for key, parts in values.items():
            metric, name, names, label_values = orjson.loads(key)
            family = self.families.get(metric)
            if family is None:
                self.unknown[key] = parts
            elif family.adds_up:
                where = family.cells if stored else family.sums
                where.setdefault((name, tuple(zip(names, label_values, strict=True))), []).extend(parts)


def with_losses(reading: Reading) -> list[Family]:
    """The families of a worker: what was queued in it when it ended is lost, and counted by a reason of its own."""
    by_name = {family.name: family for family in reading.families}
    for item in (semconv.METRIC_SPANS, semconv.METRIC_LOG_LINES, semconv.METRIC_LOG_RECORDS, semconv.METRIC_POINTS):
        parts = [by_name.get(f"{item}_{fate}") for fate in ("produced", "exported", "dropped")]
        if None in parts:
            continue
        produced, exported, dropped = (sum(sample[2] for sample in part.samples) for part in parts if part)
        lost = 0.0 if reading.alive else max(0.0, produced - exported - dropped)
        sample: Read = (f"{item}_dropped_total", {semconv.LABEL_REASON: semconv.REASON_WORKER_ENDED}, lost, 0.0, None)
        head = by_name[f"{item}_dropped"]
        by_name[head.name] = head._replace(samples=[*head.samples, sample])
    return list(by_name.values())
