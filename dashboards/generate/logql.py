"""LogQL, composed. Lines are selected by the identity of the services, and then by the fields of their wide events."""

from dashboards.generate.promql import matchers
from obskit import semconv

STREAMS = f"{{{matchers()}}}"

#: How many requests a line stands for, where lines are sampled; and its duration in the unit of the metrics.
MEASURED = "label_format weight=`{{ or .sample_rate 1 }}`, seconds=`{{ divf .duration_ms 1000 }}`"


def label(field: str) -> str:
    """The name that Loki gives a field."""
    return field.replace(".", "_")


def stream(*stages: str) -> str:
    """Lines, filtered by stages."""
    return " | ".join([STREAMS, *stages])


def requests(*stages: str) -> str:
    """The canonical lines of requests, which alone have a method and a duration."""
    method, duration = label(semconv.HTTP_REQUEST_METHOD), semconv.DURATION_MS
    return stream(f'{method}!=""', f"{duration} > 0", *stages, MEASURED)


def total(lines: str, field: str, group: str = "") -> str:
    """The sum of a field of the lines in the time shown; of `weight`, how many requests there were."""
    grouping = f"by ({group}) " if group else ""
    return f"sum {grouping}(sum_over_time({lines} | unwrap {field} [$__range]))"


def share(part: str, whole: str) -> str:
    """A part of a whole, 0 where there is none of it."""
    return f"({part} or {whole} * 0) / {whole}"
