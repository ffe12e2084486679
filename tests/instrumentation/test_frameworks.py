"""The same service in each framework: one span, one line and one series a request, which say the same of it."""

import asyncio
import contextlib
import importlib
import json

import pytest
from framework_apps import (
    APPS,
    ShelfError,
    bare_app,
    django_app,
    fastapi_app,
    litestar_app,
    litestar_mounting,
    mounting,
    quart_app,
)
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import obskit
from obskit import testing
from obskit.exceptions import ConfigError


async def ask(app, path, method="GET", body=b"", headers=()):
    """Status and body of one request, as a server hands it in; what the app raises after its answer is the server's."""
    incoming = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
        "headers": [(b"host", b"shop.example"), (b"content-type", b"application/json"), *headers],
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 5000), "extensions": {},
    }  # fmt: skip
    with contextlib.suppress(ShelfError):
        await app(scope, incoming.get, send)
    status = sent[0]["status"] if sent else None
    return status, b"".join(message.get("body", b"") for message in sent)


@pytest.fixture(params=["in place", "wrapped"])
def observed(request):
    """observed(app) -> (what is captured, the app to serve)."""
    entered = []

    def observe(app, config=None):
        in_place = request.param == "in place" and app is not bare_app
        capture = testing.capture(app if in_place else None, config=config or obskit.Config(clients=()))
        captured = capture.__enter__()
        entered.append(capture)
        return captured, (app if in_place else captured.obs.wrap(app))

    yield observe
    for capture in entered:
        capture.__exit__(None, None, None)


def request_line(captured):
    [line] = [line for line in captured.lines if line.get("event.name") == "http.server.request"]
    return line


ITEM = {"Quart": "/items/<int:item_id>", "Django": "/items/<int:item_id>", "bare": None}
CASES = {
    # name: (method, path, status, route, error.type); a dict says what differs by framework
    "answered": ("GET", "/items/1", 200, {None: "/items/{item_id}", **ITEM}, None),
    "raises": ("GET", "/boom", {None: 500, "bare": None}, {None: "/boom", "bare": None}, "framework_apps.ShelfError"),
    "says 503": ("GET", "/busy", 503, {None: "/busy", "bare": None}, "503"),
    "no such path": ("GET", "/nothing/7", 404, None, None),
    "no such method": (
        "DELETE", "/items/1", 405,
        {None: "/items/{item_id}", **ITEM, "Litestar": None}, None,
    ),
    "HEAD": (
        "HEAD", "/items/1", {None: 200, "FastAPI": 405, "Litestar": 405},
        {None: "/items/{item_id}", **ITEM, "Litestar": None}, None,
    ),
    "OPTIONS": (
        "OPTIONS", "/items/1", {None: 405, "Litestar": 204, "Quart": 200, "bare": 200},
        {None: "/items/{item_id}", **ITEM}, None,
    ),
    "redirects": ("GET", "/moved", {None: 302, "FastAPI": 307, "Starlette": 307}, {None: "/moved", "bare": None}, None),
}  # fmt: skip


def of(framework, expected):
    return expected.get(framework, expected.get(None)) if isinstance(expected, dict) else expected


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("framework", APPS)
async def test_a_request(observed, framework, case):
    method, path, status, route, error_type = CASES[case]
    status, route = of(framework, status), of(framework, route)
    captured, app = observed(APPS[framework]())

    assert (await ask(app, path, method))[0] == status
    line = request_line(captured)
    [span] = captured.spans
    recorded = status or 500
    assert line["message"] == (f"{method} {route} {recorded}" if route else f"{method} {recorded}")
    assert span.name == (f"{method} {route}" if route else method)
    assert (line.get("http.route"), line["http.response.status_code"]) == (route, recorded)
    assert (line.get("error.type"), line["outcome"]) == (error_type, "error" if error_type else "ok")
    for name in ("http.route", "http.response.status_code", "error.type", "outcome", "user.tier"):
        assert span.attributes.get(name) == line.get(name)
    labels = {"http_route": route or "", "http_response_status_code": str(recorded), "error_type": error_type or ""}
    assert captured.metric("http_server_request_duration_seconds_count", **labels) == 1
    assert captured.metric("http_server_request_duration_seconds_count") == 1
    assert captured.metric("http_server_active_requests") == 0
    if case == "answered":
        assert line["user.tier"] == "gold"


@pytest.mark.parametrize("framework", APPS)
async def test_an_exception_has_one_stack_trace_and_it_is_the_original_ones(observed, framework):
    captured, app = observed(APPS[framework]())

    await ask(app, "/boom")
    carrying = [line for line in captured.lines if "exception.stacktrace" in line]
    assert [(line["exception.type"], line["exception.message"]) for line in carrying] == [
        ("framework_apps.ShelfError", "the shelf is broken")
    ]
    assert "in broken" in carrying[0]["exception.stacktrace"]
    assert carrying[0]["event.name"] == "http.server.request"
    assert [event.name for event in captured.spans[0].events] == ["exception"]


@pytest.mark.parametrize("framework", ["Quart", "Django"])
async def test_without_lines_of_requests_the_frameworks_own_report_stays(framework):
    with testing.capture(config=obskit.Config(clients=(), request_log="off")) as captured:
        await ask(captured.obs.wrap(APPS[framework]()), "/boom")
        [carrying] = [line for line in captured.lines if "exception.stacktrace" in line]
        assert carrying["exception.type"] == "framework_apps.ShelfError"
        assert carrying["logger"] in ("shop", "django.request")


# -- more ways to route, and mounts ---------------------------------------------------------------------------------


def inner_starlette():
    return Starlette(routes=[Route("/items/{i}/", lambda _request: PlainTextResponse("x"))])


ROUTES = {
    "Litestar, a router": (litestar_app, "/deep/3/thing", 200, "/deep/{depth}/thing"),
    "Litestar, a slash more": (litestar_app, "/items/3/", 200, "/items/{item_id}"),
    "Quart, a blueprint": (quart_app, "/deep/3/thing", 200, "/deep/<int:depth>/thing"),
    "Quart, static files": (quart_app, "/static/none.css", 404, "/static/<path:filename>"),
    "Quart, a slash less": (quart_app, "/slashed", 308, None),
    "Django, included": (django_app, "/deep/3/thing", 200, "/deep/<int:depth>/thing"),
    "Django, by regular expression": (django_app, "/old/1999/", 200, "/old/(?P<year>[0-9]{4})/"),
    "Django, a slash less": (django_app, "/slashed", 301, None),
    "FastAPI, a slash more": (fastapi_app, "/items/3/", 307, None),
    "Django below Starlette": (lambda: mounting("/t/{tenant}", django_app()), "/t/acme/items/3", 200, "/t/{tenant}/items/<int:item_id>"),
    "Quart below Starlette": (lambda: mounting("/t/{tenant}", quart_app()), "/t/acme/items/3", 200, "/t/{tenant}/items/<int:item_id>"),
    "Litestar below Starlette": (lambda: mounting("/t/{tenant}", litestar_app()), "/t/acme/items/3", 200, "/t/{tenant}/items/{item_id}"),
    "nothing below Starlette": (lambda: mounting("/t/{tenant}", litestar_app()), "/t/acme/nothing", 404, None),
    "FastAPI below Litestar": (lambda: litestar_mounting(fastapi_app(), copied=False), "/v1/sub/items/3", 307, "/v1/sub/{path}"),
    "Starlette below Litestar": (lambda: litestar_mounting(inner_starlette(), copied=False), "/v1/sub/items/3/", 200, "/v1/sub/items/{i}/"),
    "a copied scope below Litestar": (lambda: litestar_mounting(APPS["bare"](), copied=True), "/v1/sub/x", 404, "/v1/sub/{path}"),
}  # fmt: skip


@pytest.mark.parametrize("case", ROUTES)
async def test_the_route(observed, case):
    make, path, status, route = ROUTES[case]
    captured, app = observed(make())

    assert (await ask(app, path))[0] == status
    assert request_line(captured).get("http.route") == route
    assert len(captured.spans) == 1


@pytest.mark.parametrize("inner", ["Quart", "Django", "Litestar", "FastAPI", "Starlette"])
async def test_an_exception_below_a_mount_is_the_requests(observed, inner):
    captured, app = observed(mounting("/below", APPS[inner]()))

    await ask(app, "/below/boom")
    assert request_line(captured)["message"] == "GET /below/boom 500"
    assert [line["exception.type"] for line in captured.lines if "exception.type" in line] == [
        "framework_apps.ShelfError"
    ]


# -- requests that are refused for what they hold -------------------------------------------------------------------

SECRET = "hunter2-hunter2"
WRONG = json.dumps({"items": [{"price": SECRET}, {"cost": 1}]}).encode()


@pytest.mark.parametrize(
    ("framework", "body", "status", "fields"),
    [
        ("FastAPI", WRONG, 422, ["body.items.0.price", "body.items.1.price"]),
        ("FastAPI", b"{", 422, ["body.1"]),
        ("Litestar", WRONG, 400, ["items.0.price", "items.1.price"]),
        ("Litestar", b"{", 400, None),
    ],
)
async def test_the_fields_that_are_wrong_are_named_and_never_their_values(observed, framework, body, status, fields):
    captured, app = observed(APPS[framework]())

    assert (await ask(app, "/orders", "POST", body))[0] == status
    line = request_line(captured)
    assert line["message"] == f"POST /orders {status}"
    assert line.get("request.invalid_fields") == fields
    assert (line["outcome"], line["level"], "exception.type" in line) == ("ok", "info", False)
    attributes = captured.spans[0].attributes
    assert attributes.get("request.invalid_fields") == fields
    assert SECRET not in str(captured.lines) + str(dict(attributes))


async def test_of_many_wrong_fields_some_are_named(observed):
    captured, app = observed(fastapi_app())

    await ask(app, "/orders", "POST", json.dumps({"items": [{}] * 500}).encode())
    assert request_line(captured)["request.invalid_fields"] == [f"body.items.{number}.price" for number in range(10)]


# -- in place, and back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", [name for name in APPS if name != "bare"])
async def test_close_gives_the_app_its_class_back(framework):
    app = APPS[framework]()
    cls = type(app)
    with testing.capture(app, config=obskit.Config(clients=())) as captured:
        assert isinstance(app, cls)
        await ask(app, "/items/1")
        assert len(captured.spans) == 1
    assert type(app) is cls
    with testing.capture(config=obskit.Config(clients=())) as captured:
        assert (await ask(app, "/items/1"))[0] == 200
        assert captured.spans == []


async def test_close_gives_the_frameworks_their_methods_back():
    from django.core.handlers.base import BaseHandler
    from django.core.signals import got_request_exception as django_signal
    from litestar.background_tasks import BackgroundTask
    from quart import Quart
    from quart.ctx import _BaseRequestWebsocketContext
    from quart.signals import got_request_exception as quart_signal

    def found():
        return (
            BaseHandler.resolve_request, BackgroundTask.__call__, _BaseRequestWebsocketContext.match_request,
            Quart.add_background_task, len(django_signal.receivers), len(quart_signal.receivers),
        )  # fmt: skip

    before = found()
    for _ in range(2):
        with testing.capture(config=obskit.Config(clients=())) as captured:
            await ask(captured.obs.wrap(quart_app()), "/items/1")
            assert all(now != then for now, then in zip(found(), before, strict=True))
        assert found() == before


async def test_a_method_that_someone_else_has_replaced_since_stays():
    from quart import Quart

    original = Quart.add_background_task
    with testing.capture(config=obskit.Config(clients=())) as captured:
        await ask(captured.obs.wrap(quart_app()), "/items/1")
        Quart.add_background_task = theirs = lambda *_args: None
    assert Quart.add_background_task is theirs
    Quart.add_background_task = original


@pytest.mark.parametrize("framework", ["Quart", "Django"])
async def test_a_framework_that_tells_something_else_still_serves(framework, monkeypatch, contained_errors):
    """Of obskit's code in a framework, an error is contained."""
    module = importlib.import_module(f"obskit.instrumentation.{framework.lower()}")
    monkeypatch.setattr(module, "ROUTE_KEY", [])  # which is no key of any scope
    with testing.capture(config=obskit.Config(clients=())) as captured:
        assert (await ask(captured.obs.wrap(APPS[framework]()), "/items/1"))[0] == 200
        assert "http.route" not in request_line(captured)
    assert [component for component, _ in contained_errors] == ["asgi"]
    contained_errors.clear()


@pytest.mark.parametrize("framework", ["Quart", "Django"])
async def test_requests_that_obskit_does_not_observe_are_not_told_of(framework):
    with testing.capture(config=obskit.Config(clients=())) as captured:
        await ask(captured.obs.wrap(APPS[framework]()), "/items/1")
        with contextlib.suppress(ShelfError):
            assert (await ask(APPS[framework](), "/boom"))[0] == 500
        assert len(captured.spans) == 1


async def test_djangos_test_client_has_no_scope_to_tell_in():
    from django.test import Client, override_settings

    app = django_app()
    with testing.capture(app, config=obskit.Config(clients=())) as captured:
        await ask(app, "/items/1")
        with override_settings(ALLOWED_HOSTS=["*"]):
            client = Client(raise_request_exception=False)
            answers = await asyncio.to_thread(lambda: [client.get(path).status_code for path in ("/busy", "/boom")])
        assert answers == [503, 500]
        assert len(captured.spans) == 1


def test_an_app_of_no_framework_is_to_be_wrapped():
    with pytest.raises(ConfigError, match=r"serve obs\.wrap\(app\)"):
        obskit.init(APPS["bare"](), service_name="bare")


# -- endpoints beside the app's own routes ---------------------------------------------------------------------------


def own_health(framework):
    if framework == "Quart":
        app = quart_app()
        app.get("/health")(lambda: "mine")
        return app
    if framework == "Litestar":
        from litestar import get

        @get("/health")
        async def health() -> str:
            return "mine"

        return litestar_app(health)
    import framework_apps
    from django.http import HttpResponse
    from django.urls import clear_url_caches, path

    framework_apps.urlpatterns[:] = [*framework_apps.urlpatterns, path("health", lambda _request: HttpResponse("mine"))]
    clear_url_caches()
    return django_app()


@pytest.fixture
def urls_restored():
    import framework_apps
    from django.urls import clear_url_caches

    before = list(framework_apps.urlpatterns)
    yield
    framework_apps.urlpatterns[:] = before
    clear_url_caches()


@pytest.mark.parametrize("framework", ["Litestar", "Quart", "Django"])
async def test_a_path_that_the_app_routes_itself_is_left_to_it(observed, urls_restored, framework):
    captured, app = observed(own_health(framework))

    assert b"mine" in (await ask(app, "/health"))[1]
    assert [line["level"] for line in captured.lines if "the app routes /health itself" in line["message"]] == [
        "warning"
    ]
    assert (await ask(app, "/livez"))[0] == 200
    assert len(captured.spans) == 1


# -- work after the response -----------------------------------------------------------------------------------------


async def tidy_up():
    obskit.annotate({"tidied": 3})


def sweep():
    obskit.annotate({"swept": True})


async def test_litestars_background_tasks_are_children_of_their_request(observed):
    from litestar import Response, get
    from litestar.background_tasks import BackgroundTask, BackgroundTasks

    @get("/tasks")
    async def tasks() -> Response[str]:
        return Response("x", background=BackgroundTasks([BackgroundTask(tidy_up), BackgroundTask(sweep)]))

    captured, app = observed(litestar_app(tasks))
    await ask(app, "/tasks")
    request = captured.span("GET /tasks")
    for name, field in (("tidy_up", "tidied"), ("sweep", "swept")):
        assert captured.span(name).parent.span_id == request.context.span_id
        assert field in captured.line(f"{name} ok")


async def test_quarts_background_tasks_are_children_of_their_request(observed):
    app = quart_app()

    @app.get("/tasks")
    async def tasks():
        app.add_background_task(tidy_up)
        app.add_background_task(sweep)
        return "x"

    captured, served = observed(app)
    await app.startup()
    await ask(served, "/tasks")
    await app.shutdown()
    request = captured.span("GET /tasks")
    for name in ("tidy_up", "sweep"):
        assert captured.span(name).parent.span_id == request.context.span_id
    assert captured.metric("obskit_operation_duration_seconds_count") == 2
