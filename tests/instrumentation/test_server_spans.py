"""``server_spans=contrib`` and ``native``: the span is another's, and everything else is as it always is."""

import asyncio
import contextlib
import functools
import json

import fastapi
import framework_apps
import httpx
import pytest
from opentelemetry import baggage
from opentelemetry.instrumentation import _semconv
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.starlette import StarletteInstrumentor
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware as StarlettesMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

import fresh_process
import obskit
import raw_asgi
from obskit.testing import capture

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
MODES = ("contrib", "native")
APPS = ("fastapi", "starlette")
CASES = {}


# -- the cases: each returns what it has seen ---------------------------------------------------------------------


def case(*modes, apps=APPS):
    def register(function):
        for mode in modes or MODES:
            for app in apps:
                CASES[f"{function.__name__}, {mode}, {app}"] = functools.partial(function, mode, app)
        return function

    return register


async def ok(request):
    return PlainTextResponse("ok")


def make(kind, routes, **options):
    if kind == "starlette":
        return Starlette(routes=[Route(path, handler) for path, handler in routes.items()], **options)
    app = fastapi.FastAPI(**options)
    for path, handler in routes.items():
        app.router.add_route(path, handler)
    return app


def observed(mode, app=None, **config):
    return capture(app, config=obskit.Config(server_spans=mode, **config))


def servers(captured):
    return [span for span in captured.spans if span.kind.name == "SERVER"]


def told(span):
    """What a span says, as it can be compared with a line."""
    return {
        "name": span.name,
        "scope": span.instrumentation_scope.name,
        "status": span.status.status_code.name,
        "events": [event.name for event in span.events],
        "error.type": span.attributes.get("error.type"),
        "outcome": span.attributes.get("outcome"),
    }


async def call(app, path, messages=({"type": "http.request"},), headers=(), fail_at=None, **scope):
    """One request with these messages; an exception of the app is returned."""
    sent, incoming = [], asyncio.Queue()
    for message in messages:
        incoming.put_nowait(message)

    async def send(message):
        if fail_at == len(sent):
            raise OSError
        sent.append(message)

    kind = scope.setdefault("type", "http")
    base = {
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        **({"method": "GET"} if kind == "http" else {"subprotocols": []}),
    }
    try:
        await app({**base, **scope}, incoming.get, send)
    except (Exception, asyncio.CancelledError) as error:
        return sent, error
    return sent, None


@case()
def one_request_is_told_alike_by_all_signals(mode, kind):
    async def order(request):
        obskit.annotate({"user.tier": "gold"})
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
            await client.get("http://stock/")
        return await ok(request)

    app = make(kind, {"/orders/{id}": order})
    with observed(mode, app, metric_fields={"user.tier": ("gold",)}) as captured:
        raw_asgi.get(app, "/orders/7", {"traceparent": TRACEPARENT, "x-request-id": "r-1"})
        (span,), line = servers(captured), captured.line("GET /orders/{id} 200")
        names = sorted(
            name for name in line if name in span.attributes and str(span.attributes[name]) == str(line[name])
        )
        exemplar = next(
            sample.exemplar.labels
            for family in captured.obs.registry.collect()
            for sample in family.samples
            if family.name == "http_server_request_duration_seconds" and sample.exemplar
        )
        count = captured.metric(
            "http_server_request_duration_seconds_count", http_route="/orders/{id}", user_tier="gold"
        )
        ids = [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]
        (client,) = (each for each in captured.spans if each.kind.name == "CLIENT")
    return {
        "span": told(span),
        "parent": f"{span.parent.span_id:016x}",
        "same": names,
        "trace": ids[0],
        "ids of the line": [line["trace_id"], line["span_id"]] == ids,
        "ids of the exemplar": [exemplar["trace_id"], exemplar["span_id"]] == ids,
        "in the client's trace": client.context.trace_id == span.context.trace_id,
        "requests": count,
        "old conventions": [name for name in span.attributes if name in ("http.method", "http.target", "http.url")],
    }


@case()
def a_request_without_a_caller_begins_a_trace(mode, kind):
    app = make(kind, {"/": ok})
    with observed(mode, app) as captured:
        raw_asgi.get(app, "/")
        (span,) = servers(captured)
    return {"parent": span.parent is None}


@case()
def an_error_before_the_response(mode, kind):
    async def boom(request):
        raise json.JSONDecodeError("no", "x", 0)

    app = make(kind, {"/": boom})
    with observed(mode, app) as captured:
        sent, error = asyncio.run(call(app, "/"))
        (span,), line = servers(captured), captured.line("GET / 500")
    return {
        "span": told(span),
        "line": line["error.type"],
        "raised": type(error).__name__,
        "status": sent[0]["status"],
    }


@case()
def an_error_after_the_response_has_begun(mode, kind):
    async def broken(request):
        async def body():
            yield b"1"
            raise json.JSONDecodeError("no", "x", 0)

        return StreamingResponse(body())

    app = make(kind, {"/": broken})
    with observed(mode, app) as captured:
        _, error = asyncio.run(call(app, "/"))
        (span,), line = servers(captured), captured.line("GET / 200")
    return {"span": told(span), "line": line["error.type"], "raised": type(error).__name__}


@case()
def a_client_that_leaves(mode, kind):
    async def stream(request):
        async def body():
            for _ in range(3):
                yield b"1"

        return StreamingResponse(body())

    app = make(kind, {"/": stream})
    with observed(mode, app) as captured:
        asyncio.run(call(app, "/", fail_at=1))
        (span,), line = servers(captured), captured.line("GET / 200")
    return {"span": told(span), "line": [line["outcome"], "error.type" in line]}


@case()
def a_request_that_is_cancelled(mode, kind):
    async def forever(request):
        await asyncio.Event().wait()

    async def cancel():
        task = asyncio.create_task(call(app, "/"))
        await asyncio.sleep(0.01)
        task.cancel()
        return await task

    app = make(kind, {"/": forever})
    with observed(mode, app) as captured:
        _, error = asyncio.run(cancel())
        (span,), (line,) = servers(captured), [line for line in captured.lines if "outcome" in line]
    return {"span": told(span), "line": line["outcome"], "raised": type(error).__name__}


@case()
def a_stream_is_one_span(mode, kind):
    async def stream(request):
        async def body():
            for _ in range(50):
                yield b"x"

        return StreamingResponse(body())

    app = make(kind, {"/": stream})
    with observed(mode, app) as captured:
        raw_asgi.get(app, "/")
        return {"spans": len([span for span in captured.spans if not span.name.startswith("fastapi.")])}


@case()
def a_websocket_is_one_span(mode, kind):
    async def socket(websocket):
        await websocket.accept()
        await websocket.send_text("hi")
        await websocket.close(1000)

    app = make(kind, {})
    app.router.routes.append(WebSocketRoute("/ws/{id}", socket))
    with observed(mode, app) as captured:
        asyncio.run(call(app, "/ws/7", [{"type": "websocket.connect"}], type="websocket"))
        (span,) = servers(captured)
        (line,) = [line for line in captured.lines if line.get("event.name") == "websocket"]
    return {
        "name": span.name,
        "route": span.attributes["http.route"],
        "own": span.instrumentation_scope.name == "obskit",
        "ids": line["span_id"] == f"{span.context.span_id:016x}",
    }


@case()
def a_trace_that_is_not_sampled(mode, kind):
    app = make(kind, {"/": ok})
    with observed(mode, app) as captured:
        raw_asgi.get(app, "/", {"traceparent": TRACEPARENT[:-2] + "00"})
        line = captured.line("GET / 200")
        return {"line": [line["trace_id"], line["trace_flags"]], "spans": len(captured.spans)}


@case()
def a_stranger_begins_a_trace_of_its_own(mode, kind):
    async def seen(request):
        bags.append(dict(baggage.get_all()))
        headers.append(request.headers["traceparent"])
        return await ok(request)

    bags, headers = [], []
    app = make(kind, {"/": seen})
    with observed(mode, app, trust_inbound="never") as captured:
        raw_asgi.get(app, "/", {"traceparent": TRACEPARENT, "baggage": "a=1"})
        (span,) = servers(captured)
    return {
        "root": span.parent is None and span.context.trace_id != int(TRACE_ID, 16),
        "links": [f"{link.context.span_id:016x}" for link in span.links],
        "baggage": bags,
        "the app sees its headers": headers == [TRACEPARENT],
    }


@case()
def what_is_not_kept_leaves_neither_spans_nor_lines(mode, kind):
    async def boom(request):
        with obskit.operation("inner"):
            raise ValueError

    async def fine(request):
        with obskit.operation("inner"):
            return await ok(request)

    app = make(kind, {"/boom": boom, "/fine": fine})
    with observed(mode, app, keep=("errors",), keep_rate=0.0) as captured:
        for path in ("/fine", "/boom"):
            asyncio.run(call(app, path))
        spans, lines = captured.spans, captured.lines
    return {
        "spans": sorted(span.name for span in spans),
        "lines": [line["message"] for line in lines if "outcome" in line and line["event.name"] != "operation"],
    }


@case(apps=["Litestar", "Quart", "Django", "bare"])
def an_app_of_any_framework(mode, kind):
    app = framework_apps.APPS[kind]()
    in_place = kind != "bare"
    with observed(mode, app if in_place else None) as captured:
        served = app if in_place else captured.obs.wrap(app)
        with contextlib.suppress(framework_apps.ShelfError):
            for path in ("/items/1", "/boom"):
                asyncio.run(call(served, path, [{"type": "http.request", "body": b"", "more_body": False}]))
        spans, warnings = servers(captured), [line for line in captured.lines if line["level"] == "warning"]
    return {
        "scopes": sorted({told(span)["scope"] for span in spans}),
        "names": sorted(span.name for span in spans),
        "warned": any("server_spans=native" in line["message"] for line in warnings),
    }


@case()
def probes_and_scrapes_leave_nothing(mode, kind):
    app = make(kind, {"/": ok})
    with observed(mode, app) as captured:
        statuses = [raw_asgi.get(app, path).status for path in ("/livez", "/readyz", "/metrics", "/health")]
        return {
            "statuses": statuses,
            "spans": len(captured.spans),
            "lines": len([line for line in captured.lines if "outcome" in line]),
            "series": captured.metric("http_server_request_duration_seconds_count"),
        }


@case()
def the_life_of_the_app_is_told_once(mode, kind):
    events = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        events.append("up")
        yield
        events.append("down")

    app = make(kind, {"/": ok}, lifespan=lifespan)

    async def serve():
        statuses.append((await raw_asgi.request(app, "/startupz")).status)
        statuses.append((await raw_asgi.request(app, "/")).status)

    with observed(mode, app):
        statuses = []
        asyncio.run(raw_asgi.lifespan(app, serve))
        return {"events": events, "statuses": statuses}


@case()
def close_gives_everything_back(mode, kind):
    made = []

    class Counted:
        def __init__(self, app):
            made.append(self)
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    app = make(kind, {"/": ok})
    app.add_middleware(Counted)
    before = [type(app), sorted(vars(app)), BackgroundTask.__call__]
    for _ in range(2):
        with observed(mode, app) as captured:
            raw_asgi.get(app, "/")
            kept = len(servers(captured))
    after = [type(app), sorted(name for name in vars(app) if "opentelemetry" not in name), BackgroundTask.__call__]
    status = raw_asgi.get(app, "/").status
    return {
        "kept": kept,
        "same": before == after,
        "status": status,
        "after": len(captured.spans) - kept,
        "made": len(made),
    }


@case("contrib")
def what_contrib_cannot_read_is_served_all_the_same(mode, kind):
    calls = []

    async def counted(request):
        calls.append(request)
        return await ok(request)

    app = make(kind, {"/": counted})
    with observed(mode, app) as captured:
        sent, error = asyncio.run(call(app, "/", headers=[(b"user-agent", b"\xff\\")]))
        (span,) = servers(captured)
    return {
        "status": sent[0]["status"],
        "error": error,
        "own": told(span)["scope"],
        "calls": len(calls),
    }


@case("contrib")
def hooks_that_the_user_has_given_run(mode, kind):
    def hook(span, scope):
        span.set_attribute("hooked", True)

    instrumentor = FastAPIInstrumentor() if kind == "fastapi" else StarletteInstrumentor()
    app = make(kind, {"/items/{id}": ok})
    instrumentor.instrument_app(app, server_request_hook=hook)
    with observed(mode, app) as captured:
        raw_asgi.get(app, "/items/7")
        spans = captured.spans
    raw_asgi.get(app, "/items/7")  # theirs again, and no longer obskit's provider
    instrumented = app._is_instrumented_by_opentelemetry
    instrumentor.uninstrument_app(app)
    return {"spans": [[span.name, span.attributes["hooked"]] for span in spans], "stays": instrumented}


@case()
def a_secret_in_an_exception_is_told_once(mode, kind):
    async def boom(request):
        raise ValueError("login with token=hunter2hunter2")

    app = make(kind, {"/": boom})
    with observed(mode, app) as captured:
        asyncio.run(call(app, "/"))
        (span,) = servers(captured)
    return {"messages": [event.attributes["exception.message"] for event in span.events]}


@case("contrib", apps=["asgi"])
def a_plain_app_that_raises_has_one_exception(mode, _kind):
    async def app(scope, receive, send):
        raise json.JSONDecodeError("no", "x", 0)

    with observed(mode) as captured:
        _, error = asyncio.run(call(captured.obs.wrap(app), "/"))
        (span,) = captured.spans
    return {"span": told(span), "raised": type(error).__name__}


@case("contrib", apps=["asgi"])
def contrib_that_is_put_around_it_stands_down(mode, _kind):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    with observed(mode) as captured:
        asyncio.run(call(OpenTelemetryMiddleware(captured.obs.wrap(app)), "/"))
        return {"spans": [span.kind.name for span in captured.spans]}


@case("contrib", apps=["fastapi"])
def an_app_that_serves_already(mode, kind):
    app = make(kind, {"/": ok})
    raw_asgi.get(app, "/")
    with observed(mode, app) as captured:
        raw_asgi.get(app, "/")
        return {"spans": [told(span)["scope"] for span in servers(captured)]}


@case("contrib", apps=["fastapi"])
def an_instrumented_app_that_serves_already(mode, kind):
    app = make(kind, {"/": ok})
    FastAPIInstrumentor.instrument_app(app)
    raw_asgi.get(app, "/")
    for _ in range(2):
        with observed(mode, app) as captured:
            raw_asgi.get(app, "/")
            spans = [told(span)["scope"] for span in captured.spans]
    FastAPIInstrumentor.uninstrument_app(app)
    return {"spans": spans}


@case("contrib", apps=["fastapi"])
def a_stack_that_contrib_does_not_know(mode, kind):
    class Own(fastapi.FastAPI):
        def build_middleware_stack(self):
            return super().build_middleware_stack().app

    app = Own()
    app.router.add_route("/", ok)
    with observed(mode, app) as captured:
        statuses = [raw_asgi.get(app, "/").status]
        spans = [told(span)["scope"] for span in captured.spans]
    statuses.append(raw_asgi.get(app, "/").status)
    return {"spans": spans, "statuses": statuses, "after": len(captured.spans)}


@case("contrib", apps=["fastapi"])
def a_builder_of_the_apps_own_comes_back(mode, kind):
    app = make(kind, {"/": ok})
    app.build_middleware_stack = own = app.build_middleware_stack
    with observed(mode, app) as captured:
        raw_asgi.get(app, "/")
        spans = len(captured.spans)
    return {"spans": spans, "same": app.build_middleware_stack is own}


@case("native")
def the_root_path_of_the_server_is_no_part_of_the_route(mode, kind):
    app = make(kind, {"/items/{id}": ok})
    with observed(mode, app) as captured:
        asyncio.run(call(app, "/base/items/7", root_path="/base"))
        (span,) = servers(captured)
        (line,) = [line for line in captured.lines if "outcome" in line]
    return {"span": [span.name, span.attributes["http.route"]], "line": line["http.route"]}


@case("native")
def what_is_mounted_is_named_by_its_template(mode, kind):
    app = make(kind, {})
    app.router.routes.append(Mount("/tenants/{tenant}", make("starlette", {"/items/{id}": ok})))
    with observed(mode, app) as captured:
        raw_asgi.get(app, "/tenants/acme/items/7")
        (span,) = servers(captured)
        (line,) = [line for line in captured.lines if "outcome" in line]
    return {"span": [span.name, span.attributes["http.route"]], "line": line["http.route"]}


@case("native", apps=["starlette"])
def starlettes_middleware_is_used_as_the_user_has_configured_it(mode, kind):
    app = make(kind, {"/quiet": ok, "/": ok})
    with observed(mode, app) as captured:
        app.add_middleware(StarlettesMiddleware, excluded_urls="quiet")
        raw_asgi.get(app, "/quiet")
        raw_asgi.get(app, "/")
        warnings = [line["message"] for line in captured.lines if line["level"] == "warning"]
        return {"scopes": [told(span)["scope"] for span in servers(captured)], "warnings": warnings}


@case("native", apps=["fastapi"])
def a_framework_that_makes_no_span(mode, kind):
    app = make(kind, {"/": ok}, telemetry={"tracing": False})
    with observed(mode, app) as captured:
        for _ in range(2):
            raw_asgi.get(app, "/", {"traceparent": TRACEPARENT})
        warnings = [line["message"] for line in captured.lines if line["level"] == "warning"]
        parents = {span.parent.span_id == int(PARENT_ID, 16) for span in servers(captured)}
        return {
            "scopes": [told(span)["scope"] for span in servers(captured)],
            "warnings": warnings,
            "parents": [*parents],
        }


@case("native", apps=["asgi"])
def an_app_of_no_framework(mode, _kind):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    with observed(mode) as captured:
        for _ in range(2):
            asyncio.run(call(captured.obs.wrap(app), "/"))
        warnings = [line["message"] for line in captured.lines if line["level"] == "warning"]
        return {"scopes": [told(span)["scope"] for span in servers(captured)], "warnings": warnings}


@case("native", apps=["fastapi"])
def apps_that_are_not_observed(mode, kind):
    """With obskit's own spans they stay quiet; where FastAPI's are wanted they are FastAPI's to make."""
    app, other = make(kind, {"/": ok}), make(kind, {"/": ok})
    counts = {}
    for chosen in ("obskit", mode):
        with observed(chosen, app) as captured:
            raw_asgi.get(other, "/")
            counts[chosen] = len(servers(captured))
    return counts


MAKERS = {
    ("contrib", "fastapi"): "opentelemetry.instrumentation.fastapi",
    ("contrib", "starlette"): "opentelemetry.instrumentation.asgi",
    ("contrib", "asgi"): "opentelemetry.instrumentation.asgi",
    ("native", "fastapi"): "fastapi",
    ("native", "starlette"): "starlette",
}
TEMPLATES = {
    "Litestar": "GET /items/{item_id}",
    "Quart": "GET /items/<int:item_id>",
    "Django": "GET /items/<int:item_id>",
}
FAILED = {"status": "ERROR", "events": ["exception"], "error.type": "json.decoder.JSONDecodeError", "outcome": "error"}
LEFT = {"status": "UNSET", "events": [], "error.type": None, "outcome": "cancelled"}
FIELDS = (
    "client.address http.client.count http.client.duration_ms http.client.errors http.request.method "
    "http.response.body.size http.response.status_code http.route network.protocol.version outcome request_id "
    "server.address url.path url.scheme user.tier"
)
NOT_MADE = "server_spans=native, but a request came without such a span: obskit makes the SERVER span of those"


def span(mode, kind, name, facts):
    return {"name": name, "scope": MAKERS[mode, kind], **facts}


#: What each case must see.
EXPECTED = {
    "one_request_is_told_alike_by_all_signals": lambda mode, kind: {
        "span": span(mode, kind, "GET /orders/{id}", {**LEFT, "outcome": "ok"}),
        "parent": PARENT_ID,
        "same": FIELDS.split(),
        "trace": TRACE_ID,
        "ids of the line": True,
        "ids of the exemplar": True,
        "in the client's trace": True,
        "requests": 1,
        "old conventions": [],
    },
    "a_request_without_a_caller_begins_a_trace": lambda *_: {"parent": True},
    "an_error_before_the_response": lambda mode, kind: {
        "span": span(mode, kind, "GET /", FAILED),
        "line": "json.decoder.JSONDecodeError",
        "raised": "JSONDecodeError",
        "status": 500,
    },
    "an_error_after_the_response_has_begun": lambda mode, kind: {
        "span": span(mode, kind, "GET /", FAILED),
        "line": "json.decoder.JSONDecodeError",
        "raised": "JSONDecodeError",
    },
    # FastAPI's telemetry, and contrib's for FastAPI, take it for an error on the span that is theirs.
    "a_client_that_leaves": lambda mode, kind: {
        "span": span(
            mode,
            kind,
            "GET /",
            LEFT
            | ({"status": "ERROR"} if kind == "fastapi" else {})
            | ({"error.type": "OSError"} if MAKERS[mode, kind] == "fastapi" else {})
            | ({"events": ["exception"]} if (mode, kind) == ("contrib", "fastapi") else {}),
        ),
        "line": ["cancelled", False],
    },
    "a_request_that_is_cancelled": lambda mode, kind: {
        "span": span(
            mode,
            kind,
            "GET /",
            LEFT
            | (
                {"status": "ERROR", "error.type": "asyncio.exceptions.CancelledError"}
                if MAKERS[mode, kind] == "fastapi"
                else {}
            ),
        ),
        "line": "cancelled",
        "raised": "CancelledError",
    },
    "a_stream_is_one_span": lambda *_: {"spans": 1},
    "a_websocket_is_one_span": lambda mode, kind: {
        "name": "GET /ws/{id}",
        "route": "/ws/{id}",
        "own": MAKERS[mode, kind] == "starlette",  # whose middleware is for HTTP only
        "ids": True,
    },
    "a_trace_that_is_not_sampled": lambda *_: {"line": [TRACE_ID, "00"], "spans": 0},
    "a_stranger_begins_a_trace_of_its_own": lambda *_: {
        "root": True,
        "links": [PARENT_ID],
        "baggage": [{}],
        "the app sees its headers": True,
    },
    "what_is_not_kept_leaves_neither_spans_nor_lines": lambda *_: {
        "spans": ["GET /boom", "inner"],
        "lines": ["GET /boom 500"],
    },
    "an_app_of_any_framework": lambda mode, kind: {
        "scopes": ["obskit" if mode == "native" else "opentelemetry.instrumentation.asgi"],
        "names": ["GET", "GET"] if kind == "bare" else ["GET /boom", TEMPLATES[kind]],
        "warned": mode == "native",
    },
    "probes_and_scrapes_leave_nothing": lambda *_: {"statuses": [200] * 4, "spans": 0, "lines": 0, "series": 0},
    "the_life_of_the_app_is_told_once": lambda *_: {"events": ["up", "down"], "statuses": [200, 200]},
    # Contrib's instrumentor works as the stack is built: the second init has it built anew, no close does.
    "close_gives_everything_back": lambda mode, kind: {
        "kept": 1,
        "same": True,
        "status": 200,
        "after": 0,
        "made": 2 if (mode, kind) == ("contrib", "fastapi") else 1,
    },
    "what_contrib_cannot_read_is_served_all_the_same": lambda *_: {
        "status": 200,
        "error": None,
        "own": "obskit",
        "calls": 1,
    },
    "hooks_that_the_user_has_given_run": lambda *_: {"spans": [["GET /items/{id}", True]], "stays": True},
    "a_secret_in_an_exception_is_told_once": lambda *_: {"messages": ["login with token=[REDACTED]"]},
    "a_plain_app_that_raises_has_one_exception": lambda mode, kind: {
        "span": span(mode, kind, "GET", FAILED),
        "raised": "JSONDecodeError",
    },
    "contrib_that_is_put_around_it_stands_down": lambda *_: {"spans": ["SERVER"]},
    "an_app_that_serves_already": lambda mode, kind: {"spans": [MAKERS[mode, kind]]},
    "an_instrumented_app_that_serves_already": lambda mode, kind: {"spans": [MAKERS[mode, kind]]},
    "a_stack_that_contrib_does_not_know": lambda *_: {"spans": ["obskit"], "statuses": [200, 200], "after": 1},
    "a_builder_of_the_apps_own_comes_back": lambda *_: {"spans": 1, "same": True},
    "the_root_path_of_the_server_is_no_part_of_the_route": lambda *_: {
        "span": ["GET /items/{id}", "/items/{id}"],
        "line": "/items/{id}",
    },
    "what_is_mounted_is_named_by_its_template": lambda *_: {
        "span": ["GET /tenants/{tenant}/items/{id}", "/tenants/{tenant}/items/{id}"],
        "line": "/tenants/{tenant}/items/{id}",
    },
    "starlettes_middleware_is_used_as_the_user_has_configured_it": lambda *_: {
        "scopes": ["obskit", "starlette"],
        "warnings": [NOT_MADE],
    },
    "a_framework_that_makes_no_span": lambda *_: {
        "scopes": ["obskit", "obskit"],
        "warnings": [NOT_MADE],
        "parents": [True],
    },
    "an_app_of_no_framework": lambda *_: {
        "scopes": ["obskit", "obskit"],
        "warnings": ["server_spans=native, but function has no telemetry of its own: obskit makes its SERVER spans"],
    },
    "apps_that_are_not_observed": lambda *_: {"obskit": 0, "native": 1},
}


@pytest.fixture
def stable(monkeypatch):
    """Contrib's conventions are chosen once a process, and other tests have chosen the old ones."""
    chosen = _semconv._OpenTelemetrySemanticConventionStability
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    monkeypatch.setattr(chosen, "_initialized", False)
    monkeypatch.setattr(chosen, "_OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING", {})


@pytest.mark.parametrize("name", CASES)
def test_the_span_is_anothers_and_the_rest_as_ever(name, stable, contained_errors):
    case, mode, kind = name.split(", ")
    seen = CASES[name]()
    assert seen == EXPECTED[case](mode, kind)
    if case == "what_contrib_cannot_read_is_served_all_the_same":
        assert [component for component, _ in contained_errors] == ["server_spans"]
        contained_errors.clear()


@pytest.mark.parametrize(("mode", "says"), [("contrib", "contrib"), ("native", "own telemetry"), ("obskit", None)])
@pytest.mark.parametrize("enabled", [True, False])
def test_init_says_who_makes_them_where_it_is_not_obskit(mode, says, enabled, stable):
    with observed(mode, enabled=enabled) as captured:
        (banner,) = [line["message"] for line in captured.lines if " observes " in line["message"]]
    said = [part for part in banner.split(" | ") if part.startswith("SERVER spans")]
    assert [says in part for part in said] == [True] * (enabled and says is not None)


@pytest.mark.parametrize(
    ("before", "opt_in", "says"),
    [
        ("", "", None),
        ("", "database", None),
        ("FastAPIInstrumentor.instrument_app(fastapi.FastAPI())", "http", None),
        ("FastAPIInstrumentor.instrument_app(fastapi.FastAPI())", "http/dup", None),
        ("FastAPIInstrumentor.instrument_app(fastapi.FastAPI())", "", "OTEL_SEMCONV_STABILITY_OPT_IN=http"),
        ("FastAPIInstrumentor.instrument_app(fastapi.FastAPI())", "database", "OTEL_SEMCONV_STABILITY_OPT_IN=http"),
        ("sys.modules['opentelemetry.instrumentation.asgi'] = None", "", "pip install 'obskit[contrib]'"),
    ],
    ids=["first", "first, databases opted in", "stable", "both", "old", "old, databases stable", "not installed"],
)
def test_contrib_speaks_the_stable_conventions_or_init_says_why_not(before, opt_in, says):
    """Once they are spoken, they are by the user's own instrumentations too; the variable stays as it was."""
    result = fresh_process.run(
        f"""
        import json, os, sys, fastapi, obskit
        from opentelemetry import trace
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from obskit import Config

        {before}
        environ = dict(os.environ)
        app = fastapi.FastAPI()
        problems, kept = [], type(app)
        try:
            obskit.init(app, config=Config(server_spans="contrib")).close()
        except obskit.exceptions.ConfigError as error:
            problems = error.problems
        again = obskit.init(app)
        again.close()
        print(json.dumps([list(problems), dict(os.environ) == environ, type(app) is kept]))
        """,
        OTEL_SEMCONV_STABILITY_OPT_IN=opt_in,
    )
    problems, same_environment, restored = result
    assert [says in problem for problem in problems] == [True] * (says is not None)
    assert same_environment
    assert restored
