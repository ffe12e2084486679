"""``/metrics`` as scrapers read it: both formats parsed by prometheus_client's own parsers."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from obskit import _guard
from obskit._pipeline import Pipeline
from obskit._tally import Tally
from obskit.export.exposition import exposition, prefers_openmetrics
from obskit.operation import Operation
from obskit.signals._internals import EventLoopLag, Internals
from obskit.signals.metrics import Metrics

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
SERVER = "http_server_request_duration_seconds"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_2 = "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def faults(monkeypatch):
    """What obskit contains in this test, which expects it."""
    seen = []
    monkeypatch.setattr(_guard, "observers", [lambda component, error: seen.append((component, str(error)))])
    return seen


class Given:
    """A user's collector that yields what it was given."""

    def __init__(self, *metrics):
        self.metrics = metrics

    def describe(self):
        return []

    def collect(self):
        for metric in self.metrics:
            if isinstance(metric, Exception):
                raise metric
            yield metric


def scrape(*registries, accept=None):
    """The samples of a scrape by (name, labels), each exposed once; both formats must agree."""
    content_type, body = exposition(registries, accept)
    parse = parse_openmetrics if content_type == OPENMETRICS else parse_text
    found = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample
    return found


def request(metrics, *, sampled=True, **fields):
    given_ = {
        "http.request.method": "GET",
        "http.route": "/items/{id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        **{name.replace("__", "."): value for name, value in fields.items()},
    }
    op = Operation(Pipeline((metrics,)), "http.server.request", "GET", SpanKind.SERVER, fields=given_)
    op.trace_id, op.span_id, op.sampled = "0a" * 16, "0b" * 8, sampled
    op.finish()


# -- content negotiation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS_3, True),
        (PROMETHEUS_2, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0", True),
        ('application/openmetrics-text; version="1.0.0"', True),
        ("application/openmetrics-text, text/plain", True),
        ("text/plain, application/openmetrics-text", False),
        ("text/plain;q=0.5, application/openmetrics-text;q=0.9", True),
        ("application/openmetrics-text;q=0.3,*/*;q=0.8", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0,text/plain;q=0", False),
        ("application/openmetrics-text; version=2.0.0", False),
        ("text/plain;version=1.0.0, application/openmetrics-text;q=0.1", True),
        ("application/openmetrics-text;q=nan", False),
        ("application/openmetrics-text;q=1e9, text/plain;q=0.1", False),
        ("application/openmetrics-text;q=", False),
        (BROWSER, False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
        (";;;,,,=;q", False),
    ],
)
def test_the_scraper_chooses_the_format(accept, openmetrics):
    assert prefers_openmetrics(accept) is openmetrics
    assert exposition((), accept) == ((OPENMETRICS, b"# EOF\n") if openmetrics else (TEXT, b""))


def test_no_accept_header_means_text():
    assert exposition((), None)[0] == TEXT


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from('aq/*;,=.019 "\t\x00é'), max_size=40) | st.text(max_size=60))
def test_garbage_in_accept_gives_one_of_the_two_formats(accept):
    assert exposition((), accept)[0] in (TEXT, OPENMETRICS)
    assert exposition((), f"application/openmetrics-text;{accept}")[0] in (TEXT, OPENMETRICS)


# -- obskit's own metrics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", [None, PROMETHEUS_3])
def test_the_fast_text_says_what_the_collectors_say(registry, accept):
    metrics = Metrics(registry=registry, metric_fields={"user.tier": ("gold",)}, series_limit=8)
    EventLoopLag(registry).observe(0.003)
    for i in range(30):
        request(metrics, http__route=f"/r{i}", user__tier="gold", sampled=i % 2 == 0)
    expected = {
        (sample.name, tuple(sorted(sample.labels.items()))): (sample.value, sample.exemplar if accept else None)
        for metric in registry.collect()
        for sample in metric.samples
    }
    got = scrape(registry, accept=accept)
    assert {key: sample.value for key, sample in got.items()} == {key: value for key, (value, _) in expected.items()}
    for key, (_, exemplar) in expected.items():
        assert (got[key].exemplar is None) == (exemplar is None)
        if exemplar:
            assert got[key].exemplar.labels == exemplar.labels
            assert got[key].exemplar.value == exemplar.value
            assert float(got[key].exemplar.timestamp) == pytest.approx(exemplar.timestamp, abs=0.001)
    assert any(exemplar for _, exemplar in expected.values()) == (accept is not None)


def test_exemplars_stand_in_openmetrics_only(registry):
    request(Metrics(registry=registry))
    assert b"trace_id" not in exposition((registry,), None)[1]
    body = exposition((registry,), PROMETHEUS_3)[1].decode()
    assert body.count(f' # {{trace_id="{"0a" * 16}",span_id="{"0b" * 8}"}} ') == 1
    assert f"# UNIT {SERVER} seconds\n" in body
    assert body.endswith("# EOF\n")
    assert body.count("# EOF") == 1


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=30) | st.text(st.sampled_from('"\\\n{}=,#\r\x00\u2028\ud800é '), max_size=12),
    st.sampled_from([None, PROMETHEUS_3]),
)
def test_whatever_stands_in_a_label_value_the_output_is_valid(value, accept):
    registry, users = CollectorRegistry(), CollectorRegistry()
    metrics = Metrics(registry=registry)
    request(metrics, http__route="/known")
    request(metrics, http__route=value, error__type=value)
    Counter("users", "Users' own.", ["name"], registry=users).labels(value).inc()
    clean = value.encode("utf-8", "replace").decode()
    got = scrape(registry, users, accept=accept)
    routes = {dict(labels)["http_route"] for name, labels in got if name == SERVER + "_count"}
    assert routes == {"/known", clean}
    assert got["users_total", (("name", clean),)].value == 1


def test_internals_are_valid_in_both_formats(registry):
    metrics = Metrics(registry=registry)
    Internals(
        registry=registry,
        resource={"service.name": "or\nders\ud800"},
        spans=Tally(["timeout"]),
        log_lines=Tally(["pipe_full"]),
        log_records=Tally(["unreachable"]),
        metric_points=Tally(["rejected"]),
        log_bytes=lambda: 1,
        dropped_fields=lambda: 2,
        calls_without_timeout=lambda: 0,
        series_counts=metrics.series_counts,
        checks=list,
    )
    for accept in (None, PROMETHEUS_3):
        got = scrape(registry, accept=accept)
        assert got["target_info", (("service_name", "or\nders?"),)].value == 1
        assert got["obskit_spans_dropped_total", (("reason", "timeout"),)].value == 0
        assert got["obskit_fields_dropped_total", ()].value == 2
        assert got["obskit_metric_series", (("metric", SERVER),)].value == 0


def test_a_scrape_while_requests_run_is_valid_and_complete(registry):
    metrics = Metrics(registry=registry, series_limit=20)
    done = threading.Event()

    def requests():
        i = 0
        while not done.is_set():
            request(metrics, http__route=f"/r{i % 40}")
            i += 1

    thread = threading.Thread(target=requests)
    thread.start()
    try:
        for _ in range(10):
            got = scrape(registry, accept=PROMETHEUS_3)
            for (name, labels), sample in got.items():
                if name == SERVER + "_count":
                    infinite = tuple(sorted((*labels, ("le", "+Inf"))))
                    assert got[SERVER + "_bucket", infinite].value == sample.value
    finally:
        done.set()
        thread.join(30)


# -- the users' metrics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", [None, PROMETHEUS_3])
def test_metrics_of_both_registries_show_without_created_series(registry, accept):
    users = CollectorRegistry()
    Counter("orders", "Orders.", ["tier"], registry=registry).labels("gold").inc(3)
    Histogram("size_bytes", "Sizes.", registry=users).observe(2, {"trace_id": "x"})
    Summary("wait_seconds", "Waits.", registry=users).observe(2)
    Info("build", "Build.", registry=users).info({"rev": "abc"})
    Enum("state", "State.", states=["up", "down"], registry=users)
    got = scrape(registry, users, accept=accept)
    names = {name for name, _ in got}
    assert got["orders_total", (("tier", "gold"),)].value == 3
    assert got["wait_seconds_count", ()].value == 1
    assert got["build_info", (("rev", "abc"),)].value == 1
    assert got["state", (("state", "up"),)].value == 1
    assert bool(got["size_bytes_bucket", (("le", "2.5"),)].exemplar) == (accept is not None)
    assert {name for name in names if name.endswith("_created")} == set()


def test_a_gauge_named_created_shows(registry):
    Gauge("jobs_created", "A gauge.", registry=registry).set(5)
    assert scrape(registry)["jobs_created", ()].value == 5


def test_the_default_registry_shows_process_metrics_once(registry):
    Metrics(registry=registry)
    for accept in (None, PROMETHEUS_3):
        names = [name for name, _ in scrape(registry, REGISTRY, REGISTRY, accept=accept)]
        assert names.count("process_cpu_seconds_total") == 1
        assert names.count("python_info") == 1


def test_of_two_metrics_with_one_name_the_first_is_shown(registry):
    users, others = CollectorRegistry(), CollectorRegistry()
    request(Metrics(registry=registry))
    Histogram(SERVER, "Another instrumentator's.", ["handler"], registry=users).labels("/x").observe(1)
    Gauge(SERVER + "_count", "Would be a second series of that name.", registry=others).set(1)
    Gauge("theirs", "Theirs.", registry=users).set(1)
    for accept in (None, PROMETHEUS_3):
        got = scrape(registry, users, others, accept=accept)
        assert not any("handler" in dict(labels) for _, labels in got)
        assert (SERVER + "_count", ()) not in got
        assert got["theirs", ()].value == 1
        assert exposition((registry, users), accept)[1].count(f"# TYPE {SERVER} ".encode()) == 1


def test_names_that_escaping_makes_equal_are_shown_once(registry):
    registry.register(Given(GaugeMetricFamily("a.b", "Dotted.", 1), GaugeMetricFamily("a_b", "Plain.", 2)))
    assert scrape(registry)["a_b", ()].value == 1


@pytest.mark.parametrize("accept", [None, PROMETHEUS_3])
def test_a_collector_that_fails_takes_only_itself_away(registry, faults, accept):
    registry.register(Given(GaugeMetricFamily("half", "Half.", 1), RuntimeError("database is down")))
    registry.register(Given(GaugeMetricFamily("whole", "Whole.", 1)))
    got = scrape(registry, accept=accept)
    assert set(got) == {("whole", ())}
    assert faults == [("metrics", "database is down")]


@pytest.mark.parametrize("accept", [None, PROMETHEUS_3])
def test_a_metric_that_cannot_be_written_takes_only_itself_away(registry, faults, accept):
    bad = Metric("bad", "Bad.", "gauge")
    bad.add_sample("bad", {"label": 3}, 1)
    registry.register(Given(bad, GaugeMetricFamily("good", "Good.", 1)))
    assert set(scrape(registry, accept=accept)) == {("good", ())}
    assert [component for component, _ in faults] == ["metrics"]


def test_a_registry_of_another_make_is_taken_whole():
    class Own:
        def collect(self):
            yield CounterMetricFamily("things", "Things.", 4)

    assert scrape(Own())["things_total", ()].value == 4
