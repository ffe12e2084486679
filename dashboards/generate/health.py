"""Health: which check fails, since when, and is every instance there?"""

from grafana_foundation_sdk.models import dashboard

from dashboards.generate import frame, panels, promql, series, style, variables
from dashboards.generate.style import COUNT, SECONDS
from obskit import semconv

UID = "obskit-health"
STATUS = semconv.METRIC_HEALTH_STATUS
CHECK = f'{semconv.LABEL_CHECK}=~"$check"'
BY_CHECK = ("service_name", semconv.LABEL_CHECK)
NAMED = "{{service_name}} {{check}}"


def built() -> dashboard.Dashboard:
    """The dashboard."""
    check = variables.of_label("check", "Check", "Name of the health check", STATUS, semconv.LABEL_CHECK)
    return frame.framed(
        UID,
        "Health checks",
        "Which check fails, on which service, and since when? Is every instance reached?",
        variables=[*variables.identity(), check],
        rows=[("", now()), ("Over time", over_time())],
    )


def now() -> list[frame.Panel]:
    """The state at a glance."""
    status = promql.select(STATUS, CHECK)
    up = promql.select(series.UP, series.SERVICES)
    return [
        panels.number(
            "Failing checks",
            "Checks that fail in at least one instance.",
            f"count(min {promql.by(BY_CHECK)}({status}) == 0) or 0 * count({status})",
            unit=COUNT,
            steps=style.ANY_IS_BAD,
            none="no checks",
        ),
        panels.number("Checks", "Checks that have run.", f"count(count {promql.by(BY_CHECK)}({status}))", unit=COUNT),
        panels.number(
            "Instances down",
            "Instances of services that Prometheus does not reach. Services that push are not counted.",
            f"count({up} == 0) or 0 * count({up})",
            unit=COUNT,
            steps=style.ANY_IS_BAD,
            none="none scraped",
        ),
        panels.number("Instances", "Instances of services that Prometheus scrapes.", f"count({up})", unit=COUNT),
    ]


def over_time() -> list[frame.Panel]:
    """Each check, and each instance that is scraped."""
    status = f"min {promql.by(BY_CHECK)}({promql.select(STATUS, CHECK)})"
    duration = f"max {promql.by(BY_CHECK)}({promql.select(semconv.METRIC_HEALTH_DURATION, CHECK)})"
    return [
        panels.states(
            "State of checks",
            "Red where a check fails in at least one instance. Its reason is on /health, and on a line of the log at"
            " each change.",
            status,
            legend=NAMED,
            names={"0": ("failing", style.RED), "1": ("passing", style.GREEN)},
            width=14,
        ),
        panels.graph(
            "Duration of checks",
            "How long each took last, in its slowest instance. A check fails at its timeout, of 1 s unless it says"
            " otherwise.",
            panels.query(duration, NAMED),
            unit=SECONDS,
            width=10,
        ),
        panels.states(
            "State of instances",
            "Red where Prometheus does not reach an instance.",
            f"min by (service_name, instance) ({promql.select(series.UP, series.SERVICES)})",
            legend="{{service_name}} {{instance}}",
            names={"0": ("down", style.RED), "1": ("up", style.GREEN)},
        ),
    ]
