"""The same few endpoints in each framework, mounted in one app: what a client can do to a request at any moment."""

import asyncio
from collections import defaultdict

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from litestar import Litestar, get, post
from litestar import Request as LitestarRequest
from litestar.response import ServerSentEvent
from quart import Quart
from quart import request as quart_request
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import FileResponse, PlainTextResponse
from starlette.responses import StreamingResponse as StarletteStream
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

import obskit

log = obskit.get_logger()
released: dict[str, asyncio.Event] = defaultdict(asyncio.Event)


async def work(request_id: str) -> None:
    """Takes until another request says that it is enough."""
    log.info("begun", id=request_id)
    await asyncio.wait_for(released[request_id].wait(), 10)


async def events():
    while True:
        yield "data: tick\n\n"
        await asyncio.sleep(0.01)


# -- Starlette, and what only it has --------------------------------------------------------------------------------


async def starlette_upload(request: StarletteRequest) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def starlette_slow(request: StarletteRequest) -> PlainTextResponse:
    await work(request.headers["x-request-id"])
    return PlainTextResponse("done")


async def starlette_stream(_request: StarletteRequest) -> StarletteStream:
    return StarletteStream(events(), media_type="text/event-stream")


async def plain(_request: StarletteRequest) -> PlainTextResponse:
    return PlainTextResponse("plain")


async def release(request: StarletteRequest) -> PlainTextResponse:
    released[request.query_params["id"]].set()
    return PlainTextResponse("released")


async def file(_request: StarletteRequest) -> FileResponse:
    return FileResponse(__file__)


async def chat(websocket: WebSocket) -> None:
    room = websocket.path_params["room"]
    if room == "closed":
        await websocket.close(1008)
        return
    if room == "members":
        await websocket.send_denial_response(PlainTextResponse("members only", 401))
        return
    await websocket.accept()
    while True:
        text = await websocket.receive_text()
        if text == "break":
            msg = "the room is on fire"
            raise RuntimeError(msg)
        await websocket.send_text(text)


# -- FastAPI ----------------------------------------------------------------------------------------------------------

fastapi = FastAPI()


@fastapi.post("/upload")
async def fastapi_upload(request: Request) -> int:
    return len(await request.body())


@fastapi.get("/slow")
async def fastapi_slow(request: Request) -> str:
    await work(request.headers["x-request-id"])
    return "done"


@fastapi.get("/stream")
async def fastapi_stream() -> StreamingResponse:
    return StreamingResponse(events(), media_type="text/event-stream")


@fastapi.get("/plain")
async def fastapi_plain() -> str:
    return "plain"


# -- Litestar ---------------------------------------------------------------------------------------------------------


@post("/upload")
async def litestar_upload(request: LitestarRequest) -> int:
    return len(await request.body())


@get("/slow")
async def litestar_slow(request: LitestarRequest) -> str:
    await work(request.headers["x-request-id"])
    return "done"


@get("/stream")
async def litestar_stream() -> ServerSentEvent:
    return ServerSentEvent(events())


@get("/plain")
async def litestar_plain() -> str:
    return "plain"


litestar = Litestar([litestar_upload, litestar_slow, litestar_stream, litestar_plain], logging_config=None)

# -- Quart ------------------------------------------------------------------------------------------------------------

quart = Quart("kinds")


@quart.post("/upload")
async def quart_upload() -> str:
    return str(len(await quart_request.get_data()))


@quart.get("/slow")
async def quart_slow() -> str:
    await work(quart_request.headers["x-request-id"])
    return "done"


@quart.get("/stream")
async def quart_stream():
    return events(), {"content-type": "text/event-stream"}


@quart.get("/plain")
async def quart_plain() -> str:
    return "plain"


# -- Django -----------------------------------------------------------------------------------------------------------


@csrf_exempt
async def django_upload(request):
    return HttpResponse(str(len(request.body)))


async def django_slow(request):
    await work(request.headers["x-request-id"])
    return HttpResponse("done")


async def django_stream(_request):
    return StreamingHttpResponse(events(), content_type="text/event-stream")


async def django_plain(_request):
    return HttpResponse("plain")


urlpatterns = [
    path("upload", django_upload),
    path("slow", django_slow),
    path("stream", django_stream),
    path("plain", django_plain),
]
settings.configure(ROOT_URLCONF="kinds", ALLOWED_HOSTS=["*"], SECRET_KEY="for tests", LOGGING_CONFIG=None)
django.setup()


# -- no framework -----------------------------------------------------------------------------------------------------


async def bare(scope, receive, send):
    headers = dict(scope["headers"])
    kind = scope["path"].rpartition("/")[2]
    if kind == "upload":
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
    elif kind == "slow":
        await work(headers[b"x-request-id"].decode())
    stream, trailers = kind == "stream", kind == "trailers"
    names = [(b"content-type", b"text/event-stream" if stream else b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": names, "trailers": trailers})
    if stream:
        gone = asyncio.create_task(receive())
        while not gone.done() or gone.result()["type"] != "http.disconnect":
            if gone.done():
                gone = asyncio.create_task(receive())
            await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
            await asyncio.sleep(0.01)
        return
    await send({"type": "http.response.body", "body": b"plain"})
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]})


app = Starlette(
    routes=[
        Route("/release", release),
        Route("/file", file),
        WebSocketRoute("/chat/{room}", chat),
        Mount(
            "/Starlette",
            routes=[
                Route("/upload", starlette_upload, methods=["POST"]),
                Route("/slow", starlette_slow),
                Route("/stream", starlette_stream),
                Route("/plain", plain),
            ],
        ),
        Mount("/FastAPI", fastapi),
        Mount("/Litestar", litestar),
        Mount("/Quart", quart),
        Mount("/Django", ASGIHandler()),
        Mount("/bare", bare),
    ]
)
obs = obskit.init(app, service_name="kinds")
