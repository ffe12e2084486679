"""The agent: what it adds, what it leaves, and what a Collector says of itself."""

import urllib.request

import pytest
from collectors import Collector, running
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from otlp import Backend, attributes, send, span, traces, until
from tables import show

#: What alerts and dashboards ask a Collector for.
SELF = (
    "otelcol_receiver_accepted_spans_total",
    "otelcol_receiver_refused_spans_total",
    "otelcol_exporter_sent_spans_total",
    "otelcol_exporter_queue_size",
    "otelcol_exporter_queue_capacity",
    "otelcol_process_memory_rss_bytes",
    "otelcol_process_uptime_seconds_total",
)


@pytest.fixture
def backend():
    backend = Backend()
    yield backend
    backend.close()


def exports(resource):
    """One of each signal, of one resource."""
    logs, metrics = ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add()
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points.add(as_int=1)
    for each in (logs.resource_logs[0], metrics.resource_metrics[0]):
        each.resource.attributes.extend(attributes({"service.name": "orders"} | resource))
    return traces({"orders": [span("GET /orders")]}, **resource), metrics, logs


def through(agent, backend, resource):
    """The resources of the three signals as they come out."""
    for export in exports(resource):
        send(agent.endpoint, export)
    assert until(lambda: backend.spans and backend.points and backend.records, 20)
    return [each.resource for each in (*backend.spans, *backend.points, *backend.records)]


def test_the_place_says_what_a_service_does_not(tmp_path, backend):
    place = {"SERVICE_NAMESPACE": "shop", "DEPLOYMENT_ENVIRONMENT": "demo"}
    with running(Collector("agent.yaml", folder=tmp_path, GATEWAY_ENDPOINT=backend.grpc, **place)) as (agent,):
        found = through(agent, backend, {})
    added = {"service.namespace": "shop", "deployment.environment.name": "demo", "host.name": "agent"}
    assert found == [{"service.name": "orders"} | added] * 3


def test_the_services_own_word_stands(tmp_path, backend):
    place = {"SERVICE_NAMESPACE": "shop", "DEPLOYMENT_ENVIRONMENT": "demo"}
    said = {"service.namespace": "pay", "deployment.environment.name": "prod", "host.name": "h1"}
    with running(Collector("agent.yaml", folder=tmp_path, GATEWAY_ENDPOINT=backend.grpc, **place)) as (agent,):
        assert through(agent, backend, said) == [{"service.name": "orders"} | said] * 3


def test_nothing_is_made_up(tmp_path, backend):
    with running(Collector("agent.yaml", folder=tmp_path, GATEWAY_ENDPOINT=backend.grpc)) as (agent,):
        assert through(agent, backend, {}) == [{"service.name": "orders", "host.name": "agent"}] * 3


def test_a_collector_says_how_it_fares(tmp_path, backend):
    with running(Collector("agent.yaml", folder=tmp_path, GATEWAY_ENDPOINT=backend.grpc)) as (agent,):
        send(agent.endpoint, traces({"orders": [span("GET /orders") for _ in range(7)]}))
        assert until(lambda: agent.metric("otelcol_exporter_sent_spans_total") == 7, 20)
        names = {name for name, _, _ in agent.metrics()}
        show("Said of itself", ("metric", "there"), [(name, name in names) for name in SELF])
        with urllib.request.urlopen(f"http://127.0.0.1:{agent.health}/", timeout=5) as answer:
            assert answer.status == 200
    assert set(SELF) <= names
