"""What all dashboards share: tags, links to each other with the variables kept, deploy marks, rows and ids."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from dashboards.generate import panels, promql, style
from obskit import semconv

TAG = "obskit"


Panel = Builder[dashboard.Panel]
Variable = Builder[dashboard.VariableModel]
Rows = Sequence[tuple[str, Sequence[Panel]]]


def framed(
    uid: str,
    title: str,
    says: str,
    *,
    variables: Sequence[Variable],
    rows: Rows,
    window: str = "now-1h",
    marks: bool = True,
) -> dashboard.Dashboard:
    """A dashboard of rows of panels.

    Args:
        uid: its address in Grafana, which links and alerts rely on.
        title: as listed in Grafana.
        says: the question that it answers.
        variables: in the order of their choice.
        rows: titles and their panels; an empty title begins without a heading.
        window: how far back it looks at first.
        marks: whether deploys of the chosen services are marked.
    """
    made = build.Dashboard(title).uid(uid).description(says).tags([TAG]).readonly().time(window, "now").refresh("30s")
    made = made.timezone("browser").tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    made = made.link(others()).annotations([deploys()] if marks else [])
    for variable in variables:
        made = made.with_variable(variable)
    for heading, content in rows:
        made = made.with_row(build.Row(heading)) if heading else made
        for panel in content:
            made = made.with_panel(panel)
    return numbered(made.build())


def numbered(made: dashboard.Dashboard) -> dashboard.Dashboard:
    """Panels get ids in their order; links to one panel name it by its id."""
    for number, panel in enumerate(made.panels or (), start=1):
        panel.id_val = number
    return made


def others() -> build.DashboardLink:
    """The other dashboards, for the same services and the same time."""
    made = build.DashboardLink("obskit").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True)
    return made.include_vars(True).keep_time(True).icon("external link")


def deploys() -> build.AnnotationQuery:
    """A mark where a service begins to run a version that it did not run five minutes before."""
    labels = "service_name, service_version"
    series = promql.select(semconv.METRIC_TARGET_INFO, 'service_version!=""')
    before = f"last_over_time({series}[5m] offset 1m)"
    expr = f"count by ({labels}) ({series}) unless count by ({labels}) ({before})"
    made = build.AnnotationQuery().name("Deploys").datasource(style.PROMETHEUS).enable(True).icon_color(style.PURPLE)
    made = made.target(panels.query(expr, "{{service_name}} {{service_version}}").interval("1m").ref_id("Deploys"))
    made = made.step("1m")
    return made.title_format("{{service_name}} {{service_version}}").tag_keys("service_name,service_version")


def opens(uid: str, **variables: str) -> str:
    """The address of another dashboard with some variables set, and the rest and the time kept.

    Args:
        uid: of the dashboard.
        variables: what they are set to, as a rule a column of the row clicked on.
    """
    kept = [f"${{{name}:queryparam}}" for name in ("environment", "namespace", "service") if name not in variables]
    given = [f"var-{name}={value}" for name, value in variables.items()]
    return f"/d/{uid}?{'&'.join([*given, *kept])}&${{__url_time_range}}"


def column(heading: str) -> str:
    """The value that a row of a table has in a column, for an address."""
    return f"${{__data.fields.{heading}:percentencode}}"
