"""Outbound calls by httpx and httpx2: what is theirs alone. What every client does is in test_clients."""

import asyncio

import httpx
import httpx2
import pytest

import obskit
from instrumentation.outbound import BODY, BY_NAME
from obskit import testing

LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
KINDS = pytest.mark.parametrize("name", ["httpx", "httpx-async", "httpx2", "httpx2-async"])


@pytest.fixture
def captured():
    with testing.capture() as captured:
        yield captured


def resent(captured):
    return [span.attributes.get("http.request.resend_count") for span in captured.spans if span.kind.name == "CLIENT"]


@KINDS
async def test_a_request_that_auth_sends_again_counts_up(name, url, captured):
    client = BY_NAME[name]
    auth = client.library.DigestAuth("user", "hunter2")
    assert await client.send(f"{url}/digest", auth=auth) == 200
    assert [span.attributes["http.response.status_code"] for span in captured.spans] == [401, 200]
    assert resent(captured) == [None, 1]


@KINDS
async def test_the_same_request_sent_anew_by_the_application_does_not(name, url, captured):
    client = BY_NAME[name]
    request = client.library.Request("GET", f"{url}/redirect")
    for _ in range(2):
        made = client.make()
        answer = made.send(request)
        assert (await answer if client.asynchronous else answer).status_code == 200
        await made.aclose() if client.asynchronous else made.close()
    assert resent(captured) == [None, 1, None, 1]


@LIBRARIES
def test_a_transport_that_answers_at_once(library, captured):
    transport = library.MockTransport(lambda request: library.Response(204))
    with library.Client(transport=transport) as client:
        client.get("https://api.example/x")
    [span] = captured.spans
    assert (span.attributes["server.port"], span.attributes["http.response.status_code"]) == (443, 204)


@LIBRARIES
def test_an_answer_that_is_no_http_any_more_ends_the_call(library, captured):
    class Open(library.SyncByteStream):
        def __iter__(self):
            yield b""

    transport = library.MockTransport(lambda request: library.Response(101, stream=Open()))
    with library.Client(transport=transport) as client:
        client.send(client.build_request("GET", "http://api.example/x"), stream=True)
        [span] = captured.spans
    assert span.attributes["http.response.status_code"] == 101


VERSIONS = {b"HTTP/1.0": "1.0", b"HTTP/1.1": "1.1", b"HTTP/2": "2", b"HTTP/9": None}


@LIBRARIES
@pytest.mark.parametrize(("version", "expected"), VERSIONS.items())
def test_the_version_of_http_is_told_where_the_transport_tells_it(library, version, expected, captured):
    answer = library.Response(204, extensions={"http_version": version})
    with library.Client(transport=library.MockTransport(lambda request: answer)) as client:
        client.get("http://api.example/x")
    assert captured.span("GET").attributes.get("network.protocol.version") == expected


@LIBRARIES
def test_a_scheme_without_a_known_port_has_none(library, captured):
    transport = library.MockTransport(lambda request: library.Response(204))
    with library.Client(transport=transport) as client:
        client.get("unix://socket/x")
    assert "server.port" not in captured.span("GET").attributes


@LIBRARIES
async def test_a_transport_that_sends_by_another_client_is_one_call(library, url, server, captured):
    class Direct(library.BaseTransport):
        def handle_request(self, request):
            import requests

            return library.Response(
                requests.get(str(request.url), headers=dict(request.headers), timeout=5).status_code
            )

    with library.Client(transport=Direct()) as client:
        assert client.get(f"{url}/ok").status_code == 200
    [span] = captured.spans
    assert server.headers()["traceparent"].split("-")[2] == f"{span.context.span_id:016x}"


@LIBRARIES
@pytest.mark.parametrize("other", ["http://api.example:{port}/x", "http://127.0.0.1:9/x"], ids=["host", "port"])
def test_a_call_within_another_to_somebody_else_is_a_call_of_its_own(library, other, url, server, captured):
    class Asking(library.BaseTransport):  # a token, say
        def handle_request(self, request):
            import requests

            return library.Response(requests.get(f"{url}/ok", timeout=5).status_code)

    with library.Client(transport=Asking()) as client:
        client.get(other.format(port=server.server_port))
    inner, outer = captured.spans
    assert inner.parent.span_id == outer.context.span_id


async def test_a_patch_of_somebody_elses_on_top_is_left_in_place():
    original = httpx.Client._send_single_request
    with testing.capture():
        ours = httpx.Client._send_single_request
        httpx.Client._send_single_request = lambda self, request: ours(self, request)  # noqa: PLW0108  (another function)
        theirs = httpx.Client._send_single_request
    assert httpx.Client._send_single_request is theirs
    httpx.Client._send_single_request = original


@LIBRARIES
@pytest.mark.filterwarnings("ignore:Using `httpx`")  # Starlette asks for httpx2
def test_a_test_clients_request_is_nobodys_outbound_call(library, captured, monkeypatch):
    import starlette.testclient
    from starlette.applications import Starlette

    class TestClient(library.Client):
        __test__ = False

    monkeypatch.setattr(starlette.testclient, "TestClient", TestClient)
    transport = library.MockTransport(lambda request: library.Response(204))
    with TestClient(transport=transport) as client:
        client.get("http://testserver/x")
    monkeypatch.undo()
    with starlette.testclient.TestClient(Starlette()) as client:
        assert client.get("/x").status_code == 404
    assert captured.spans == []


@LIBRARIES
async def test_a_call_in_process_is_no_end_of_what_is_observed(library, url, captured):
    """The app that is called makes calls of its own: its request stands between."""
    inner = BY_NAME["httpx-async"]

    async def app(scope, receive, send):
        await inner.send(f"{url}/ok")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    wrapped = captured.obs.wrap(app)
    async with library.AsyncClient(transport=library.ASGITransport(wrapped)) as client:
        await client.get(f"{url}/ok")
    assert [span.kind.name for span in captured.spans] == ["CLIENT", "SERVER", "CLIENT"]


@LIBRARIES
async def test_what_reads_enough_of_a_body_is_no_error(library, url, captured):
    async with library.AsyncClient(trust_env=False) as client, client.stream("GET", f"{url}/half") as answer:
        async for _ in answer.aiter_bytes():
            break
    [span] = captured.spans
    assert span.attributes["outcome"] == "ok"


@LIBRARIES
async def test_a_body_that_is_read_no_further_is_open_until_it_is_closed(library, url, captured):
    async with library.AsyncClient(trust_env=False) as client, client.stream("GET", f"{url}/half") as answer:
        chunks = answer.stream.__aiter__()
        assert await anext(chunks) == BODY
        await chunks.aclose()
        assert captured.spans == []
    [span] = captured.spans
    assert span.attributes["outcome"] == "ok"


@LIBRARIES
async def test_what_a_call_has_set_going_may_call_the_same_host_later(library, url, captured):
    over, later = asyncio.Event(), []

    async def call_back():
        await over.wait()
        await BY_NAME["httpx-async"].send(f"{url}/ok")

    class Starting(library.AsyncHTTPTransport):
        async def handle_async_request(self, request):
            later.append(asyncio.create_task(call_back()))
            return await super().handle_async_request(request)

    async with library.AsyncClient(transport=Starting()) as client:
        await client.get(f"{url}/ok")
    over.set()
    await later[0]
    assert len(captured.spans) == 2


async def test_inbound_baggage_is_not_handed_to_whoever_is_called(url, server, captured):
    with obskit.operation("job", parent=obskit.extract({"baggage": "customer=42"})):
        await BY_NAME["httpx"].send(f"{url}/ok")
    assert "baggage" not in server.headers()
