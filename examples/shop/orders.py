"""Orders: reserves, prices, charges, and keeps the order."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import BackgroundTasks, FastAPI, HTTPException
from pydantic import BaseModel

import obskit
from examples.shop._database import Database
from examples.shop._peers import client

SCHEMA = """
CREATE TABLE orders (order_id TEXT PRIMARY KEY, user_id TEXT, items TEXT, total_cents INTEGER, charge_id TEXT);
CREATE TABLE letters (order_id TEXT, subject TEXT);
"""


db = Database("orders", SCHEMA)
log = obskit.get_logger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with db:
        async with (
            client("inventory") as app.state.inventory,
            client("pricing") as app.state.pricing,
            client("payments") as app.state.payments,
        ):
            yield


app = FastAPI(title="orders", lifespan=lifespan)
obs = obskit.init(app, service_name="orders")
obs.check("database", affects="ready")(db.ping)


class Order(BaseModel):
    order_id: str
    user: dict[str, str]
    items: list[dict[str, Any]]
    payment_method: str
    coupon: str | None = None


@app.post("/orders", status_code=201)
async def place(order: Order, background: BackgroundTasks) -> dict[str, Any]:
    cart = {"items": order.items, "user": order.user, "coupon": order.coupon}
    reserved = await app.state.inventory.post("/reservations", json={**cart, "order_id": order.order_id})
    if reserved.status_code == 409:
        raise HTTPException(409, reserved.json()["detail"])
    quote = (await app.state.pricing.post("/quotes", json=cart)).raise_for_status().json()
    charge = {"order_id": order.order_id, "method": order.payment_method, "amount_cents": quote["total_cents"]}
    charged = await app.state.payments.post("/charges", json=charge)
    if not charged.is_success:
        await app.state.inventory.delete(f"/reservations/{order.order_id}")
        log.warning("charge failed, reservation released", **{"charge.status": charged.status_code})
        raise HTTPException(402 if charged.status_code == 402 else 503, "the payment did not go through")
    obskit.annotate({"order.id": order.order_id, "order.total_cents": quote["total_cents"]})
    kept = (order.order_id, order.user["user_id"], json.dumps(order.items), quote["total_cents"])
    await db.rows("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", *kept, charged.json()["charge_id"])
    log.info("order placed", **{"order.total_cents": quote["total_cents"]})
    background.add_task(confirm, order.order_id)
    return {"order_id": order.order_id, "total_cents": quote["total_cents"]}


async def confirm(order_id: str) -> None:
    """Runs after the response was sent: the customer does not wait for the letter."""
    await db.rows("INSERT INTO letters VALUES (?, ?)", order_id, f"Your order {order_id}")


@app.get("/orders/{order_id}")
async def order(order_id: str) -> dict[str, Any]:
    found = await db.row("SELECT order_id, total_cents FROM orders WHERE order_id = ?", order_id)
    if found is None:
        raise HTTPException(404, "no such order")
    return {"order_id": found[0], "total_cents": found[1]}
