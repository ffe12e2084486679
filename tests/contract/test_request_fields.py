"""What is known of a request, field by field; and what an exception may hold."""

import asyncio

import pytest

import obskit
from obskit.testing import capture


def http(**more):
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/a", "headers": [],
        "query_string": b"", "root_path": "", "scheme": "http", "server": ("10.0.0.1", 80), "client": ("192.0.2.7", 5),
        **more,
    }  # fmt: skip


async def plain(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def served(scope, app=plain, *, send=None, receive=None):
    """The line of one request, and its span's attributes."""

    async def silent(_message):
        """A server that takes everything at once."""

    async def nothing():
        return {"type": "http.request", "body": b"", "more_body": False}

    with capture() as captured:
        asyncio.run(captured.obs.wrap(app)(scope, receive or nothing, send or silent))
        [line] = [line for line in captured.lines if line["logger"] == "obskit.request"]
        [span] = captured.spans
    return line, span.attributes


@pytest.mark.parametrize(
    ("scope", "fields"),
    [
        ({"headers": [(b"user-agent", b"curl/8.1")]}, {"user_agent.original": "curl/8.1"}),
        ({}, {"user_agent.original": None, "request_id": None, "queue_ms": None, "http.request.method_original": None}),
        ({"headers": [(b"x-request-id", b"r-7")]}, {"request_id": "r-7"}),
        ({"headers": [(b"host", b"shop.example:8000")]}, {"server.address": "shop.example"}),
        ({}, {"server.address": "10.0.0.1", "client.address": "192.0.2.7"}),
        ({"client": None, "server": None}, {"server.address": None, "client.address": None}),
        ({"scheme": "https"}, {"url.scheme": "https"}),
        ({"http_version": "2"}, {"network.protocol.version": "2"}),
        ({"path": "/a/password=hunter2", "query_string": b"k=v"}, {"url.path": "/a/password=[REDACTED]"}),
        ({"path": "/a b", "query_string": b"token=hunter2"}, {"url.path": "/a b"}),
        ({"method": "B" * 100}, {"http.request.method": "_OTHER", "http.request.method_original": "B" * 64}),
        ({}, {"http.request.method": "GET", "http.response.status_code": 200, "outcome": "ok", "error.type": None}),
        ({}, {"http.route": None, "http.request.body.size": None, "http.response.body.size": 0}),
    ],
)
def test_what_is_known_of_a_request(scope, fields):
    line, attributes = served(http(**scope))
    assert {name: line.get(name) for name in fields} == fields
    assert {name: attributes.get(name) for name in fields} == fields
    assert "hunter2" not in str(line)


def test_the_query_is_not_recorded_at_all():
    line, attributes = served(http(query_string=b"pet=rex"))
    assert "rex" not in str(line) + str(dict(attributes))


def test_only_the_body_that_was_read_counts():
    parts = iter([b"abc", b"de"])

    async def receive():
        return {"type": "http.request", "body": next(parts), "more_body": True}

    async def reads_one(scope, receive, send):
        await receive()
        await plain(scope, receive, send)

    assert served(http(), reads_one, receive=receive)[0]["http.request.body.size"] == 3


def test_the_first_byte_comes_before_the_last():
    async def slow(scope, receive, send):
        await asyncio.sleep(0.05)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b"x"})

    line, _ = served(http(), slow)
    assert line["time_to_first_byte_ms"] >= 45
    assert line["duration_ms"] - line["time_to_first_byte_ms"] >= 45


def test_neither_a_slow_reader_nor_work_afterwards_counts():
    async def slow_reader(message):
        if message["type"] == "http.response.body":
            await asyncio.sleep(0.3)

    async def works_on(scope, receive, send):
        await plain(scope, receive, send)
        await asyncio.sleep(0.3)

    assert served(http(), works_on, send=slow_reader)[0]["duration_ms"] < 250


def test_a_websockets_scheme_is_its_own():
    async def app(scope, receive, send):
        await send({"type": "websocket.close", "code": 1000})

    scope = http(type="websocket", scheme="wss", subprotocols=[])
    del scope["method"]
    line, attributes = served(scope, app)
    assert line["url.scheme"] == attributes["url.scheme"] == "wss"
    assert line["event.name"] == "websocket"


def deep(depth):
    if depth == 0:
        raise ValueError("x" * 10_000)
    deep(depth - 1)


def test_what_an_exception_may_hold():
    with capture() as captured:
        with pytest.raises(ValueError), obskit.operation("job"):
            deep(3)
        line = captured.line("job error")
        [event] = captured.span("job").events
    assert line["exception.type"] == "ValueError"
    assert line["exception.message"] == "x" * 4096
    assert event.attributes["exception.message"] == line["exception.message"]


def test_of_a_long_stack_trace_the_end_is_kept():
    class LongError(Exception):
        def __str__(self):
            return "y" * 20_000 + " the end"

    with capture() as captured:
        with pytest.raises(LongError), obskit.operation("job"):
            raise LongError
        trace = captured.line("job error")["exception.stacktrace"]
    assert 16 * 1024 <= len(trace) <= 16 * 1024 + 1
    assert trace.startswith("…")
    assert trace.endswith("the end\n")
