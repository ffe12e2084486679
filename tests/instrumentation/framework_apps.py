"""One service, written in each framework: the same paths, as far as the framework has such a thing."""

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import include, path, re_path
from django.views.decorators.http import require_http_methods
from fastapi import FastAPI, HTTPException
from fastapi.responses import RedirectResponse
from litestar import Litestar, Request, Router, asgi, get, post
from litestar.exceptions import ServiceUnavailableException
from litestar.params import FromPath, JSONBody
from litestar.response import Redirect
from litestar.types import Receive, Scope, Send
from pydantic import BaseModel
from quart import Blueprint, Quart, abort, redirect
from starlette.applications import Starlette
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import PlainTextResponse
from starlette.responses import RedirectResponse as StarletteRedirect
from starlette.routing import Mount, Route

import obskit


class ShelfError(Exception):
    """What goes wrong below each framework."""


def broken():
    msg = "the shelf is broken"
    raise ShelfError(msg)


class Line(BaseModel):
    price: int


class Order(BaseModel):
    items: list[Line]


# -- FastAPI ----------------------------------------------------------------------------------------------------------


def fastapi_app():
    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: int):
        obskit.annotate({"user.tier": "gold"})
        return item_id

    @app.get("/boom")
    async def boom():
        broken()

    @app.get("/busy")
    async def busy():
        raise HTTPException(503)

    @app.get("/moved")
    async def moved():
        return RedirectResponse("/items/1")

    @app.post("/orders")
    async def order(order: Order):
        return len(order.items)

    return app


# -- Starlette --------------------------------------------------------------------------------------------------------


async def starlette_item(request):
    obskit.annotate({"user.tier": "gold"})
    return PlainTextResponse(str(request.path_params["item_id"]))


async def starlette_boom(_request):
    broken()


async def starlette_busy(_request):
    raise StarletteHTTPException(503)


async def starlette_moved(_request):
    return StarletteRedirect("/items/1")


def starlette_app():
    return Starlette(
        routes=[
            Route("/items/{item_id:int}", starlette_item),
            Route("/boom", starlette_boom),
            Route("/busy", starlette_busy),
            Route("/moved", starlette_moved),
        ]
    )


# -- Litestar ---------------------------------------------------------------------------------------------------------


@get("/items/{item_id:int}")
async def litestar_item(item_id: FromPath[int]) -> int:
    obskit.annotate({"user.tier": "gold"})
    return item_id


@get("/boom")
async def litestar_boom() -> None:
    broken()


@get("/busy")
async def litestar_busy() -> None:
    raise ServiceUnavailableException


@get("/moved")
async def litestar_moved() -> Redirect:
    return Redirect("/items/1")


@post("/orders")
async def litestar_order(data: JSONBody[Order]) -> int:
    return len(data.items)


@get("/thing")
async def litestar_thing(request: Request) -> str:
    return request.url.path


LITESTAR = [litestar_item, litestar_boom, litestar_busy, litestar_moved, litestar_order]


def litestar_app(*more, **settings_):
    router = Router("/deep/{depth:int}", route_handlers=[litestar_thing])
    return Litestar([*LITESTAR, router, *more], logging_config=None, openapi_config=None, **settings_)


def litestar_mounting(app, *, copied):
    @asgi("/sub", is_mount=True, copy_scope=copied)
    async def sub(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return litestar_app(Router("/v1", route_handlers=[sub]))


# -- Quart ------------------------------------------------------------------------------------------------------------


def quart_app():
    app = Quart("shop")

    @app.get("/items/<int:item_id>")
    async def item(item_id):
        obskit.annotate({"user.tier": "gold"})
        return str(item_id)

    @app.get("/boom")
    async def boom():
        broken()

    @app.get("/busy")
    async def busy():
        abort(503)

    @app.get("/moved")
    async def moved():
        return redirect("/items/1")

    @app.get("/slashed/")
    async def slashed():
        return "slashed"

    below = Blueprint("below", __name__, url_prefix="/deep/<int:depth>")

    @below.get("/thing")
    async def thing(depth):
        return str(depth)

    app.register_blueprint(below)
    return app


# -- Django -----------------------------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD"])
async def django_item(_request, item_id):
    obskit.annotate({"user.tier": "gold"})
    return HttpResponse(str(item_id))


def django_boom(_request):
    """In a thread of Django's."""
    broken()


async def django_busy(_request):
    return HttpResponse("busy", status=503)


async def django_moved(_request):
    return HttpResponseRedirect("/items/1")


async def django_thing(_request, **_path):
    return HttpResponse("thing")


urlpatterns = [
    path("items/<int:item_id>", django_item),
    path("boom", django_boom),
    path("busy", django_busy),
    path("moved", django_moved),
    path("slashed/", django_thing),
    path("deep/<int:depth>/", include([path("thing", django_thing)])),
    re_path(r"^old/(?P<year>[0-9]{4})/$", django_thing),
]


def django_app():
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF="framework_apps",
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="for tests",
            LOGGING_CONFIG=None,
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        )
        django.setup()
    return ASGIHandler()


# -- no framework -----------------------------------------------------------------------------------------------------


async def bare_app(scope, receive, send):
    if scope["path"] == "/boom":
        broken()
    status = {"/items/1": 200, "/busy": 503, "/moved": 302}.get(scope["path"], 404)
    if scope["method"] == "DELETE":
        status = 405
    obskit.annotate({"user.tier": "gold"})
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"bare"})


APPS = {
    "FastAPI": fastapi_app,
    "Starlette": starlette_app,
    "Litestar": litestar_app,
    "Quart": quart_app,
    "Django": django_app,
    "bare": lambda: bare_app,
}


def mounting(path, app):
    """A Starlette app that has another mounted at `path`."""
    return Starlette(routes=[Mount(path, app=app)])
