"""honeycomb.yaml and otlp.yaml, laid over a gateway's file: one more backend, beside Jaeger."""

from contextlib import contextmanager

import pytest
from collectors import Collector, running
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from otlp import Backend, send, span, traces, until


@contextmanager
def gateway(folder, *files, **environ):
    """A gateway that keeps half of the traces, Jaeger and the other backend."""
    jaeger, other = Backend(), Backend()
    to = {"JAEGER_ENDPOINT": jaeger.grpc, "PROMETHEUS_OTLP_ENDPOINT": jaeger.http, "LOKI_OTLP_ENDPOINT": jaeger.http}
    environ |= {"HONEYCOMB_ENDPOINT": other.http, "OTLP_BACKEND_ENDPOINT": other.http, "DECISION_WAIT": "1s"}
    with running(Collector(*files, folder=folder, SAMPLE_PERCENT=50, **to, **environ)) as (one,):
        yield one, jaeger, other
    jaeger.close()
    other.close()


@pytest.mark.parametrize("base", ["gateway.yaml", "gateway-sampling.yaml"])
def test_honeycomb_has_the_key_and_the_weight(tmp_path, base):
    with gateway(tmp_path, base, "honeycomb.yaml", HONEYCOMB_API_KEY="hc-key") as (one, jaeger, other):
        errors = [span("GET /broken", error=True) for _ in range(5)]
        send(one.endpoint, traces({"orders": [span("GET /orders") for _ in range(200)] + errors}))
        assert until(lambda: jaeger.spans and len(jaeger.spans) == len(other.spans), 20)
        weights = {(each.name, each.attributes.get("SampleRate")) for each in other.spans}
    assert weights == {("GET /orders", 2), ("GET /broken", None)}
    assert {headers["x-honeycomb-team"] for headers in other.headers} == {"hc-key"}
    assert not any("hc-key" in text for headers in jaeger.headers for text in headers.values())


def test_any_backend_has_all_signals_with_the_headers_of_a_file(tmp_path):
    headers = tmp_path / "headers.yaml"
    headers.write_text("authorization: Bearer s3cr3t\nx-scope: team-a\n")
    logs, metrics = ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(body=AnyValue(string_value="hello ann@shop.example"))
    points = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="basket.size").gauge.data_points
    points.add(as_int=3, time_unix_nano=1)
    with gateway(tmp_path, "gateway.yaml", "otlp.yaml", OTLP_HEADERS_FILE=headers) as (one, jaeger, other):
        for export in (traces({"orders": [span("GET /broken", error=True)]}), logs, metrics):
            send(one.endpoint, export)
        assert until(lambda: other.spans and other.records and other.points and jaeger.spans, 20)
        assert {each.name for each in other.points} == {"basket.size"}
        assert other.records[0].proto.body.string_value == "hello ****"
    sent = {(each["authorization"], each["x-scope"]) for each in other.headers}
    assert sent == {("Bearer s3cr3t", "team-a")}
