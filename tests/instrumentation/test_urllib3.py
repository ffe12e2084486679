"""Outbound calls by urllib3, and by requests, which sends by it: retries, proxies, pools, bodies read in parts."""

import logging
import socket
import threading
import warnings
from time import perf_counter

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import HTTPDigestAuth
from urllib3.util import Retry

import obskit
from instrumentation.outbound import BODY, BY_NAME
from obskit import testing

TIMEOUT = {"timeout": 5}


@pytest.fixture
def captured():
    with testing.capture() as captured:
        yield captured


@pytest.fixture
def pools():
    with urllib3.PoolManager() as pools:
        yield pools


@pytest.fixture
def session():
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def calls(captured):
    return [span for span in captured.spans if span.kind.name == "CLIENT"]


def attribute(captured, name):
    return [span.attributes.get(name) for span in calls(captured)]


def by_urllib3(url, retries):
    with urllib3.PoolManager(retries=retries) as pools:
        return pools.request("GET", url, timeout=5).status


def by_requests(url, retries):
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(max_retries=retries))
        return session.get(url, timeout=5).status_code


BOTH = pytest.mark.parametrize("send", [by_urllib3, by_requests], ids=["urllib3", "requests"])


# -- retries -----------------------------------------------------------------------------------------------------------


@BOTH
def test_each_try_by_status_is_a_call_and_counts_up(send, url, server, captured):
    server.good_from = 3
    with obskit.operation("job") as job:
        assert send(f"{url}/flaky", Retry(3, status_forcelist=[503], backoff_factor=0)) == 200
    assert attribute(captured, "http.response.status_code") == [503, 503, 200]
    assert attribute(captured, "http.request.resend_count") == [None, 1, 2]
    assert {span.parent.span_id for span in calls(captured)} == {int(job.span_id, 16)}
    assert captured.line("job ok")["http.client.count"] == 3
    ids = [headers["traceparent"].split("-")[2] for _, _, headers in server.seen]
    assert ids == [f"{span.context.span_id:016x}" for span in calls(captured)]


@BOTH
def test_redirects_and_tries_count_up_together(send, url, server, captured):
    server.good_from = 4
    assert send(f"{url}/to-flaky", Retry(5, status_forcelist=[503], backoff_factor=0)) == 200
    assert attribute(captured, "http.response.status_code") == [302, 503, 503, 200]
    assert attribute(captured, "http.request.resend_count") == [None, 1, 2, 3]


@BOTH
def test_each_try_to_connect_is_a_call_that_fails_by_what_it_met(send, closed_port, captured):
    with pytest.raises(Exception):  # noqa: B017
        send(f"http://127.0.0.1:{closed_port}/", Retry(2, backoff_factor=0))
    last = {"by_urllib3": "urllib3.exceptions.NewConnectionError"}.get(
        send.__name__, "requests.exceptions.ConnectionError"
    )
    refused = "urllib3.exceptions.NewConnectionError"
    assert attribute(captured, "error.type") == [refused, refused, last]
    assert attribute(captured, "http.request.resend_count") == [None, 1, 2]
    assert attribute(captured, "server.port") == [closed_port] * 3


@BOTH
def test_a_wait_between_tries_is_part_of_neither(send, closed_port, captured):
    begun = perf_counter()
    with pytest.raises(Exception):  # noqa: B017
        send(f"http://127.0.0.1:{closed_port}/", Retry(2, backoff_factor=0.2))
    waited = perf_counter() - begun
    assert waited > 0.3
    spent = sum(span.end_time - span.start_time for span in calls(captured)) / 1e9
    assert spent < waited - 0.3


@BOTH
def test_a_connection_that_breaks_before_the_answer(send, url, server, captured):
    with pytest.raises(Exception):  # noqa: B017
        send(f"{url}/dropped", False)
    own = "http.client.RemoteDisconnected" if send is by_urllib3 else "requests.exceptions.ConnectionError"
    assert attribute(captured, "error.type") == [own]


# -- urllib3's own -----------------------------------------------------------------------------------------------------


def test_a_pool_of_its_own(url, server, captured):
    with urllib3.HTTPConnectionPool("127.0.0.1", server.server_port) as pool:
        assert pool.urlopen("GET", "/ok?page=2", timeout=5).status == 200
        assert pool.request("GET", "/ok", timeout=5).status == 200
    assert attribute(captured, "url.full") == [f"{url}/ok?page=2", f"{url}/ok"]


def test_the_headers_of_the_application_stay_as_they_are(url, server, captured, pools):
    mine = {"x-mine": "1"}
    pools.request("GET", f"{url}/ok", headers=mine, timeout=5)
    pools.headers["x-pool"] = "2"
    pools.request("GET", f"{url}/ok", timeout=5)
    assert mine == {"x-mine": "1"}
    assert dict(pools.headers) == {"x-pool": "2"}
    assert [(headers.get("x-mine"), headers.get("x-pool")) for _, _, headers in server.seen] == [
        ("1", None),
        (None, "2"),
    ]


def test_headers_stay_as_they_are_in_a_tunnel_too(url, server, captured, pools, monkeypatch):
    monkeypatch.setattr("urllib3.connectionpool.connection_requires_http_tunnel", lambda *_: True)
    mine = {"x-mine": "1"}
    pools.request("GET", f"{url}/ok", headers=mine, timeout=5)
    assert mine == {"x-mine": "1"}
    assert "traceparent" in server.headers()


def test_a_call_through_a_proxy_is_a_call_to_who_is_meant(server, captured):
    with urllib3.ProxyManager(server.url) as proxy:
        assert proxy.request("GET", "http://stock.internal/ok?token=abc", timeout=5).status == 200
        assert proxy.request("GET", "http://[::1]:8080/ok", timeout=5).status == 200
    assert attribute(captured, "server.address") == ["stock.internal", "::1"]
    assert attribute(captured, "server.port") == [80, 8080]
    assert attribute(captured, "url.full") == ["http://stock.internal/ok?token=[REDACTED]", "http://[::1]:8080/ok"]


def test_a_proxy_that_is_not_there(closed_port, captured):
    """No request goes out for want of a tunnel: the calls fail all the same."""
    with (
        urllib3.ProxyManager(f"http://127.0.0.1:{closed_port}") as proxy,
        pytest.raises(urllib3.exceptions.MaxRetryError),
    ):
        proxy.request("GET", "https://stock.internal/ok", timeout=5, retries=Retry(1, backoff_factor=0))
    assert attribute(captured, "server.address") == ["stock.internal"] * 2
    assert attribute(captured, "error.type") == ["urllib3.exceptions.ProxyError", "urllib3.exceptions.MaxRetryError"]
    assert attribute(captured, "http.request.resend_count") == [None, 1]


def test_a_connection_that_makes_calls_of_its_own(server, captured):
    """For a token, say: they are calls within the call, whatever they go through."""

    class Asking(urllib3.connection.HTTPConnection):
        def request(self, *args, **kwargs):
            with urllib3.PoolManager() as pools:
                pools.request("GET", f"http://localhost:{server.server_port}/redirect", timeout=5)
                with pytest.raises(urllib3.exceptions.MaxRetryError):
                    pools.request("GET", f"http://localhost:{server.server_port}/dropped", timeout=5, retries=1)
            super().request(*args, **kwargs)

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Asking

    with Pool("127.0.0.1", server.server_port) as pool:
        assert pool.urlopen("GET", "/ok", timeout=5).status == 200
    *inner, outer = calls(captured)
    assert {span.parent.span_id for span in inner} == {outer.context.span_id}
    assert attribute(captured, "http.response.status_code") == [302, 200, None, None, 200]
    assert attribute(captured, "http.request.resend_count") == [None, 1, None, 1, None]


def test_a_pool_without_a_connection_to_spare(url, server, captured):
    with urllib3.HTTPConnectionPool("127.0.0.1", server.server_port, maxsize=1, block=True) as pool:
        first = pool.urlopen("GET", "/ok", preload_content=False, timeout=5)
        with pytest.raises(urllib3.exceptions.EmptyPoolError):
            pool.urlopen("GET", "/ok", pool_timeout=0.01, timeout=5)
        first.drain_conn()
    assert sorted(attribute(captured, "error.type"), key=str) == [None, "urllib3.exceptions.EmptyPoolError"]


def test_a_url_that_is_none_is_no_call(captured):
    with urllib3.HTTPConnectionPool("127.0.0.1", 9) as pool, pytest.raises(urllib3.exceptions.LocationParseError):
        pool.urlopen("GET", "http://[::1", timeout=5)
    assert captured.spans == []


@pytest.mark.parametrize(
    "read",
    [
        lambda answer: b"".join(answer.stream(3)),
        lambda answer: answer.read(4) + answer.read(4) + answer.read(4),
        lambda answer: answer.read1() + answer.read1(),
        lambda answer: answer.data,
        lambda answer: answer.drain_conn() or BODY,
    ],
    ids=["stream", "parts", "read1", "data", "drain"],
)
def test_bodies_read_in_every_way_end_the_call(read, url, captured, pools):
    answer = pools.request("GET", f"{url}/ok", preload_content=False, timeout=5)
    assert captured.spans == []
    assert read(answer) == BODY
    assert attribute(captured, "outcome") == ["ok"]


@pytest.mark.parametrize("leave", ["close", "release_conn"])
def test_bodies_left_in_every_way_end_the_call(leave, url, captured, pools):
    answer = pools.request("GET", f"{url}/half", preload_content=False, timeout=5)
    assert next(answer.stream(3)) == b"xxx"
    assert captured.spans == []
    getattr(answer, leave)()
    assert attribute(captured, "outcome") == ["ok"]
    answer.close()


def test_chunks_that_nobody_reads_to_the_end(captured, pools):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
                connection.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        response = pools.request(
            "GET", f"http://127.0.0.1:{listener.getsockname()[1]}/", preload_content=False, timeout=5
        )
        chunks = response.stream()
        assert next(chunks) == b"abc"
        assert captured.spans == []
        chunks.close()
        assert attribute(captured, "outcome") == ["ok"]
        thread.join()


def test_what_is_no_response_of_urllib3s_own_class_ends_with_its_head(url, captured, pools, monkeypatch):
    class Mine(urllib3.response.HTTPResponse):
        pass

    monkeypatch.setattr("urllib3.response.HTTPResponse", Mine)
    answer = pools.request("GET", f"{url}/ok", preload_content=False, timeout=5)
    assert type(answer) is Mine
    assert len(captured.spans) == 1
    assert answer.read() == BODY


# -- requests' own -----------------------------------------------------------------------------------------------------


def test_a_request_that_auth_sends_again_counts_up(url, captured, session):
    assert session.get(f"{url}/digest", auth=HTTPDigestAuth("user", "hunter2"), **TIMEOUT).status_code == 200
    assert attribute(captured, "http.response.status_code") == [401, 200]
    assert attribute(captured, "http.request.resend_count") == [None, 1]


def test_a_redirect_that_is_followed_by_hand_is_a_call_of_its_own(url, captured, session):
    first = session.get(f"{url}/redirect", allow_redirects=False, **TIMEOUT)
    assert session.send(first.next, **TIMEOUT).status_code == 200
    assert attribute(captured, "http.request.resend_count") == [None, None]


def test_a_call_from_within_a_hook_is_a_call_of_its_own(url, captured, session):
    def hook(response, **_):
        requests.get(f"{url}/ok", timeout=5)

    assert session.get(f"{url}/redirect", hooks={"response": hook}, **TIMEOUT).status_code == 200
    assert attribute(captured, "http.response.status_code") == [200, 302, 200, 200]
    assert attribute(captured, "http.request.resend_count") == [None, None, None, 1]


def test_too_many_redirects_leave_no_call_without_an_end(url, captured, session):
    session.max_redirects = 0
    with pytest.raises(requests.TooManyRedirects):
        session.get(f"{url}/redirect", **TIMEOUT)
    assert attribute(captured, "outcome") == ["ok"]


def test_a_call_that_is_interrupted_is_cancelled(url, captured, session, monkeypatch):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("urllib3.connection.HTTPConnection.request", interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.get(f"{url}/ok", **TIMEOUT)
    assert attribute(captured, "outcome") == ["cancelled"]


def test_a_stream_of_requests_ends_with_what_broke_it(url, captured, session):
    answer = session.get(f"{url}/cut", stream=True, **TIMEOUT)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(answer.iter_content(4))
    assert attribute(captured, "error.type") == ["urllib3.exceptions.ProtocolError"]


def test_a_mounted_adapter_that_asks_no_server_makes_no_call(captured, session):
    class Canned(HTTPAdapter):
        def send(self, request, **_):
            response = requests.Response()
            response.status_code, response.url, response._content = 200, request.url, b""
            response.request, response.raw = request, urllib3.HTTPResponse(b"", status=200)
            return response

    session.mount("canned://", Canned())
    assert session.get("canned://x").status_code == 200
    assert captured.spans == []


# -- timeouts ----------------------------------------------------------------------------------------------------------

BOUNDED = {
    "a number": (5, True),
    "a connect timeout alone": (urllib3.Timeout(connect=5, read=None), True),
    "a read timeout alone": (urllib3.Timeout(connect=None, read=5), True),
    "a total": (urllib3.Timeout(total=5), True),
    "None": (None, False),
    "nothing in any part": (urllib3.Timeout(connect=None, read=None), False),
    "the default": (urllib3.util.Timeout.DEFAULT_TIMEOUT, False),
}


@pytest.mark.parametrize(("timeout", "bounded"), BOUNDED.values(), ids=BOUNDED)
def test_what_counts_as_a_timeout(timeout, bounded, url, captured, pools):
    pools.request("GET", f"{url}/ok", timeout=timeout)
    assert captured.metric("obskit_http_client_calls_without_timeout_total") == (not bounded)


def test_the_sockets_default_is_one(url, captured, pools):
    socket.setdefaulttimeout(5)
    try:
        pools.request("GET", f"{url}/ok")
    finally:
        socket.setdefaulttimeout(None)
    assert captured.metric("obskit_http_client_calls_without_timeout_total") == 0


def test_each_place_is_named_once(url, captured, session, caplog):
    caplog.set_level(logging.WARNING, "obskit.clients")
    for _ in range(3):
        session.get(f"{url}/ok")
    session.get(f"{url}/ok")
    places = [(vars(record)["code.function.name"], vars(record)["code.line.number"]) for record in caplog.records]
    assert len(set(places)) == len(places) == 2
    assert {function for function, _ in places} == {f"{__name__}.test_each_place_is_named_once"}
    assert captured.metric("obskit_http_client_calls_without_timeout_total") == 4


def test_places_are_bounded(url, captured, session, caplog, monkeypatch):
    monkeypatch.setattr("obskit.instrumentation._unbounded._MAX_PLACES", 1)
    caplog.set_level(logging.WARNING, "obskit.clients")
    session.get(f"{url}/ok")
    session.get(f"{url}/ok")
    assert len(caplog.records) == 1


# -- threads -----------------------------------------------------------------------------------------------------------


async def test_calls_of_many_threads_are_apart(url, captured):
    def work(n):
        with obskit.operation(f"job {n}"), requests.Session() as session:
            session.trust_env = False
            for _ in range(5):
                session.get(f"{url}/redirect", timeout=20)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert attribute(captured, "http.request.resend_count").count(1) == 40
    assert [captured.line(f"job {n} ok")["http.client.count"] for n in range(8)] == [10] * 8


async def test_nothing_is_left_of_many_calls(url):
    """Of what is observed nothing stays alive: neither operations nor answers."""
    import gc

    from obskit.operation import Operation

    client = BY_NAME["urllib3"]
    with testing.capture(config=obskit.Config(sampler="always_off")), warnings.catch_warnings():
        made = client.make()
        for n in range(300):
            if n == 100:
                gc.collect()
                before = sum(type(each) is Operation for each in gc.get_objects())
            await client.send(f"{url}/ok", client=made)
        gc.collect()
        after = sum(type(each) is Operation for each in gc.get_objects())
        made.clear()
    assert after == before
