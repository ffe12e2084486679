"""Metrics by OTLP: what is read of a registry, both encodings, deltas, and the push that keeps its deadlines."""

import os
import signal
import threading
import time

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics._internal.exemplar import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from otlp_json import parse_json
from prometheus_client import CollectorRegistry, Counter, Enum, Info, Summary
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client import Histogram as PrometheusHistogram

from obskit.export._deltas import Deltas
from obskit.export._encode_metrics import metrics_protobuf, points_in
from obskit.export._encode_metrics_json import metrics_json
from obskit.export._exporter import Both, ExportResult
from obskit.export._push import Push, _after_fork_in_child
from obskit.export.metrics import Source
from obskit.signals.metrics import Metrics

CUMULATIVE, DELTA = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
RESOURCE = Resource({"service.name": "orders"})
EXEMPLARS = [Exemplar({"k": "v"}, 0.3, 7, span_id=0xAB, trace_id=0xCD), Exemplar({}, 2, 8)]
WHEN = {"start_time_unix_nano": 1, "time_unix_nano": 2}


def histogram_point(**given):
    point = {"count": 3, "sum": 1.5, "bucket_counts": [1, 2], "explicit_bounds": [0.5], "min": None, "max": None}
    return HistogramDataPoint(attributes={"a": "b"}, **WHEN, exemplars=EXEMPLARS, **{**point, **given})


def exponential_point(**given):
    point = {
        "count": 6,
        "sum": 2.5,
        "scale": -2,
        "zero_count": 1,
        "positive": Buckets(-3, [1, 0, 300]),
        "negative": Buckets(0, []),
        "flags": 0,
        "min": None,
        "max": None,
    }
    return ExponentialHistogramDataPoint(attributes={"n": 1}, **WHEN, exemplars=EXEMPLARS, **{**point, **given})


def number(value, **given):
    return NumberDataPoint(**{"attributes": {"a": "b"}, **WHEN, "value": value, **given})


DATA = {
    "a counter of ints": Sum([number(3), number(-(2**40), exemplars=EXEMPLARS)], CUMULATIVE, is_monotonic=True),
    "a delta of floats": Sum([number(0.5)], DELTA, is_monotonic=True),
    "what goes up and down": Sum([number(4)], CUMULATIVE, is_monotonic=False),
    "a gauge": Gauge([number(1.25), number(7)]),
    "a histogram": Histogram([histogram_point(), histogram_point(min=0.1, max=0.9)], CUMULATIVE),
    "one bucket": Histogram([histogram_point(bucket_counts=[3], explicit_bounds=[])], CUMULATIVE),
    "an exponential histogram": ExponentialHistogram([exponential_point()], DELTA),
    "both signs": ExponentialHistogram(
        [exponential_point(scale=20, negative=Buckets(5, [2]), min=-1.0, max=4.0)], CUMULATIVE
    ),
}


def batch_of(*data, resource=RESOURCE, scope=None):
    metrics = [Metric(f"m{n}", "what it is", "s", each) for n, each in enumerate(data)]
    return [ResourceMetrics(resource, [ScopeMetrics(scope or InstrumentationScope("lib", "1"), metrics, "")], "")]


def read(encode, batch):
    encoded = encode(batch)
    assert encoded.dropped == 0
    if encode is metrics_json:
        return parse_json(encoded.body, ExportMetricsServiceRequest)
    return ExportMetricsServiceRequest.FromString(encoded.body)


def official(batch):
    expected = encode_metrics(MetricsData(batch))
    for of_resource in expected.resource_metrics:
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                for point in metric.gauge.data_points:  # of which the official encoder leaves the start out
                    point.start_time_unix_nano = 1
    return expected


@pytest.mark.parametrize("encode", [metrics_protobuf, metrics_json])
@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_both_encodings_equal_the_official_encoder(encode, data):
    batch = batch_of(data)
    assert read(encode, batch) == official(batch)


@pytest.mark.parametrize("encode", [metrics_protobuf, metrics_json])
def test_several_metrics_under_their_scopes(encode):
    batch = batch_of(*DATA.values())
    assert read(encode, batch) == official(batch)
    assert points_in(batch) == 11


@pytest.mark.parametrize("encode", [metrics_protobuf, metrics_json])
def test_a_metric_that_cannot_be_encoded_is_left_out_alone(encode, contained_errors):
    encoded = encode(batch_of(Gauge([number("x"), number(1)]), DATA["a gauge"]))
    assert encoded.dropped == 2
    message = (
        parse_json(encoded.body, ExportMetricsServiceRequest)
        if encode is metrics_json
        else ExportMetricsServiceRequest.FromString(encoded.body)
    )
    assert [metric.name for metric in message.resource_metrics[0].scope_metrics[0].metrics] == ["m1"]
    assert [component for component, _ in contained_errors] == ["encode"]
    contained_errors.clear()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_has_not(value):
    batch = batch_of(Gauge([number(value)]))
    expected = read(metrics_protobuf, batch)
    assert read(metrics_json, batch).SerializeToString() == expected.SerializeToString()


# -- what is read of a registry ---------------------------------------------------------------------------------------


def source_of(*registries, deltas=None, others=list, metric_fields=()):
    return Source(registries, RESOURCE, metric_fields=metric_fields, others=others, deltas=deltas)


def metrics_in(source):
    return {metric.name: metric for scope in source.read().scope_metrics for metric in scope.metrics}


def test_each_kind_of_a_users_metrics():
    registry = CollectorRegistry()
    Counter("refunds", "Refunds.", ["currency"], registry=registry).labels("eur").inc(2)
    PrometheusGauge("depth", "Depth.", registry=registry).set(7)
    PrometheusHistogram("wait", "Wait.", ["q"], buckets=(1, 5), registry=registry).labels("a").observe(
        3, exemplar={"trace_id": "ab", "span_id": "cd", "other": "x"}
    )
    Summary("size", "Size.", registry=registry).observe(11)
    Info("build", "Build.", registry=registry).info({"rev": "abc"})
    Enum("mode", "Mode.", states=["on", "off"], registry=registry).state("off")
    found = metrics_in(source_of(registry))
    counter, gauge, wait = found["refunds"], found["depth"], found["wait"]
    [point] = counter.data.data_points
    assert (counter.data.is_monotonic, counter.data.aggregation_temporality) == (True, CUMULATIVE)
    assert (point.attributes, point.value, counter.unit, counter.description) == (
        {"currency": "eur"},
        2,
        "",
        "Refunds.",
    )
    assert isinstance(gauge.data, Gauge)
    [point] = wait.data.data_points
    assert (point.bucket_counts, point.explicit_bounds, point.count, point.sum) == ([0, 1, 0], [1.0, 5.0], 1, 3)
    [exemplar] = point.exemplars
    assert (exemplar.trace_id, exemplar.span_id, exemplar.value) == (0xAB, 0xCD, 3)
    assert exemplar.filtered_attributes == {"other": "x"}
    [point] = found["size"].data.data_points
    assert (point.bucket_counts, point.explicit_bounds, point.count, point.sum) == ([1], [], 1, 11)
    assert [point.attributes for point in found["build_info"].data.data_points] == [{"rev": "abc"}]
    assert {point.attributes["mode"]: point.value for point in found["mode"].data.data_points} == {"on": 0, "off": 1}


def test_of_two_metrics_with_one_name_the_first_counts_and_a_collector_that_fails_costs_itself_only(contained_errors):
    class Broken:
        def describe(self):
            return []

        def collect(self):
            raise RuntimeError("broken")

    first, second = CollectorRegistry(), CollectorRegistry()
    Counter("a", "First.", registry=first).inc()
    first.register(Broken())
    Counter("a", "Second.", registry=second).inc(5)
    Counter("b", "Other.", registry=second).inc(5)
    found = metrics_in(source_of(first, second))
    assert {name: metric.data.data_points[0].value for name, metric in found.items()} == {"a": 1, "b": 5}
    assert [component for component, _ in contained_errors] == ["metrics"]
    contained_errors.clear()


def test_what_others_have_is_added_and_may_fail(contained_errors):
    def fails():
        raise RuntimeError("broken")

    registry = CollectorRegistry()
    Counter("a", "First.", registry=registry).inc()
    [scope] = batch_of(DATA["a gauge"])[0].scope_metrics
    assert metrics_in(source_of(registry, others=lambda: [scope])).keys() == {"a", "m0"}
    assert metrics_in(source_of(registry, others=fails)).keys() == {"a"}
    assert [component for component, _ in contained_errors] == ["metrics"]
    contained_errors.clear()


# -- deltas -----------------------------------------------------------------------------------------------------------


def test_deltas_are_what_was_added_since_the_last_push_that_arrived():
    registry = CollectorRegistry()
    counter = Counter("c", "C.", registry=registry)
    histogram = PrometheusHistogram("h", "H.", buckets=(1,), registry=registry)
    gauge = PrometheusGauge("g", "G.", registry=registry)
    source = source_of(registry, deltas=Deltas(counters=True))

    def work():
        counter.inc(2)
        histogram.observe(0.5)
        gauge.set(9)

    def seen():
        found = metrics_in(source)
        assert found["c"].data.aggregation_temporality is found["h"].data.aggregation_temporality is DELTA
        [c], [h], [g] = (found[name].data.data_points for name in "chg")
        return c.value, (h.count, h.sum, h.bucket_counts), g.value, c.start_time_unix_nano

    work()
    *first, began = seen()
    assert first == [2, (1, 0.5, [1, 0]), 9]
    source.arrived()
    work()
    *second, since = seen()
    assert second == [2, (1, 0.5, [1, 0]), 9]
    assert since > began
    work()
    assert seen()[:3] == (4, (2, 1.0, [2, 0]), 9)  # the second did not arrive: the third has both
    source.arrived()
    assert seen()[:3] == (0, (0, 0.0, [0, 0]), 9)


def test_lowmemory_leaves_counters_as_they_are():
    registry = CollectorRegistry()
    counter = Counter("c", "C.", registry=registry)
    source = source_of(registry, deltas=Deltas(counters=False))
    for expected in (1, 2):
        counter.inc()
        metric = metrics_in(source)["c"]
        assert (metric.data.data_points[0].value, metric.data.aggregation_temporality) == (expected, CUMULATIVE)
        source.arrived()


def test_exponential_deltas_follow_the_scale():
    metrics = Metrics(registry=(registry := CollectorRegistry()), exponential=True)
    source = source_of(registry, deltas=Deltas(counters=True))
    series = metrics._server["GET", "/", "200", "http", ""]

    def seen():
        [point] = metrics_in(source)["http.server.request.duration"].data.data_points
        source.arrived()
        return point

    series.observe(0.1)
    series.observe(0.0)
    first = seen()
    assert (first.count, first.zero_count, sum(first.positive.bucket_counts)) == (2, 1, 1)
    for value in (0.1, 50.0, 0.1001):
        series.observe(value)
    second = seen()
    assert second.scale < first.scale
    assert (second.count, second.zero_count) == (3, 0)
    assert sum(second.positive.bucket_counts) == 3
    assert min(second.positive.bucket_counts) == 0
    assert second.sum == pytest.approx(50.2001)


def test_a_counter_that_begins_anew_is_not_taken_back():
    deltas = Deltas(counters=True)

    def pushed(value):
        [[metric]] = deltas.since_last([[Metric("c", "", "", Sum([number(value)], CUMULATIVE, is_monotonic=True))]])
        deltas.arrived()
        return metric.data.data_points[0].value

    assert [pushed(value) for value in (5, 8, 2)] == [5, 3, 2]


# -- the push ---------------------------------------------------------------------------------------------------------


class Gate:
    """An exporter that waits to be let through."""

    def __init__(self, *results):
        self.arrived, self.let = threading.Semaphore(0), threading.Semaphore(0)
        self.batches, self.seconds = [], []
        self.closed = False
        self.results = iter(results)

    def export(self, batch, deadline):
        self.batches.append(batch)
        self.seconds.append(deadline - time.monotonic())
        self.arrived.release()
        self.let.acquire(timeout=20)
        result = next(self.results, ExportResult())
        if isinstance(result, Exception):
            raise result
        return result

    def close(self):
        self.closed = True


class Three:
    """A source of three points."""

    def __init__(self):
        self.begun = self.delivered = 0

    def begin(self):
        self.begun += 1

    def read(self):
        return "three"

    def arrived(self):
        self.delivered += 1


@pytest.fixture
def push_to():
    made = []

    def make(exporter, source=None, *, start=True, **given):
        made.append(Push(source or Three(), exporter, lambda _batch: 3, **{"interval": 600, "timeout": 30, **given}))
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for push in made:
        push.close(0)


def opened(*results):
    gate = Gate(*results)
    gate.let.release(1000)
    return gate


def test_it_pushes_at_intervals(push_to):
    gate = opened()
    push_to(gate, interval=0.02)
    for _ in range(3):
        assert gate.arrived.acquire(timeout=5)


def test_flush_pushes_at_once_and_close_once_more(push_to):
    gate, source = opened(), Three()
    push = push_to(gate, source)
    assert push.flush(5)
    assert len(gate.batches) == 1
    assert push.close(5)
    assert (len(gate.batches), gate.closed, source.delivered) == (2, True, 2)
    assert (push.tally.produced, push.tally.exported) == (6, 6)
    assert push.flush(5)
    assert push.close(5)
    assert len(gate.batches) == 2
    push._thread.join(5)
    assert not push._thread.is_alive()


def test_what_is_asked_for_first_and_waited_for_then_is_one_push(push_to):
    gate = Gate()
    push = push_to(gate)
    assert not push.flush(0)
    gate.let.release()
    assert push.flush(5)
    assert len(gate.batches) == 1


def test_a_push_has_the_timeout_that_is_given(push_to):
    gate = opened()
    assert push_to(gate, timeout=7).flush(5)
    assert 5 < gate.seconds[0] <= 7


def test_losses_are_counted_and_said_once(push_to, caplog):
    caplog.set_level("INFO", "obskit")
    gate = opened(
        ExportResult({"rejected": 1}, "HTTP 400"),
        ExportResult({"unreachable": 3}, "refused"),
        ExportResult(),
    )
    source = Three()
    push = push_to(gate, source)
    for _ in range(3):
        assert push.flush(5)
    assert (push.tally.produced, push.tally.exported) == (9, 5)
    assert push.tally.dropped["rejected"] == 1
    assert push.tally.dropped["unreachable"] == 3
    assert source.delivered == 1
    push.close(5)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "metric points do not arrive: HTTP 400; the next push makes up for it",
        "metric points arrive again",
    ]


def test_an_exporter_that_breaks_costs_its_push_only(push_to, contained_errors):
    push = push_to(opened(RuntimeError("broken"), ExportResult()))
    assert push.flush(5)
    assert push.flush(5)
    assert (push.tally.produced, push.tally.exported, push.tally.dropped["error"]) == (6, 3, 3)
    assert [component for component, _ in contained_errors] == ["metrics"]
    contained_errors.clear()


def test_close_leaves_a_hung_exporter_at_its_deadline(push_to):
    gate = Gate()
    push = push_to(gate)
    began = time.monotonic()
    assert push.close(0.2) is False
    assert time.monotonic() - began < 3
    assert gate.closed
    assert (push.tally.produced, push.tally.dropped["shutdown"], push.tally.queued) == (3, 3, 0)
    gate.let.release()
    push._thread.join(5)
    assert push.tally.queued == 0


def test_one_that_was_never_started_pushes_nothing(push_to):
    gate = opened()
    push = push_to(gate, start=False)
    assert push.flush(5)
    assert push.close(5)
    assert gate.batches == []


def test_before_the_end_it_pushes_once_more_and_waits_little(push_to):
    gate = opened()
    push = push_to(gate)
    push.export_through()
    push.export_through(0.0)
    assert len(gate.batches) == 1


def test_both_exporters_get_each_push_and_the_first_decides():
    first, second = opened(ExportResult({"rejected": 2}, "no")), opened()
    both = Both(first, second)
    assert both.export(["x"], 0).dropped == {"rejected": 2}
    both.close()
    assert (first.batches, second.batches) == ([["x"]], [["x"]])
    assert (first.closed, second.closed) == (True, True)


def test_a_forked_child_pushes_for_itself(push_to):
    source = Three()
    push = push_to(opened(), source)
    assert push.flush(5)
    thread = push._thread
    _after_fork_in_child()
    assert source.begun == 1
    assert push._thread is not thread
    assert (push.tally.produced, push.tally.exported) == (0, 0)
    assert push.flush(5)


def test_a_real_fork(push_to):
    reading, writing = os.pipe()

    class ToPipe:
        def export(self, batch, deadline):
            os.write(writing, b"%d\n" % os.getpid())
            return ExportResult()

        def close(self):
            pass

    push = push_to(ToPipe())
    assert push.flush(5)
    child = os.fork()
    if not child:
        signal.alarm(20)
        push.flush(5)
        os._exit(0)
    os.waitpid(child, 0)
    assert push.flush(5)
    assert os.read(reading, 100).split() == [b"%d" % pid for pid in (os.getpid(), child, os.getpid())]
    os.close(reading)
    os.close(writing)


def test_metrics_of_the_sdk_are_encoded_too():
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("lib", "2", "https://example.org/schema", {"k": 1})
    meter.create_counter("c", "1").add(3, {"a": True})
    meter.create_histogram("h", "s").record(0.2)
    meter.create_up_down_counter("u").add(-1)
    batch = reader.get_metrics_data().resource_metrics
    expected = official(batch)
    assert read(metrics_protobuf, batch) == expected
    assert read(metrics_json, batch) == expected
    provider.shutdown()
