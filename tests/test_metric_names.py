"""Names there and back: what is pushed becomes, translated, what is scraped."""

import re

import pytest

from obskit import semconv
from obskit._metric_names import ATTRIBUTES, OWN, is_obskits, otlp_name, prometheus_label, prometheus_name

METRICS = {value for name, value in vars(semconv).items() if name.startswith("METRIC_")}


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_each_metric_of_obskits_comes_back_by_its_own_name(metric):
    name, unit = otlp_name(metric)
    assert prometheus_name(name, unit) == metric
    if metric.startswith("obskit_"):
        assert name.startswith("obskit.")
        assert is_obskits(metric)


@pytest.mark.parametrize(
    ("metric", "name", "unit"),
    [
        ("http_server_request_duration_seconds", "http.server.request.duration", "s"),
        ("http_server_active_requests", "http.server.active_requests", "{request}"),
        ("http_client_request_duration_seconds", "http.client.request.duration", "s"),
        ("db_client_operation_duration_seconds", "db.client.operation.duration", "s"),
        ("obskit_log_bytes", "obskit.log", "By"),
        ("obskit_event_loop_lag_seconds", "obskit.event_loop_lag", "s"),
        ("obskit_spans_dropped", "obskit.spans_dropped", ""),
        ("refunds", "refunds", ""),
        ("my_latency_seconds", "my_latency_seconds", ""),
    ],
)
def test_the_names_that_are_pushed(metric, name, unit):
    assert otlp_name(metric) == (name, unit)
    assert is_obskits(metric) == (not metric.startswith(("refunds", "my_")))


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        # https://github.com/prometheus/otlptranslator: what its tests hold
        ("system.filesystem.usage", "By", "gauge", "system_filesystem_usage_bytes"),
        ("system.io", "By", "counter", "system_io_bytes"),
        ("system.network.dropped", "{packets}", "counter", "system_network_dropped"),
        ("fsSize", "By", "gauge", "fsSize_bytes"),
        ("system.cpu.utilization", "1", "gauge", "system_cpu_utilization_ratio"),
        ("hw.gpu.memory.utilization", "1", "gauge", "hw_gpu_memory_utilization_ratio"),
        ("hw.fan.speed_limit", "rpm", "gauge", "hw_fan_speed_limit_rpm"),
        ("broken.metric.speed", "km/h", "gauge", "broken_metric_speed_km_per_hour"),
        ("astro.light.speed_limit", "m/s", "gauge", "astro_light_speed_limit_meters_per_second"),
        ("system_network_total_time", "s", "counter", "system_network_time_seconds"),
        ("unsupported.metric.temperature", "°F", "gauge", "unsupported_metric_temperature_F"),
        ("metric.with.seconds", "s", "gauge", "metric_with_seconds"),
        ("100.metric", "", "gauge", "_100_metric"),
        ("a__b", "", "gauge", "a_b"),
        ("requests.rate", "{requests}/s", "gauge", "requests_rate_per_second"),
        ("plain", "1", "counter", "plain"),
    ],
)
def test_the_translation_to_prometheus(name, unit, kind, expected):
    assert prometheus_name(name, unit, counter=kind == "counter", gauge=kind == "gauge") == expected


@pytest.mark.parametrize(
    ("attribute", "label"),
    [("http.route", "http_route"), ("a-b c", "a_b_c"), ("1st", "key_1st"), ("_x", "key_x"), ("__x", "__x")],
)
def test_the_translation_of_attributes(attribute, label):
    assert prometheus_label(attribute) == label


def test_each_label_of_obskits_comes_back_by_its_own_name():
    labels = {value for name, value in vars(semconv).items() if name.startswith("LABEL_")}
    assert ATTRIBUTES.keys() <= labels
    for label in labels:
        assert prometheus_label(ATTRIBUTES.get(label, label)) == label
    assert ATTRIBUTES["http_route"] == "http.route"
    assert ATTRIBUTES["websocket_close_code"] == "websocket.close_code"
    assert ATTRIBUTES["otel_metric_overflow"] == "otel.metric.overflow"
    assert all(re.fullmatch(r"[a-z.]+[a-z_.]*", attribute) for attribute in ATTRIBUTES.values())


def test_what_others_must_not_make_again():
    assert {
        "http.server.request.duration",
        "http.server.active_requests",
        "http.client.request.duration",
        "db.client.operation.duration",
    } == OWN
