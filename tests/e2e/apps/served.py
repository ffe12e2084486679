"""A script that serves its app itself, on an inherited socket."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import obskit


async def work(request: Request) -> JSONResponse:
    return JSONResponse(request.path_params["number"])


app = Starlette(routes=[Route("/work/{number:int}", work)])

if __name__ == "__main__":
    obskit.init(app, service_name="served")
    uvicorn.run(app, fd=int(sys.argv[1]))
