"""What becomes of spans whose weight is not known, that come late, or for which there is no room."""

import pytest
from collectors import FEATURE_GATES, Collector, running
from otlp import Backend, send, span, traces, until


@pytest.fixture
def backend():
    backend = Backend()
    yield backend
    backend.close()


def gateway(folder, backend, **environ):
    return Collector(
        "gateway.yaml",
        folder=folder,
        JAEGER_ENDPOINT=backend.grpc,
        PROMETHEUS_OTLP_ENDPOINT=backend.http,
        LOKI_OTLP_ENDPOINT=backend.http,
        DECISION_WAIT="1s",
        **environ,
    )


def test_without_the_feature_gate_each_span_says_so(tmp_path, backend):
    one = gateway(tmp_path, backend, SAMPLE_PERCENT=100)
    command = one.command
    one.command = lambda: [each for each in command() if each != FEATURE_GATES]
    with running(one):
        send(one.endpoint, traces({"orders": [span("GET /orders") for _ in range(10)]}))
        assert until(lambda: len(backend.spans) == 10, 20)
    assert {"usetracestate" in each.attributes["sample_rate.unknown"] for each in backend.spans} == {True}


def test_a_late_span_goes_the_way_of_its_trace(tmp_path, backend):
    with running(gateway(tmp_path, backend, SAMPLE_PERCENT=50)) as (one,):
        first = [span("GET /orders") for _ in range(100)]
        send(one.endpoint, traces({"orders": first}))
        decided = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
        assert until(
            lambda: one.metric(decided) == 100 and len(backend.spans) == one.metric(decided, sampled="true"), 20
        )
        kept = {each.proto.trace_id for each in backend.spans}
        # Errors at that: it is too late for them to change what has been decided.
        send(one.endpoint, traces({"stock": [span("late", trace_id=each.trace_id, error=True) for each in first]}))
        assert until(lambda: len(backend.spans) == 2 * len(kept), 20)
        late = [each for each in backend.spans if each.name == "late"]
    assert 20 < len(kept) < 80
    assert {each.proto.trace_id for each in late} == kept
    assert all("late span" in each.attributes["sample_rate.unknown"] for each in late)


def test_a_trace_state_of_others_stays(tmp_path, backend):
    with running(gateway(tmp_path, backend, SAMPLE_PERCENT=100)) as (one,):
        send(one.endpoint, traces({"orders": [span("GET /orders", state="vendor=a,ot=xx:1;th:8")]}))
        assert until(lambda: backend.spans, 20)
    (each,) = backend.spans
    assert each.attributes["sample_rate"] == 2
    assert "vendor=a" in each.proto.trace_state
    assert "xx:1" in each.proto.trace_state


def test_where_there_is_no_room_for_more_traces_they_wait(tmp_path, backend):
    with running(gateway(tmp_path, backend, SAMPLE_PERCENT=0, NUM_TRACES=500)) as (one,):
        for _ in range(20):
            spans = [span("GET /orders", error=number % 10 == 0) for number in range(100)]
            send(one.endpoint, traces({"orders": spans}))
        assert until(lambda: len(backend.spans) == 200, 30)
        assert one.metric("otelcol_processor_tail_sampling_sampling_trace_dropped_too_early_total") == 0
