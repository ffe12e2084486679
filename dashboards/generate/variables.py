"""Template variables: whose signals a dashboard shows. All of them work before Prometheus has a single series."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard

from dashboards.generate import style
from dashboards.generate.promql import matchers
from obskit import semconv

ALL = dashboard.VariableOption(selected=True, text="All", value="$__all")

#: Every service that obskit observes counts its log lines, from the start, scraped or pushed.
EVERY_SERVICE = f"{semconv.METRIC_LOG_LINES}_produced_total"


def from_labels(name: str, heading: str, says: str, values: str, *, every: str = ".*") -> build.QueryVariable:
    """A variable with the values of a label; all of them at first.

    Args:
        name: in queries.
        heading: above the choice.
        says: what it selects.
        values: Grafana's ``label_values(series, label)``.
        every: the regular expression that stands for all values, where there are none as well.
    """
    made = build.QueryVariable(name).label(heading).description(says).datasource(style.PROMETHEUS)
    made = made.query({"query": values, "refId": name}).definition(values)
    made = made.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(dashboard.VariableSort.ALPHABETICAL_ASC)
    return made.multi(True).include_all(True).all_value(every).current(ALL)


def identity(series: str = EVERY_SERVICE) -> list[build.QueryVariable]:
    """Environment, namespace and service; each narrows what the next one offers."""
    some = "deployment_environment_name", "service_namespace"
    return [
        from_labels(
            "environment",
            "Environment",
            "deployment.environment.name of the services",
            f"label_values({series}, deployment_environment_name)",
        ),
        from_labels(
            "namespace",
            "Namespace",
            "service.namespace of the services",
            f"label_values({series}{{{matchers(some[:1])}}}, service_namespace)",
        ),
        # Loki refuses a selector that could match nothing: of a service there is always a name.
        from_labels(
            "service",
            "Service",
            "service.name",
            f"label_values({series}{{{matchers(some)}}}, service_name)",
            every=".+",
        ),
    ]


def of_label(name: str, heading: str, says: str, series: str, label: str) -> build.QueryVariable:
    """A variable with the values that a label has on the chosen services' series."""
    return from_labels(name, heading, says, f"label_values({series}{{{matchers()}}}, {label})")


def choice(name: str, heading: str, says: str, options: Mapping[str, str], *, first: str) -> build.CustomVariable:
    """A variable with fixed choices, name to value; another may be typed in.

    Args:
        name: in queries.
        heading: above the choice.
        says: what it selects.
        options: what is shown, and what stands in queries.
        first: the choice to begin with, by what is shown.
    """
    made = build.CustomVariable(name).label(heading).description(says)
    made = made.values(", ".join(text if text == value else f"{text} : {value}" for text, value in options.items()))
    offered = [
        dashboard.VariableOption(selected=text == first, text=text, value=value) for text, value in options.items()
    ]
    chosen = dashboard.VariableOption(selected=True, text=first, value=options[first])
    return made.options(offered).current(chosen).allow_custom_value(True)
