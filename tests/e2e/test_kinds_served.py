"""Kinds of request by real servers and real clients, the client's leaving at any moment among them."""

import itertools
import socket

import httpx
import pytest
from ports import free_port
from processes import Service
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from receiver import until

COMMANDS = {
    "uvicorn, h11": ("kinds:app", "--http", "h11"),
    "uvicorn, httptools": ("kinds:app", "--http", "httptools"),
    "hypercorn": (None, "-m", "hypercorn", "kinds:app", "--bind", "fd://{fd}", "--workers", "0"),
}
HTTP_1 = list(COMMANDS)
#: What each says of a client that closes by 1000, and of one that drops the line.
CLOSE_CODES = {"uvicorn, h11": (1000, 1005), "uvicorn, httptools": (1000, 1005), "hypercorn": (1006, 1006)}
FRAMEWORKS = ["Starlette", "FastAPI", "Litestar", "Quart", "Django", "bare"]
request_ids = (f"r-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def services(start_service):
    """{server's name: a service}, all of them started side by side."""
    started = {name: start_service(*command) for name, command in COMMANDS.items()}
    yield {name: service.ready() for name, service in started.items()}
    for service in started.values():
        service.popen.terminate()


@pytest.fixture
def service(services, request):
    found = services[request.param]
    found.closed, found.dropped = CLOSE_CODES[request.param]
    return found


def line_of(service, request_id):
    """The one line of a request, once it is there."""
    found = until(lambda: [line for line in service.whole_lines if line.get("request_id") == request_id])
    assert len(found) == 1
    return found[0]


def head(method, path, request_id, length=0):
    lines = [f"{method} {path} HTTP/1.1", "host: test", f"x-request-id: {request_id}", f"content-length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


def read_until(connection, what):
    seen = b""
    while what not in seen:
        part = connection.recv(4096)
        assert part, f"ended before {what!r}: {seen!r}"
        seen += part


# -- a client that leaves ---------------------------------------------------------------------------------------------


def before_the_body(service, connection, framework, request_id):
    connection.sendall(head("POST", f"/{framework}/upload", request_id, 1000))


def during_the_upload(service, connection, framework, request_id):
    connection.sendall(head("POST", f"/{framework}/upload", request_id, 1000) + b"x" * 500)


def before_the_response(service, connection, framework, request_id):
    connection.sendall(head("GET", f"/{framework}/slow", request_id))
    until(lambda: [line for line in service.whole_lines if line.get("id") == request_id])


def in_the_stream(service, connection, framework, request_id):
    connection.sendall(head("GET", f"/{framework}/stream", request_id))
    read_until(connection, b"tick")


def after_the_last_byte(service, connection, framework, request_id):
    connection.sendall(head("GET", f"/{framework}/plain", request_id))
    read_until(connection, b"plain")


MOMENTS = {
    moment.__name__.replace("_", " "): moment
    for moment in (before_the_body, during_the_upload, before_the_response, in_the_stream, after_the_last_byte)
}


@pytest.mark.parametrize("service", HTTP_1, indirect=True)
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_client_that_leaves(service, framework, moment):
    request_id = next(request_ids)
    with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
        MOMENTS[moment](service, connection, framework, request_id)
    service.get(f"/release?id={request_id}")

    line = line_of(service, request_id)
    assert line["outcome"] == ("ok" if moment == "after the last byte" else "cancelled")
    assert ("error.type" in line, line["level"]) == (False, "info")
    assert ("time_to_first_byte_ms" in line) or moment not in ("in the stream", "after the last byte")


@pytest.mark.parametrize("service", HTTP_1, indirect=True)
def test_no_stack_trace_of_those_that_left(service):
    """In nothing that the process has written, its server's own reports included."""
    assert b"Traceback" not in service.output
    assert "Traceback" not in service.errors


@pytest.mark.parametrize("service", HTTP_1, indirect=True)
def test_those_that_left_are_no_errors_on_the_metrics_either(service):
    samples = service.scrape()["http_server_request_duration_seconds_count"]
    assert not [sample.labels for sample in samples if sample.labels["error_type"]]
    active = service.scrape()["http_server_active_requests"]
    assert {sample.value for sample in active} == {0}


# -- versions of HTTP -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["uvicorn, h11", "uvicorn, httptools", "hypercorn"], indirect=True)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_http_1(service, version):
    request_id = next(request_ids)
    with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
        connection.sendall(head("GET", "/FastAPI/plain", request_id).replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        read_until(connection, b"plain")
    line = line_of(service, request_id)
    assert (line["network.protocol.version"], line["message"]) == (version, "GET /FastAPI/plain 200")


@pytest.fixture(scope="module")
def http2(services):
    with httpx.Client(http1=False, http2=True, base_url=services["hypercorn"].url) as client:
        yield client


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_http_2(services, http2, framework):
    request_id = next(request_ids)
    answer = http2.post(f"/{framework}/upload", content=b"x" * 100_000, headers={"x-request-id": request_id})
    assert (answer.http_version, answer.status_code // 100) == ("HTTP/2", 2)
    line = line_of(services["hypercorn"], request_id)
    assert (line["network.protocol.version"], line["http.request.body.size"]) == ("2", 100_000)
    assert line["server.address"] == "127.0.0.1"


def test_many_at_a_time_on_one_connection_are_told_apart(services, http2):
    ids = [next(request_ids) for _ in range(20)]
    for request_id in ids:
        http2.get("/Starlette/plain", headers={"x-request-id": request_id})
    lines = [line_of(services["hypercorn"], request_id) for request_id in ids]
    assert len({line["trace_id"] for line in lines}) == len(ids)


def test_a_client_that_leaves_a_stream_of_http_2(services):
    request_id = next(request_ids)
    service = services["hypercorn"]
    with (
        httpx.Client(http1=False, http2=True, base_url=service.url) as client,
        client.stream("GET", "/FastAPI/stream", headers={"x-request-id": request_id}) as answer,
    ):
        assert b"tick" in next(answer.iter_raw())
    assert line_of(service, request_id)["outcome"] == "cancelled"


def test_trailers(services, http2):
    request_id = next(request_ids)
    assert http2.get("/bare/trailers", headers={"x-request-id": request_id, "te": "trailers"}).text == "plain"
    line = line_of(services["hypercorn"], request_id)
    assert (line["outcome"], line["http.response.body.size"]) == ("ok", 5)


class Granian(Service):
    """Takes no socket that is made for it, so its port is one that was free a moment ago."""

    def __init__(self, app):
        port = free_port()
        super().__init__(None, "-m", "granian", "--interface", "asgi", "--port", str(port), "--no-log", app)
        self.port = port


def test_a_file_that_the_server_sends():
    service = Granian("kinds:app")
    try:
        service.ready()
        request_id = next(request_ids)
        status, _, body = service.get("/file", {"x-request-id": request_id})
        assert (status, b"apps" not in body[:9]) == (200, True)
        line = line_of(service, request_id)
        assert (line["message"], line["outcome"]) == ("GET /file 200", "ok")
        assert "http.response.body.size" not in line
    finally:
        service.stop()  # its worker too
        service.end()


# -- connections ------------------------------------------------------------------------------------------------------


def room(service, name, request_id):
    return connect(
        f"ws://127.0.0.1:{service.port}/chat/{name}", additional_headers={"x-request-id": request_id}, proxy=None
    )


@pytest.mark.parametrize("service", ["uvicorn, h11", "hypercorn"], indirect=True)
def test_a_conversation(service):
    request_id = next(request_ids)
    with room(service, "tea", request_id) as connection:
        for text in ("hello", "grün"):
            connection.send(text)
            assert connection.recv(10) == text
    line = line_of(service, request_id)
    outcome = "cancelled" if service.closed == 1006 else "ok"
    expected = {
        "message": f"GET /chat/{{room}} {outcome}", "url.path": "/chat/tea", "url.scheme": "ws",
        "websocket.close_code": service.closed, "outcome": outcome,
        "websocket.received.count": 2, "websocket.received.bytes": 10, "websocket.sent.count": 2,
        "websocket.sent.bytes": 10, "http.response.status_code": 101,
    }  # fmt: skip
    assert {name: line.get(name) for name in expected} == expected


@pytest.mark.parametrize("service", ["uvicorn, h11", "hypercorn"], indirect=True)
def test_a_client_that_drops_the_line(service):
    request_id = next(request_ids)
    with room(service, "tea", request_id) as connection:
        connection.send("hello")
        assert connection.recv(10) == "hello"
        connection.socket.shutdown(socket.SHUT_RDWR)
    line = line_of(service, request_id)
    outcome = "cancelled" if service.dropped == 1006 else "ok"
    assert (line["outcome"], line["websocket.close_code"], "error.type" in line) == (outcome, service.dropped, False)


@pytest.mark.parametrize("service", ["uvicorn, h11", "hypercorn"], indirect=True)
@pytest.mark.parametrize(("name", "status"), [("closed", 403), ("members", 401)])
def test_a_handshake_that_is_turned_down(service, name, status):
    request_id = next(request_ids)
    with pytest.raises(InvalidStatus) as refused:
        room(service, name, request_id)
    assert refused.value.response.status_code == status
    line = line_of(service, request_id)
    assert (line["message"], line["outcome"]) == (f"GET /chat/{{room}} {status}", "ok")
    assert "websocket.sent.count" not in line


@pytest.mark.parametrize("service", ["uvicorn, h11"], indirect=True)
def test_a_room_on_fire(service):
    request_id = next(request_ids)
    with room(service, "tea", request_id) as connection:
        connection.send("break")
        with pytest.raises(ConnectionClosedError):
            connection.recv(10)
    line = line_of(service, request_id)
    assert (line["error.type"], line["websocket.close_code"]) == ("RuntimeError", 1011)
    assert [each["exception.message"] for each in service.whole_lines if "exception.stacktrace" in each] == [
        "the room is on fire"
    ]
