"""Outbound calls by httpx, against a real server on loopback."""

import asyncio
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

import obskit
from obskit import testing
from obskit.instrumentation import httpx as instrumentation


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append(dict(self.headers))
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("location", "/ok")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        body = b"x" * 10
        self.send_response({"/missing": 404, "/broken": 503}.get(self.path, 200))
        self.send_header("content-length", str(len(body) * (2 if self.path == "/cut" else 1)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.path == "/cut"

    do_BREW = do_POST = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def url(server):
    server.seen = []
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def captured():
    with testing.capture() as captured:
        yield captured


async def get(kind, url, *, method="GET", **kwargs):
    """One request by a client of this kind."""
    if kind == "sync":
        with httpx.Client(trust_env=False) as client:
            return client.request(method, url, **kwargs)
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, url, **kwargs)


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


@KINDS
async def test_a_call_is_one_client_span_whose_context_is_sent(kind, url, server, captured):
    with obskit.operation("job") as job:
        await get(kind, f"{url}/ok")
    [span] = [span for span in captured.spans if span.kind.name == "CLIENT"]
    assert span.name == "GET"
    assert span.parent.span_id == int(job.span_id, 16)
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": server.server_port,
        "url.full": f"{url}/ok",
        "http.response.status_code": 200,
        "outcome": "ok",
    }
    sent = server.seen[0]["traceparent"]
    assert sent == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-03"
    assert (
        captured.metric(
            "http_client_request_duration_seconds_count", server_address="127.0.0.1", http_response_status_code="200"
        )
        == 1
    )


@KINDS
async def test_calls_roll_up_into_the_operation_above(kind, url, captured):
    with obskit.operation("job"), obskit.operation("step"):
        await get(kind, f"{url}/ok")
        await get(kind, f"{url}/missing")
    line = captured.line("job ok")
    spans = [span for span in captured.spans if span.kind.name == "CLIENT"]
    assert (line["http.client.count"], line["http.client.errors"]) == (2, 1)
    total = sum(round((span.end_time - span.start_time) / 1e6, 3) for span in spans)
    assert line["http.client.duration_ms"] == pytest.approx(total, abs=0.002)


@KINDS
@pytest.mark.parametrize(("path", "error_type"), [("/ok", None), ("/missing", "404"), ("/broken", "503")])
async def test_statuses(kind, url, captured, path, error_type):
    await get(kind, url + path)
    [span] = captured.spans
    assert (span.attributes.get("error.type"), span.status.status_code.name) == (
        error_type, "ERROR" if error_type else "UNSET",
    )  # fmt: skip


@KINDS
async def test_each_hop_of_a_redirect_is_a_call(kind, url, server, captured):
    assert (await get(kind, f"{url}/redirect", follow_redirects=True)).status_code == 200
    assert [span.attributes["http.response.status_code"] for span in captured.spans] == [302, 200]
    ids = [headers["traceparent"].split("-")[2] for headers in server.seen]
    assert ids == [f"{span.context.span_id:016x}" for span in captured.spans]


@KINDS
async def test_a_refused_connection_is_an_error_by_its_type(kind, captured):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(httpx.ConnectError):
            await get(kind, f"http://127.0.0.1:{taken.getsockname()[1]}/")
    [span] = captured.spans
    assert span.attributes["error.type"] == "httpx.ConnectError"
    assert span.events[0].name == "exception"
    assert captured.metric("http_client_request_duration_seconds_count", error_type="httpx.ConnectError") == 1


@KINDS
async def test_a_body_that_breaks_off_is_an_error(kind, url, captured):
    with pytest.raises(httpx.RemoteProtocolError):
        await get(kind, f"{url}/cut")
    [span] = captured.spans
    assert span.attributes["error.type"] == "httpx.RemoteProtocolError"


async def test_a_streamed_body_ends_the_call_when_it_is_closed(url, captured):
    with httpx.Client(trust_env=False) as client, client.stream("GET", f"{url}/ok") as response:
        assert captured.spans == []
        assert response.read() == b"x" * 10
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", f"{url}/ok") as response:
        assert len(captured.spans) == 1
        assert b"".join([chunk async for chunk in response.aiter_bytes()]) == b"x" * 10
    assert len(captured.spans) == 2


async def test_a_cancelled_call_is_no_error(captured):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await get("async", f"http://127.0.0.1:{port}/", timeout=30)
    [span] = captured.spans
    assert (span.attributes["outcome"], "error.type" in span.attributes) == ("cancelled", False)


async def test_an_unknown_method_makes_no_name_of_its_own(url, captured):
    await get("sync", f"{url}/ok", method="BREW")
    [span] = captured.spans
    assert (span.name, span.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert span.attributes["http.request.method_original"] == "BREW"


async def test_credentials_and_secrets_of_a_url_stay_inside(url, captured):
    await get("sync", url.replace("http://", "http://user:hunter2@") + "/ok?token=abc&page=2")
    [span] = captured.spans
    assert "hunter2" not in span.attributes["url.full"]
    assert "abc" not in span.attributes["url.full"]
    assert span.attributes["url.full"].endswith("page=2")


async def test_a_transport_that_answers_at_once(captured):
    transport = httpx.MockTransport(lambda request: httpx.Response(204))
    with httpx.Client(transport=transport) as client:
        client.get("https://api.example/x")
    [span] = captured.spans
    assert (span.attributes["server.port"], span.attributes["http.response.status_code"]) == (443, 204)


async def test_a_tracestate_is_passed_on(url, server, captured):
    state = trace.TraceState([("vendor", "1")])
    remote = trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state)
    parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    with obskit.operation("job", parent=parent):
        await get("sync", f"{url}/ok")
    assert server.seen[0]["tracestate"] == "vendor=1"


async def test_without_trace_context_nothing_is_sent(url, server):
    with testing.capture(config=obskit.Config(propagators=("none",))) as captured:
        await get("sync", f"{url}/ok")
        assert len(captured.spans) == 1
    assert "traceparent" not in server.seen[0]


async def test_inbound_baggage_is_not_handed_to_whoever_is_called(url, server, captured):
    with obskit.operation("job", parent=obskit.extract({"baggage": "customer=42"})):
        await get("sync", f"{url}/ok")
    assert "baggage" not in server.seen[0]


@pytest.mark.parametrize("key", instrumentation._SUPPRESSED)
async def test_suppressed_calls_are_not_observed(url, captured, key):
    token = otel_context.attach(otel_context.set_value(key, True))
    try:
        await get("sync", f"{url}/ok")
        await get("async", f"{url}/ok")
    finally:
        otel_context.detach(token)
    assert captured.spans == []


async def test_clients_made_before_and_used_after_are_httpx_own_again(url, server):
    client = httpx.Client(trust_env=False)
    before = httpx.Client._send_single_request, httpx.AsyncClient._send_single_request
    with testing.capture() as captured:
        client.get(f"{url}/ok")
        assert len(captured.spans) == 1
    assert (httpx.Client._send_single_request, httpx.AsyncClient._send_single_request) == before
    client.get(f"{url}/ok")
    assert "traceparent" not in server.seen[1]
    client.close()


async def test_a_patch_of_somebody_elses_on_top_is_left_in_place():
    original = httpx.Client._send_single_request
    with testing.capture():
        ours = httpx.Client._send_single_request
        httpx.Client._send_single_request = lambda self, request: ours(self, request)  # noqa: PLW0108  (another function)
        theirs = httpx.Client._send_single_request
    assert httpx.Client._send_single_request is theirs
    httpx.Client._send_single_request = original


async def test_what_breaks_obskit_does_not_break_the_call(url, captured, contained_errors, monkeypatch):
    monkeypatch.setattr(instrumentation, "_fields", lambda *args: 1 / 0)
    assert (await get("sync", f"{url}/ok")).status_code == 200
    monkeypatch.undo()
    monkeypatch.setattr(instrumentation, "_CLIENT_ERROR", "x")
    assert (await get("async", f"{url}/ok")).status_code == 200
    assert [component for component, _ in contained_errors] == ["httpx", "httpx"]
    contained_errors.clear()


@pytest.mark.filterwarnings("ignore:Using `httpx`")  # Starlette asks for httpx2, which is not what is tested here
def test_a_test_clients_request_is_nobodys_outbound_call(captured):
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    with TestClient(Starlette()) as client:
        assert client.get("/x").status_code == 404
    assert captured.spans == []


async def test_a_scheme_without_a_known_port_has_none(captured):
    transport = httpx.MockTransport(lambda request: httpx.Response(204))
    with httpx.Client(transport=transport) as client:
        client.get("unix://socket/x")
    assert "server.port" not in captured.span("GET").attributes
