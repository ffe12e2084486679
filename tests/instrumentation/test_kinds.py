"""Kinds of request, and every way in which one can end: exchanges and connections, message by message."""

import asyncio
import gc
import logging
import weakref
from contextlib import suppress

import pytest
from fastapi import FastAPI, WebSocket, WebSocketException
from framework_apps import litestar_app, quart_app
from litestar import websocket as litestar_websocket
from litestar.connection import WebSocket as LitestarWebSocket
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

import obskit
from obskit import testing

START = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}
LAST = {"type": "http.response.body", "body": b"last"}
GONE = {"type": "http.disconnect"}


def http(**more):
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/a", "headers": [],
        "query_string": b"", "root_path": "", "scheme": "http", "server": ("10.0.0.1", 80), "client": ("192.0.2.7", 5),
        **more,
    }  # fmt: skip


async def drive(captured, app, messages=(), scope=None, send=None):
    """Serve one connection scope: what the app is given to receive, then nothing; what it raised."""
    incoming = asyncio.Queue()
    for message in messages or ({"type": "http.request", "body": b"", "more_body": False},):
        incoming.put_nowait(message)
    sent = []

    async def keep(message):
        sent.append(message)

    try:
        async with asyncio.timeout(5):
            await captured.obs.wrap(app)(scope or http(), incoming.get, send or keep)
    except TimeoutError:
        raise
    except Exception as error:
        return sent, error
    return sent, None


def event(captured):
    [line] = [line for line in captured.lines if line.get("event.name") in ("http.server.request", "websocket")]
    return line


@pytest.fixture
def captured():
    with testing.capture(config=obskit.Config(clients=())) as captured:
        yield captured


# -- exchanges --------------------------------------------------------------------------------------------------------


def sending(*messages, then=None, first=()):
    async def app(scope, receive, send):
        for _ in first:
            await receive()
        for message in messages:
            await send(message)
        if then is not None:
            raise then

    return app


BUSY = {**START, "status": 503}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"x", b"y")]}
EXCHANGES = {
    # name: (app, what it receives, status, outcome, error.type, response body size)
    "answers": (sending(START, LAST), (), 200, "ok", None, 4),
    "answers in parts": (sending(START, PART, LAST), (), 200, "ok", None, 8),
    "never answers": (sending(), (), 500, "error", "500", 0),
    "stops in the middle": (sending(START, PART), (), 200, "error", "incomplete_response", 4),
    "begins and does nothing": (sending(START), (), 200, "error", "incomplete_response", 0),
    "a failure that stops in the middle": (sending(BUSY, PART), (), 503, "error", "503", 4),
    "answers twice": (sending(START, LAST, BUSY, LAST), (), 200, "ok", None, 4),
    "begins twice": (sending(START, BUSY, LAST), (), 200, "ok", None, 4),
    "raises before": (sending(then=KeyError("x")), (), 500, "error", "KeyError", 0),
    "raises in the middle": (sending(START, PART, then=KeyError("x")), (), 200, "error", "KeyError", 4),
    "raises after": (sending(START, LAST, then=KeyError("x")), (), 200, "ok", None, 4),
    "a file that the server sends": (
        sending(START, {"type": "http.response.pathsend", "path": "/x"}), (), 200, "ok", None, None,
    ),
    "parts that the server copies": (
        sending(START, *({"type": "http.response.zerocopysend", "file": 3, "more_body": more} for more in (True, False))),
        (), 200, "ok", None, 0,
    ),
    "trailers": (sending({**START, "trailers": True}, LAST, {**TRAILERS, "more_trailers": True}, TRAILERS), (), 200, "ok", None, 4),
    "trailers that never come": (sending({**START, "trailers": True}, LAST), (), 200, "error", "incomplete_response", 4),
    "left before the body": (sending(first=[1]), (GONE,), None, "cancelled", None, 0),
    "left, and the app says so": (sending(first=[1], then=ClientDisconnect()), (GONE,), None, "cancelled", None, 0),
    "left, and the app answers all the same": (sending(START, LAST, first=[1]), (GONE,), 200, "cancelled", None, 4),
    "left, and the app fails of it": (sending(BUSY, LAST, first=[1]), (GONE,), None, "cancelled", None, 4),
    "left in the middle": (sending(START, PART, first=[1]), (GONE,), 200, "cancelled", None, 4),
}  # fmt: skip


@pytest.mark.parametrize("case", EXCHANGES)
async def test_an_exchange(captured, case):
    app, messages, status, outcome, error_type, size = EXCHANGES[case]
    await drive(captured, app, messages)

    line = event(captured)
    assert (line.get("http.response.status_code"), line["outcome"], line.get("error.type")) == (
        status, outcome, error_type,
    )  # fmt: skip
    assert line.get("http.response.body.size") == size
    assert ("exception.stacktrace" in line) == (error_type == "KeyError")
    assert captured.spans[0].attributes["outcome"] == outcome
    assert captured.spans[0].attributes.get("http.response.status_code") == status
    assert captured.metric("http_server_active_requests") == 0
    labels = {"http_response_status_code": str(status or ""), "error_type": error_type or ""}
    assert captured.metric("http_server_request_duration_seconds_count", **labels) == 1


async def test_headers_that_can_be_read_once_are_the_servers_to_read(captured):
    headers = [(b"x-one", b"1"), (b"content-type", b"text/event-stream"), (b"x-two", b"2")]
    sent, error = await drive(captured, sending({**START, "headers": iter(headers)}, LAST))

    assert error is None
    assert list(sent[0]["headers"]) == headers
    assert captured.metric("obskit_stream_duration_seconds_count") == 1


WRONG = {
    # name: (app, what it receives, what it raises, how often obskit breaks)
    "a body that is none": (sending(START, LAST, first=[1]), ({"type": "http.request", "body": None},), None, 1),
    "a status that is none": (sending({**START, "status": "200"}, LAST), (), None, 3),
    "and the app raises": (sending({**START, "status": "200"}, then=KeyError("x")), (), KeyError, 2),
}


@pytest.mark.parametrize("case", WRONG)
async def test_messages_that_break_obskit_change_nothing_of_the_exchange(captured, contained_errors, case):
    app, messages, raised, times = WRONG[case]
    _, error = await drive(captured, app, messages)

    assert (None if error is None else type(error)) == raised
    assert event(captured)["event.name"] == "http.server.request"
    assert captured.metric("http_server_active_requests") == 0
    assert [component for component, _ in contained_errors] == ["asgi"] * times
    contained_errors.clear()


async def test_a_status_that_breaks_obskit_changes_nothing_of_the_connection(captured, contained_errors):
    denied = {"type": "websocket.http.response.start", "status": "403", "headers": []}
    sent, error = await drive(captured, sending(denied), (CONNECT,), websocket())

    assert (sent, error) == ([denied], None)
    assert captured.metric("obskit_websocket_active") == 0
    assert {component for component, _ in contained_errors} == {"asgi"}
    contained_errors.clear()


async def test_a_second_answer_changes_nothing_of_the_first(captured):
    await drive(captured, sending(START, LAST, {**BUSY, "headers": [(b"content-type", b"text/event-stream")]}))

    assert captured.metric("obskit_stream_duration_seconds_count") == 0
    assert captured.metric("http_server_request_duration_seconds_count", http_response_status_code="200") == 1


async def test_switching_protocols_is_a_stream(captured):
    await drive(captured, sending({**START, "status": 101}, LAST))

    assert captured.metric("obskit_stream_duration_seconds_count") == 1


async def test_the_clients_leaving_in_the_middle_of_an_upload_is_no_error(captured):
    async def upload(request):
        return PlainTextResponse(str(len(await request.body())))

    app = Starlette(routes=[Route("/a", upload, methods=["POST"])])
    part = {"type": "http.request", "body": b"x" * 1000, "more_body": True}
    _, raised = await drive(captured, app, (part, GONE), http(method="POST"))

    assert isinstance(raised, ClientDisconnect)
    line = event(captured)
    assert line["message"] == "POST /a cancelled"
    assert (line["http.request.body.size"], line["level"], "exception.type" in line) == (1000, "info", False)


class Server:
    """A server that knows that the client has left before the app asks: as uvicorn, or as hypercorn."""

    def __init__(self, attribute):
        setattr(self, attribute, True)

    async def send(self, message):
        """Take it, silently."""


@pytest.mark.parametrize("attribute", ["disconnected", "closed"])
async def test_what_the_server_knows_of_the_client(captured, attribute):
    await drive(captured, sending(START, LAST), send=Server(attribute).send)

    assert event(captured)["outcome"] == "cancelled"


@pytest.mark.parametrize("error", [OSError("gone"), ClientDisconnect()])
async def test_an_error_of_the_clients_leaving_needs_no_report(captured, error):
    import logging

    async def app(scope, receive, send):
        await receive()
        raise error

    try:
        await captured.obs.wrap(app)(http(), lambda: asyncio.sleep(0, GONE), None)
    except (OSError, ClientDisconnect):
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    assert not [line for line in captured.lines if "exception.stacktrace" in line]


async def test_a_bug_that_shows_when_the_client_has_left_keeps_its_report(captured):
    import logging

    try:
        await captured.obs.wrap(sending(first=[1], then=KeyError("x")))(http(), lambda: asyncio.sleep(0, GONE), None)
    except KeyError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    assert [line["exception.type"] for line in captured.lines if "exception.stacktrace" in line] == ["KeyError"]
    assert event(captured)["outcome"] == "cancelled"


# -- which exception is the cause -------------------------------------------------------------------------------------


def raising(error):
    async def app(scope, receive, send):
        raise error

    return app


def fail(message):
    raise LookupError(message)


async def falls_back(scope, receive, send):
    """A middleware whose own work fails, and which calls the app all the same."""
    try:
        fail("of the middleware's")
    except LookupError:
        await sending(BUSY, LAST)(scope, receive, send)


async def answers_itself(scope, receive, send):
    try:
        raise LookupError("its own")
    except LookupError:
        await PlainTextResponse("sorry", 503)(scope, receive, send)


async def answers_by_messages(scope, receive, send):
    try:
        raise LookupError("its own")
    except LookupError:
        await send(BUSY)
        await send(LAST)


async def answers_by_a_function_with_a_scope_of_its_own(scope, receive, send):
    async def say(scope):
        await send(BUSY)
        await send(LAST)

    try:
        raise LookupError("its own")
    except LookupError:
        await say("everywhere")


async def answers_with_an_app(scope, receive, send):
    """A middleware that has an error page be an app of its own."""
    try:
        await raising(LookupError("from below"))(scope, receive, send)
    except LookupError:
        await sending(BUSY, LAST)(scope, receive, send)


async def says_its_status(scope, receive, send):
    try:
        raise HTTPException(503)
    except HTTPException as error:
        await PlainTextResponse("busy", error.status_code)(scope, receive, send)


async def fails_late(scope, receive, send):
    await StreamingResponse(late())(scope, receive, send)


async def late():
    yield b"x"
    raise LookupError("late")


def handled_late():
    """Starlette raises another exception where a handled one comes too late to be answered."""

    async def endpoint(request):
        return StreamingResponse(chunks())

    async def chunks():
        yield b"x"
        raise HTTPException(404, "late")

    return Starlette(routes=[Route("/a", endpoint)])


async def answers_in_a_helper(scope, receive, send):
    """An exception that was caught, kept, and raised again where another is being handled."""

    async def answer():
        try:
            raise LookupError("kept") from None
        except LookupError as error:
            raise error from None

    try:
        await answer()
    except LookupError:
        await send(BUSY)
        await send(LAST)


async def falls_back_twice(scope, receive, send):
    """The same middleware around itself: neither error is the cause."""
    try:
        raise LookupError("of the middleware's")
    except LookupError:
        await falls_back(scope, receive, send)


CAUSES = {
    "an exception that was raised again": (answers_in_a_helper, "LookupError", "kept"),
    "a middleware that falls back, twice": (falls_back_twice, "503", None),
    "a middleware that falls back": (falls_back, "503", None),
    "an app that answers for itself": (answers_itself, "LookupError", "its own"),
    "an app that answers by messages": (answers_by_messages, "LookupError", "its own"),
    "an app that answers by a function": (answers_by_a_function_with_a_scope_of_its_own, "LookupError", "its own"),
    "an error page that is an app": (answers_with_an_app, "LookupError", "from below"),
    "an exception that says its status": (says_its_status, "503", None),
    "a stream that fails": (fails_late, "LookupError", "late"),
    "a handled exception that comes too late": (handled_late(), "starlette.exceptions.HTTPException", "404: late"),
}


@pytest.mark.parametrize("case", CAUSES)
async def test_the_cause(captured, case):
    app, error_type, message = CAUSES[case]
    _, raised = await drive(captured, app)

    line = event(captured)
    assert (line["error.type"], line.get("exception.message")) == (error_type, message)
    if raised is not None:  # whoever reports it gives way
        import logging

        logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=raised)
        assert sum("exception.stacktrace" in line for line in captured.lines) == 1


async def test_the_cause_below_a_middleware_that_runs_the_app_in_a_task(captured):
    async def through(request, call_next):
        return await call_next(request)

    async def boom(request):
        raise LookupError("deep")

    app = Starlette(routes=[Route("/a", boom)])
    app.add_middleware(BaseHTTPMiddleware, dispatch=through)
    await drive(captured, app)
    assert event(captured)["exception.message"] == "deep"


async def test_litestars_exception_in_the_middle_of_a_stream_is_the_original(captured):
    from litestar import get
    from litestar.response import Stream

    @get("/a")
    async def streams() -> Stream:
        return Stream(late())

    _, raised = await drive(captured, litestar_app(streams), scope=http(headers=[(b"host", b"x")]))
    assert type(raised).__name__ == "LitestarException"
    assert event(captured)["error.type"] == "LookupError"


# -- connections ------------------------------------------------------------------------------------------------------

CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}


def left(code):
    return {"type": "websocket.disconnect", "code": code}


def got(**message):
    return {"type": "websocket.receive", **message}


def websocket(path="/a", **more):
    scope = http(type="websocket", scheme="ws", subprotocols=[], path=path, **more)
    del scope["method"]
    return scope


def denial(status):
    return (
        {"type": "websocket.http.response.start", "status": status, "headers": []},
        {"type": "websocket.http.response.body", "body": b"no"},
    )


def closing(code):
    return {"type": "websocket.close", "code": code}


CONNECTIONS = {
    # name: (app, what it receives, message, status, close code, error.type)
    "the app closes": (sending(ACCEPT, closing(4000)), (CONNECT,), "GET ok", 101, 4000, None),
    "the app ends": (sending(ACCEPT), (CONNECT,), "GET ok", 101, 1000, None),
    "the client closes": (sending(ACCEPT, first=[1, 2]), (CONNECT, left(1001)), "GET ok", 101, 1001, None),
    "the client drops": (sending(ACCEPT, first=[1, 2]), (CONNECT, left(1006)), "GET cancelled", 101, 1006, None),
    "the client says no code": (sending(ACCEPT, first=[1, 2]), (CONNECT, left(None)), "GET cancelled", 101, 1006, None),
    "left before the handshake": (sending(first=[1, 2]), (CONNECT, left(1006)), "GET cancelled", None, 1006, None),
    "rejected": (sending(closing(1008)), (CONNECT,), "GET 403", 403, 1008, None),
    "rejected, then told so": (sending(closing(1008), first=[1, 2]), (CONNECT, left(1006)), "GET cancelled", None, 1006, None),
    "denied": (sending(*denial(401)), (CONNECT,), "GET 401", 401, None, None),
    "denied, being at fault": (sending(*denial(503)), (CONNECT,), "GET 503", 503, None, "503"),
    "never answered": (sending(), (CONNECT,), "GET 500", 500, None, "500"),
    "raises before the handshake": (sending(then=KeyError("x")), (CONNECT,), "GET 500", 500, None, "KeyError"),
    "raises": (sending(ACCEPT, then=KeyError("x")), (CONNECT,), "GET error", 101, 1011, "KeyError"),
    "says that it is at fault": (sending(ACCEPT, closing(1011)), (CONNECT,), "GET error", 101, 1011, "1011"),
    "raises when the client has left": (
        sending(ACCEPT, first=[1, 2], then=KeyError("x")), (CONNECT, left(1000)), "GET error", 101, 1000, "KeyError",
    ),
    "says that the client has left": (
        sending(ACCEPT, first=[1, 2], then=OSError("gone")), (CONNECT, left(1001)), "GET ok", 101, 1001, None,
    ),
    "an OSError of its own": (sending(ACCEPT, then=OSError("disk")), (CONNECT,), "GET error", 101, 1011, "OSError"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONNECTIONS)
async def test_a_connection(captured, case):
    app, messages, message, status, code, error_type = CONNECTIONS[case]
    await drive(captured, app, messages, websocket())

    line = event(captured)
    assert (line["message"], line["event.name"], line.get("error.type")) == (message, "websocket", error_type)
    assert (line.get("http.response.status_code"), line.get("websocket.close_code")) == (status, code)
    assert line["level"] == ("error" if error_type else "info")
    assert ("exception.stacktrace" in line) == (error_type is not None and not error_type.isdigit())
    assert ("websocket.sent.count" in line) == (status == 101)
    [span] = captured.spans
    assert (span.kind.name, span.attributes["outcome"]) == ("SERVER", line["outcome"])
    assert captured.metric("obskit_websocket_active") == 0
    assert captured.metric("obskit_websocket_duration_seconds_count", websocket_close_code=str(code or "")) == 1
    assert captured.metric("http_server_request_duration_seconds_count") == 0


async def test_messages_are_counted_and_weighed(captured):
    sent = [{"type": "websocket.send", "text": "grün"}, {"type": "websocket.send", "bytes": b"\0" * 100, "text": None}]
    received = [got(text="abc"), got(bytes=b"12", text=None), got(text="\ud800"), got(bytes=None, text=None)]
    app = sending(ACCEPT, *sent, closing(1000), first=[CONNECT, *received])
    await drive(captured, app, (CONNECT, *received), websocket())

    line = event(captured)
    assert (line["websocket.received.count"], line["websocket.received.bytes"]) == (4, 3 + 2 + 3)
    assert (line["websocket.sent.count"], line["websocket.sent.bytes"]) == (2, 5 + 100)
    assert 0 <= line["time_to_first_byte_ms"] <= line["duration_ms"]
    assert captured.spans[0].attributes["websocket.sent.bytes"] == 105


async def test_a_server_that_says_so_at_a_send_has_lost_the_client_of_a_connection(captured):
    async def refuse(message):
        if message["type"] == "websocket.send":
            raise OSError("the client has left")

    await drive(captured, sending(ACCEPT, {"type": "websocket.send", "text": "x"}), (CONNECT,), websocket(), refuse)
    line = event(captured)
    assert (line["outcome"], line["websocket.close_code"]) == ("cancelled", 1006)
    assert "exception.type" not in line


@pytest.mark.parametrize("wrong", [{"type": "websocket.send", "text": 7}, {"type": "websocket.http.response.start"}])
async def test_messages_that_break_obskit_still_reach_the_server(captured, contained_errors, wrong):
    sent, _ = await drive(captured, sending(wrong), (CONNECT,), websocket())

    assert sent == [wrong]
    assert [component for component, _ in contained_errors] == ["asgi"]
    contained_errors.clear()


async def test_a_message_from_a_client_that_breaks_obskit_still_reaches_the_app(captured, contained_errors):
    await drive(captured, sending(ACCEPT, first=[1]), ({"type": "websocket.receive", "bytes": 7},), websocket())

    assert event(captured)["outcome"] == "ok"
    assert [component for component, _ in contained_errors] == ["asgi"]
    contained_errors.clear()


async def test_a_filter_that_raises_does_not_fail_a_path_that_is_left_to_the_app(
    captured, contained_errors, monkeypatch
):
    def breaks(record):
        raise ValueError(record)

    async def livez(_request):
        return PlainTextResponse("theirs")

    monkeypatch.setattr(logging.getLogger("obskit"), "filters", [breaks])
    sent, error = await drive(captured, Starlette(routes=[Route("/livez", livez)]), scope=http(path="/livez"))

    assert (error, sent[-1]["body"]) == (None, b"theirs")
    assert [component for component, _ in contained_errors] == ["asgi"]
    contained_errors.clear()


class Payload:
    """What a request holds while it is served."""


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("handled", [True, False])
async def test_a_failure_keeps_nothing_of_its_request_alive(captured, kind, handled):
    answer = (BUSY, LAST) if kind == "http" else denial(500)
    seen = []

    async def app(scope, receive, send):
        payload = Payload()
        seen.append(weakref.ref(payload))
        try:
            raise KeyError("x")
        except KeyError:
            if not handled:
                raise
            for message in answer:
                await send(message)

    gc.collect()
    gc.disable()
    try:
        await drive(captured, app, scope=http() if kind == "http" else websocket())
        assert event(captured)["error.type"] == "KeyError"
        assert seen[0]() is None
    finally:
        gc.enable()


# -- connections of frameworks ----------------------------------------------------------------------------------------


def fastapi_sockets():
    app = FastAPI()

    @app.websocket("/rooms/{room}")
    async def room(websocket: WebSocket, room: int):
        await websocket.accept()
        while True:
            if await websocket.receive_text() == "break":
                raise LookupError("broken")

    @app.websocket("/strict")
    async def strict(websocket: WebSocket):
        await websocket.accept()
        raise WebSocketException(1008)

    return app


def starlette_sockets():
    async def room(websocket):
        await websocket.accept()
        while True:
            if await websocket.receive_text() == "break":
                raise LookupError("broken")

    return Starlette(routes=[WebSocketRoute("/rooms/{room}", room)])


def litestar_sockets():
    @litestar_websocket("/rooms/{room:str}")
    async def room(socket: LitestarWebSocket) -> None:
        await socket.accept()
        while True:
            if await socket.receive_text() == "break":
                raise LookupError("broken")

    return litestar_app(room)


def quart_sockets():
    from quart import websocket as quart_websocket

    app = quart_app()

    @app.websocket("/rooms/<room>")
    async def room(room):
        await quart_websocket.accept()
        while True:
            if await quart_websocket.receive() == "break":
                raise LookupError("broken")

    return app


SOCKETS = {
    "FastAPI": (fastapi_sockets, "/rooms/{room}", 1011),
    "Starlette": (starlette_sockets, "/rooms/{room}", 1011),
    "Litestar": (litestar_sockets, "/rooms/{room}", 4500),
    "Quart": (quart_sockets, "/rooms/<room>", 1000),
}


@pytest.mark.parametrize("framework", SOCKETS)
async def test_a_frameworks_connection_that_the_client_ends(captured, framework):
    make, route, _ = SOCKETS[framework]
    await drive(captured, make(), (CONNECT, got(text="hi"), left(1001)), websocket("/rooms/7"))

    line = event(captured)
    assert (line["message"], line["websocket.close_code"]) == (f"GET {route} ok", 1001)
    assert line["websocket.received.count"] == 1
    assert not [line for line in captured.lines if "exception.stacktrace" in line]


@pytest.mark.parametrize("framework", SOCKETS)
async def test_a_frameworks_connection_that_fails(captured, framework):
    make, route, code = SOCKETS[framework]
    await drive(captured, make(), (CONNECT, got(text="break")), websocket("/rooms/7"))

    line = event(captured)
    assert (line["message"], line["error.type"], line["websocket.close_code"]) == (
        f"GET {route} error",
        "LookupError",
        code,
    )
    assert [line["exception.message"] for line in captured.lines if "exception.stacktrace" in line] == ["broken"]


@pytest.mark.parametrize("framework", SOCKETS)
async def test_a_connection_to_nowhere(captured, framework):
    make, _, _ = SOCKETS[framework]
    with suppress(AssertionError):
        await drive(captured, make(), (CONNECT,), websocket("/nowhere"))

    line = event(captured)
    assert ("http.route" in line, line["http.response.status_code"]) == (False, 403)
    assert "nowhere" not in line["message"]


async def test_an_exception_that_says_its_close_code_is_no_error(captured):
    await drive(captured, fastapi_sockets(), (CONNECT,), websocket("/strict"))

    line = event(captured)
    assert (line["message"], line["websocket.close_code"], "exception.type" in line) == ("GET /strict ok", 1008, False)


async def test_a_connection_that_is_refused_for_what_it_holds_names_the_field(captured):
    await drive(captured, fastapi_sockets(), (CONNECT,), websocket("/rooms/hunter2"))

    line = event(captured)
    assert (line["message"], line["websocket.close_code"]) == ("GET /rooms/{room} 403", 1008)
    assert line["request.invalid_fields"] == ["path.room"]
