# ruff: noqa: SLF001  (prometheus_client has no public way to the collectors of a registry and the modes of a gauge)
"""What a worker is asked for: families that are read at the moment of the scrape, as the others can take them in.

Gauges, collectors of the user's own, the process's numbers, what obskit says about itself. Of metrics whose values
are written through, only what the cells do not tell: type, help and exemplars.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson
from prometheus_client import Gauge
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from obskit._guard import contained
from obskit.export._values import COUNTING, SharedValue, adopt, children, has_its_own_files

Read = tuple[str, dict[str, str], float, float, Any]
"""A sample: name, labels, value, when it was set in seconds since the epoch or 0, exemplar or None."""


class Family(NamedTuple):
    """A metric family of one worker.

    Attributes:
        name, documentation, type, unit: prometheus_client's.
        mode: how a gauge of several workers becomes one, prometheus_client's ``multiprocess_mode``; empty if not said.
        stored: whether its values are in cells; then `samples` are only those with an exemplar.
        samples: as they were collected.
    """

    name: str
    documentation: str
    type: str
    unit: str
    mode: str
    stored: bool
    samples: list[Read]


def families(collectors: Iterable[Collector], taken: set[str]) -> Iterator[Family]:
    """The families of `collectors`; one that fails is left out and counted.

    Args:
        collectors: in the order in which they show.
        taken: names that are shown already; those found are added.
    """
    for collector in collectors:
        if hasattr(collector, "obskit_text"):  # all of it is in cells
            continue
        if has_its_own_files() and isinstance(collector, (*COUNTING, Gauge)):
            continue
        try:
            adopt(collector)
            found = list(_families_of(collector))
        except Exception as error:
            contained("metrics", error)
            continue
        names = {family.name for family in found}
        yield from (family for family in found if family.name not in taken)
        taken |= names


def _families_of(collector: Any) -> Iterator[Family]:
    if isinstance(collector, COUNTING):
        [metric] = collector.collect() if SharedValue.exemplars_seen else collector.describe()
        metric.samples = [sample for sample in metric.samples if sample.exemplar is not None]
        yield _family(metric, stored=True)
    elif isinstance(collector, Gauge) and collector._is_most_recent:
        [metric] = collector.describe()
        for child in children(collector):
            labels = dict(zip(collector._labelnames, child._labelvalues, strict=True))
            metric.add_sample(metric.name, labels, child._value.get(), timestamp=child._value.timestamp)
        yield _family(metric, collector._multiprocess_mode)
    else:
        mode = collector._multiprocess_mode if isinstance(collector, Gauge) else ""
        for metric in collector.collect():
            yield _family(metric, mode)


def _family(metric: Metric, mode: str = "", *, stored: bool = False) -> Family:
    samples: list[Read] = [
        (sample.name, sample.labels, sample.value, float(sample.timestamp or 0.0), _exemplar(sample.exemplar))
        for sample in metric.samples
        if not sample.name.endswith("_created")
    ]
    return Family(metric.name, metric.documentation, metric.type, metric.unit, mode, stored, samples)


def _exemplar(exemplar: Exemplar | None) -> Any:
    return None if exemplar is None else [exemplar.labels, exemplar.value, float(exemplar.timestamp or 0.0)]


def packed(found: Iterable[Family]) -> bytes:
    """The families as bytes."""
    return orjson.dumps(
        [
            [*family[:6], [[name, labels, _finite(value), when, seen] for name, labels, value, when, seen in samples]]
            for family in found
            for samples in [family.samples]
        ],
        option=orjson.OPT_NON_STR_KEYS,
    )


def unpacked(data: bytes) -> list[Family]:
    """The families that :func:`packed` took."""
    return [
        Family._make([*head, [(name, labels, float(value), *rest) for name, labels, value, *rest in samples]])
        for *head, samples in orjson.loads(data)
    ]


def _finite(value: float) -> float | str:
    # JSON has no such numbers.
    return value if math.isfinite(value) else repr(float(value))
