"""Two services with one share: they keep the same traces, whole, and each failure; every span is accounted for."""

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest
from processes import requests_of

from receiver import until

RATE, ORDINARY, FAILED = 0.25, 300, 12


@pytest.fixture(scope="module")
def services(start_receiver, start_service):
    receiver = start_receiver()
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OBSKIT_KEEP": "errors,slow:30s",
        "OBSKIT_KEEP_RATE": str(RATE),
    }
    back = start_service("keeper:app", variables={**variables, "OTEL_SERVICE_NAME": "back"}).ready()
    front = start_service("keeper:app", variables={**variables, "OTEL_SERVICE_NAME": "front", "NEXT_URL": back.url})
    front.ready()
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(front.get, ["/work/well"] * ORDINARY + ["/work/fail"] * FAILED)
        assert Counter(status for status, _, _ in answers) == {200: ORDINARY, 500: FAILED}
    tallies = {name: service.settled("spans") for name, service in (("front", front), ("back", back))}
    exported = sum(exported for _, exported, _ in tallies.values())
    until(lambda: len(receiver.spans) >= exported, 10.0)
    scrapes = {name: service.scrape() for name, service in (("front", front), ("back", back))}
    assert (front.stop(), back.stop()) in {(0, 0), (-15, -15)}
    return receiver.spans, {"front": front.lines, "back": back.lines}, tallies, scrapes


def test_services_agree_and_keep_whole_traces(services):
    spans, _, _, _ = services
    traces = defaultdict(list)
    for span in spans:
        traces[span.trace_id].append((span.service, span.kind))
    assert {tuple(sorted(each)) for each in traces.values()} == {
        (("back", "server"), ("front", "client"), ("front", "server"))
    }
    failed = {span.trace_id for span in spans if span.failed}
    assert len(failed) == FAILED
    ordinary = traces.keys() - failed
    assert 37 < len(ordinary) < 113  # 300 at 0.25: five standard deviations
    assert all(int(trace_id[-14:], 16) >= (1 - RATE) * 2**56 for trace_id in ordinary)
    for span in spans:
        assert span.attributes.get("sample_rate") == (None if span.trace_id in failed else 1 / RATE)


def test_lines_go_with_spans_and_a_users_own_stay(services):
    spans, lines, _, _ = services
    for service in ("front", "back"):
        served = requests_of(lines[service])
        assert {(line["trace_id"], line.get("sample_rate")) for line in served} == {
            (span.trace_id, span.attributes.get("sample_rate"))
            for span in spans
            if (span.service, span.kind) == (service, "server")
        }
        assert sum(line["message"] == "working" for line in lines[service]) == ORDINARY + FAILED


def test_every_span_is_accounted_for(services):
    spans, lines, tallies, scrapes = services
    for service, spans_each in (("front", 2), ("back", 1)):
        produced, exported, dropped = tallies[service]
        assert produced == spans_each * (ORDINARY + FAILED)
        assert exported == len([span for span in spans if span.service == service])
        assert {reason for reason, count in dropped.items() if count} == {"sampled_out"}
        assert produced == exported + dropped["sampled_out"]
        left_out = [
            sample.value
            for sample in scrapes[service]["obskit_log_lines_dropped_total"]
            if sample.labels["reason"] == "sampled_out"
        ]
        assert left_out == [ORDINARY + FAILED - len(requests_of(lines[service]))]


def test_metrics_count_every_request_and_exemplars_name_kept_traces(services):
    spans, _, _, scrapes = services
    kept = {span.trace_id for span in spans}
    for samples in scrapes.values():
        counts = {
            sample.labels["http_response_status_code"]: sample.value
            for sample in samples["http_server_request_duration_seconds_count"]
        }
        assert sum(counts.values()) == ORDINARY + FAILED
        named = [
            sample.exemplar.labels["trace_id"]
            for name, family in samples.items()
            if name.endswith("_bucket")
            for sample in family
            if sample.exemplar
        ]
        assert named
        assert set(named) <= kept
