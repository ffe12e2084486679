"""Pricing: what a cart costs, for whom."""

import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import obskit
from examples.shop._catalogue import PRODUCTS
from examples.shop._database import Database

SCHEMA = """
CREATE TABLE prices (sku TEXT PRIMARY KEY, cents INTEGER);
CREATE TABLE rollouts (list_version TEXT, region TEXT, percent INTEGER);
CREATE TABLE rules (rule_id INTEGER PRIMARY KEY, list_version TEXT, sku TEXT, percent REAL);
CREATE INDEX rules_of ON rules (list_version, sku);
CREATE TABLE personal_discounts (user_id TEXT, list_version TEXT, percent REAL, PRIMARY KEY (user_id, list_version));
"""
CURRENT, NEXT = "2026-11a", "2026-11b"


def seed(connection: sqlite3.Connection, rng: random.Random) -> None:
    """The next list has forty rules a product where the current has two, and no discounts worked out overnight."""
    connection.executemany("INSERT INTO prices VALUES (?, ?)", PRODUCTS.items())
    connection.execute("INSERT INTO rollouts VALUES (?, 'eu', 60)", [NEXT])
    for sku in PRODUCTS:
        rules = [(CURRENT, sku, 2.0)] * 2 + [(NEXT, sku, 0.1)] * 40
        connection.executemany("INSERT INTO rules (list_version, sku, percent) VALUES (?, ?, ?)", rules)
    known = [(f"u{number}", CURRENT, 4.0) for number in range(600) if rng.random() < 0.6]
    connection.executemany("INSERT INTO personal_discounts VALUES (?, ?, ?)", known)


db = Database("pricing", SCHEMA, seed)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    with db:
        yield


app = FastAPI(title="pricing", lifespan=lifespan)
obs = obskit.init(app, service_name="pricing")
obs.check("database", affects="ready")(db.ping)


class Cart(BaseModel):
    user: dict[str, str]
    items: list[dict[str, Any]]
    coupon: str | None = None


@app.get("/prices/{sku}")
async def price(sku: str) -> dict[str, Any]:
    found = await db.row("SELECT cents FROM prices WHERE sku = ?", sku)
    if found is None:
        raise HTTPException(404, f"no such product: {sku}")
    return {"sku": sku, "cents": found[0]}


@app.post("/quotes")
async def quote(cart: Cart) -> dict[str, int]:
    user_id, tier, region = (cart.user[key] for key in ("user_id", "tier", "region"))
    rolled_out = "SELECT list_version FROM rollouts WHERE region = ? AND percent > ?"
    version = (await db.row(rolled_out, region, int(user_id[1:]) * 37 % 100) or (CURRENT,))[0]
    obskit.annotate({"pricing.list_version": version, "user.tier": tier})
    total = 0
    for item in cart.items:
        total += (await price(item["sku"]))["cents"] * item["quantity"]
    percent = 5.0 if cart.coupon else 0.0
    if tier == "gold":
        percent += await personal_discount(user_id, version, cart)
    return {"total_cents": round(total * (1 - percent / 100))}


async def personal_discount(user_id: str, version: str, cart: Cart) -> float:
    known = "SELECT percent FROM personal_discounts WHERE user_id = ? AND list_version = ?"
    row = await db.row(known, user_id, version)
    obskit.annotate({"pricing.cache": "hit" if row else "miss"})
    if row:
        return float(row[0])
    percent = 0.0
    for item in cart.items:
        rules = "SELECT rule_id FROM rules WHERE list_version = ? AND sku = ?"
        for (rule_id,) in await db.rows(rules, version, item["sku"]):
            rule = await db.row("SELECT percent FROM rules WHERE rule_id = ?", rule_id)
            percent += rule[0] if rule else 0.0
            obskit.accumulate("pricing.rules_evaluated")
    return min(percent, 15.0)
