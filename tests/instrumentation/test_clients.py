"""Outbound calls: the same table of cases for each client library, against a real server on loopback."""

import asyncio
import gc
import logging
import socket

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context

import obskit
from instrumentation.outbound import BODY, BY_NAME, CLIENTS
from obskit import testing
from obskit.instrumentation import _outbound

METRIC = "http_client_request_duration_seconds_count"
EACH = pytest.mark.parametrize("client", CLIENTS, ids=repr)
ASYNCHRONOUS = pytest.mark.parametrize("client", [client for client in CLIENTS if client.asynchronous], ids=repr)


@pytest.fixture
def captured():
    with testing.capture() as captured:
        yield captured


def calls(captured):
    return [span for span in captured.spans if span.kind.name == "CLIENT"]


# -- one call ----------------------------------------------------------------------------------------------------------


@EACH
async def test_a_call_is_one_client_span_whose_context_is_sent(client, url, server, captured):
    with obskit.operation("job") as job:
        assert await client.send(f"{url}/ok?page=2") == 200
    [span] = calls(captured)
    assert span.name == "GET"
    assert span.parent.span_id == int(job.span_id, 16)
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": server.server_port,
        "url.full": f"{url}/ok?page=2",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "outcome": "ok",
    }
    assert [headers["traceparent"] for _, _, headers in server.seen] == [
        f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-03"
    ]


@EACH
async def test_a_call_is_one_observation_with_an_exemplar(client, url, server, captured):
    await client.send(f"{url}/ok")
    labels = {
        "http_request_method": "GET",
        "server_address": "127.0.0.1",
        "server_port": str(server.server_port),
        "http_response_status_code": "200",
        "error_type": "",
    }
    assert captured.metric(METRIC) == captured.metric(METRIC, **labels) == 1
    [exemplar] = [
        sample.exemplar
        for family in captured.obs.registry.collect()
        for sample in family.samples
        if family.name == METRIC.removesuffix("_count") and sample.exemplar
    ]
    [span] = captured.spans
    assert exemplar.labels["trace_id"] == f"{span.context.trace_id:032x}"


@EACH
async def test_calls_roll_up_into_the_operation_at_the_top(client, url, captured):
    with obskit.operation("job"), obskit.operation("step"):
        await client.send(f"{url}/ok")
        await client.send(f"{url}/missing")
    line = captured.line("job ok")
    total = sum(round((span.end_time - span.start_time) / 1e6, 3) for span in calls(captured))
    assert (line["http.client.count"], line["http.client.errors"]) == (2, 1)
    assert line["http.client.duration_ms"] == pytest.approx(total, abs=0.002)


@EACH
@pytest.mark.parametrize(("path", "error_type"), [("/ok", None), ("/missing", "404"), ("/broken", "503")])
async def test_statuses(client, url, captured, path, error_type):
    await client.send(url + path)
    [span] = captured.spans
    assert span.attributes.get("error.type") == error_type
    assert span.status.status_code.name == ("ERROR" if error_type else "UNSET")
    assert captured.metric(METRIC, error_type=error_type or "") == 1


@EACH
async def test_an_unknown_method_makes_no_name_of_its_own(client, url, captured):
    await client.send(f"{url}/ok", "BREW")
    [span] = captured.spans
    assert (span.name, span.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert span.attributes["http.request.method_original"] == "BREW"


@EACH
async def test_a_head_request_has_no_body_to_wait_for(client, url, captured):
    await client.send(f"{url}/ok", "HEAD")
    assert [span.name for span in captured.spans] == ["HEAD"]


@EACH
async def test_credentials_and_secrets_of_a_url_stay_inside(client, url, captured):
    await client.send(url.replace("http://", "http://user:hunter2@") + "/ok?token=abc&page=2")
    [span] = captured.spans
    assert "hunter2" not in span.attributes["url.full"]
    assert span.attributes["url.full"].endswith("/ok?token=[REDACTED]&page=2")


# -- calls that fail ---------------------------------------------------------------------------------------------------


@EACH
async def test_a_refused_connection_is_an_error_by_its_type(client, captured):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Exception):  # noqa: B017  (each library's own)
            await client.send(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    [span] = captured.spans
    assert span.attributes["error.type"] == client.refused
    assert span.events[0].attributes["exception.type"] == client.refused
    assert captured.metric(METRIC, error_type=client.refused, http_response_status_code="") == 1


@EACH
async def test_a_timeout_is_an_error_by_its_type(client, url, captured):
    with pytest.raises(Exception):  # noqa: B017
        await client.send(f"{url}/silent", seconds=0.3)
    [span] = captured.spans
    assert span.attributes["error.type"] == client.slow


@EACH
async def test_a_body_that_breaks_off_is_an_error_by_its_type(client, url, captured):
    with pytest.raises(Exception):  # noqa: B017
        await client.send(f"{url}/cut")
    [span] = captured.spans
    assert span.attributes["error.type"] == client.broken_off
    read_at_once = client.name == "urllib3"  # before anybody is told the status
    assert span.attributes.get("http.response.status_code") == (None if read_at_once else 200)


@EACH
async def test_a_body_that_comes_too_slowly_is_an_error(client, url, captured):
    async with client.stream(f"{url}/half", seconds=0.5) as answer:
        with pytest.raises(Exception):  # noqa: B017
            await answer.read()
        [span] = captured.spans
    assert span.attributes["error.type"] in (client.slow, "urllib3.exceptions.ReadTimeoutError")


@ASYNCHRONOUS
@pytest.mark.parametrize("path", ["/silent", "/half"])
async def test_a_cancelled_call_is_no_error(client, url, server, captured, path):
    task = asyncio.create_task(client.send(url + path))
    while not server.seen:  # noqa: ASYNC110  (another thread's)
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05 if path == "/half" else 0)  # for the head of the answer to arrive
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [span] = captured.spans
    assert (span.attributes["outcome"], "error.type" in span.attributes) == ("cancelled", False)


# -- bodies ------------------------------------------------------------------------------------------------------------


@EACH
async def test_a_streamed_body_ends_the_call_when_it_has_been_read(client, url, server, captured):
    async with client.stream(f"{url}/half") as answer:
        assert captured.spans == []
        server.released.set()
        with pytest.raises(Exception):  # noqa: B017  (the other half never comes)
            await answer.read()
        assert len(captured.spans) == 1
    async with client.stream(f"{url}/ok") as answer:
        assert await answer.read() == BODY
        assert len(captured.spans) == 2


@EACH
async def test_a_streamed_body_ends_the_call_when_it_is_closed(client, url, captured):
    async with client.stream(f"{url}/half") as answer:
        assert captured.spans == []
        await answer.close()
        [span] = captured.spans
    assert (span.attributes["outcome"], span.attributes["http.response.status_code"]) == ("ok", 200)


@EACH
@pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")  # which is what this client does
async def test_a_body_that_nobody_holds_any_more_ends_the_call(client, url, captured):
    async with client.stream(f"{url}/half") as answer:
        assert captured.spans == []
        answer.drop()
        gc.collect()
        # aiohttp's own connection holds an answer whose body has not come to its end.
        assert len(captured.spans) == (0 if client.name == "aiohttp" else 1)
    while not captured.spans:
        await asyncio.sleep(0.001)
        gc.collect()
    [span] = captured.spans
    assert span.attributes["outcome"] == "ok"


# -- redirects and retries ---------------------------------------------------------------------------------------------


@EACH
async def test_each_hop_of_a_redirect_is_a_call_and_counts_up(client, url, server, captured):
    with obskit.operation("job") as job:
        assert await client.send(f"{url}/redirect") == 200
    spans = calls(captured)
    assert [span.attributes["http.response.status_code"] for span in spans] == [302, 200]
    assert [span.attributes.get("http.request.resend_count") for span in spans] == [None, 1]
    assert {span.parent.span_id for span in spans} == {int(job.span_id, 16)}
    assert [headers["traceparent"].split("-")[2] for _, _, headers in server.seen] == [
        f"{span.context.span_id:016x}" for span in spans
    ]
    assert spans[0].end_time <= spans[1].start_time


@EACH
async def test_a_call_of_its_own_does_not_count_up(client, url, captured):
    with obskit.operation("job"):
        await client.send(f"{url}/ok")
        await client.send(f"{url}/ok")
    assert [span.attributes.get("http.request.resend_count") for span in calls(captured)] == [None, None]


# -- what is not observed ----------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("key", [_outbound._SUPPRESS, _outbound._SUPPRESS_HTTP], ids=["all", "http"])
async def test_suppressed_calls_are_not_observed(client, url, server, captured, key):
    token = otel_context.attach(otel_context.set_value(key, True))
    try:
        await client.send(f"{url}/ok")
    finally:
        otel_context.detach(token)
    assert captured.spans == []
    assert "traceparent" not in server.headers()


@EACH
async def test_clients_made_before_are_observed_and_afterwards_they_are_the_librarys_own(client, url, server):
    made = client.make()
    with testing.capture() as captured:
        await client.send(f"{url}/ok", client=made)
        assert len(captured.spans) == 1
    await client.send(f"{url}/ok", client=made)
    assert [("traceparent" in headers) for _, _, headers in server.seen] == [True, False]
    closed = (getattr(made, "close", None) or getattr(made, "aclose", None) or made.clear)()
    if asyncio.iscoroutine(closed):
        await closed


@EACH
async def test_only_the_clients_that_are_named_are_observed(client, url):
    library = client.name.removesuffix("-async")
    with testing.capture(config=obskit.Config(clients=(library,))) as captured:
        for other in CLIENTS:
            with obskit.operation(other.name):
                await other.send(f"{url}/ok")
        observed = {span.name for span in captured.spans if "http.client.count" in span.attributes}
    also = {"requests"} if library == "urllib3" else set()  # which is a user of urllib3
    assert observed == {name for name in BY_NAME if name.removesuffix("-async") == library} | also


@EACH
async def test_what_breaks_obskit_does_not_break_the_call(client, url, captured, contained_errors, monkeypatch):
    monkeypatch.setattr(_outbound, "Operation", None)
    assert await client.send(f"{url}/ok") == 200
    monkeypatch.undo()
    monkeypatch.setattr(_outbound, "_CLIENT_ERROR", "x")
    assert await client.send(f"{url}/ok") == 200
    assert {component for component, _ in contained_errors} <= {client.name.removesuffix("-async"), "urllib3"}
    assert len(contained_errors) == 2
    contained_errors.clear()


BROKEN = {
    "what begins": ("_outbound.Outbound.begin", 0),
    "what writes": ("_outgoing.Outgoing.write", 1),
    "what takes note": ("_unbounded.Unbounded.note", 1),
}


@EACH
@pytest.mark.parametrize(("part", "spans"), BROKEN.values(), ids=BROKEN)
async def test_a_part_that_breaks_leaves_the_call_alone(
    client, part, spans, url, captured, contained_errors, monkeypatch
):
    monkeypatch.setattr(f"obskit.instrumentation.{part}", lambda *_: 1 / 0)
    assert await client.send(f"{url}/ok", seconds=None) == 200
    assert len(captured.spans) == spans
    [(_, error)] = contained_errors
    assert isinstance(error, ZeroDivisionError)
    contained_errors.clear()


# -- what is sent ------------------------------------------------------------------------------------------------------


@EACH
async def test_a_tracestate_is_passed_on(client, url, server, captured):
    state = trace.TraceState([("vendor", "1")])
    remote = trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state)
    with obskit.operation("job", parent=trace.set_span_in_context(trace.NonRecordingSpan(remote))):
        await client.send(f"{url}/ok")
    assert server.headers()["tracestate"] == "vendor=1"


PROPAGATORS = {
    "none": ("none", set()),
    "tracecontext": ("tracecontext", {"traceparent"}),
    "b3": ("b3", {"b3"}),
    "b3multi": ("b3multi", {"x-b3-traceid", "x-b3-spanid", "x-b3-sampled"}),
    "both": ("tracecontext,b3", {"traceparent", "b3"}),
}
CONTEXT_HEADERS = {"traceparent", "tracestate", "b3", "baggage", *PROPAGATORS["b3multi"][1]}


@EACH
@pytest.mark.parametrize(("names", "headers"), PROPAGATORS.values(), ids=PROPAGATORS)
async def test_context_goes_out_as_the_propagators_say(client, url, server, names, headers):
    with testing.capture(config=obskit.Config(propagators=tuple(names.split(",")))) as captured:
        await client.send(f"{url}/ok")
        [span] = captured.spans
    sent = {name: value for name, value in server.headers().items() if name in CONTEXT_HEADERS}
    assert set(sent) == headers
    assert all(f"{span.context.span_id:016x}" in " ".join(sent.values()) for _ in sent)


CUSTOMER = {"baggage": "customer=42"}
LISTED = {
    "nobody, the default": ((), False),
    "the host": (("127.0.0.1",), True),
    "a pattern": (("stock.internal", "127.*"), True),
    "everybody": (("*",), True),
    "another host": (("*.internal", "27.0.0.1", "localhost"), False),
}


@EACH
@pytest.mark.parametrize(("hosts", "sent"), LISTED.values(), ids=LISTED)
async def test_baggage_goes_to_listed_hosts_only(client, url, server, hosts, sent):
    with (
        testing.capture(config=obskit.Config(propagate_to=hosts)),
        obskit.operation("job", parent=obskit.extract(CUSTOMER)),
    ):
        await client.send(f"{url}/ok")
    assert server.headers().get("baggage") == ("customer=42" if sent else None)
    assert "traceparent" in server.headers()


@EACH
async def test_baggage_does_not_follow_a_redirect_to_another_host(client, url, server):
    with (
        testing.capture(config=obskit.Config(propagate_to=("127.0.0.1",))),
        obskit.operation("job", parent=obskit.extract(CUSTOMER)),
    ):
        await client.send(f"{url}/elsewhere")
    assert [headers.get("baggage") for _, _, headers in server.seen] == ["customer=42", None]
    assert all("traceparent" in headers for _, _, headers in server.seen)


@EACH
async def test_without_baggage_among_the_propagators_none_is_sent(client, url, server):
    with (
        testing.capture(config=obskit.Config(propagate_to=("*",), propagators=("tracecontext",))),
        obskit.operation("job", parent=baggage.set_baggage("customer", "42")),
    ):
        await client.send(f"{url}/ok")
    assert "baggage" not in server.headers()


@EACH
async def test_baggage_of_the_applications_own_stays(client, url, server):
    with (
        testing.capture(config=obskit.Config(propagate_to=("*",))),
        obskit.operation("job", parent=obskit.extract(CUSTOMER)),
    ):
        await client.send(f"{url}/ok", headers={"baggage": "mine=1"})
    assert server.headers()["baggage"] == "mine=1"


# -- calls without a timeout -------------------------------------------------------------------------------------------

WITHOUT_TIMEOUT = "obskit_http_client_calls_without_timeout_total"


@EACH
async def test_a_call_without_a_timeout_is_counted_and_its_place_named_once(client, url, captured, caplog):
    caplog.set_level(logging.WARNING, "obskit.clients")
    for _ in range(2):
        await client.send(f"{url}/ok", seconds=None)
    assert captured.metric(WITHOUT_TIMEOUT) == 2
    [record] = [record for record in caplog.records if record.name == "obskit.clients"]
    assert "has no timeout" in record.getMessage()
    assert vars(record)["code.file.path"].endswith("/instrumentation/outbound.py")
    assert vars(record)["code.function.name"].endswith(".send")
    [line] = [line for line in captured.lines if line["logger"] == "obskit.clients"]
    assert (line["level"], line["code.line.number"]) == ("warning", vars(record)["code.line.number"])


@EACH
async def test_a_call_with_a_timeout_is_not(client, url, captured):
    await client.send(f"{url}/ok", seconds=5)
    assert captured.metric(WITHOUT_TIMEOUT) == 0
