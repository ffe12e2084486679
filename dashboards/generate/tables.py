"""Tables: a row for each label set, a column for each query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import dashboard

from dashboards.generate import panels, style


@dataclass(frozen=True)
class Column:
    """A column of numbers: its heading, the query that fills it, and how a number is shown.

    A column with steps is coloured by them; one with a bar is drawn as long as its value is large.
    """

    name: str
    expr: str
    unit: str
    steps: style.Steps | None = None
    bar: bool = False

    def shown(self) -> list[dashboard.DynamicConfigValue]:
        """The override that formats the column."""
        made = {"unit": self.unit, "custom.width": 110}
        values = [dashboard.DynamicConfigValue(id_val=name, value=value) for name, value in made.items()]
        if self.steps:
            scale = style.thresholds(self.steps).build()
            values.append(dashboard.DynamicConfigValue(id_val="thresholds", value=scale))
            values.append(cell("color-text"))
        if self.bar:
            values = [value for value in values if value.id_val != "custom.width"]
            values.append(cell("gauge"))
        return values


def cell(kind: str) -> dashboard.DynamicConfigValue:
    """The override that draws a cell as text in colour, or as a bar."""
    return dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": kind, "mode": "basic"})


def table_of(
    title: str,
    says: str,
    columns: Sequence[Column],
    *,
    labels: Mapping[str, str],
    sort: str,
    links: Mapping[str, tuple[str, str]] | None = None,
    width: int = panels.WIDTH,
    height: int = 8,
) -> table.Panel:
    """A table over several queries that group by the same labels.

    Args:
        title: a few words.
        says: what the table answers.
        columns: of numbers, one query each.
        labels: the queries' labels and the headings of their columns.
        sort: the heading to sort by, the largest first.
        links: by heading, the title and the address of what a cell opens.
        width: of 24 columns.
        height: in rows.
    """
    made = table.Panel().title(title).description(says).span(width).height(height).datasource(style.PROMETHEUS)
    made = made.unit(style.COUNT).color_scheme(style.by_threshold()).thresholds(style.thresholds(style.NEUTRAL))
    made = made.sort_by([options.TableSortByFieldState().display_name(sort).desc(True)])
    refs = [chr(ord("A") + at) for at in range(len(columns))]
    for ref, column in zip(refs, columns, strict=True):
        made = made.with_target(panels.as_rows(column.expr, ref)).override_by_name(column.name, column.shown())
    for heading, (named, url) in (links or {}).items():
        made = made.override_by_name(heading, [link(named, url)])
    headings = {**labels, **{f"Value #{ref}": column.name for ref, column in zip(refs, columns, strict=True)}}
    return made.with_transformation(merged()).with_transformation(organized(headings))


def link(title: str, url: str) -> dashboard.DynamicConfigValue:
    """The override that makes cells open an address."""
    return dashboard.DynamicConfigValue(id_val="links", value=[build.DashboardLink(title).url(url).build()])


def merged() -> dashboard.DataTransformerConfig:
    """Joins the answers of the queries: rows whose labels are equal become one."""
    return dashboard.DataTransformerConfig(id_val="merge", options={})


def organized(headings: Mapping[str, str]) -> dashboard.DataTransformerConfig:
    """Names and orders the columns, and hides the time."""
    if len(headings) == 1:  # Grafana names a lone query's column without its reference id
        headings = {**headings, "Value": next(iter(headings.values()))}
    order = {name: at for at, name in enumerate(headings)}
    arranged = {"renameByName": dict(headings), "indexByName": order, "excludeByName": {"Time": True}}
    return dashboard.DataTransformerConfig(id_val="organize", options=arranged)
