"""Pushed and scraped are the same series: a service that has served real requests, seen both ways."""

import sys
import time
from pathlib import Path

import pytest
from processes import OPENMETRICS, messages

import fresh_process
from receiver import until

sys.path.append(str(Path(__file__).parents[1] / "export"))  # its collectors serve here too
from loopback_collectors import start_collector
from translated import exemplars_of, series_of

#: What a scrape tells of the process, and what changes from one moment to the next.
PULL_ONLY = ("process_", "python_", "target_info")
MOVING = ("obskit_metric_points_", "obskit_event_loop_lag_", "obskit_log_", "obskit_spans_", "obskit_health_")


@pytest.fixture
def collector():
    collector = start_collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def push_variables(collector, **more):
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
        "OTEL_METRICS_EXPORTER": "prometheus,otlp",
        "OTEL_METRIC_EXPORT_INTERVAL": "150",
        "OBSKIT_METRIC_FIELDS": "user.tier=free|gold",
        **more,
    }


def driven(start_service, variables):
    service = start_service("measured:app", variables=variables).ready()
    for path in ("/orders/1", "/orders/2?tier=gold", "/orders/3?tier=x", "/orders/404", "/orders/500", "/nothing"):
        service.get(path, {"traceparent": "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"})
    service.get("/health")
    return service


def pushed_after(collector, moment):
    """The metrics of a push that began after `moment`."""
    until(lambda: any(push.at > moment for push in collector.pushes[:-1]), 15)
    return next(push for push in reversed(collector.pushes) if push.at > moment).metrics


def shown(samples):
    """Scraped samples as series are keyed here."""
    return {
        (name, tuple(sorted((label, text) for label, text in sample.labels.items() if text))): sample.value
        for name, found in samples.items()
        for sample in found
    }


def test_scraped_and_pushed_are_the_same_series(start_service, collector):
    service = driven(start_service, push_variables(collector))
    scraped = shown(service.scrape())
    pushed = series_of(pushed_after(collector, time.monotonic()))

    expected = {key: value for key, value in scraped.items() if not key[0].startswith(PULL_ONLY)}
    assert pushed.keys() == expected.keys()
    for key, value in expected.items():
        if not key[0].startswith(MOVING):
            assert pushed[key] == pytest.approx(value), key
    names = {name for name, _labels in pushed}
    assert {"http_server_request_duration_seconds_bucket", "obskit_operation_duration_seconds_count"} <= names
    assert {
        "refunds_total",
        "wait_seconds_sum",
        "lib_calls_total",
        "lib_work_seconds_count",
        "lib_share_ratio",
    } <= names
    request = {"http_request_method": "GET", "http_route": "/orders/{order_id}", "url_scheme": "http"}
    key = tuple(sorted({**request, "http_response_status_code": "200", "user_tier": "gold"}.items()))
    assert pushed["http_server_request_duration_seconds_count", key] == 1


def test_names_units_attributes_and_identity_are_the_conventions(start_service, collector):
    driven(start_service, push_variables(collector))
    pushed = pushed_after(collector, time.monotonic())
    [(requests, scope, resource)] = [each for each in pushed if each[0].name == "http.server.request.duration"]
    assert (requests.unit, scope) == ("s", "obskit")
    assert resource["service.name"] == "measured"
    assert len(resource["service.instance.id"]) == 36
    statuses = {
        attribute.value.int_value
        for point in requests.histogram.data_points
        for attribute in point.attributes
        if attribute.key == "http.response.status_code"
    }
    assert statuses == {200, 404, 500}
    point = requests.histogram.data_points[0]
    assert list(point.explicit_bounds)[:3] == [0.005, 0.01, 0.025]
    assert 0 < point.start_time_unix_nano < point.time_unix_nano
    [(active, _, _)] = [each for each in pushed if each[0].name == "http.server.active_requests"]
    assert not active.sum.is_monotonic
    exemplars = exemplars_of(pushed)
    assert {trace_id for (name, _), (trace_id, _) in exemplars.items() if name == "http.server.request.duration"} == {
        "ab" * 16
    }


def test_exponential_histograms_are_pushed_and_explicit_ones_scraped(start_service, collector):
    variables = push_variables(
        collector, OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION="base2_exponential_bucket_histogram"
    )
    service = driven(start_service, variables)
    scraped = shown(service.scrape())
    pushed = pushed_after(collector, time.monotonic())
    kinds = {metric.name: metric.WhichOneof("data") for metric, _, _ in pushed}
    for name in ("http.server.request.duration", "obskit.operation_duration", "obskit.event_loop_lag", "lib.work"):
        assert kinds[name] == "exponential_histogram"
    assert kinds["wait_seconds"] == "histogram"  # prometheus_client keeps no other buckets
    series = series_of(pushed)
    count = "http_server_request_duration_seconds_count"
    assert {key: value for key, value in series.items() if key[0] == count} == {
        key: value for key, value in scraped.items() if key[0] == count
    }
    assert any(key[0] == "http_server_request_duration_seconds_bucket" for key in scraped)
    [requests] = [metric for metric, _, _ in pushed if metric.name == "http.server.request.duration"]
    for point in requests.exponential_histogram.data_points:
        assert sum(point.positive.bucket_counts) + point.zero_count == point.count


def test_deltas_add_up_to_what_is_scraped(start_service, collector):
    variables = push_variables(collector, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="delta")
    service = driven(start_service, variables)
    service.get("/orders/1")
    count = "http_server_request_duration_seconds_count"
    scraped = sum(value for (name, _), value in shown(service.scrape()).items() if name == count)
    pushed_after(collector, time.monotonic())
    added = {"refunds_total": 0, "lib_calls_total": 0, count: 0}
    for push in list(collector.pushes):
        for (name, _labels), value in series_of(push.metrics).items():
            if name in added:
                added[name] += value
    assert added == {"refunds_total": 6, "lib_calls_total": 6, count: scraped}


def test_the_last_push_comes_before_the_end(start_service, collector):
    service = driven(start_service, push_variables(collector, OTEL_METRIC_EXPORT_INTERVAL="600000"))
    assert collector.pushes == []
    assert service.stop() == 0 or service.popen.returncode == -15
    pushed = series_of(collector.pushes[-1].metrics)
    counts = [value for (name, _), value in pushed.items() if name == "http_server_request_duration_seconds_count"]
    assert sum(counts) == 6


def test_a_collector_that_hangs_holds_up_no_stop(start_service, start_receiver):
    receiver = start_receiver("hung")
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OBSKIT_SHUTDOWN_SECONDS": "1",
    }
    service = start_service("measured:app", variables=variables).ready()
    service.get("/orders/1")
    assert service.get("/metrics")[0] == 404
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < 8
    assert any("not exported within shutdown_seconds" in message for message in messages(service.lines))


def test_metrics_are_shown_on_the_console_when_asked():
    printed = "\n".join(
        fresh_process.output(
            """
            import obskit
            with obskit.init():
                with obskit.operation("job"):
                    pass
            """,
            OTEL_METRICS_EXPORTER="console",
        )
    )
    assert '"name": "obskit.operation_duration"' in printed


@pytest.mark.parametrize(
    ("command", "processes"),
    [
        (("measured:app", "--workers", "2"), 2),
        # The master, which has made the app before it forked, pushes for itself.
        (
            (
                None,
                *[
                    "-m",
                    "gunicorn",
                    "measured:app",
                    "-w",
                    "2",
                    "--preload",
                    "-k",
                    "uvicorn_worker.UvicornWorker",
                    "-b",
                    "fd://{fd}",
                ],
            ),
            3,
        ),
    ],
    ids=["uvicorn", "gunicorn with preload"],
)
def test_pushes_of_all_workers_add_up_to_what_any_of_them_shows(start_service, collector, command, processes):
    service = start_service(*command, variables=push_variables(collector)).ready()
    for number in range(60):
        service.get(f"/orders/{number % 3}")
    counted = ("http_server_request_duration_", "obskit_operation_duration_", "refunds_", "wait_seconds_", "lib_")
    scraped = {key: value for key, value in shown(service.scrape()).items() if key[0].startswith(counted)}
    began = time.monotonic()

    def by_instance():
        pushes = [push.metrics for push in list(collector.pushes) if push.at > began + 0.5]
        return {pushed[0][2]["service.instance.id"]: pushed for pushed in pushes}

    until(lambda: len(by_instance()) == processes, 15)
    summed = {}
    for pushed in by_instance().values():
        for key, value in series_of(pushed).items():
            if key[0].startswith(counted):
                summed[key] = summed.get(key, 0) + value
    shares = [key for key in scraped if key[0] == "lib_share_ratio"]  # a gauge: one value, not a sum
    assert summed.keys() == scraped.keys()
    for key in scraped.keys() - shares:
        assert summed[key] == pytest.approx(scraped[key]), key
    requests = [value for (name, _), value in summed.items() if name == "http_server_request_duration_seconds_count"]
    assert sum(requests) == 60


FORKING = """
    import os, signal, obskit
    from opentelemetry import metrics
    calls = metrics.get_meter("lib").create_counter("lib.calls")
    obs = obskit.init(service_name="forked")
    def work(times):
        for _ in range(times):
            with obskit.operation("job"):
                calls.add(1)
    work(2)
    children = []
    for times in (3, 4):
        child = os.fork()
        if not child:
            signal.alarm(30)
            work(times)
            obs.close()
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    obs.close()
"""


def test_each_process_is_an_instance_of_its_own(collector):
    fresh_process.output(FORKING, **push_variables(collector, OTEL_METRIC_EXPORT_INTERVAL="600000"), OBSKIT_LOGS="off")
    last = {}
    for push in collector.pushes:
        pushed = push.metrics
        last[pushed[0][2]["service.instance.id"]] = series_of(pushed)
    assert len(last) == 3
    calls = sorted(series["lib_calls_total", ()] for series in last.values())
    assert calls == [2, 3, 4]
    jobs = sorted(
        value
        for series in last.values()
        for (name, _), value in series.items()
        if name == "obskit_operation_duration_seconds_count"
    )
    spans = {
        attribute.value.string_value
        for request in collector.requests
        if request.path == "/v1/traces"
        for attribute in request.resource_attributes
        if attribute.key == "service.instance.id"
    }
    assert spans == last.keys()
    assert jobs == [2, 3, 4]


def test_the_text_of_a_scrape_is_unchanged_by_pushing(start_service, collector):
    service = driven(start_service, push_variables(collector))
    _, headers, body = service.get("/metrics", {"accept": OPENMETRICS})
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert b"obskit_metric_points_produced_total" in body
