"""A service whose metrics are both scraped and pushed: what they count is the same, so what arrives must be."""

import httpx
from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import obskit

calls = httpx.AsyncClient(timeout=5)


async def order(request: Request) -> PlainTextResponse:
    tier = request.query_params["tier"]
    obskit.annotate({"user.tier": tier})
    if tier == "none":
        raise HTTPException(503)
    with obskit.operation("price"):
        await calls.get(str(request.url_for("price")))
    refunds.labels(tier).inc(2)
    return PlainTextResponse("ok")


async def price(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("4.20")


app = Starlette(routes=[Route("/orders/{order_id}", order), Route("/price", price, name="price")])
obs = obskit.init(app)
refunds = Counter("refunds", "Refunds.", ["currency"], registry=obs.registry)
