"""Three services in a chain, each a uvicorn process: of every request, line, span and metric say the same."""

from bisect import bisect_left
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

import pytest
from processes import requests_of

from receiver import until

SERVICES = ("front", "middle", "back")
TIERS = ("free", "pro", "gold")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
RECORDED = ("01", "03")  # a trace of this process's own says that its id is random
SERVER_METRIC = "http_server_request_duration_seconds"
CLIENT_METRIC = "http_client_request_duration_seconds"
RAISED = "httpx.HTTPStatusError"
STOCK, RESERVE = "/tenants/{tenant}/stock/{item}", "/tenants/{tenant}/reserve"

#: What a canonical line has and its span has not: the line's own names, the resource, and durations.
ONLY_ON_LINES = {
    *("timestamp", "level", "message", "logger", "trace_id", "span_id", "trace_flags", "event.name"),
    *("service.name", "service.version", "deployment.environment.name"),
    *("duration_ms", "time_to_first_byte_ms"),
    *("exception.type", "exception.message", "exception.stacktrace"),
}


@dataclass(frozen=True)
class Kind:
    """A kind of request, and the requests that it makes of all services: (service, method, route, status, error)."""

    name: str
    method: str
    path: str
    served: tuple
    body: str | None = None
    headers: dict = field(default_factory=dict)


def through(method, status, *routes, errors=("", "", "")):
    return tuple(
        (service, method, route, status, error) for service, route, error in zip(SERVICES, routes, errors, strict=True)
    )


TRACEPARENT = "00-{trace_id}-00f067aa0ba902b7-{flags}"
REMOTE = {"sampled": "4bf92f3577b34da6a3ce929d0e0e4736", "unsampled": "0af7651916cd43dd8448eb211c80319c"}
READ = ("/orders/{order_id}", "/v1/orders/{order_id}", STOCK)
KINDS = (
    Kind("ok", "GET", "/orders/7", through("GET", 200, *READ)),
    Kind("not found far below", "GET", "/orders/404", through("GET", 404, *READ)),
    Kind("no such route", "GET", "/nowhere", (("front", "GET", "", 404, ""),)),
    Kind("invalid", "GET", "/orders/abc", (("front", "GET", "/orders/{order_id}", 422, ""),)),
    Kind(
        "exception",
        "GET",
        "/broken",
        through(
            "GET", 500, "/broken", "/v1/broken", "/tenants/{tenant}/broken", errors=(RAISED, RAISED, "back.StockError")
        ),
    ),
    Kind("unavailable", "GET", "/orders/503", through("GET", 503, *READ, errors=("503",) * 3)),
    Kind(
        "parameterised mount",
        "GET",
        "/tenants/initech/items/9",
        through("GET", 200, "/tenants/{tenant}/items/{item}", "/v1/items/{tenant}/{item}", STOCK),
    ),
    Kind(
        "body, through a threadpool",
        "POST",
        "/orders",
        through("POST", 200, "/orders", "/v1/orders", RESERVE),
        body='{"item": "stapler", "quantity": 2}',
        headers={"content-type": "application/json"},
    ),
    Kind(
        "background task",
        "POST",
        "/notes?note=hello",
        (
            ("front", "POST", "/notes", 202, ""),
            ("middle", "POST", "/v1/notes", 200, ""),
            ("back", "POST", RESERVE, 200, ""),
        ),
    ),
    Kind(
        "two calls",
        "GET",
        "/twice?ids=1&ids=404",
        (
            ("front", "GET", "/twice", 200, ""),
            *(("middle", "GET", READ[1], status, "") for status in (200, 404)),
            *(("back", "GET", STOCK, status, "") for status in (200, 404)),
        ),
    ),
)
CONTINUED = tuple(
    Kind(
        f"continues a trace that is {name}",
        "GET",
        "/orders/8",
        through("GET", 200, *READ),
        headers={"traceparent": TRACEPARENT.format(trace_id=trace_id, flags="01" if name == "sampled" else "00")},
    )
    for name, trace_id in REMOTE.items()
)


@dataclass(frozen=True)
class Sent:
    """One request that was sent and answered."""

    kind: Kind
    tier: str | None
    request_id: str


def planned():
    """Every kind with every tier, one tier that is not on the list, and none."""
    plan = [(kind, tier) for tier in (*TIERS, "platinum", None) for kind in KINDS]
    plan += [(kind, "gold") for kind in CONTINUED]
    return [Sent(kind, tier, f"r-{number:03d}") for number, (kind, tier) in enumerate(plan)]


@dataclass
class Chain:
    """What three services have emitted about `sent`."""

    sent: list
    lines: dict
    spans: list
    metrics: dict
    text: dict
    tallies: dict

    def __post_init__(self):
        self.served = {service: requests_of(lines) for service, lines in self.lines.items()}
        self.by_trace = defaultdict(list)
        for line in (line for lines in self.served.values() for line in lines):
            self.by_trace[line["trace_id"]].append(line)
        self.span = {span.span_id: span for span in self.spans}
        self.line_of = {line["request_id"]: line for line in self.served["front"]}

    def traces(self):
        """Each request with its trace id."""
        return [(sent, self.line_of[sent.request_id]["trace_id"]) for sent in self.sent]


@pytest.fixture(scope="module")
def chain(start_receiver, start_service):
    receiver = start_receiver()
    common = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OBSKIT_METRIC_FIELDS": "user.tier=free|pro|gold",
    }
    services, following = {}, ""
    for name in reversed(SERVICES):
        services[name] = start_service(f"{name}:app", variables={**common, "NEXT": following})
        following = services[name].url
    for service in services.values():
        service.ready()
    sent = planned()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda each: _send(services["front"], each), sent))
    expected = Counter(service for each in sent for service, *_ in each.kind.served)
    for name, service in services.items():
        until(lambda service=service, name=name: len(requests_of(service.whole_lines)) == expected[name])
    tallies = {
        name: {what: service.settled(what) for what in ("spans", "log_lines")} for name, service in services.items()
    }
    found = Chain(
        sent=sent,
        lines={name: service.whole_lines for name, service in services.items()},
        spans=receiver.spans,
        metrics={name: service.scrape() for name, service in services.items()},
        text={name: service.scrape_text() for name, service in services.items()},
        tallies=tallies,
    )
    for service in services.values():
        service.stop()
    return found


def _send(front, sent):
    headers = {**sent.kind.headers, "x-request-id": sent.request_id, **({"x-tier": sent.tier} if sent.tier else {})}
    status, _, body = front.get(sent.kind.path, headers, method=sent.kind.method, body=sent.kind.body)
    assert status == sent.kind.served[0][3], (sent, body)


def facts(line):
    """A line as the table of kinds has it."""
    route, error = line.get("http.route", ""), line.get("error.type", "")
    return line["service.name"], line["http.request.method"], route, line["http.response.status_code"], error


def test_the_lines_of_all_services_carry_the_one_trace_id_of_their_request(chain):
    traces = chain.traces()
    assert len({trace_id for _, trace_id in traces}) == len(traces) == len(chain.served["front"])
    for sent, trace_id in traces:
        assert sorted(map(facts, chain.by_trace[trace_id])) == sorted(sent.kind.served), sent
    assert set(chain.by_trace) == {trace_id for _, trace_id in traces}


def test_each_line_says_what_became_of_its_request(chain):
    for sent, trace_id in chain.traces():
        for line in chain.by_trace[trace_id]:
            _, method, route, status, error = facts(line)
            assert line["message"] == " ".join(filter(None, (method, route, str(status))))
            assert line["outcome"] == ("error" if error else "ok")
            assert line["level"] == ("error" if status >= 500 else "info")
            assert ("exception.stacktrace" in line) == (status == 500), line
            in_background = sent.kind.name == "background task" and line["service.name"] != "front"
            was_read = line["http.response.status_code"] != 422 and "http.route" in line
            assert line.get("user.tier") == (sent.tier if was_read and not in_background else None), line


def test_lines_of_log_calls_carry_the_ids_of_their_request(chain):
    requests = {line["span_id"]: line for line in chain.served["front"]}
    calls = [line for line in chain.lines["front"] if line["message"] == "reading"]
    assert len(calls) == sum(
        len(sent.kind.served) == 3 and sent.kind.path.startswith("/orders/") for sent in chain.sent
    )
    for call in calls:
        request = requests[call["span_id"]]
        assert (call["trace_id"], call["logger"]) == (request["trace_id"], "front")
        assert request["url.path"] == f"/orders/{call['order.id']}"


def test_an_exception_has_one_stack_trace_a_service_and_no_line_of_the_server(chain):
    for service, lines in chain.lines.items():
        traced = [line for line in lines if "exception.stacktrace" in line]
        assert len(traced) == sum(line["http.response.status_code"] == 500 for line in chain.served[service])
        assert all(line["exception.stacktrace"].rstrip().splitlines()[-1].strip() for line in traced)
        assert not [line for line in lines if "Exception in ASGI application" in line["message"]]


def test_each_request_has_one_server_span_with_the_fields_of_its_line(chain):
    sampled = [line for lines in chain.served.values() for line in lines if line["trace_flags"] in RECORDED]
    servers = {span.span_id: span for span in chain.spans if span.kind == "server"}
    assert len(servers) == sum(span.kind == "server" for span in chain.spans)
    assert set(servers) == {line["span_id"] for line in sampled}
    for line in sampled:
        span = servers[line["span_id"]]
        assert (span.service, span.trace_id) == (line["service.name"], line["trace_id"])
        assert span.attributes == {name: value for name, value in line.items() if name not in ONLY_ON_LINES}
        assert span.name == f"{line['http.request.method']} {line.get('http.route', '')}".strip()
        assert span.duration_ms == line["duration_ms"]
        assert span.end_ns // 1000 == microseconds(line["timestamp"])
        assert span.failed == (line["outcome"] == "error")
        written = {name: value for name, value in line.items() if name.startswith("exception.")}
        assert dict(span.events) == ({"exception": written} if written else {})


def microseconds(timestamp):
    whole, fraction = timestamp.removesuffix("Z").split(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 1_000_000 + int(fraction)


def test_each_server_span_is_the_child_of_the_call_that_made_it(chain):
    remote = set(REMOTE.values())
    calling = {"middle": "front", "back": "middle"}
    for span in (span for span in chain.spans if span.kind == "server"):
        if span.service == "front":
            assert span.parent_id == ("00f067aa0ba902b7" if span.trace_id in remote else "")
            continue
        caller = chain.span[span.parent_id]
        assert (caller.kind, caller.service, caller.trace_id) == ("client", calling[span.service], span.trace_id)
        assert caller.start_ns <= span.start_ns
        assert caller.attributes["http.response.status_code"] == span.attributes["http.response.status_code"]
        assert caller.attributes["url.full"].endswith(span.attributes["url.path"])
    parents = Counter(span.parent_id for span in chain.spans if span.kind == "server" and span.service != "front")
    assert set(parents.values()) == {1}


def test_each_call_is_a_client_span_below_what_made_it(chain):
    clients = [span for span in chain.spans if span.kind == "client"]
    served_below = [span for span in chain.spans if span.kind == "server" and span.service != "front"]
    assert len(clients) == len(served_below)
    for span in clients:
        above = chain.span[span.parent_id]
        assert (above.service, above.trace_id) == (span.service, span.trace_id)
        assert above.kind == ("internal" if above.name == "announce" else "server")
        assert above.start_ns <= span.start_ns
        attributes = span.attributes
        assert span.name == attributes["http.request.method"]
        assert attributes["server.address"] == "127.0.0.1"
        assert attributes["url.full"].startswith(f"http://127.0.0.1:{attributes['server.port']}/")
        failed = attributes["http.response.status_code"] >= 400
        assert attributes.get("error.type") == (str(attributes["http.response.status_code"]) if failed else None)
        assert span.failed == failed


def test_there_are_no_internal_spans_but_those_of_background_tasks(chain):
    internal = [span for span in chain.spans if span.kind == "internal"]
    assert Counter((span.service, span.name) for span in internal) == {("front", "announce"): len(TIERS) + 2}
    lines = {line["span_id"]: line for line in chain.lines["front"] if line.get("event.name") == "operation"}
    for span in internal:
        request = chain.span[span.parent_id]
        assert (request.name, request.trace_id) == ("POST /notes", span.trace_id)
        assert request.end_ns < span.end_ns
        line = lines[span.span_id]
        assert line["message"] == "announce ok"
        assert (line["trace_id"], line["duration_ms"]) == (span.trace_id, span.duration_ms)
        assert span.attributes == {name: value for name, value in line.items() if name not in ONLY_ON_LINES}
        assert line["http.client.count"] == 1


def test_calls_are_rolled_up_into_the_line_of_the_request_that_made_them(chain):
    calls = defaultdict(list)
    for span in chain.spans:
        if span.kind == "client":
            calls[span.parent_id].append(span)
    for line in (line for lines in chain.lines.values() for line in lines if "event.name" in line):
        made = calls[line["span_id"]]
        if line["trace_flags"] not in RECORDED:
            assert line.get("http.client.count", 0) == (line["service.name"] != "back")
        elif not made:
            assert "http.client.count" not in line
        else:
            assert line["http.client.count"] == len(made)
            assert line["http.client.errors"] == sum(span.failed for span in made)
            assert line["http.client.duration_ms"] == pytest.approx(sum(span.duration_ms for span in made), abs=1e-6)


def test_a_trace_that_was_not_sampled_has_lines_and_metrics_but_no_spans(chain):
    lines = chain.by_trace[REMOTE["unsampled"]]
    assert {line["service.name"] for line in lines} == set(SERVICES)
    assert {line["trace_flags"] for line in lines} == {"00"}
    assert not [span for span in chain.spans if span.trace_id == REMOTE["unsampled"]]
    assert len([span for span in chain.spans if span.trace_id == REMOTE["sampled"]]) == 5


def labels_of(line):
    """The labels under which a line's request is counted."""
    tier = line.get("user.tier", "")
    return {
        "http_request_method": line["http.request.method"],
        "http_route": line.get("http.route", ""),
        "http_response_status_code": str(line["http.response.status_code"]),
        "url_scheme": "http",
        "error_type": line.get("error.type", ""),
        "user_tier": tier if tier in TIERS or not tier else "_other",
    }


def milliseconds(seconds):
    """To the microsecond, rounded as lines are: from whole nanoseconds."""
    return round(round(seconds * 1e9) / 1e6, 3)


def frozen(labels):
    return frozenset((name, value) for name, value in labels.items() if name != "le")


@pytest.mark.parametrize("service", SERVICES)
def test_the_metric_counts_each_line_once_in_its_bucket(chain, service):
    samples, expected = chain.metrics[service], defaultdict(list)
    for line in chain.served[service]:
        span = chain.span.get(line["span_id"])
        seconds = line["duration_ms"] / 1e3 if span is None else (span.end_ns - span.start_ns) / 1e9
        expected[frozen(labels_of(line))].append(seconds)
    counts = {frozen(sample.labels): sample.value for sample in samples[f"{SERVER_METRIC}_count"]}
    assert counts == {labels: len(seconds) for labels, seconds in expected.items()}
    sums = {frozen(sample.labels): sample.value for sample in samples[f"{SERVER_METRIC}_sum"]}
    assert sums == {labels: pytest.approx(sum(seconds), abs=1e-5) for labels, seconds in expected.items()}
    for sample in samples[f"{SERVER_METRIC}_bucket"]:
        seconds = expected[frozen(sample.labels)]
        assert sample.value == sum(each <= float(sample.labels["le"]) for each in seconds), sample


@pytest.mark.parametrize("service", SERVICES)
def test_each_exemplar_is_a_request_that_stands_in_its_bucket_under_its_labels(chain, service):
    lines = {(line["trace_id"], line["span_id"]): line for line in chain.served[service]}
    sampled_buckets = set()
    for line in lines.values():
        if line["trace_flags"] in RECORDED:
            bucket = bisect_left(BUCKETS, line["duration_ms"] / 1e3)
            sampled_buckets.add((frozen(labels_of(line)), bucket))
    shown = set()
    for sample in chain.metrics[service][f"{SERVER_METRIC}_bucket"]:
        if sample.exemplar is not None:
            line = lines[sample.exemplar.labels["trace_id"], sample.exemplar.labels["span_id"]]
            assert frozen(sample.labels) == frozen(labels_of(line))
            assert line["trace_flags"] in RECORDED
            assert milliseconds(sample.exemplar.value) == line["duration_ms"]
            assert float(sample.exemplar.timestamp) == pytest.approx(microseconds(line["timestamp"]) / 1e6, abs=1e-3)
            shown.add((frozen(sample.labels), bisect_left(BUCKETS, sample.exemplar.value)))
            assert bisect_left(BUCKETS, float(sample.labels["le"])) == bisect_left(BUCKETS, sample.exemplar.value)
    assert shown == sampled_buckets


@pytest.mark.parametrize(("service", "following"), [("front", "middle"), ("middle", "back")])
def test_the_client_metric_counts_the_calls_that_the_lines_tell_of(chain, service, following):
    samples = chain.metrics[service][f"{CLIENT_METRIC}_count"]
    calls = Counter()
    for sample in samples:
        assert sample.labels["server_address"] == "127.0.0.1"
        status = int(sample.labels["http_response_status_code"])
        assert sample.labels["error_type"] == (str(status) if status >= 400 else "")
        calls[sample.labels["http_request_method"], status] += int(sample.value)
    served = chain.served[following]
    assert calls == Counter((line["http.request.method"], line["http.response.status_code"]) for line in served)
    assert calls.total() == sum(line.get("http.client.count", 0) for line in chain.lines[service])
    exemplars = [sample.exemplar for sample in chain.metrics[service][f"{CLIENT_METRIC}_bucket"] if sample.exemplar]
    assert exemplars
    for exemplar in exemplars:
        span = chain.span[exemplar.labels["span_id"]]
        assert (span.kind, span.service, span.trace_id) == ("client", service, exemplar.labels["trace_id"])
        assert milliseconds(exemplar.value) == span.duration_ms


@pytest.mark.parametrize("service", SERVICES)
def test_both_formats_of_the_metrics_say_the_same(chain, service):
    for name in (f"{SERVER_METRIC}_bucket", f"{SERVER_METRIC}_count", f"{SERVER_METRIC}_sum", "target_info"):
        text, openmetrics = chain.text[service][name], chain.metrics[service][name]
        assert [(sample.labels, sample.value) for sample in text] == [(each.labels, each.value) for each in openmetrics]
    assert [sample.value for sample in chain.metrics[service]["http_server_active_requests"]] in ([0.0], [0.0, 0.0])
    assert not [name for name in chain.text[service] if name.endswith("_created")]


@pytest.mark.parametrize("service", SERVICES)
def test_all_that_was_produced_was_exported_and_nothing_went_wrong(chain, service):
    spans, exported, dropped = chain.tallies[service]["spans"]
    assert spans == exported == sum(span.service == service for span in chain.spans)
    assert not any(dropped.values())
    lines, exported, dropped = chain.tallies[service]["log_lines"]
    assert lines == exported == len(chain.lines[service])
    assert not any(dropped.values())
    assert not any(sample.value for sample in chain.metrics[service]["obskit_internal_errors_total"])


def test_the_resource_is_the_same_in_spans_lines_and_metrics(chain):
    [target] = chain.metrics["front"]["target_info"]
    for span in (span for span in chain.spans if span.service == "front"):
        assert {name.replace(".", "_"): value for name, value in span.resource.items()} == target.labels
    assert (target.labels["service_version"], target.labels["deployment_environment_name"]) == ("1.2.3", "test")
    assert {line["service.version"] for line in chain.lines["front"]} == {"1.2.3"}
