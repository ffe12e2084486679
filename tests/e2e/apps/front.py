"""The first of the chain: FastAPI, calls the second with an async client."""

import os
from typing import Annotated

import httpx
from fastapi import BackgroundTasks, FastAPI, Header, HTTPException, Query, Request, Response
from pydantic import BaseModel

import obskit

app = FastAPI()
obs = obskit.init(app, service_name="front", service_version="1.2.3", environment="test")
middle = httpx.AsyncClient(base_url=os.environ["NEXT"])
log = obskit.get_logger()

Tier = Annotated[str | None, Header(alias="x-tier")]


class Order(BaseModel):
    item: str
    quantity: int


def forwarded(tier: str | None) -> dict[str, str]:
    obskit.annotate({"user.tier": tier})
    return {"x-tier": tier} if tier else {}


@app.get("/orders/{order_id}")
async def read_order(order_id: int, tier: Tier = None) -> Response:
    log.info("reading", **{"order.id": order_id})
    answer = await middle.get(f"/v1/orders/{order_id}", headers=forwarded(tier))
    if answer.status_code != 200:
        raise HTTPException(answer.status_code)
    return Response(answer.content, media_type="application/json")


@app.post("/orders")
async def place_order(order: Order, tier: Tier = None) -> dict[str, str]:
    answer = await middle.post("/v1/orders", json=order.model_dump(), headers=forwarded(tier))
    return answer.raise_for_status().json()


@app.get("/broken")
async def broken(tier: Tier = None) -> None:
    (await middle.get("/v1/broken", headers=forwarded(tier))).raise_for_status()


@app.get("/twice")
async def twice(tier: Tier = None, ids: Annotated[list[int], Query()] = [1, 2]) -> int:  # noqa: B006
    answers = [await middle.get(f"/v1/orders/{number}", headers=forwarded(tier)) for number in ids]
    return sum(answer.status_code == 200 for answer in answers)


async def announce(note: str) -> None:
    (await middle.post("/v1/notes", json={"note": note})).raise_for_status()


@app.post("/notes", status_code=202)
async def take_note(note: str, tasks: BackgroundTasks, tier: Tier = None) -> None:
    forwarded(tier)
    tasks.add_task(announce, note)


tenants = FastAPI()


@tenants.get("/items/{item}")
async def read_item(request: Request, item: str, tier: Tier = None) -> Response:
    answer = await middle.get(f"/v1/items/{request.path_params['tenant']}/{item}", headers=forwarded(tier))
    return Response(answer.content, answer.status_code)


app.mount("/tenants/{tenant}", tenants)
