"""``/metrics``: every registry's metrics in the text format or in OpenMetrics, as the scraper prefers.

The formats are Prometheus's text format 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/) and OpenMetrics 1.0.0
(https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from prometheus_client import exposition as text_format
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics_format
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from obskit._guard import contained
from obskit.export._cells import histogram_key

CONTENT_TYPE_TEXT = "text/plain; version=0.0.4; charset=utf-8"
CONTENT_TYPE_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")  # RFC 9110, section 12.4.2
_EOF = b"# EOF\n"
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "summary": ("_sum", "_count", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount", "_created"),
    "info": ("_info",),
}


class AllWorkers(Protocol):
    """The metrics of a group of workers, added up."""

    def histogram(self, key: bytes) -> list[Any]:
        """The label sets of one of obskit's histograms."""
        ...

    def metrics(self) -> Iterable[Metric]:
        """All other families."""
        ...


def exposition(
    registries: Iterable[Collector], accept: str | None, workers: AllWorkers | None = None
) -> tuple[str, bytes]:
    """Render what the registries hold, of all workers if they are given.

    It is plain work on the CPU, milliseconds at the series cap: call it in a thread, not on an event loop.

    Args:
        registries: in the order in which they show; of two metrics with the same name the first is shown.
        accept: the scraper's Accept header, if it sent one; whatever is in it, it never raises.
        workers: whose numbers are shown instead of this process's.

    Returns:
        The content type, and the body in UTF-8. A collector that fails is left out and counted, the rest is shown.
    """
    openmetrics = prefers_openmetrics(accept or "")
    shown: set[str] = set()
    found = [collector for registry in registries for collector in collectors(registry)]
    if workers is not None:
        found = [
            *(_OfAll(one, workers) for one in found if hasattr(one, "obskit_text")),
            *map(_Family, workers.metrics()),
        ]
    parts = [part for collector in found for part in _rendered(collector, shown, openmetrics=openmetrics)]
    if openmetrics:
        return CONTENT_TYPE_OPENMETRICS, b"".join((*parts, _EOF))
    return CONTENT_TYPE_TEXT, b"".join(parts)


def prefers_openmetrics(accept: str) -> bool:
    """Whether an Accept header asks for OpenMetrics 1.0.0 more than for the text format (RFC 9110, section 12.5.1).

    Of equal ones the first counts. Wildcards, and no header at all, mean the text format. A clause that is malformed
    or of another version is passed over.
    """
    ranked = sorted(map(_clause, accept.split(",")), key=lambda clause: -clause[1])
    for format_, quality in ranked:
        if format_ is not None and quality > 0:
            return format_ == "openmetrics"
    return False


def _clause(clause: str) -> tuple[str | None, float]:
    media_type, *parameters = (part.strip().lower() for part in clause.split(";"))
    given = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
    version = given.get("version", "").strip('"')
    quality = given.get("q", "1")
    if not _QUALITY.fullmatch(quality):
        return None, 0.0
    if media_type == "application/openmetrics-text" and version in ("", "0.0.1", "1.0.0"):
        return "openmetrics", float(quality)
    if media_type in ("text/*", "*/*") or (media_type == "text/plain" and version in ("", "0.0.4")):
        return "text", float(quality)
    return None, 0.0


def collectors(registry: Any) -> list[Any]:
    """The collectors of a registry, in the order of their registration."""
    # One by one, so that one that fails takes only itself away; a registry of another make is taken whole.
    try:
        with registry._lock:  # noqa: SLF001  (there is no public way to the collectors)
            return list(registry._collector_to_names)  # noqa: SLF001  (the same)
    except AttributeError:
        return [registry]


def _rendered(collector: Any, shown: set[str], *, openmetrics: bool) -> Iterator[bytes]:
    """The collector's metrics as text, those whose names are taken left out."""
    try:
        text = getattr(collector, "obskit_text", None)
        metrics = list(collector.collect() if text is None else collector.describe())
    except Exception as error:
        contained("metrics", error)
        return
    for metric in metrics:
        try:
            names = _names(metric)
            if shown.isdisjoint(names):
                yield (
                    _render(metric, openmetrics=openmetrics) if text is None else text(openmetrics=openmetrics).encode()
                )
                shown |= names
        except Exception as error:
            contained("metrics", error)


def _names(metric: Metric) -> set[str]:
    """Every name that the metric takes in the output."""
    name = openmetrics_format.escape_metric_name(metric.name)
    return {name, *(name + suffix for suffix in _SUFFIXES.get(metric.type, ()))}


def _render(metric: Metric, *, openmetrics: bool) -> bytes:
    kept = Metric(metric.name, metric.documentation, metric.type)
    kept.name, kept.unit = metric.name, metric.unit
    created = metric.name + "_created" if metric.type in _SUFFIXES else ""
    kept.samples = [sample for sample in metric.samples if sample.name != created]
    try:
        return _generate(kept, openmetrics=openmetrics)
    except UnicodeEncodeError:
        kept.samples = [sample._replace(labels=_encodable(sample)) for sample in kept.samples]
        return _generate(kept, openmetrics=openmetrics)


class _OfAll:
    """A histogram of obskit's with the numbers of all workers."""

    def __init__(self, collector: Any, workers: AllWorkers) -> None:
        self._collector = collector
        self._workers = workers
        self.describe = collector.describe

    def obskit_text(self, *, openmetrics: bool) -> str:
        key = histogram_key(self._collector.name, self._collector.bounds)
        text: str = self._collector.obskit_text(self._workers.histogram(key), openmetrics=openmetrics)
        return text


class _Family:
    """One metric as the registry that prometheus_client's formats expect."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> list[Metric]:
        return [self._metric]


def _generate(metric: Metric, *, openmetrics: bool) -> bytes:
    family = _Family(metric)
    if openmetrics:
        text: bytes = openmetrics_format.generate_latest(family)  # type: ignore[no-untyped-call]
        return text.removesuffix(_EOF)
    return text_format.generate_latest(family)


def _encodable(sample: Sample) -> dict[str, str]:
    return {name: value.encode("utf-8", "replace").decode() for name, value in sample.labels.items()}
