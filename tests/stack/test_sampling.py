"""Tail sampling and metrics from spans, with one gateway and with two behind a load balancer: held against the truth."""

import math
from collections import Counter, defaultdict
from contextlib import contextmanager
from itertools import cycle

import httpx
import pytest
from collectors import Collector, running
from otlp import Backend, send, until
from tables import show
from workload import KINDS, workload

from programs import Prometheus

PERCENT = 10
QUICK = {"DECISION_WAIT": "3s", "SPAN_METRICS_INTERVAL": "1s", "SAMPLE_PERCENT": PERCENT}


@contextmanager
def one_tier(backend, folder):
    gateway = Collector("gateway.yaml", folder=folder, **to(backend), **QUICK)
    with running(gateway):
        yield [gateway], [gateway]


@contextmanager
def two_tiers(backend, folder, backends=None):
    """Two load balancers, as agents find them behind one address, and two sampling gateways."""
    backends = backends or to(backend)
    gateways = [
        Collector("gateway-sampling.yaml", folder=folder, name=f"sampling-{n}", **backends, **QUICK) for n in (0, 1)
    ]
    resolver = f"static: {{hostnames: [{', '.join(each.grpc_endpoint for each in gateways)}]}}"
    balancers = [
        Collector("gateway-lb.yaml", folder=folder, name=f"lb-{n}", SAMPLING_RESOLVER=resolver, **backends)
        for n in (0, 1)
    ]
    with running(*balancers, *gateways):
        yield balancers, gateways


def to(backend):
    return {
        "JAEGER_ENDPOINT": backend.grpc,
        "PROMETHEUS_OTLP_ENDPOINT": backend.http,
        "LOKI_OTLP_ENDPOINT": backend.http,
    }


class Run:
    """A workload that has gone through a topology, and what has arrived behind it."""

    def __init__(self, topology, folder):
        self.truth = workload(6000)
        self.backend = Backend()
        with topology(self.backend, folder) as (entrances, gateways):
            for export, entrance in zip(self.truth.exports, cycle(entrances), strict=False):
                send(entrance.endpoint, export)
            until(lambda: self.decided(gateways) == len(self.truth.kinds), 60)
            until(lambda: len(self.backend.spans) == sum(self.sent(each) for each in gateways), 30)
            until(lambda: total(self.counts()) >= self.truth.spans.total(), 10)
            self.shares = {each.name: self.decided([each]) for each in gateways}
            self.late = sum(
                each.metric("otelcol_processor_tail_sampling_sampling_trace_dropped_too_early_total")
                for each in gateways
            )
        self.backend.close()
        self.kept = defaultdict(list)
        for each in self.backend.spans:
            self.kept[each.proto.trace_id].append(each)

    @staticmethod
    def decided(gateways):
        name = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
        return sum(each.metric(name) for each in gateways)

    @staticmethod
    def sent(gateway):
        return gateway.metric("otelcol_exporter_sent_spans_total")

    def counts(self, name="traces.span.metrics.calls"):
        """The last value of each series: {(labels): value}."""
        return {
            (tuple(sorted(each.resource.items())), tuple(sorted(each.attributes.items()))): each.proto.as_int
            for each in self.backend.points
            if each.name == name
        }


def total(counts):
    return sum(counts.values())


@pytest.fixture(scope="module", params=[one_tier, two_tiers], ids=lambda each: each.__name__)
def run(request, tmp_path_factory):
    return Run(request.param, tmp_path_factory.mktemp("sampling"))


def test_errors_and_slow_traces_are_kept_whole_and_the_rest_counts_by_weight(run):
    rows, wrong = [], []
    for kind, (_, keep) in KINDS.items():
        ids = {trace_id for trace_id, each in run.truth.kinds.items() if each == kind}
        kept = {trace_id: spans for trace_id, spans in run.kept.items() if trace_id in ids}
        weighted = sum(spans[0].attributes.get("sample_rate", 1) for spans in kept.values())
        truth = run.truth.traces[kind]
        share = {None: 0, True: len(ids) / truth, False: PERCENT / 100}[keep]
        sigma = math.sqrt(truth * (1 - share) / share) if share else 0
        rows.append((kind, truth, len(ids), len(kept), float(weighted), 4 * sigma))
        exact = {None: set(), True: ids, False: set(kept)}[keep]
        if set(kept) != exact or (keep is not None and abs(weighted - truth) > 4 * sigma):
            wrong.append(kind)
    show("Tail sampling", ("traces", "happened", "sent", "kept", "weighted", "4 sigma"), rows)
    assert wrong == []
    assert {trace_id: len(spans) for trace_id, spans in run.kept.items()} == {
        each: run.truth.sizes[each] for each in run.kept
    }


def test_each_kept_span_says_how_many_it_stands_for(run):
    weights = Counter(
        (run.truth.kinds[trace_id], each.attributes.get("sample_rate", 1))
        for trace_id, spans in run.kept.items()
        for each in spans
    )
    expected = {
        (kind, 4.0 if kind == "1 in 4, error" else 1 if keep else 100 / PERCENT)
        for kind, (_, keep) in KINDS.items()
        if keep is not None
    }
    assert set(weights) == expected
    assert not any("sample_rate.unknown" in each.attributes for each in run.backend.spans)


def test_metrics_from_spans_are_the_truth_before_sampling(run):
    found, instances = Counter(), Counter()
    for (resource, labels), value in run.counts().items():
        source, of = dict(resource), dict(labels)
        found[source["service.name"], of["span.name"], of["status.code"]] += value
        instances[source["service.instance.id"]] += value
        assert (source["service.namespace"], source["deployment.environment.name"]) == ("shop", "test")
    names = sorted({*found, *run.truth.spans})
    rows = [(*name, run.truth.spans[name], found[name]) for name in names]
    show("Spans counted", ("service", "span", "status", "truth", "counted"), rows)
    show(
        "By gateway",
        ("gateway", "spans counted", "traces decided"),
        [(n, v, int(run.shares[n])) for n, v in instances.items()],
    )
    assert found == run.truth.spans
    assert set(instances) == set(run.shares)
    assert all(value > 0.3 * total(instances) for value in instances.values())
    assert run.late == 0


def test_calls_between_services_are_the_truth(run):
    pairs, gateways = Counter(), set()
    for (resource, labels), value in run.counts("traces_service_graph_request_total").items():
        of = dict(labels)
        pairs[of["client"], of["server"]] += value
        gateways.add(dict(resource)["service.instance.id"])
    assert pairs["front", "back"] == run.truth.calls
    assert gateways == set(run.shares)


def test_durations_have_exemplars_that_name_traces(run):
    named = {
        exemplar.trace_id
        for each in run.backend.points
        if each.name == "traces.span.metrics.duration"
        for exemplar in each.proto.exemplars
    }
    assert named
    assert named <= set(run.truth.kinds)


def test_prometheus_has_a_series_of_each_gateway_and_their_sum_is_the_truth(tmp_path):
    backend, prometheus, truth = Backend(), Prometheus(tmp_path, {}), workload(1000, seed=2)

    def asked(query):
        found = httpx.get(f"{prometheus.url}/api/v1/query", params={"query": query}).raise_for_status().json()
        return {tuple(each["metric"].values()): float(each["value"][1]) for each in found["data"]["result"]}

    count = 'traces_span_metrics_calls_total{service_namespace="shop", deployment_environment_name="test"}'
    backend_of = to(backend) | {"PROMETHEUS_OTLP_ENDPOINT": f"{prometheus.url}/api/v1/otlp"}
    try:
        prometheus.start()
        with two_tiers(backend, tmp_path, backend_of) as (entrances, _):
            for export, entrance in zip(truth.exports, cycle(entrances), strict=False):
                send(entrance.endpoint, export)
            until(lambda: sum(asked(f"sum({count})").values()) == truth.spans.total(), 20)
            by_gateway = asked(f"sum by (instance) ({count})")
            by_name = asked(f"sum by (service_name, span_name, status_code) ({count})")
            duplicates = asked(f"count by (service_name, span_name, span_kind, status_code, http_route) ({count}) > 2")
    finally:
        prometheus.stop()
        backend.close()
    show("In Prometheus", ("gateway", "spans"), [(*key, value) for key, value in by_gateway.items()])
    assert by_name == {key: value for key, value in truth.spans.items() if value}
    assert set(by_gateway) == {("sampling-0",), ("sampling-1",)}
    assert duplicates == {}
