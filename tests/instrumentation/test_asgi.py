"""Inbound requests: what the operation, its span, its line and its metrics say of each kind of exchange."""

import asyncio
import threading

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from opentelemetry import baggage, trace
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse

import obskit
from obskit import testing
from obskit.instrumentation._headers import queue_ms, truncated, wanted_headers, without_port
from obskit.instrumentation._inbound import Inbound

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: int):
        obskit.annotate({"user.tier": "gold"})
        return {"id": item_id}

    @app.post("/items")
    async def create(request: Request):
        return {"size": len(await request.body())}

    @app.get("/thread")
    def thread():
        obskit.annotate(worker="thread")
        return {}

    @app.get("/boom")
    async def boom():
        msg = "password=hunter2 is wrong"
        raise ValueError(msg)

    @app.get("/unavailable")
    async def unavailable():
        raise HTTPException(503, "try later")

    @app.get("/teapot-is-down")
    async def down():
        return PlainTextResponse("no tea", 503)

    @app.get("/events")
    async def events():
        async def chunks():
            for _ in range(3):
                yield b"data: x\n\n"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    @app.get("/background")
    async def background(tasks: BackgroundTasks):
        tasks.add_task(after, "x")
        return {}

    @app.get("/background-fails")
    async def background_fails(tasks: BackgroundTasks):
        tasks.add_task(fail)
        return {}

    @app.get("/bag")
    async def bag():
        return dict(baggage.get_all())

    return app


def after(_):
    obskit.annotate({"after": True})


def fail():
    raise RuntimeError("late")


async def call(app, method, path, **kwargs):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example:8000") as client:
        return await client.request(method, path, **kwargs)


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def captured(app):
    config = obskit.Config(metric_fields={"user.tier": ("free", "gold")}, clients=())
    with testing.capture(app, config=config) as captured:
        yield captured


async def test_one_request_is_told_alike_by_all_three_signals(app, captured):
    response = await call(app, "GET", "/items/7", headers={"traceparent": TRACEPARENT, "x-request-id": "r-1"})
    assert response.json() == {"id": 7}
    line, span = captured.line("GET /items/{item_id} 200"), captured.span("GET /items/{item_id}")
    assert line["trace_id"] == f"{span.context.trace_id:032x}" == TRACE
    assert line["span_id"] == f"{span.context.span_id:016x}"
    assert f"{span.parent.span_id:016x}" == PARENT
    assert line["duration_ms"] == round((span.end_time - span.start_time) / 1e6, 3)
    expected = {
        "http.request.method": "GET",
        "http.route": "/items/{item_id}",
        "http.response.status_code": 200,
        "url.path": "/items/7",
        "url.scheme": "http",
        "server.address": "shop.example",
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "http.response.body.size": len(response.content),
        "request_id": "r-1",
        "user.tier": "gold",
        "outcome": "ok",
    }
    assert {name: line[name] for name in expected} == expected
    assert {name: span.attributes[name] for name in expected} == expected
    assert set(line) - set(span.attributes) == {
        "timestamp", "level", "message", "logger", "trace_id", "span_id", "trace_flags", "service.name",
        "event.name", "duration_ms", "time_to_first_byte_ms",
    }  # fmt: skip
    labels = {
        "http_route": "/items/{item_id}",
        "http_response_status_code": "200",
        "user_tier": "gold",
        "error_type": "",
    }
    assert captured.metric("http_server_request_duration_seconds_count", **labels) == 1
    seconds = captured.metric("http_server_request_duration_seconds_sum", **labels)
    assert round(seconds * 1e3, 3) == line["duration_ms"]
    [exemplar] = [
        sample.exemplar
        for family in captured.obs.registry.collect()
        for sample in family.samples
        if sample.exemplar and family.name == "http_server_request_duration_seconds"
    ]
    assert exemplar.labels["trace_id"] == TRACE
    assert captured.metric("http_server_active_requests") == 0


async def test_what_is_recorded_is_there_before_the_response(app, captured):
    async def receive():
        return {"type": "http.request"}

    seen = []

    async def send(message):
        if message["type"] == "http.response.body":
            seen.append((len(captured.lines), captured.metric("http_server_request_duration_seconds_count")))

    await app(http_scope("/items/7"), receive, send)
    lines_before = len([line for line in captured.lines if line["logger"] != "obskit.request"])
    assert seen == [(lines_before + 1, 1)]


def http_scope(path, *, method="GET", headers=(), **more):
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "headers": list(headers),
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 5000), **more,
    }  # fmt: skip


CASES = [
    # path, method, status, route, level, outcome, error.type
    ("/items/7", "GET", 200, "/items/{item_id}", "info", "ok", None),
    ("/items/x", "GET", 422, "/items/{item_id}", "info", "ok", None),
    ("/items/7", "DELETE", 405, "/items/{item_id}", "info", "ok", None),
    ("/nothing", "GET", 404, None, "info", "ok", None),
    ("/thread", "GET", 200, "/thread", "info", "ok", None),
    ("/boom", "GET", 500, "/boom", "error", "error", "ValueError"),
    ("/unavailable", "GET", 503, "/unavailable", "error", "error", "503"),
    ("/nothing", "BREW", 404, None, "info", "ok", None),
]


@pytest.mark.parametrize(("path", "method", "status", "route", "level", "outcome", "error_type"), CASES)
async def test_outcomes(app, captured, path, method, status, route, level, outcome, error_type):
    assert (await call(app, method, path)).status_code == status
    known = method if method != "BREW" else "_OTHER"
    line = captured.line(f"{known} {route} {status}" if route else f"{known} {status}")
    assert (line["level"], line["outcome"], line.get("error.type"), line.get("http.route")) == (
        level, outcome, error_type, route,
    )  # fmt: skip
    named = "HTTP" if known == "_OTHER" else known
    span = captured.span(f"{named} {route}" if route else named)
    assert span.status.status_code.name == ("ERROR" if outcome == "error" else "UNSET")
    assert span.attributes.get("error.type") == error_type
    assert line.get("http.request.method_original") == ("BREW" if method == "BREW" else None)
    labels = {
        "http_request_method": known, "http_route": route or "", "http_response_status_code": str(status),
        "error_type": error_type or "", "url_scheme": "http",
    }  # fmt: skip
    assert captured.metric("http_server_request_duration_seconds_count", **labels) == 1


async def test_an_exception_is_written_once_with_its_stack_and_without_its_secrets(app, captured):
    await call(app, "GET", "/boom")
    line = captured.line("GET /boom 500")
    assert (line["exception.type"], line["exception.message"]) == ("ValueError", "password=[REDACTED] is wrong")
    assert "in boom" in line["exception.stacktrace"]
    assert "hunter2" not in str(captured.lines)
    [event] = captured.span("GET /boom").events
    assert event.attributes["exception.stacktrace"] == line["exception.stacktrace"]
    assert sum("exception.stacktrace" in line for line in captured.lines) == 1


async def test_an_exception_that_says_its_status_is_no_stack_trace(app, captured):
    await call(app, "GET", "/unavailable")
    assert "exception.type" not in captured.line("GET /unavailable 503")
    assert captured.span("GET /unavailable").events == ()


async def test_an_outer_exception_is_not_blamed_for_a_status(app, captured):
    try:
        raise KeyError("somebody else's")
    except KeyError:
        await call(app, "GET", "/teapot-is-down")
    assert captured.line("GET /teapot-is-down 503")["error.type"] == "503"


async def test_annotations_come_from_anywhere_below(app, captured):
    app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, call_next: call_next(request))
    await call(app, "GET", "/thread")
    assert captured.line("GET /thread 200")["worker"] == "thread"
    assert captured.span("GET /thread").attributes["worker"] == "thread"


async def test_body_sizes(app, captured):
    await call(app, "POST", "/items", content=b"x" * 1000)
    line = captured.line("POST /items 200")
    assert (line["http.request.body.size"], line["http.response.body.size"]) == (1000, 13)


async def test_a_stream_records_its_first_byte_and_its_total(app, captured):
    await call(app, "GET", "/events")
    line = captured.line("GET /events 200")
    assert line["http.response.body.size"] == 3 * len(b"data: x\n\n")
    assert captured.metric("obskit_stream_duration_seconds_count", http_route="/events") == 1
    assert captured.metric("http_server_request_duration_seconds_sum", http_route="/events") == pytest.approx(
        line["time_to_first_byte_ms"] / 1e3
    )
    assert captured.metric("obskit_stream_duration_seconds_sum") * 1e3 == pytest.approx(line["duration_ms"], abs=1e-3)


async def test_work_after_the_response_is_a_child_of_its_own(app, captured):
    await call(app, "GET", "/background")
    request, task = captured.span("GET /background"), captured.span("after")
    assert (task.kind.name, task.parent.span_id) == ("INTERNAL", request.context.span_id)
    assert captured.line("after ok")["trace_id"] == captured.line("GET /background 200")["trace_id"]
    assert captured.line("after ok")["after"] is True
    assert captured.metric("obskit_operation_duration_seconds_count", operation_name="after") == 1


async def test_work_after_the_response_that_fails_spoils_nothing(app, captured):
    assert (await call(app, "GET", "/background-fails")).status_code == 200
    assert captured.line("GET /background-fails 200")["outcome"] == "ok"
    assert captured.line("fail error")["exception.message"] == "late"


async def test_baggage_is_read(app, captured):
    assert (await call(app, "GET", "/bag", headers={"baggage": "a=1,b=2"})).json() == {"a": "1", "b": "2"}


@pytest.mark.parametrize("propagators", [("tracecontext",), ("baggage",), ("none",)])
async def test_only_the_propagators_that_are_on_are_read(app, propagators):
    with testing.capture(app, config=obskit.Config(propagators=propagators, clients=())) as captured:
        response = await call(app, "GET", "/bag", headers={"baggage": "a=1", "traceparent": TRACEPARENT})
        assert response.json() == ({"a": "1"} if "baggage" in propagators else {})
        assert (captured.span("GET /bag").parent is not None) == ("tracecontext" in propagators)


async def test_an_unsampled_trace_has_a_line_but_no_span_and_no_exemplar(app, captured):
    await call(app, "GET", "/items/7", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    line = captured.line("GET /items/{item_id} 200")
    assert (line["trace_id"], line["trace_flags"]) == (TRACE, "00")
    assert captured.spans == []
    assert captured.metric("http_server_request_duration_seconds_count") == 1


@pytest.mark.parametrize(
    ("sampler", "ratio", "kept"), [("parentbased_always_off", 1.0, 0), ("traceidratio", 0.0, 0), ("always_on", 1.0, 1)]
)
async def test_the_sampler_decides_about_a_new_trace(app, sampler, ratio, kept):
    config = obskit.Config(sampler=sampler, sampler_ratio=ratio, clients=())
    with testing.capture(app, config=config) as captured:
        await call(app, "GET", "/items/7")
        assert len(captured.spans) == kept
        assert captured.line("GET /items/{item_id} 200")["trace_flags"] == f"0{kept + 2}"  # and a random id


async def test_a_sampler_that_follows_no_parent_decides_about_every_trace(app):
    with testing.capture(app, config=obskit.Config(sampler="always_off", clients=())) as captured:
        await call(app, "GET", "/items/7", headers={"traceparent": TRACEPARENT})
        assert captured.spans == []
        assert captured.line("GET /items/{item_id} 200")["trace_id"] == TRACE


async def test_the_response_can_carry_the_trace_id():
    app = make_app()
    with testing.capture(app, config=obskit.Config(response_trace_header="X-Trace-Id", clients=())) as captured:
        response = await call(app, "GET", "/items/7")
        assert response.headers["x-trace-id"] == captured.line("GET /items/{item_id} 200")["trace_id"]


@pytest.mark.parametrize(("how", "expected"), [("full", "127.0.0.1"), ("truncated", "127.0.0.0"), ("off", None)])
async def test_the_clients_address_is_kept_as_far_as_it_may_be(app, how, expected):
    with testing.capture(app, config=obskit.Config(client_address=how, clients=())) as captured:
        await call(app, "GET", "/items/7")
        assert captured.line("GET /items/{item_id} 200").get("client.address") == expected


# -- apps that are no framework's, and exchanges that go wrong -------------------------------------------------------


async def drive(asgi, messages=(), scope=None):
    """Call an app with these messages to receive; returns what it sent."""
    sent = []
    pending = iter(messages)

    async def receive():
        return next(pending, {"type": "http.disconnect"})

    async def send(message):
        sent.append(message)

    await asgi(scope or http_scope("/raw"), receive, send)
    return sent


async def test_a_bare_app_has_no_route_and_never_a_raw_path(app):
    async def bare(scope, receive, send):
        await PlainTextResponse("hi")(scope, receive, send)

    with testing.capture() as captured:
        await drive(captured.obs.wrap(bare))
        line = captured.line("GET 200")
        assert ("http.route" in line, line["url.path"], line["server.address"]) == (False, "/raw", "127.0.0.1")


@pytest.mark.parametrize(
    ("behaviour", "status", "outcome", "error_type"),
    [
        ("silent", 500, "error", "500"),
        ("half", 200, "error", "incomplete_response"),
        ("raises", 500, "error", "KeyError"),
        ("raises_late", 200, "error", "KeyError"),
        ("gone", None, "cancelled", None),
        ("gone_half", 200, "cancelled", None),
        ("gone_but_done", 200, "cancelled", None),
        ("pathsend", 200, "ok", None),
        ("trailers", 200, "ok", None),
    ],
)
async def test_exchanges_that_do_not_end_as_they_should(behaviour, status, outcome, error_type):
    start = {"type": "http.response.start", "status": 200, "headers": [], "trailers": behaviour == "trailers"}

    async def app(scope, receive, send):
        if behaviour.startswith("gone"):
            assert (await receive())["type"] == "http.disconnect"
        if behaviour == "raises":
            raise KeyError("x")
        if behaviour in ("silent", "gone"):
            return
        await send(start)
        if behaviour == "raises_late":
            raise KeyError("x")
        if behaviour == "pathsend":
            await send({"type": "http.response.pathsend", "path": "/x"})
        if behaviour in ("half", "gone_half"):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        if behaviour in ("gone_but_done", "trailers"):
            await send({"type": "http.response.body", "body": b"x"})
        if behaviour == "trailers":
            await send({"type": "http.response.trailers", "headers": []})

    with testing.capture() as captured:
        wrapped = captured.obs.wrap(app)
        if behaviour.startswith("raises"):
            with pytest.raises(KeyError):
                await drive(wrapped)
        else:
            await drive(wrapped)
        [line] = [line for line in captured.lines if line["logger"] == "obskit.request"]
        assert (line.get("http.response.status_code"), line["outcome"], line.get("error.type")) == (
            status, outcome, error_type,
        )  # fmt: skip
        assert captured.metric("http_server_active_requests") == 0


async def test_cancellation_passes_and_is_no_error():
    entered = asyncio.Event()

    async def app(scope, receive, send):
        entered.set()
        await asyncio.sleep(60)

    with testing.capture() as captured:
        task = asyncio.create_task(drive(captured.obs.wrap(app)))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        line = captured.line("GET cancelled")
        assert (line["outcome"], line["level"], "error.type" in line) == ("cancelled", "info", False)


async def test_wrapped_twice_is_observed_once(app, captured):
    twice = captured.obs.wrap(captured.obs.wrap(app))
    await drive(twice, scope=http_scope("/items/7"))
    assert len([line for line in captured.lines if line["logger"] == "obskit.request"]) == 1


async def test_other_scopes_pass():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    with testing.capture() as captured:
        await drive(captured.obs.wrap(app), scope={"type": "something.new"})
    assert seen == ["something.new"]


async def test_a_scope_that_breaks_obskit_does_not_break_the_app(contained_errors):
    async def app(scope, receive, send):
        await PlainTextResponse("fine")(scope, receive, send)

    scope = http_scope("/x")
    scope["headers"] = None
    with testing.capture() as captured:
        assert (await drive(captured.obs.wrap(app), scope=scope))[0]["status"] == 200
    assert [component for component, _ in contained_errors] == ["asgi"]
    contained_errors.clear()


async def test_messages_that_break_obskit_still_reach_the_server(contained_errors):
    async def app(scope, receive, send):
        await send({"type": "http.response.start"})  # no status
        await send({"type": "http.response.body", "body": b"x"})

    with testing.capture() as captured:
        assert len(await drive(captured.obs.wrap(app))) == 2
    assert [component for component, _ in contained_errors] == ["asgi"]
    contained_errors.clear()


# -- websockets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "code", "outcome"), [("app", 4000, "ok"), ("client", 1001, "ok"), ("raises", 1011, "error")]
)
async def test_a_websocket_is_one_operation(how, code, outcome):
    app = FastAPI()

    @app.websocket("/rooms/{room}")
    async def room(websocket):
        await websocket.accept()
        if how == "raises":
            raise RuntimeError("x")
        if how == "app":
            await websocket.close(4000)
        else:
            await websocket.receive()

    room.__annotations__ = {}
    from starlette.routing import WebSocketRoute

    app.routes.append(WebSocketRoute("/chat/{room}", room))
    scope = {**http_scope("/chat/1"), "type": "websocket", "scheme": "ws", "subprotocols": []}
    del scope["method"]
    with testing.capture(app) as captured:
        messages = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
        if how == "raises":
            with pytest.raises(RuntimeError):
                await drive(app, messages, scope)
        else:
            await drive(app, messages, scope)
        line = captured.line(f"GET /chat/{{room}} {outcome}")
        assert (line["event.name"], line["websocket.close_code"], line["outcome"]) == ("websocket", code, outcome)
        assert captured.span("GET /chat/{room}").kind.name == "SERVER"
        assert captured.metric("obskit_websocket_duration_seconds_count", http_route="/chat/{room}") == 1
        assert captured.metric("obskit_websocket_active") == 0


# -- what is read from headers --------------------------------------------------------------------------------------


def test_white_space_around_a_value_is_not_part_of_it():
    headers = [(b"traceparent", b"\t a \t"), (b"host", b" \t")]
    assert wanted_headers(headers, Inbound().wanted) == {"traceparent": ["a"], "host": [""]}


def test_headers_are_read_within_bounds():
    headers = [(b"x-request-id", b"x" * 5000), (b"host", b"\xff\\"), (b"cookie", b"secret")]
    headers += [(b"baggage", b"a=%d" % i) for i in range(100)]
    found = wanted_headers(headers, Inbound().wanted)
    assert (len(found["x-request-id"][0]), found["host"], len(found["baggage"])) == (1024, ["ÿ\\"], 64)
    assert "cookie" not in found


def test_headers_are_found_where_each_comes_once():
    headers = ((name, name.upper()) for name in (b"accept", b"x-request-start", b"traceparent", b"cookie"))
    assert wanted_headers(headers, Inbound().wanted) == {
        "x-request-start": ["X-REQUEST-START"],
        "traceparent": ["TRACEPARENT"],
    }


@pytest.mark.parametrize(
    ("host", "expected"),
    [("a.example", "a.example"), ("a.example:80", "a.example"), ("[::1]:80", "::1"), ("[::1", "::1"), ("", "")],
)
def test_without_port(host, expected):
    assert without_port(host) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [("192.0.2.77", "192.0.2.0"), ("2001:db8:1:2::3", "2001:db8:1::"), ("unix:/x", ""), ("", "")],
)
def test_truncated(address, expected):
    assert truncated(address) == expected


@pytest.mark.parametrize(("template", "ticks"), [("{}", 1), ("t={}", 1), ("{:.0f}", 1e3), ("t={:.0f}", 1e6)])
def test_queue_time_is_read_in_the_units_that_proxies_write(monkeypatch, template, ticks):
    monkeypatch.setattr("obskit.instrumentation._headers.time", lambda: 1_700_000_001.0)
    assert queue_ms(template.format(1_700_000_000.5 * ticks)) == pytest.approx(500, abs=1)


@pytest.mark.parametrize("header", ["", "garbage", "t=", "nan", "inf", "-5", "1", "9" * 400, "t=1e999"])
def test_queue_time_that_cannot_be_right_is_none(header):
    assert queue_ms(header) is None


async def test_queue_time_is_a_field(app, captured):
    await call(app, "GET", "/items/7", headers={"x-request-start": "t=garbage"})
    assert "queue_ms" not in captured.line("GET /items/{item_id} 200")
    from time import time

    await call(app, "GET", "/items/7", headers={"x-request-start": f"t={time() - 0.25:.3f}"})
    assert 200 < captured.lines[-1]["queue_ms"] < 60_000


# -- clients that leave, and what must not depend on the application -------------------------------------------------


async def test_a_client_that_left_is_no_error_of_the_app_that_notices():
    async def app(scope, receive, send):
        assert (await receive())["type"] == "http.disconnect"
        raise ConnectionError("gone")

    with testing.capture() as captured:
        with pytest.raises(ConnectionError):
            await drive(captured.obs.wrap(app))
        line = captured.line("GET cancelled")
        assert ("error.type" in line, line["level"]) == (False, "info")


async def test_a_server_that_says_so_at_a_send_has_lost_the_client():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def refuse(message):
        if message["type"] == "http.response.body":
            raise OSError("the client has left")

    with testing.capture() as captured:
        with pytest.raises(OSError, match="left"):
            await captured.obs.wrap(app)(http_scope("/x"), None, refuse)
        assert captured.line("GET 200")["outcome"] == "cancelled"


async def test_liveness_does_not_depend_on_the_apps_routes(contained_errors):
    class App:
        @property
        def routes(self):
            raise RuntimeError("routes are not ready")

        async def __call__(self, scope, receive, send):
            raise AssertionError

    with testing.capture() as captured:
        assert (await drive(captured.obs.wrap(App()), scope=http_scope("/livez")))[0]["status"] == 200
    assert {component for component, _ in contained_errors} == {"asgi"}
    contained_errors.clear()


@pytest.mark.parametrize("sampler", ["parentbased_always_on", "always_on", "traceidratio"])
async def test_a_tracestate_goes_on_whatever_the_sampler(app, sampler):
    with testing.capture(app, config=obskit.Config(sampler=sampler, clients=())) as captured:
        await call(app, "GET", "/items/7", headers={"traceparent": TRACEPARENT, "tracestate": "vendor=1"})
        assert dict(captured.span("GET /items/{item_id}").context.trace_state) == {"vendor": "1"}


@pytest.mark.parametrize("header", ["user-agent", "x-request-id", "host"])
async def test_headers_that_are_kept_are_kept_without_secrets(app, captured, header):
    await call(app, "GET", "/items/7", headers={header: "x?token=hunter2"})
    assert "hunter2" not in str(captured.lines)


async def test_a_name_that_the_user_gave_the_span_stays():
    app = FastAPI()

    @app.get("/x")
    async def x():
        trace.get_current_span().update_name("checkout")
        return {}

    with testing.capture(app, config=obskit.Config(clients=())) as captured:
        await call(app, "GET", "/x")
        assert captured.span("checkout").attributes["http.route"] == "/x"


async def test_a_full_executor_of_the_apps_holds_up_neither_scrapes_nor_the_end(app):
    release = threading.Event()
    loop = asyncio.get_running_loop()
    busy = [loop.run_in_executor(None, release.wait, 30) for _ in range(64)]
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message["type"])

    with testing.capture(app) as captured:
        async with asyncio.timeout(10):
            scraped = await drive(app, scope=http_scope("/metrics"))
            await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
        assert scraped[0]["status"] == 200
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert captured.obs.config.shutdown_seconds == 5
    release.set()
    await asyncio.gather(*busy)
