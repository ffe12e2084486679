"""Each signal of the shop arrives in its backend, and they agree: the same trace, route, status, duration and identity."""

from collections import Counter

import pytest
from tables import show

from receiver import until
from stack import FROM_SPANS, IDENTITY, SCRAPED

SERVICES = ("gateway", "users", "orders", "inventory", "pricing", "payments")
CALLS = {
    ("gateway", "users"),
    ("gateway", "orders"),
    ("orders", "inventory"),
    ("orders", "pricing"),
    ("orders", "payments"),
}
COUNT = "http_server_request_duration_seconds_count"


def tags_of(span):
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def parent_of(span, spans):
    return next((spans[ref["spanID"]] for ref in span["references"] if ref["spanID"] in spans), None)


@pytest.fixture(scope="module")
def checkout(stack, traffic):
    """The spans of a checkout that went through, by id, each with its service."""
    found = stack.traces("gateway", operation="POST /checkout", tags='{"http.response.status_code":"201"}', limit=20)
    whole = next(each for each in found if {p["serviceName"] for p in each["processes"].values()} == set(SERVICES))
    return {
        span["spanID"]: {**span, "service": whole["processes"][span["processID"]]["serviceName"]}
        for span in whole["spans"]
    }


def test_a_trace_has_all_services_each_below_the_one_that_called_it(checkout):
    served = [span for span in checkout.values() if tags_of(span)["span.kind"] == "server"]
    calls = set()
    for span in served:
        above = parent_of(span, checkout)
        if above is None:
            assert (span["service"], span["operationName"]) == ("gateway", "POST /checkout")
            continue
        assert tags_of(above)["span.kind"] == "client"
        caller = parent_of(above, checkout)
        while tags_of(caller)["span.kind"] not in ("server", "internal"):
            caller = parent_of(caller, checkout)
        calls.add((above["service"], span["service"]))
    assert calls == CALLS
    databases = [span for span in checkout.values() if "db.system.name" in tags_of(span)]
    assert {span["service"] for span in databases} == set(SERVICES)
    assert all(parent_of(span, checkout)["service"] == span["service"] for span in databases)
    kinds = Counter((span["service"], tags_of(span)["span.kind"]) for span in checkout.values())
    show(
        "One checkout in Jaeger", ("service", "kind", "spans"), [(*key, count) for key, count in sorted(kinds.items())]
    )


def test_each_service_has_exemplars_of_traces_that_jaeger_has(stack, traffic):
    rows = []
    for service in SERVICES:
        found = stack.exemplars(f'http_server_request_duration_seconds_bucket{{service_name="{service}"}}')
        assert found, service
        for series, labels, seconds in found[-5:]:
            trace = until(lambda labels=labels: stack.trace(labels["trace_id"]), 20)  # once it is decided about
            span = next(span for span in trace["spans"] if span["spanID"] == labels["span_id"])
            tags = tags_of(span)
            assert tags["http.route"] == series["http_route"]
            assert str(tags["http.response.status_code"]) == series["http_response_status_code"]
            assert span["duration"] == pytest.approx(seconds * 1e6, abs=2)
        rows.append((service, len(found), found[-1][1]["trace_id"]))
    show("Exemplars in Prometheus", ("service", "exemplars", "one of their traces, in Jaeger"), rows)


def test_the_lines_of_a_trace_are_in_loki(stack, checkout):
    trace_id = next(iter(checkout.values()))["traceID"]
    lines = stack.lines(f'{{service_name=~".+"}} | trace_id="{trace_id}"')
    canonical = [(labels, line) for labels, line in lines if "http_route" in labels]
    served = {span["spanID"]: span for span in checkout.values() if tags_of(span)["span.kind"] == "server"}
    assert {labels["span_id"] for labels, _ in canonical} == set(served)
    for labels, line in canonical:
        span = served[labels["span_id"]]
        tags = tags_of(span)
        assert labels["service_name"] == span["service"]
        assert {name: labels[name] for name in IDENTITY} == IDENTITY
        assert float(labels["duration_ms"]) == pytest.approx(span["duration"] / 1000, abs=0.002)
        assert line == f"{tags['http.request.method']} {tags['http.route']} {tags['http.response.status_code']}"
        assert (labels["severity_text"], labels["severity_number"]) == ("info", "9")
    assert any(line == "order placed" for _, line in lines)
    show(
        "The trace's lines in Loki",
        ("service", "line"),
        sorted((labels["service_name"], line) for labels, line in lines),
    )


def test_what_was_answered_was_counted_by_scrape_and_from_spans(stack, traffic):
    answered = sum(count for status, count in traffic.items() if status.isdigit())
    scraped, spans = dict(stack.requests(SCRAPED)), dict(stack.requests(FROM_SPANS))
    show("Requests", ("service", "scraped", "from spans"), [(name, scraped[name], spans[name]) for name in SERVICES])
    assert set(scraped) == set(SERVICES)
    assert scraped == spans
    assert scraped["gateway"] >= answered
    failed = "sum(http_server_request_duration_seconds_count{error_type!=''})"
    in_spans = "sum(traces_span_metrics_calls_total{span_kind='SPAN_KIND_SERVER', status_code='STATUS_CODE_ERROR'})"
    assert stack.value(failed) == stack.value(in_spans) > 0


def test_who_calls_whom(stack, traffic):
    until(lambda: graph_of(stack) >= CALLS | {("gateway", "sqlite")}, 30)
    direct = {("gateway", "inventory"), ("gateway", "pricing")}  # a product's page
    databases = {(service, "sqlite") for service in SERVICES}
    assert graph_of(stack) == CALLS | direct | databases | {("user", "gateway")}


def graph_of(stack):
    found = stack.query("sum by (client, server) (traces_service_graph_request_total)")
    return {(labels["client"], labels["server"]) for labels, _ in found}


def test_every_target_is_up(stack, traffic):
    targets = stack.query("up")
    show("Targets of Prometheus", ("job", "instance", "up"), sorted((t["job"], t["instance"], up) for t, up in targets))
    assert {value for _, value in targets} == {1.0}
    assert Counter(labels["job"] for labels, _ in targets) == {
        "obskit": 6, "otelcol": 2, "prometheus": 1, "jaeger": 1, "loki": 1, "alertmanager": 1,
    }  # fmt: skip


def test_why_is_p99_high_for_gold_users_on_checkout(stack, traffic):
    """The question, as somebody asks it of the backends: which tier, which request, where in it, and what sets it apart."""
    by_tier = 'histogram_quantile(0.99, sum by (le, user_tier) (http_server_request_duration_seconds_bucket{service_name="gateway", http_route="/checkout", user_tier!=""}))'
    quantiles = {labels["user_tier"]: value * 1000 for labels, value in stack.query(by_tier)}
    assert max(quantiles, key=quantiles.get) == "gold"
    slow = (
        'http_server_request_duration_seconds_bucket{service_name="gateway", http_route="/checkout", user_tier="gold"}'
    )
    _, exemplar, seconds = max(stack.exemplars(slow), key=lambda each: each[2])
    trace = stack.trace(exemplar["trace_id"])
    names = {key: process["serviceName"] for key, process in trace["processes"].items()}
    inside = Counter()
    for span in trace["spans"]:
        below = sum(each["duration"] for each in trace["spans"] if parent_of(each, {span["spanID"]: span}))
        inside[names[span["processID"]]] += max(span["duration"] - below, 0) / 1000
    (service, spent), *_ = inside.most_common()
    assert service == "pricing"
    lines = stack.lines(f'{{service_name="pricing"}} | trace_id="{exemplar["trace_id"]}" | scope_name="obskit.request"')
    assert lines[0][0]["pricing_list_version"] == "2026-11b"
    show(
        "Why is p99 of POST /checkout high for gold?",
        ("step", "found"),
        [
            ("p99 by tier, of the histogram", ", ".join(f"{tier} {ms:.0f} ms" for tier, ms in sorted(quantiles.items()))),
            ("the slowest exemplar", f"{exemplar['trace_id']} {seconds * 1000:.0f} ms"),
            ("where its trace spent it", f"{service}, {spent:.0f} ms by itself"),
            ("its line in pricing", "list_version {pricing_list_version}, {pricing_rules_evaluated} rules".format(**lines[0][0])),
        ],
    )  # fmt: skip
