"""What /metrics says: the histograms of requests, and quantiles of them as Prometheus computes them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

DURATION = "http_server_request_duration_seconds"
Key = tuple[str, ...]


@dataclass
class Histogram:
    """Requests by duration. `below` maps a bucket's upper bound in seconds to how many took at most as long."""

    below: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    errors: int = 0

    @property
    def count(self) -> int:
        return int(self.below[inf])

    def bucket(self, quantile: float) -> tuple[float, float]:
        """Bounds in milliseconds of the bucket that holds the quantile."""
        bounds = sorted(self.below)
        position = next(at for at, bound in enumerate(bounds) if self.below[bound] >= quantile * self.count)
        return (bounds[position - 1] * 1000 if position else 0.0, bounds[position] * 1000)

    def quantile_ms(self, quantile: float) -> float:
        """The quantile in milliseconds, interpolated within its bucket as ``histogram_quantile`` does."""
        low, high = self.bucket(quantile)
        if high == inf:
            return low
        before = self.below[low / 1000] if low else 0
        within = self.below[high / 1000] - before
        return low + (high - low) * (quantile * self.count - before) / within if within else low

    def holds(self, quantile: float, exact_ms: float) -> bool:
        """Whether the exact quantile lies in the bucket where this histogram puts it."""
        low, high = self.bucket(quantile)
        return low - 0.001 <= exact_ms <= high + 0.001


def histograms(folder: Path, by: Sequence[str]) -> dict[Key, Histogram]:
    """The durations in a folder's ``<service>.metrics``, by service and the labels `by`, summed over the rest."""
    found: dict[Key, Histogram] = {}
    for file in sorted(folder.glob("*.metrics")):
        for family in text_string_to_metric_families(file.read_text()):
            for sample in family.samples if family.name == DURATION else ():
                labels = sample.labels
                histogram = found.setdefault((file.stem, *(labels.get(name, "") for name in by)), Histogram())
                if sample.name.endswith("_bucket"):
                    histogram.below[float(labels["le"])] += sample.value
                elif sample.name.endswith("_count") and labels["http_response_status_code"] >= "500":
                    histogram.errors += int(sample.value)
    return found
