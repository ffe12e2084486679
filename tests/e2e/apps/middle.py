"""The second of the chain: FastAPI, all under a router with a prefix; calls the third with both kinds of client."""

import os
from typing import Annotated

import httpx
from fastapi import APIRouter, FastAPI, Header, HTTPException, Response
from pydantic import BaseModel

import obskit

app = FastAPI()
back = httpx.AsyncClient(base_url=os.environ["NEXT"])
blocking_back = httpx.Client(base_url=os.environ["NEXT"])
router = APIRouter(prefix="/v1")

Tier = Annotated[str | None, Header(alias="x-tier")]


class Order(BaseModel):
    item: str
    quantity: int


class Note(BaseModel):
    note: str


def forwarded(tier: str | None) -> dict[str, str]:
    obskit.annotate({"user.tier": tier})
    return {"x-tier": tier} if tier else {}


@router.get("/orders/{order_id}")
async def read_order(order_id: int, tier: Tier = None) -> Response:
    obskit.accumulate("orders.read")
    answer = await back.get(f"/tenants/acme/stock/{order_id}", headers=forwarded(tier))
    if answer.status_code != 200:
        raise HTTPException(answer.status_code)
    return Response(answer.content, media_type="application/json")


@router.post("/orders")
def place_order(order: Order, tier: Tier = None) -> dict[str, str]:
    """In the threadpool."""
    answer = blocking_back.post("/tenants/acme/reserve", json=order.model_dump(), headers=forwarded(tier))
    return answer.raise_for_status().json()


@router.get("/broken")
async def broken(tier: Tier = None) -> None:
    (await back.get("/tenants/acme/broken", headers=forwarded(tier))).raise_for_status()


@router.get("/items/{tenant}/{item}")
async def read_item(tenant: str, item: str, tier: Tier = None) -> Response:
    answer = await back.get(f"/tenants/{tenant}/stock/{item}", headers=forwarded(tier))
    return Response(answer.content, answer.status_code)


@router.post("/notes")
def take_note(note: Note) -> None:
    blocking_back.post("/tenants/acme/reserve", json=note.model_dump()).raise_for_status()


app.include_router(router)
obs = obskit.init(app, service_name="middle")
