"""The metrics signal: operations as RED series, read back from the registry."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry, Counter, generate_latest

import obskit
from obskit import _guard
from obskit._pipeline import Pipeline
from obskit._tally import Tally
from obskit.exceptions import ConfigError
from obskit.operation import Operation
from obskit.signals import _internals
from obskit.signals._families import HistogramSeries
from obskit.signals._internals import EventLoopLag, Internals, register_process_metrics
from obskit.signals.metrics import Metrics

SERVER = "http_server_request_duration_seconds"
STREAM = "obskit_stream_duration_seconds"
CLIENT = "http_client_request_duration_seconds"
WORK = "obskit_operation_duration_seconds"
SOCKET = "obskit_websocket_duration_seconds"
REQUEST = {
    "http.request.method": "GET",
    "http.route": "/items/{id}",
    "http.response.status_code": 200,
    "url.scheme": "http",
}


@pytest.fixture
def registry():
    return CollectorRegistry()


def samples(registry, family):
    return [sample for metric in registry.collect() if metric.name == family for sample in metric.samples]


def counts(registry, family):
    """Observations by the values of their labels that are not empty."""
    return {
        tuple(value for value in sample.labels.values() if value): sample.value
        for sample in samples(registry, family)
        if sample.name == family + "_count"
    }


class Clocked:
    """Gives operations a duration and a trace, as the instrumentation and the traces signal do."""

    name = "clocked"

    def __init__(self, seconds=0.02, *, sampled=True):
        self.seconds = seconds
        self.sampled = sampled

    def start(self, op):
        op.trace_id, op.span_id, op.sampled = "ab" * 16, "cd" * 8, self.sampled

    def finish(self, op):
        op.duration_ns = round(self.seconds * 1e9)


def run(metrics, event="http.server.request", fields=REQUEST, *, name="", clock=None, stream=False, **finish):
    kind = {"http.server.request": SpanKind.SERVER, "http.client.request": SpanKind.CLIENT}.get(
        event, SpanKind.INTERNAL
    )
    op = Operation(Pipeline((clock or Clocked(), metrics)), event, name, kind, fields=dict(fields))
    op.stream = stream
    op.finish(**finish)
    return op


def test_a_served_request_is_one_observation_under_the_conventions_labels(registry):
    run(Metrics(registry=registry))
    [count] = [s for s in samples(registry, SERVER) if s.name.endswith("_count")]
    assert count.labels == {
        "http_request_method": "GET",
        "http_route": "/items/{id}",
        "http_response_status_code": "200",
        "url_scheme": "http",
        "error_type": "",
    }
    assert count.value == 1
    assert registry.get_sample_value(SERVER + "_sum", count.labels) == 0.02
    buckets = {s.labels["le"]: s.value for s in samples(registry, SERVER) if s.name.endswith("_bucket")}
    assert buckets == dict.fromkeys(("0.005", "0.01"), 0) | dict.fromkeys(
        ("0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0", "7.5", "10.0", "+Inf"), 1
    )


def test_bounds_are_inclusive_and_of_ones_own_choice(registry):
    metrics = Metrics(registry=registry, buckets=(0.1, 1.0))
    for seconds in (0.1, 1.0, 1.5):
        run(metrics, clock=Clocked(seconds))
    buckets = [(s.labels["le"], s.value) for s in samples(registry, SERVER) if s.name.endswith("_bucket")]
    assert buckets == [("0.1", 1), ("1.0", 2), ("+Inf", 3)]


def test_a_sampled_request_leaves_its_trace_as_exemplar_of_its_bucket(registry):
    metrics = Metrics(registry=registry)
    op = run(metrics)
    run(metrics, clock=Clocked(3, sampled=False))
    exemplars = {s.labels["le"]: s.exemplar for s in samples(registry, SERVER) if s.exemplar}
    assert list(exemplars) == ["0.025"]
    exemplar = exemplars["0.025"]
    assert exemplar.labels == {"trace_id": "ab" * 16, "span_id": "cd" * 8}
    assert exemplar.value == 0.02
    assert exemplar.timestamp == pytest.approx((op.start_ns + op.duration_ns) / 1e9)


def test_a_failed_request_carries_its_error_type(registry):
    metrics = Metrics(registry=registry)
    run(metrics, fields={**REQUEST, "http.response.status_code": 503}, error_type="503")
    run(metrics, fields={**REQUEST, "http.response.status_code": 500}, exception=ValueError())
    assert counts(registry, SERVER) == {
        ("GET", "/items/{id}", "503", "http", "503"): 1,
        ("GET", "/items/{id}", "500", "http", "ValueError"): 1,
    }


def test_no_status_is_empty_and_one_that_http_does_not_know_is_other(registry):
    metrics = Metrics(registry=registry)
    run(metrics, fields={"http.request.method": "GET", "url.scheme": "https"}, cancelled=True)
    run(metrics, fields={**REQUEST, "http.response.status_code": 777, "url.scheme": "gopher"})
    assert set(counts(registry, SERVER)) == {("GET", "https"), ("GET", "/items/{id}", "_other", "_other")}


def test_a_stream_counts_to_its_first_byte_and_its_whole_apart(registry):
    metrics = Metrics(registry=registry)
    run(metrics, fields={**REQUEST, "time_to_first_byte_ms": 40.0}, clock=Clocked(30), stream=True)
    labels = next(s.labels for s in samples(registry, SERVER) if s.name.endswith("_count"))
    assert registry.get_sample_value(SERVER + "_sum", labels) == 0.04
    assert registry.get_sample_value(STREAM + "_sum", labels) == 30
    assert [s.exemplar.value for s in samples(registry, STREAM) if s.exemplar] == [30]


def test_a_stream_that_never_began_counts_whole(registry):
    run(Metrics(registry=registry), clock=Clocked(2), stream=True)
    assert [s.value for s in samples(registry, SERVER) if s.name.endswith("_sum")] == [2]


def test_requests_under_way_are_counted_while_they_last(registry):
    metrics = Metrics(registry=registry)
    labels = {"http_request_method": "GET", "url_scheme": "http"}
    ops = [
        Operation(Pipeline((metrics,)), "http.server.request", "GET", SpanKind.SERVER, fields=dict(REQUEST))
        for _ in range(3)
    ]
    assert registry.get_sample_value("http_server_active_requests", labels) == 3
    for op in ops:
        op.finish()
    assert registry.get_sample_value("http_server_active_requests", labels) == 0


def test_an_outbound_call_has_the_conventions_client_labels(registry):
    fields = {"http.request.method": "POST", "server.address": "pay.example", "server.port": 8443}
    metrics = Metrics(registry=registry)
    run(metrics, "http.client.request", {**fields, "http.response.status_code": 201})
    run(metrics, "http.client.request", fields, exception=ConnectionRefusedError())
    assert counts(registry, CLIENT) == {
        ("POST", "pay.example", "8443", "201"): 1,
        ("POST", "pay.example", "8443", "ConnectionRefusedError"): 1,
    }
    assert [s.exemplar.labels["trace_id"] for s in samples(registry, CLIENT) if s.exemplar] == ["ab" * 16] * 2
    assert not counts(registry, WORK)


def test_any_other_operation_has_name_kind_and_outcome(registry):
    metrics = Metrics(registry=registry)
    run(metrics, "operation", {}, name="rebuild index")
    run(metrics, "message.process", {}, name="orders", exception=KeyError())
    run(metrics, "operation", {}, name="rebuild index", cancelled=True)
    assert counts(registry, WORK) == {
        ("rebuild index", "internal", "ok"): 1,
        ("orders", "internal", "error", "KeyError"): 1,
        ("rebuild index", "internal", "cancelled"): 1,
    }
    assert any(s.exemplar for s in samples(registry, WORK))


def test_a_websocket_has_its_route_and_close_code(registry):
    metrics = Metrics(registry=registry)
    op = Operation(
        Pipeline((Clocked(9), metrics)), "websocket", "GET", SpanKind.SERVER, fields={"http.route": "/ws/{room}"}
    )
    assert registry.get_sample_value("obskit_websocket_active") == 1
    op.fields["websocket.close_code"] = 1001
    op.finish()
    assert registry.get_sample_value("obskit_websocket_active") == 0
    assert counts(registry, SOCKET) == {("/ws/{room}", "1001"): 1}
    assert not counts(registry, SERVER)


def test_close_codes_that_clients_make_up_do_not_fold_routes(registry):
    metrics = Metrics(registry=registry, series_limit=40)
    for i in range(300):
        run(metrics, "websocket", {"http.route": "/a", "websocket.close_code": 3000 + i})
    for i in range(10):
        run(metrics, "websocket", {"http.route": f"/r{i}", "websocket.close_code": 1000})
    assert {(f"/r{i}", "1000") for i in range(10)} <= set(counts(registry, SOCKET))
    assert counts(registry, SOCKET)["/a", "3000"] == 1
    assert counts(registry, SOCKET)["/a", "_other"] == 298


def test_metric_fields_become_labels_with_their_allowed_values_only(registry):
    metrics = Metrics(registry=registry, metric_fields={"user.tier": ("free", "gold"), "cart": ("true", "3")})
    for tier, cart in (("gold", True), ("platinum", False), (["gold"], 3), ("", None)):
        fields = {"user.tier": tier, "cart": cart}
        run(metrics, fields=REQUEST | {name: value for name, value in fields.items() if value is not None})
    run(metrics, "operation", {"user.tier": "free"}, name="job")
    pairs = [(s.labels["user_tier"], s.labels["cart"]) for s in samples(registry, SERVER) if s.name.endswith("_count")]
    assert pairs == [("gold", "true"), ("_other", "_other"), ("_other", "3"), ("", "")]
    assert counts(registry, WORK) == {("job", "internal", "ok", "free"): 1}


@pytest.mark.parametrize("name", ["http.route", "error_type", "le", "otel.metric.overflow", "outcome"])
def test_a_metric_field_cannot_take_a_label_that_is_there(registry, name):
    with pytest.raises(ConfigError, match=name):
        Metrics(registry=registry, metric_fields={name: ("a",)})


def test_two_metric_fields_cannot_share_a_label(registry):
    with pytest.raises(ConfigError, match="2 problem"):
        Metrics(registry=registry, metric_fields={"user.tier": (), "user-tier": ()})


def test_past_the_limit_fields_fold_first_then_the_route_then_all(registry):
    metrics = Metrics(registry=registry, metric_fields={"user.tier": ("free", "gold")}, series_limit=20)
    for i in range(60):
        run(metrics, fields={**REQUEST, "http.route": f"/r{i}", "user.tier": "gold"})
    kept = counts(registry, SERVER)
    assert sum(kept.values()) == 60
    assert sum("gold" in labels for labels in kept) == 14
    assert kept["GET", "/r14", "200", "http", "_other"] == 1
    assert kept["GET", "_other", "200", "http", "_other"] == 44
    assert metrics.series_counts()[SERVER] == len(kept) == 17


def test_the_overflow_set_is_empty_but_for_its_mark(registry):
    metrics = Metrics(registry=registry, series_limit=5)
    for i in range(9):
        run(metrics, "operation", {}, name=f"job {i}")
    [overflow] = [
        s for s in samples(registry, WORK) if "otel_metric_overflow" in s.labels and s.name == WORK + "_count"
    ]
    assert overflow.value == 4
    assert overflow.labels.pop("otel_metric_overflow") == "true"
    assert set(overflow.labels.values()) == {""}
    assert metrics.series_counts()[WORK] == 6


@pytest.mark.parametrize(
    "garbage",
    [
        {"http.request.method": "GET", "http.response.status_code": 404, "url.scheme": "http"},
        {**REQUEST, "http.response.status_code": 405},
        {**REQUEST, "http.request.method": "_OTHER"},
    ],
    ids=["no route", "method not allowed", "unknown method"],
)
def test_strangers_never_fold_a_known_route(registry, garbage):
    tiers = tuple(f"t{i}" for i in range(100))
    metrics = Metrics(registry=registry, metric_fields={"user.tier": tiers}, series_limit=50)
    for i in range(500):
        run(metrics, fields={**garbage, "user.tier": tiers[i % 100]}, error_type=f"E{i}")
    assert metrics.series_counts()[SERVER] <= 6
    for i in range(30):
        run(metrics, fields={**REQUEST, "http.route": f"/r{i}", "user.tier": "t1"})
    assert {("GET", f"/r{i}", "200", "http", "t1") for i in range(30)} <= set(counts(registry, SERVER))
    assert sum(counts(registry, SERVER).values()) == 530


def test_a_scrape_sees_count_sum_and_buckets_of_one_moment(registry):
    metrics = Metrics(registry=registry, buckets=(0.5, 1.0))
    done = threading.Event()

    def requests():
        while not done.is_set():
            run(metrics, clock=Clocked(2))

    threads = [threading.Thread(target=requests) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            values = {(s.name, s.labels.get("le")): s.value for s in samples(registry, SERVER)}
            if values:
                count = values[SERVER + "_count", None]
                assert values[SERVER + "_bucket", "+Inf"] == count
                assert values[SERVER + "_sum", None] == 2 * count
    finally:
        done.set()
        for thread in threads:
            thread.join(30)
    assert (
        registry.get_sample_value("http_server_active_requests", {"http_request_method": "GET", "url_scheme": "http"})
        == 0
    )


@pytest.mark.parametrize("use", [HistogramSeries.read, lambda series: series.observe(0.5)], ids=["read", "observe"])
def test_a_series_is_read_and_written_by_one_thread_at_a_time(use):
    series = HistogramSeries({}, (1.0,))
    thread = threading.Thread(target=use, args=(series,))
    with series._lock:
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


def test_a_finalizer_that_records_while_the_same_series_is_locked_does_not_deadlock():
    series = HistogramSeries({}, (1.0,))

    def interrupted():
        with series._lock:
            series.observe(0.5)

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert series.read()[:2] == ([1, 0], 0.5)


def test_a_users_metric_cannot_take_an_obskit_name_in_the_same_registry(registry):
    Metrics(registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Counter(SERVER, "mine", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Counter("http_server_active_requests", "mine", registry=registry)


# -- obskit's own numbers -------------------------------------------------------------------------------------------


class Check:
    def __init__(self, name, ok, duration_seconds):
        self.name = name
        self.ok = ok
        self.duration_seconds = duration_seconds


def internals(registry, *, spans=None, lines=None, records=None, checks=(), resource=None):
    return Internals(
        registry=registry,
        resource=resource or {"service.name": "orders"},
        spans=spans or Tally(["queue_full", "timeout"]),
        log_lines=lines or Tally(["pipe_full"]),
        log_records=records or Tally(["unreachable"]),
        metric_points=Tally(["rejected"]),
        log_bytes=lambda: 321,
        dropped_fields=lambda: 7,
        calls_without_timeout=lambda: 8,
        series_counts=lambda: {"a_seconds": 5},
        checks=lambda: checks,
    )


def test_every_counter_is_there_from_the_start_at_zero(registry):
    internals(registry)
    get = registry.get_sample_value
    for item in ("spans", "log_lines", "log_records"):
        assert get(f"obskit_{item}_produced_total") == 0
        assert get(f"obskit_{item}_exported_total") == 0
    assert get("obskit_spans_dropped_total", {"reason": "queue_full"}) == 0
    assert get("obskit_spans_dropped_total", {"reason": "timeout"}) == 0
    assert get("obskit_log_lines_dropped_total", {"reason": "pipe_full"}) == 0
    assert get("obskit_log_records_dropped_total", {"reason": "unreachable"}) == 0
    sources = "".join(path.read_text() for path in Path(obskit.__file__).parent.rglob("*.py"))
    components = {"traces", "metrics", "logs", *re.findall(r'contained\("(\w+)"', sources)}
    assert len(components) > 8
    for component in components:
        assert get("obskit_internal_errors_total", {"component": component}) is not None


def test_what_became_of_spans_and_lines_is_read_at_the_scrape(registry):
    spans, lines, records = Tally(["timeout"]), Tally(["pipe_full"]), Tally(["unreachable"])
    internals(registry, spans=spans, lines=lines, records=records)
    spans.produced, spans.exported, spans.dropped["timeout"] = 9, 5, 3
    lines.produced, lines.exported, lines.dropped["pipe_full"] = 4, 3, 1
    get = registry.get_sample_value
    assert get("obskit_spans_produced_total") == 9
    assert get("obskit_spans_exported_total") == 5
    assert get("obskit_spans_dropped_total", {"reason": "timeout"}) == 3
    assert get("obskit_log_lines_produced_total") == 4
    assert get("obskit_log_lines_exported_total") == 3
    assert get("obskit_log_lines_dropped_total", {"reason": "pipe_full"}) == 1
    records.produced, records.exported, records.dropped["unreachable"] = 7, 4, 2
    assert get("obskit_log_records_produced_total") == 7
    assert get("obskit_log_records_exported_total") == 4
    assert get("obskit_log_records_dropped_total", {"reason": "unreachable"}) == 2
    assert get("obskit_log_bytes_total") == 321
    assert get("obskit_fields_dropped_total") == 7
    assert get("obskit_http_client_calls_without_timeout_total") == 8
    assert get("obskit_metric_series", {"metric": "a_seconds"}) == 5


def test_contained_errors_show_by_component(registry, monkeypatch):
    internals(registry)
    before = registry.get_sample_value("obskit_internal_errors_total", {"component": "httpx"})
    monkeypatch.setattr(_guard, "observers", [])
    _guard.contained("httpx", RuntimeError("expected"))
    assert registry.get_sample_value("obskit_internal_errors_total", {"component": "httpx"}) == before + 1


def test_health_checks_that_ran_show_status_and_duration(registry):
    internals(registry, checks=[Check("db", True, 0.25), Check("mq", False, 1.0), Check("new", None, 0.0)])
    get = registry.get_sample_value
    assert get("obskit_health_check_status", {"check": "db"}) == 1
    assert get("obskit_health_check_status", {"check": "mq"}) == 0
    assert get("obskit_health_check_duration_seconds", {"check": "db"}) == 0.25
    assert get("obskit_health_check_status", {"check": "new"}) is None
    assert get("obskit_health_check_duration_seconds", {"check": "new"}) is None


def test_target_info_holds_the_resource(registry):
    internals(registry, resource={"service.name": "orders", "host.cpu-count": 4})
    labels = {"service_name": "orders", "host_cpu_count": "4"}
    assert registry.get_sample_value("target_info", labels) == 1


def test_event_loop_lag_has_bounds_from_a_millisecond_to_five_seconds(registry):
    lag = EventLoopLag(registry)
    for seconds in (0.0005, 0.3, 60):
        lag.observe(seconds)
    get = registry.get_sample_value
    name = "obskit_event_loop_lag_seconds"
    assert (get(name + "_count"), get(name + "_sum")) == (3, 60.3005)
    assert [get(name + "_bucket", {"le": le}) for le in ("0.001", "0.25", "0.5", "5.0", "+Inf")] == [1, 1, 2, 2, 3]


def test_process_metrics_are_registered_only_where_the_default_registry_lacks_them(registry, monkeypatch):
    register_process_metrics(registry)
    assert not list(registry.collect())
    monkeypatch.setattr(_internals, "REGISTRY", CollectorRegistry())
    register_process_metrics(registry)
    text = generate_latest(registry).decode()
    assert "process_cpu_seconds_total " in text
    assert "python_info{" in text
    assert "python_gc_collections_total{" in text
