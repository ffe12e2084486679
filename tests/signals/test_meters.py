"""Metrics of OpenTelemetry's API: on /metrics, in each push, over close and init, and never twice obskit's own."""

import json
import os
import signal

import pytest
from opentelemetry import metrics
from prometheus_client import CollectorRegistry, Counter

import fresh_process
import obskit
import raw_asgi
from obskit import Config, _init
from obskit.signals import _meters


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OTEL_", "OBSKIT_")):
            monkeypatch.delenv(name)
    yield monkeypatch
    if _init._current is not None:
        _init._current.close(1.0)
    _meters._global.observables.clear()


def scraped(obs, prefix="lib_"):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in obs.registry.collect()
        for sample in family.samples
        if sample.name.startswith(prefix)
    }


def wired(**fields):
    return obskit.init(config=Config(log_mode="off", **fields))


def test_each_kind_of_instrument_shows_on_metrics():
    with wired() as obs:
        meter = metrics.get_meter("lib")
        meter.create_counter("lib.calls", "{call}", "Calls.").add(3, {"a.b": "x", "ok": True})
        meter.create_up_down_counter("lib.open").add(-2)
        meter.create_histogram("lib.work", "s", explicit_bucket_boundaries_advisory=[1, 5]).record(2)
        meter.create_gauge("lib.level", "By").set(7)
        meter.create_observable_counter("lib.seen", [lambda _: [metrics.Observation(11)]])
        meter.create_observable_up_down_counter("lib.used", [lambda _: [metrics.Observation(4, {"ids": [1, 2]})]])
        meter.create_observable_gauge("lib.share", [lambda _: [metrics.Observation(0.5)]], "1")
        found = scraped(obs)
    assert found == {
        ("lib_calls_total", ("a_b", "x"), ("ok", "true")): 3,
        ("lib_open",): -2,
        ("lib_work_seconds_bucket", ("le", "1.0")): 0,
        ("lib_work_seconds_bucket", ("le", "5.0")): 1,
        ("lib_work_seconds_bucket", ("le", "+Inf")): 1,
        ("lib_work_seconds_count",): 1,
        ("lib_work_seconds_sum",): 2,
        ("lib_level_bytes",): 7,
        ("lib_seen_total",): 11,
        ("lib_used", ("ids", "[1,2]")): 4,
        ("lib_share_ratio",): 0.5,
    }


def test_exemplars_lead_to_the_operation():
    with wired() as obs:
        meter = metrics.get_meter("lib")
        with obskit.operation("job") as op:
            meter.create_histogram("lib.work", "s", explicit_bucket_boundaries_advisory=[1, 5]).record(2)
            meter.create_counter("lib.calls").add(1)
        exemplars = {
            sample.name: (sample.labels.get("le"), sample.exemplar)
            for family in obs.registry.collect()
            for sample in family.samples
            if sample.name.startswith("lib_") and sample.exemplar
        }
    assert exemplars.keys() == {"lib_work_seconds_bucket", "lib_calls_total"}
    le, exemplar = exemplars["lib_work_seconds_bucket"]
    assert (le, exemplar.value, exemplar.labels) == ("5.0", 2, {"trace_id": op.trace_id, "span_id": op.span_id})


def test_instruments_outlive_close_and_measure_for_the_next_init():
    before = metrics.get_meter("lib").create_counter("lib.calls")
    with wired() as obs:
        kept = metrics.get_meter("lib").create_counter("lib.kept")
        metrics.get_meter("lib").create_observable_gauge("lib.level", [lambda _: [metrics.Observation(5)]])
        before.add(1)
        kept.add(1)
        assert scraped(obs) == {("lib_calls_total",): 1, ("lib_kept_total",): 1, ("lib_level",): 5}
    before.add(10)
    kept.add(10)
    with wired() as obs:
        assert scraped(obs) == {("lib_level",): 5}
        before.add(2)
        kept.add(2)
        assert scraped(obs) == {("lib_calls_total",): 2, ("lib_kept_total",): 2, ("lib_level",): 5}


@pytest.mark.parametrize(
    "fields", [{"enabled": False}, {"metrics_exporter": ("none",)}], ids=["disabled", "no exporter"]
)
def test_nothing_is_measured_where_nothing_leaves(fields):
    with wired(**fields) as obs:
        metrics.get_meter("lib").create_counter("lib.calls").add(1)
        assert scraped(obs) == {}
        assert _meters._global.live is None


def test_what_obskit_measures_itself_is_not_made_again():
    with wired() as obs:
        contrib = metrics.get_meter("opentelemetry.instrumentation.asgi")
        contrib.create_histogram("http.server.request.duration", "s").record(1)
        contrib.create_up_down_counter("http.server.active_requests").add(1)
        contrib.create_histogram("http.client.request.duration", "s").record(1)
        contrib.create_counter("http.server.request.duration").add(1)
        contrib.create_observable_counter("http.server.request.duration", [lambda _: [metrics.Observation(1)]])
        contrib.create_histogram("http.server.request.body.size", "By").record(5)
        metrics.get_meter("fastapi").create_histogram("anything").record(1)
        assert [name for name, *_ in scraped(obs, "http_server_request_duration")] == []
        assert scraped(obs, "http_server_active_requests") == {}
        assert scraped(obs, "anything") == {}
        assert scraped(obs, "http_server_request_body_size_bytes_count") == {
            ("http_server_request_body_size_bytes_count",): 1
        }


def test_fastapi_with_a_meter_provider_set_counts_each_request_once():
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/orders/{order_id}")
    async def read_order(order_id: int):
        return {}

    with obskit.init(app, config=Config(log_mode="off")) as obs:
        for _ in range(3):
            raw_asgi.get(app, "/orders/7")
        body = raw_asgi.get(app, "/metrics").body.decode()
        assert obs.config.enabled
    counts = [line for line in body.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
    assert [line.rpartition(" ")[2] for line in counts] == ["3"]
    assert body.count("# TYPE http_server_request_duration_seconds ") == 1
    assert body.count("# TYPE http_server_active_requests ") == 1


@pytest.mark.parametrize(("name", "unit"), [("no name at all", ""), ("", ""), ("lib.calls", "u" * 64)])
def test_a_wrong_name_is_said_and_measures_nothing(name, unit, caplog):
    with wired() as obs:
        meter = metrics.get_meter("lib")
        meter.create_counter(name, unit).add(1)
        meter.create_up_down_counter(name, unit).add(1)
        meter.create_histogram(name, unit).record(1)
        meter.create_gauge(name, unit).set(1)
        meter.create_observable_gauge(name, [lambda _: [metrics.Observation(1)]], unit)
        assert scraped(obs) == {}
    said = [record.getMessage() for record in caplog.records if "measures nothing" in record.getMessage()]
    assert len(said) == 5
    assert repr(name) in said[0]


def test_a_callback_that_fails_costs_its_metric_only():
    def fails(_options):
        raise RuntimeError("mine")

    with wired() as obs:
        meter = metrics.get_meter("lib")
        meter.create_observable_gauge("lib.broken", [fails])
        meter.create_counter("lib.calls").add(1)
        assert scraped(obs) == {("lib_calls_total",): 1}


def test_of_two_scopes_with_one_name_the_first_shows_and_users_metrics_beside_it():
    with wired() as obs:
        Counter("lib_mine", "Mine.", registry=obs.registry).inc()
        metrics.get_meter("one").create_counter("lib.calls").add(1)
        metrics.get_meter("two").create_counter("lib.calls").add(5)
        assert scraped(obs)["lib_calls_total",] == 1
        assert scraped(obs)["lib_mine_total",] == 1


def test_a_foreign_provider_is_kept():
    seen = fresh_process.run(
        """
        import json
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        reader = InMemoryMetricReader()
        theirs = MeterProvider([reader], shutdown_on_exit=False)
        metrics.set_meter_provider(theirs)
        import obskit

        with obskit.init() as obs:
            metrics.get_meter("lib").create_counter("lib.calls").add(1)
            shown = [m.name for r in obs.registry.collect() for m in r.samples if m.name.startswith("lib_")]
        names = [m.name for r in reader.get_metrics_data().resource_metrics for s in r.scope_metrics for m in s.metrics]
        print(json.dumps([metrics.get_meter_provider() is theirs, names, shown]))
        """
    )
    assert seen == [True, ["lib.calls"], []]


def test_a_variable_that_names_no_provider_is_one_warning():
    lines = fresh_process.output(
        """
        import obskit
        from opentelemetry import metrics
        with obskit.init():
            metrics.get_meter("lib").create_counter("lib.calls").add(1)
        """,
        OTEL_PYTHON_METER_PROVIDER="nope",
        OTEL_SDK_DISABLED="false",
    )
    warnings = [json.loads(line)["message"] for line in lines if '"warning"' in line]
    assert [message for message in warnings if "OTEL_PYTHON_METER_PROVIDER='nope' is ignored" in message] == warnings
    assert warnings


def test_the_sdk_is_not_imported_until_somebody_measures():
    assert fresh_process.run(
        """
        import json, sys
        import obskit
        from opentelemetry import metrics
        with obskit.init():
            counter = metrics.get_meter("lib").create_counter("lib.calls")
            metrics.get_meter("lib").create_observable_gauge("lib.level", [lambda _: []])
            before = "opentelemetry.sdk.metrics" in sys.modules
            counter.add(1)
            print(json.dumps([before, "opentelemetry.sdk.metrics" in sys.modules]))
        """,
        OBSKIT_LOGS="off",
    ) == [False, True]


@pytest.mark.parametrize("counts", [True, False], ids=["counting", "observing only"])
def test_a_forked_child_counts_from_nothing(counts):
    with wired() as obs:
        counter = metrics.get_meter("lib").create_counter("lib.calls")
        metrics.get_meter("lib").create_observable_gauge("lib.level", [lambda _: [metrics.Observation(5)]])
        counter.add(5)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            signal.alarm(20)
            if counts:
                counter.add(1)
            os.write(writing, json.dumps(sorted(map(str, scraped(obs).items()))).encode())
            os._exit(0)
        os.waitpid(child, 0)
        seen = json.loads(os.read(reading, 10_000))
        os.close(reading)
        os.close(writing)
        assert seen == ["(('lib_calls_total',), 1)", "(('lib_level',), 5)"][not counts :]
        assert scraped(obs) == {("lib_calls_total",): 5, ("lib_level",): 5}


def test_the_collector_says_nothing_of_what_it_does_not_know_yet():
    registry = CollectorRegistry()
    from obskit.signals._otel_metrics import OtelMetrics

    assert OtelMetrics(list, registry).describe() == []
    assert list(registry.collect()) == []
