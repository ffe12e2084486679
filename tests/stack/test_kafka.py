"""Kafka between the tiers: all signals pass through it, and wait in it while the tier behind it is away."""

import time
from collections import Counter

import pytest
from brokers import Broker
from collectors import Collector
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from otlp import Backend, attributes, send, span, traces, until
from tables import show


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker.start()
    broker.stop()


class Tiers:
    """kafka-in.yaml, Kafka, kafka-out.yaml, and two stand-ins for the sampling gateways that a test can look into."""

    def __init__(self, broker, folder):
        self.backend, self.gateways = Backend(), [Backend(), Backend()]
        topics = {
            f"KAFKA_{signal.upper()}_TOPIC": f"{folder.name}-{signal}" for signal in ("traces", "metrics", "logs")
        }
        kafka = {"KAFKA_BROKERS": broker.address, "KAFKA_GROUP": folder.name} | topics
        self.entrance = Collector("kafka-in.yaml", folder=folder, **kafka)
        self.exit = Collector(
            "kafka-out.yaml",
            folder=folder,
            SAMPLING_RESOLVER=f"static: {{hostnames: [{', '.join(each.grpc for each in self.gateways)}]}}",
            PROMETHEUS_OTLP_ENDPOINT=self.backend.http,
            LOKI_OTLP_ENDPOINT=self.backend.http,
            **kafka,
        )

    def close(self):
        for each in (self.entrance, self.exit):
            each.stop()
        for each in (self.backend, *self.gateways):
            each.close()

    def arrived(self):
        """How often each span has arrived, over both gateways."""
        return Counter(each.proto.span_id for gateway in self.gateways for each in gateway.spans)


@pytest.fixture
def tiers(broker, tmp_path):
    tiers = Tiers(broker, tmp_path)
    yield tiers
    tiers.close()


def load(endpoint, exports=20, size=50):
    """Send traces of four spans, in two exports each; returns the ids of the spans."""
    sent = set()
    for _ in range(exports):
        ids = [span("x").trace_id for _ in range(size)]
        for service in ("front", "back"):
            spans = [span(f"GET /{service}", trace_id=each) for each in ids for _ in range(2)]
            send(endpoint, traces({service: spans}))
            sent |= {each.span_id for each in spans}
    return sent


def test_spans_wait_in_kafka_while_the_tier_behind_it_is_away(tiers):
    rows = []

    def note(moment):
        counts = tiers.arrived()
        rows.append((moment, len(sent), len(counts), len(sent) - len(counts), counts.total() - len(counts)))

    tiers.entrance.start()
    tiers.exit.start()
    sent = load(tiers.entrance.endpoint)
    until(lambda: tiers.arrived().keys() == sent, 30)
    note("all run")
    first, second = tiers.gateways
    for each in tiers.gateways:
        each.close()
    sent |= load(tiers.entrance.endpoint)
    time.sleep(3)
    note("both gateways away")
    away = len(tiers.arrived())
    tiers.exit.kill()
    sent |= load(tiers.entrance.endpoint)
    time.sleep(1)
    note("kafka-out killed too")
    first.open()
    second.open()
    tiers.exit.start()
    until(lambda: tiers.arrived().keys() == sent, 60)
    note("all run again")
    show("Through Kafka", ("when", "sent", "arrived", "waiting", "twice"), rows)
    assert away == len(sent) // 3
    assert tiers.arrived().keys() == sent


def test_each_trace_goes_to_one_gateway_whole(tiers):
    tiers.entrance.start()
    tiers.exit.start()
    sent = load(tiers.entrance.endpoint)
    until(lambda: tiers.arrived().keys() == sent, 30)
    first, second = ({each.proto.trace_id for each in gateway.spans} for gateway in tiers.gateways)
    show("Traces by gateway", ("first", "second", "both"), [(len(first), len(second), len(first & second))])
    assert tiers.arrived().keys() == sent
    assert not first & second
    assert min(len(first), len(second)) > 0.2 * len(first | second)


def test_spans_wait_before_kafka_while_it_is_away(tmp_path):
    broker = Broker(tmp_path)
    tiers = Tiers(broker, tmp_path)
    try:
        tiers.entrance.start()
        sent = load(tiers.entrance.endpoint, exports=5)
        tiers.entrance.kill()
        broker.start()
        tiers.entrance.start()
        tiers.exit.start()
        until(lambda: tiers.arrived().keys() == sent, 60)
        show("Before Kafka was there", ("sent", "arrived"), [(len(sent), len(tiers.arrived()))])
        assert tiers.arrived().keys() == sent
    finally:
        tiers.close()
        broker.stop()


def test_metrics_and_logs_pass_too(tiers):
    tiers.entrance.start()
    tiers.exit.start()
    logs, metrics = ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(body=AnyValue(string_value="hello"))
    of = metrics.resource_metrics.add()
    of.resource.attributes.extend(attributes({"service.name": "orders"}))
    of.scope_metrics.add().metrics.add(name="basket.size").gauge.data_points.add(as_int=3, time_unix_nano=1)
    send(tiers.entrance.endpoint, logs)
    send(tiers.entrance.endpoint, metrics)
    assert until(lambda: tiers.backend.records and tiers.backend.points, 30)
    assert tiers.backend.records[0].proto.body.string_value == "hello"
    assert [(each.name, each.resource) for each in tiers.backend.points] == [
        ("basket.size", {"service.name": "orders"})
    ]
