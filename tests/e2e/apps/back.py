"""The third of the chain: plain Starlette, all under a mount with a parameter."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

import obskit


class StockError(Exception):
    """The shelf is broken."""


def annotated(request: Request) -> str:
    obskit.annotate({"user.tier": request.headers.get("x-tier"), "tenant": request.path_params["tenant"]})
    return request.path_params.get("item", "")


async def stock(request: Request) -> JSONResponse:
    item = annotated(request)
    if item == "404":
        raise HTTPException(404)
    if item == "503":
        raise HTTPException(503)
    return JSONResponse({"stock": item})


async def reserve(request: Request) -> JSONResponse:
    annotated(request)
    return JSONResponse({"reserved": (await request.json()).get("item", "")})


async def broken(request: Request) -> JSONResponse:
    annotated(request)
    msg = "the shelf is broken"
    raise StockError(msg)


below = [
    Route("/stock/{item}", stock),
    Route("/reserve", reserve, methods=["POST"]),
    Route("/broken", broken),
]
app = Starlette(routes=[Mount("/tenants/{tenant}", routes=below)])
obs = obskit.init(app, service_name="back")
