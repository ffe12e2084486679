"""Inventory: what is in stock, and who reserved it."""

import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import obskit
from examples.shop._catalogue import PRODUCTS, SCARCE
from examples.shop._database import Database

SCHEMA = """
CREATE TABLE stock (sku TEXT PRIMARY KEY, quantity INTEGER CHECK (quantity >= 0));
CREATE TABLE reservations (order_id TEXT, sku TEXT, quantity INTEGER);
"""
WAREHOUSES = {"eu": ("ams", "dub"), "us": ("nyc", "sfo"), "apac": ("sin",)}


def seed(connection: sqlite3.Connection, _random: random.Random) -> None:
    stock = [(sku, 40 if sku == SCARCE else 100_000) for sku in PRODUCTS]
    connection.executemany("INSERT INTO stock VALUES (?, ?)", stock)


db = Database("inventory", SCHEMA, seed)
log = obskit.get_logger(__name__)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    with db:
        yield


app = FastAPI(title="inventory", lifespan=lifespan)
obs = obskit.init(app, service_name="inventory")
obs.check("database", affects="ready")(db.ping)


class Reservation(BaseModel):
    order_id: str
    user: dict[str, str]
    items: list[dict[str, Any]]


@app.get("/stock/{sku}")
async def stock(sku: str) -> dict[str, Any]:
    found = await db.row("SELECT quantity FROM stock WHERE sku = ?", sku)
    if found is None:
        raise HTTPException(404, f"no such product: {sku}")
    return {"sku": sku, "quantity": found[0]}


@app.post("/reservations", status_code=201)
async def reserve(wanted: Reservation) -> dict[str, str]:
    warehouse = random.Random(wanted.order_id).choice(WAREHOUSES[wanted.user["region"]])
    obskit.annotate({"inventory.warehouse": warehouse})
    for item in wanted.items:
        left = await db.row("SELECT quantity FROM stock WHERE sku = ?", item["sku"])
        if left is None or left[0] < item["quantity"]:
            log.warning("out of stock", **{"product.sku": item["sku"], "stock.quantity": left[0] if left else None})
            raise HTTPException(409, f"out of stock: {item['sku']}")
    for item in wanted.items:
        await db.rows("UPDATE stock SET quantity = quantity - ? WHERE sku = ?", item["quantity"], item["sku"])
        await db.rows("INSERT INTO reservations VALUES (?, ?, ?)", wanted.order_id, item["sku"], item["quantity"])
    log.info("reserved", **{"inventory.warehouse": warehouse, "items": len(wanted.items)})
    return {"order_id": wanted.order_id}


@app.delete("/reservations/{order_id}", status_code=204)
async def release(order_id: str) -> None:
    held = await db.rows("DELETE FROM reservations WHERE order_id = ? RETURNING sku, quantity", order_id)
    for sku, quantity in held:
        await db.rows("UPDATE stock SET quantity = quantity + ? WHERE sku = ?", quantity, sku)
