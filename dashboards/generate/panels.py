"""Panels as these dashboards use them: each says what it answers, in which unit, over which source."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, logs, loki, nodegraph, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import prometheus as models

from dashboards.generate import style

Panel = TypeVar("Panel", timeseries.Panel, stat.Panel, bargauge.Panel, nodegraph.Panel, logs.Panel, statetimeline.Panel)
Query = TypeVar("Query", prometheus.Dataquery, loki.Dataquery)

WIDTH = 24


def placed(panel: Panel, title: str, says: str, *, width: int, height: int, source: common.DataSourceRef) -> Panel:
    """What every panel has: a title, a sentence on what it answers, a place and a source."""
    return panel.title(title).description(says).span(width).height(height).datasource(source)


def query(expr: str, legend: str = "", *, exemplars: bool = False) -> prometheus.Dataquery:
    """A query over time; with exemplars, its dots open traces."""
    made = prometheus.Dataquery().datasource(style.PROMETHEUS).expr(expr).range().exemplar(exemplars)
    return made.legend_format(legend or "__auto")


def now(expr: str, legend: str = "") -> prometheus.Dataquery:
    """A query of the last value, for a table or a single number."""
    made = prometheus.Dataquery().datasource(style.PROMETHEUS).expr(expr).instant().exemplar(False)
    return made.legend_format(legend or "__auto")


def as_rows(expr: str, ref: str) -> prometheus.Dataquery:
    """A query of the last value whose labels become columns."""
    return now(expr).format(models.PromQueryFormat.TABLE).ref_id(ref)


def lines(expr: str, *, legend: str = "", ref: str = "A", instant: bool = False) -> loki.Dataquery:
    """A LogQL query."""
    made = loki.Dataquery().datasource(style.LOKI).expr(expr).legend_format(legend).ref_id(ref)
    return made.query_type("instant" if instant else "range")


def lettered(queries: Sequence[Query]) -> list[Query]:
    """The queries of a panel, with their reference ids."""
    return [made.ref_id(chr(ord("A") + at)) for at, made in enumerate(queries)]


def graph(
    title: str,
    says: str,
    *queries: Query,
    unit: str,
    width: int = 8,
    height: int = 8,
    colors: Mapping[str, str] | None = None,
    stacked: bool = False,
    steps: style.Steps | None = None,
    least: float | None = 0,
    most: float | None = None,
    source: common.DataSourceRef = style.PROMETHEUS,
) -> timeseries.Panel:
    """Lines over time; their names choose their colours, unless a meaning does.

    Args:
        title: a few words.
        says: what the panel answers, and what to make of it.
        queries: each with its legend.
        unit: Grafana's name of it.
        width: of 24 columns.
        height: in rows.
        colors: of series whose name has a meaning.
        stacked: where the sum of the lines says something.
        steps: values from which on it is worth a look, drawn as dashed lines.
        least: the bottom of the scale; None where values may be less than 0.
        most: the top of the scale, where there is one.
        source: of the queries.
    """
    made = placed(timeseries.Panel(), title, says, width=width, height=height, source=source).unit(unit)
    made = made.color_scheme(style.by_name()).line_width(1).fill_opacity(70 if stacked else 5)
    made = made.show_points(common.VisibilityMode.NEVER).legend(legend()).tooltip(tooltip())
    for each in lettered(queries):
        made = made.with_target(each)
    if stacked:
        made = made.stacking(options.StackingConfig().mode(common.StackingMode.NORMAL)).line_width(0)
    if steps:
        dashed = options.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds(style.thresholds(steps)).thresholds_style(dashed)
    if least is not None:
        made = made.min(least)
    if most is not None:
        made = made.max(most)
    for name, color in (colors or {}).items():
        made = made.override_by_name(name, style.fixed(color))
    return made


def legend() -> options.VizLegendOptions:
    """Below the lines: the last value and the highest, the highest first."""
    made = options.VizLegendOptions().display_mode(common.LegendDisplayMode.TABLE).show_legend(True)
    return made.placement(common.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"]).sort_by("Max").sort_desc(True)


def tooltip() -> options.VizTooltipOptions:
    """All series at the time under the cursor, the highest first."""
    return options.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)


def number(
    title: str,
    says: str,
    expr: str,
    *,
    unit: str,
    steps: style.Steps = style.NEUTRAL,
    width: int = 6,
    none: str = "no traffic",
) -> stat.Panel:
    """One number, with its course in the background."""
    made = placed(stat.Panel(), title, says, width=width, height=4, source=style.PROMETHEUS).unit(unit).no_value(none)
    made = made.thresholds(style.thresholds(steps)).color_scheme(style.by_threshold())
    made = made.color_mode(common.BigValueColorMode.VALUE).graph_mode(common.BigValueGraphMode.AREA)
    made = made.reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    return made.with_target(query(expr, title).ref_id("A"))


def bars(
    title: str, says: str, *queries: loki.Dataquery, unit: str, colors: Mapping[str, str] | None = None
) -> bargauge.Panel:
    """A bar for each series of LogQL queries, as long as its value is large, in the time that is shown.

    Args:
        title: a few words.
        says: what the panel answers.
        queries: of one value a series.
        unit: Grafana's name of it.
        colors: by regular expression of a bar's name, where names have a meaning.
    """
    made = placed(bargauge.Panel(), title, says, width=8, height=8, source=style.LOKI).unit(unit).min(0)
    made = made.display_mode(common.BarGaugeDisplayMode.BASIC).orientation(common.VizOrientation.HORIZONTAL)
    made = made.value_mode(common.BarGaugeValueMode.TEXT).color_scheme(style.by_name()).no_value("none")
    made = made.reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    for each in lettered(queries):
        made = made.with_target(each)
    for names, color in (colors or {}).items():
        made = made.override_by_regexp(names, style.fixed(color))
    return made


def log_lines(title: str, says: str, expr: str, *, height: int = 10) -> logs.Panel:
    """Lines of logs, newest first; a line opens into its fields, and its trace id into the trace."""
    made = placed(logs.Panel(), title, says, width=WIDTH, height=height, source=style.LOKI)
    made = made.show_time(True).wrap_log_message(True).enable_log_details(True)
    return made.sort_order(common.LogsSortOrder.DESCENDING).with_target(lines(expr).max_lines(200))


def states(
    title: str,
    says: str,
    expr: str,
    *,
    legend: str,
    names: Mapping[str, tuple[str, str]],
    width: int = WIDTH,
    height: int = 8,
) -> statetimeline.Panel:
    """A band over time for each series, coloured by its state.

    Args:
        title: a few words.
        says: what the panel answers.
        expr: whose values are states.
        legend: the name of a band.
        names: of a value: its name and colour.
        width: of 24 columns.
        height: in rows.
    """
    results = {value: dashboard.ValueMappingResult(text=text, color=color) for value, (text, color) in names.items()}
    made = placed(statetimeline.Panel(), title, says, width=width, height=height, source=style.PROMETHEUS)
    made = made.mappings([dashboard.ValueMap(options=results)]).color_scheme(style.by_threshold()).unit("none")
    return made.merge_values(True).tooltip(tooltip()).with_target(query(expr, legend).ref_id("A"))
