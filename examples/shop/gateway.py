"""Gateway: the shop's front door. Knows who asks, and passes the work on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.responses import Response
from pydantic import BaseModel, Field

import obskit
from examples.shop._database import Database
from examples.shop._peers import client

SCHEMA = "CREATE TABLE answers (idempotency_key TEXT PRIMARY KEY, status INTEGER, body BLOB);"


db = Database("gateway", SCHEMA)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with db:
        async with (
            client("users") as app.state.users,
            client("orders") as app.state.orders,
            client("inventory") as app.state.inventory,
            client("pricing") as app.state.pricing,
        ):
            yield


app = FastAPI(title="gateway", lifespan=lifespan)
obs = obskit.init(app, service_name="gateway")
obs.check("database", affects="ready")(db.ping)


class Item(BaseModel):
    sku: str
    quantity: int = Field(ge=1, le=10)


class Cart(BaseModel):
    items: list[Item] = Field(min_length=1, max_length=20)
    payment_method: str = Field(pattern="^(card|invoice|wallet)$")
    coupon: str | None = None


async def account(x_user_id: Annotated[str, Header()]) -> dict[str, str]:
    """Who asks. The fields go to the request's event, though a dependency sets them."""
    answer = await app.state.users.get(f"/users/{x_user_id}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise HTTPException(401, "no such user")
    found: dict[str, str] = answer.raise_for_status().json()
    obskit.annotate({"user.id": found["user_id"], "user.tier": found["tier"], "user.region": found["region"]})
    return found


def passed_on(answer: httpx.Response) -> Response:
    return Response(answer.content, answer.status_code, media_type="application/json")


@app.get("/products/{sku}")
async def product(sku: str) -> Response:
    stock = await app.state.inventory.get(f"/stock/{sku}")
    return passed_on(await app.state.pricing.get(f"/prices/{sku}") if stock.is_success else stock)


@app.post("/checkout")
async def checkout(
    cart: Cart, user: Annotated[dict[str, str], Depends(account)], idempotency_key: Annotated[str, Header()]
) -> Response:
    obskit.annotate({"cart": {"items": len(cart.items), "quantity": sum(item.quantity for item in cart.items)}})
    obskit.annotate({"payment.method": cart.payment_method, "cart.coupon": cart.coupon})
    before = await db.row("SELECT body, status FROM answers WHERE idempotency_key = ?", idempotency_key)
    obskit.annotate({"checkout.replayed": before is not None})
    if before:
        return Response(before[0], before[1], media_type="application/json")
    order = {**cart.model_dump(), "order_id": idempotency_key, "user": user}
    answer = await app.state.orders.post("/orders", json=order)
    if answer.is_success:
        await db.rows("INSERT INTO answers VALUES (?, ?, ?)", idempotency_key, answer.status_code, answer.content)
    return passed_on(answer)


@app.get("/orders/{order_id}", dependencies=[Depends(account)])
async def order(order_id: str) -> Response:
    return passed_on(await app.state.orders.get(f"/orders/{order_id}"))
