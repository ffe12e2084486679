"""http.route of every way to route a request that Starlette and FastAPI know."""

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles

from obskit.instrumentation._route import route_template, routes_exactly, routes_of


async def endpoint(request):
    return PlainTextResponse("ok")


async def raw_app(scope, receive, send):
    await PlainTextResponse("raw")(scope, receive, send)


def fastapi_app() -> FastAPI:
    sub = FastAPI()
    sub.add_api_route("/items/{i}", lambda i: i, methods=["GET"])
    inner = APIRouter(prefix="/inner")
    inner.add_api_route("/thing/{t}", lambda t: t, methods=["GET"])
    inner.mount("/raw", raw_app)
    inner.add_route("/plain/{x}", endpoint)
    middle = APIRouter(prefix="/mid/{m}")
    middle.include_router(inner)
    app = FastAPI()
    app.include_router(middle, prefix="/api")
    app.add_api_route("/own/{x:int}", lambda x: x, methods=["GET"])
    app.mount("/v1", sub)
    app.mount("/tenants/{tenant}", sub)
    app.mount("/raw", raw_app)
    return app


def starlette_app(static) -> Starlette:
    sub = FastAPI()
    sub.add_api_route("/items/{i}", lambda i: i, methods=["GET"])
    return Starlette(
        routes=[
            Route("/r/{x:int}", endpoint),
            Mount("/m/{y}", routes=[Route("/n/{z}", endpoint)]),
            Mount("/deep", routes=[Mount("/{q}", app=sub)]),
            Mount("/static", app=StaticFiles(directory=static)),
            Host("api.example.org", app=Router([Route("/h/{x}", endpoint)])),
            Mount("/router", app=Router([Route("/in/{x}", endpoint)])),
            Mount("", routes=[Route("/bare", endpoint)]),
        ]
    )


async def routed(app, path, *, method="GET", root_path="", host=b"localhost"):
    """The scope after the app has routed a request, and the status it answered."""
    scope = {
        "type": "http", "method": method, "path": root_path + path, "root_path": root_path, "query_string": b"",
        "headers": [(b"host", host)], "http_version": "1.1", "scheme": "http", "server": ("localhost", 80),
    }  # fmt: skip
    statuses = []

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    messages = iter([{"type": "http.request", "body": b""}])

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    await app(scope, receive, send)
    return scope, statuses[0]


FASTAPI = [
    ("/own/3", "GET", "", "/own/{x}", 200),
    ("/own/3", "GET", "/proxy", "/own/{x}", 200),
    ("/own/3", "POST", "", "/own/{x}", 405),
    ("/api/mid/3/inner/thing/4", "GET", "", "/api/mid/{m}/inner/thing/{t}", 200),
    ("/api/mid/3/inner/thing/4", "POST", "", "/api/mid/{m}/inner/thing/{t}", 405),
    ("/api/mid/3/plain/4", "GET", "", "/api/mid/{m}/plain/{x}", 200),
    ("/api/mid/3/raw/4", "GET", "", "/api/mid/{m}/raw/{path}", 200),
    ("/api/mid/3/inner/thing/4/", "GET", "", None, 307),
    ("/v1/items/3", "GET", "", "/v1/items/{i}", 200),
    ("/v1/items/3", "GET", "/proxy", "/v1/items/{i}", 200),
    ("/v1/items/3", "POST", "", "/v1/items/{i}", 405),
    ("/tenants/v1/items/3", "GET", "", "/tenants/{tenant}/items/{i}", 200),
    ("/v1/nope", "GET", "", None, 404),
    ("/nope", "GET", "", None, 404),
    ("/raw/any/thing", "GET", "", "/raw/{path}", 200),
    ("/docs", "GET", "", "/docs", 200),
]


@pytest.mark.parametrize(("path", "method", "root_path", "expected", "status"), FASTAPI)
async def test_fastapi(path, method, root_path, expected, status):
    app = fastapi_app()
    scope, answered = await routed(app, path, method=method, root_path=root_path)
    assert (route_template(scope, app), answered) == (expected, status)


STARLETTE = [
    ("/r/3", "GET", b"localhost", "/r/{x}", 200),
    ("/r/3", "POST", b"localhost", "/r/{x}", 405),
    ("/m/1/n/2", "GET", b"localhost", "/m/{y}/n/{z}", 200),
    ("/m/1/nope", "GET", b"localhost", None, 404),
    ("/deep/d/items/3", "GET", b"localhost", "/deep/{q}/items/{i}", 200),
    ("/static/file.txt", "GET", b"localhost", "/static/{path}", 200),
    ("/static/none.txt", "GET", b"localhost", "/static/{path}", 404),
    ("/h/1", "GET", b"api.example.org", "/h/{x}", 200),
    ("/router/in/1", "GET", b"localhost", "/router/in/{x}", 200),
    ("/bare", "GET", b"localhost", "/bare", 200),
    ("/nope", "GET", b"localhost", None, 404),
]


@pytest.mark.parametrize(("path", "method", "host", "expected", "status"), STARLETTE)
async def test_starlette(tmp_path, path, method, host, expected, status):
    (tmp_path / "file.txt").write_text("x")
    app = starlette_app(tmp_path)
    if method == "POST":  # the router of the last mount would answer for it
        app.routes.pop()
    scope, answered = await routed(app, path, method=method, host=host)
    assert (route_template(scope, app), answered) == (expected, status)


class Copying:
    """A middleware that hands on a copy of the scope: what is put there further in never comes back."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app({**scope}, receive, send)


class Answering:
    """A middleware that answers by itself, as those do that know no user."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await PlainTextResponse("who?", status_code=401)(scope, receive, send)


COPIED = [
    ("/own/3", "GET", "", "/own/{x}", 200),
    ("/own/3", "GET", "/proxy", "/own/{x}", 200),
    ("/own/3", "POST", "", "/own/{x}", 405),
    ("/own/new", "PUT", "", "/own/new", 200),
    ("/api/mid/3/inner/thing/4", "GET", "", "/api/mid/{m}/inner/thing/{t}", 200),
    ("/tenants/v1/items/3", "GET", "", "/tenants/{tenant}/items/{i}", 200),
    ("/raw/any/thing", "GET", "", "/raw/{path}", 200),
    ("/v1/nope", "GET", "", None, 404),
    ("/nope", "GET", "", None, 404),
]


@pytest.mark.parametrize(("path", "method", "root_path", "expected", "status"), COPIED)
@pytest.mark.parametrize("outside", [False, True], ids=["inside of the app", "around it"])
async def test_a_copied_scope_hides_no_route(path, method, root_path, expected, status, outside):
    app = fastapi_app()
    app.router.add_route("/own/new", endpoint, methods=["PUT"])
    if not outside:
        app.add_middleware(Copying)
    served = Copying(app) if outside else app
    scope, answered = await routed(served, path, method=method, root_path=root_path)
    assert "route" not in scope
    assert (route_template(scope, served), answered) == (expected, status)


@pytest.mark.parametrize(("path", "expected"), [("/own/3", "/own/{x}"), ("/nope", None)])
async def test_what_a_middleware_answers_has_the_route_that_it_kept_from_being_reached(path, expected):
    app = fastapi_app()
    app.add_middleware(Answering)
    scope, answered = await routed(app, path)
    assert (route_template(scope, app), answered) == (expected, 401)


async def test_a_mount_that_cannot_be_found_again_gives_no_route_rather_than_a_raw_path():
    app = fastapi_app()
    scope, _ = await routed(app, "/tenants/acme/items/3")
    assert route_template(scope, Starlette()) is None
    assert route_template(scope, None) is None


def test_routes_are_found_through_middleware():
    class Middleware:
        def __init__(self, app):
            self.app = app

    app = Starlette(routes=[Route("/x", endpoint)])
    assert routes_of(Middleware(Middleware(app))) is app.routes
    assert routes_of(raw_app) is None
    endless = Middleware(None)
    endless.app = endless
    assert routes_of(endless) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/docs", True),
        ("/own/3", False),
        ("/own/{x}", True),
        ("/v1/items/{i}", True),
        ("/raw/health", False),
        ("/health", False),
    ],
)
def test_only_a_route_of_that_very_path_is_the_apps(path, expected):
    assert routes_exactly(fastapi_app(), path) is expected
