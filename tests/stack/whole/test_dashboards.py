"""Every query of every panel, annotation and variable, asked of the real Prometheus and Loki while the shop runs."""

import time
from collections import defaultdict
from dataclasses import replace

import pytest
from answers import Backends
from dashboard_queries import data_sources, from_span, queries
from tables import show

ADDRESSES = ("PROMETHEUS_URL", "PROMETHEUS_INTERVAL", "JAEGER_URL", "LOKI_URL", "ALERTMANAGER_URL")
#: Longer than any rule waits for its turn.
WITHIN = 100
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def backends(stack, traffic):
    """Beside what other tests have done: some seconds of customers."""
    stack.drive(12, seed=3)
    return Backends(stack.prometheus.url, stack.loki.url, since=stack.begun)


def test_every_query_of_every_dashboard_has_an_answer(backends):
    found, deadline = {}, time.monotonic() + WITHIN
    waiting = list(enumerate(queries()))
    while waiting:
        found |= {(at, query): backends.rows(query) for at, query in waiting}
        waiting = [each for each in waiting if not found[each]]
        if not waiting or time.monotonic() > deadline:
            break
        time.sleep(2)
    rows = [(each.dashboard, each.kind, each.panel, each.datasource, found[at, each]) for at, each in sorted(found)]
    show("Queries of the dashboards", ("dashboard", "of", "name", "asks", "rows"), rows)
    assert not [f"{query.dashboard}, {query.panel}: {query.expanded()}" for _, query in waiting]


def test_without_a_single_series_a_dashboard_is_empty_and_nothing_fails(stack, backends):
    """The day before: as with a Prometheus and a Loki that have just been started."""
    yesterday = replace(backends, since=stack.begun - 90_000, until=stack.begun - 86_400)
    assert {query.panel: rows for query in queries() if (rows := yesterday.rows(query))} == {}


def test_every_panel_with_exemplars_has_some_and_jaeger_knows_their_traces(stack, backends):
    rows = []
    for query in queries():
        if query.exemplar:
            found = backends.exemplars(query)
            assert found, query.panel
            newest = max(found, key=lambda each: float(each["timestamp"]))
            assert stack.trace(newest["labels"]["trace_id"]), f"{query.panel}: {newest}"
            rows.append((query.dashboard, query.panel, len(found)))
    assert rows
    show("Exemplars, each newest one's trace found", ("dashboard", "panel", "exemplars"), rows)


def test_what_is_chosen_narrows_what_is_shown(backends):
    """As Grafana sends it: values escaped, several of them in parentheses."""
    table = [query for query in queries() if (query.dashboard, query.panel) == ("obskit-service", "Routes")]
    routes = {each["metric"]["http_route"] for each in backends.series(table[0])}
    assert len(routes) > 2
    chosen = backends.series(table[0], route=r"(/checkout|/orders/\\{order_id\\})")
    assert {each["metric"]["http_route"] for each in chosen} == {"/checkout", "/orders/{order_id}"}
    slow = next(query for query in queries() if query.panel == "Slow requests")
    assert 0 < backends.logs(slow, slow="0.01", route="/checkout") <= backends.logs(slow, slow="0.01")


def test_gold_users_are_slow_at_checkout_and_the_dashboard_says_so(backends):
    """The question that all of this is for: the share of slow requests by tier, by each bound that can be chosen."""
    slow = next(query for query in queries() if query.panel == "Slow share by $field")
    shares = defaultdict(dict)
    for bound in ("0.1", "0.25", "0.5", "1"):
        for each in backends.series(slow, slow=bound, service="gateway", route="/checkout", method="POST"):
            shares[each["metric"]["value"]][bound] = float(each["values"][-1][1])
    rows = [(tier, *found.values()) for tier, found in sorted(shares.items())]
    show("POST /checkout over so many seconds, by user_tier", ("tier", *shares["gold"]), rows)
    known = shares.keys() - {"none"}  # a handful of strangers, of whom one slow request is a large share
    assert max(known, key=lambda tier: sum(shares[tier].values())) == "gold"


def test_links_lead_from_a_line_to_its_trace_and_from_there_to_lines_and_metrics(stack, backends):
    slow = next(query for query in queries() if query.panel == "Slow requests")
    lines = stack.lines(slow.expanded(service="gateway", route="/checkout", slow="0.01"))
    source = data_sources(**dict.fromkeys(ADDRESSES, "http://a"))["jaeger"]["jsonData"]
    to_logs, to_metrics = source["tracesToLogsV2"], source["tracesToMetrics"]

    trace_id = next(labels["trace_id"] for labels, _ in lines if labels["http_response_status_code"] == "201")
    trace = stack.trace(trace_id)
    tags = {span["spanID"]: {tag["key"]: tag["value"] for tag in span["tags"]} for span in trace["spans"]}
    span = next(each for each in trace["spans"] if tags[each["spanID"]].get("http.route") == "/checkout")
    resource = {tag["key"]: tag["value"] for tag in trace["processes"][span["processID"]]["tags"]}
    found = {**resource, **tags[span["spanID"]]}

    said = stack.lines(from_span(to_logs["query"], found, [], trace_id))
    assert {labels["service_name"] for labels, _ in said} >= {"gateway", "users", "orders", "pricing", "payments"}
    rows = [
        (each["name"], len(stack.query(from_span(each["query"], found, to_metrics["tags"], trace_id))))
        for each in to_metrics["queries"]
    ]
    show("From the span POST /checkout", ("link", "series"), [("Lines of the trace", len(said)), *rows])
    assert all(series for name, series in rows if "Errors" not in name)
    assert len(from_span("{${__tags}}", found, to_metrics["tags"], trace_id).split(", ")) == 4
