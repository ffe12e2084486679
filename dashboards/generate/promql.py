"""PromQL, composed. Every series is selected by its identity labels, so one dashboard serves all services."""

from collections.abc import Sequence

from obskit import semconv

#: What Grafana takes for the span of a rate: four scrapes at least, and one point of the graph.
WINDOW = "$__rate_interval"

#: The labels of each series that say whose it is, scraped or pushed, and the variable that selects them.
IDENTITY = {
    "service_name": "$service",
    "service_namespace": "$namespace",
    "deployment_environment_name": "$environment",
}

FAILED = f'{semconv.LABEL_ERROR_TYPE}!=""'


def matchers(identity: Sequence[str] = tuple(IDENTITY)) -> str:
    """The matchers of the identity labels, or of some of them."""
    return ", ".join(f'{label}=~"{IDENTITY[label]}"' for label in identity)


def select(metric: str, *more: str) -> str:
    """The series of a metric that belong to what the dashboard shows."""
    return f"{metric}{{{', '.join((*more, matchers()))}}}"


def by(labels: Sequence[str]) -> str:
    """The grouping of an aggregation; nothing to sum everything."""
    return f"by ({', '.join(labels)}) " if labels else ""


def rate(metric: str, *more: str, group: Sequence[str] = (), window: str = WINDOW) -> str:
    """Per second, summed over instances."""
    return f"sum {by(group)}(rate({select(metric, *more)}[{window}]))"


def increase(metric: str, *more: str, group: Sequence[str] = ()) -> str:
    """How many in the time that the dashboard shows."""
    return f"sum {by(group)}(increase({select(metric, *more)}[$__range]))"


def requests(histogram: str, *more: str, group: Sequence[str] = ()) -> str:
    """Observations of a histogram a second."""
    return rate(f"{histogram}_count", *more, group=group)


def share(part: str, whole: str) -> str:
    """A part of a whole, 0 where the part has no series, and nothing where the whole is 0."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def failures(histogram: str, *more: str, group: Sequence[str] = ()) -> str:
    """The share of observations that failed."""
    return share(requests(histogram, FAILED, *more, group=group), requests(histogram, *more, group=group))


def quantile(q: float, histogram: str, *more: str, group: Sequence[str] = ()) -> str:
    """A quantile in seconds; nothing, instead of NaN, where there was no traffic."""
    return f"histogram_quantile({q:g}, {rate(f'{histogram}_bucket', *more, group=('le', *group))}) >= 0"


def slower(histogram: str, bound: str, *more: str, group: Sequence[str] = ()) -> str:
    """The share of observations over one of the histogram's bounds."""
    within = rate(f"{histogram}_bucket", bound, *more, group=group)
    return f"1 - {within} / ({requests(histogram, *more, group=group)} > 0)"


def copied(expr: str, **targets: str) -> str:
    """The series of an expression with labels copied to others, given as target=source."""
    for target, source in targets.items():
        expr = f'label_replace({expr}, "{target}", "$1", "{source}", "(.*)")'
    return expr


def as_value(expr: str, label: str) -> str:
    """The series of an expression that groups by one label, which is called `value` whatever its name is."""
    return f'max by (value) (label_replace({copied(expr, value=label)}, "value", "none", "value", ""))'
