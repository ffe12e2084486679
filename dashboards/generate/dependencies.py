"""Dependencies: is it us, or what we call? And who calls whom?"""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import nodegraph
from grafana_foundation_sdk.models import dashboard

from dashboards.generate import frame, panels, promql, series, style, tables, variables
from dashboards.generate.style import PER_SECOND, SECONDS, SHARE
from obskit import semconv

UID = "obskit-dependencies"
CLIENT = semconv.METRIC_HTTP_CLIENT_DURATION
DATABASE = semconv.METRIC_DB_CLIENT_DURATION
OPERATION = semconv.METRIC_OPERATION_DURATION
ADDRESS = f'{semconv.LABEL_SERVER_ADDRESS}=~"$address"'
PEER = (semconv.LABEL_SERVER_ADDRESS, semconv.LABEL_SERVER_PORT)
QUERY = (semconv.LABEL_DB_SYSTEM_NAME, semconv.LABEL_DB_NAMESPACE, semconv.LABEL_DB_OPERATION_NAME)
EDGE = ("client", "server")


def built() -> dashboard.Dashboard:
    """The dashboard."""
    address = variables.of_label("address", "Called", "server.address", f"{CLIENT}_count", semconv.LABEL_SERVER_ADDRESS)
    return frame.framed(
        UID,
        "Dependencies",
        "Is it us, or what we call? Outbound requests and database calls as the caller sees them, and who calls whom.",
        variables=[*variables.identity(), address],
        rows=[
            ("Who calls whom", graph()),
            ("Outbound requests", outbound()),
            ("Databases and caches", databases()),
            ("Calls that the code names: obskit.operation of kind client", others()),
        ],
    )


def red(
    what: str, histogram: str, *matchers: str, group: Sequence[str], named: str, unit: str, failed: str
) -> list[frame.Panel]:
    """Rate, errors and duration of calls, as their caller measures them.

    Args:
        what: is called.
        histogram: of the calls' durations.
        matchers: that narrow it.
        group: labels to tell calls apart by.
        named: the legend.
        unit: of their rate.
        failed: what counts as failed.
    """
    return [
        panels.graph(
            f"{what}",
            "A second.",
            panels.query(promql.requests(histogram, *matchers, group=group), named),
            unit=unit,
        ),
        panels.graph(
            f"Failed: {what.lower()}",
            f"Share that failed: {failed}.",
            panels.query(promql.failures(histogram, *matchers, group=group), named),
            unit=SHARE,
            steps=style.ERRORS,
        ),
        panels.graph(
            f"p99: {what.lower()}",
            "As the caller sees it. A dot is one call at its own duration: it opens the trace.",
            panels.query(promql.quantile(0.99, histogram, *matchers, group=group), named, exemplars=True),
            unit=SECONDS,
        ),
    ]


def outbound() -> list[frame.Panel]:
    """Requests to other services."""
    named, failed = "{{server_address}}:{{server_port}}", "no answer, or a status of 400 and above"
    return red("Requests sent", CLIENT, ADDRESS, group=PEER, named=named, unit=PER_SECOND, failed=failed)


def databases() -> list[frame.Panel]:
    """Calls to databases and caches."""
    named = "{{db_system_name}} {{db_namespace}} {{db_operation_name}}"
    return red("Database calls", DATABASE, group=QUERY, named=named, unit="ops", failed="the driver raised an error")


def others() -> list[frame.Panel]:
    """Calls that the code names."""
    client, group = f'{semconv.LABEL_OPERATION_KIND}="client"', (semconv.LABEL_OPERATION_NAME,)
    named, failed = "{{operation_name}}", "it raised"
    return red("Named calls", OPERATION, client, group=group, named=named, unit="ops", failed=failed)


def either_side(metric: str, group: tuple[str, ...] = EDGE) -> str:
    """Calls a second that a chosen service makes or takes."""
    sides = [
        f'{metric}{{{side}=~"$service", {side}_service_namespace=~"$namespace",'
        f' {side}_deployment_environment_name=~"$environment"}}'
        for side in EDGE
    ]
    return " or ".join(f"sum {promql.by(group)}(rate({selected}[{promql.WINDOW}]))" for selected in sides)


def graph() -> list[frame.Panel]:
    """The services and the calls between them, from spans, before sampling."""
    calls, failed = either_side(series.GRAPH_CALLS), either_side(series.GRAPH_FAILED)
    took = either_side(series.GRAPH_SERVER_SECONDS, ("le", *EDGE))
    p99 = f"histogram_quantile(0.99, {took})"
    return [
        node_graph(calls),
        tables.table_of(
            "Calls",
            "Calls as traces show them, before sampling. Errors as either side sees them, refusals (4xx) included; p99"
            " as the called service measures it. user is whoever calls from outside. A service opens its overview.",
            [
                tables.Column("Requests", calls, PER_SECOND),
                tables.Column("Errors", promql.share(f"({failed})", f"({calls})"), SHARE, style.ERRORS),
                tables.Column("p99", p99, SECONDS, bar=True),
            ],
            labels={"client": "Caller", "server": "Called"},
            sort="Requests",
            links={
                heading: ("Service overview", frame.opens("obskit-service", service=frame.column(heading)))
                for heading in ("Caller", "Called")
            },
            width=12,
            height=10,
        ),
    ]


def node_graph(calls: str) -> nodegraph.Panel:
    """The calls as a graph: Grafana takes tables called nodes and edges, with columns of fixed names."""
    edges = promql.copied(f"({calls})", source="client", target="server")
    edges = f'label_join({edges}, "id", " to ", "client", "server")'
    nodes = " or ".join(promql.copied(f"sum by ({side}) ({calls})", id=side, title=side) for side in reversed(EDGE))
    says = (
        "The number on a line is calls a second; on a service it is the calls that it takes or, where it takes none,"
        " those that it makes."
    )
    made = panels.placed(nodegraph.Panel(), "Calls as a graph", says, width=12, height=10, source=style.PROMETHEUS)
    made = made.unit(PER_SECOND)
    for ref, expr in (("nodes", f"max by (id, title) ({nodes})"), ("edges", f"max by (id, source, target) ({edges})")):
        made = made.with_target(panels.as_rows(expr, ref))
    renamed = {"renameByName": {f"Value #{ref}": "mainstat" for ref in ("nodes", "edges")}}
    return made.with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=renamed))
