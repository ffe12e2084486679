"""A service that says what it would pass on: for whatever bytes come."""

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import obskit


async def onward(_request):
    carrier = {}
    obskit.inject(carrier)
    return JSONResponse(carrier)


app = Starlette(
    routes=[
        Route("/onward", onward),
        Route("/items/{item}", onward, methods=["GET", "POST"]),
    ]
)
obskit.init(app, service_name="strangers")
