"""Payments: charges by way of providers that are slow at times, and fail at times."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

import obskit
from examples.shop._database import SEED, Database

SCHEMA = "CREATE TABLE charges (charge_id TEXT PRIMARY KEY, order_id TEXT, provider TEXT, amount_cents INTEGER);"
PROVIDERS = {"card": "acme", "invoice": "northwind", "wallet": "globex"}


class ProviderTimeoutError(Exception):
    """The provider did not answer in time."""


db = Database("payments", SCHEMA)
log = obskit.get_logger(__name__)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    with db:
        yield


app = FastAPI(title="payments", lifespan=lifespan)
obs = obskit.init(app, service_name="payments")
obs.check("database", affects="ready")(db.ping)


class Charge(BaseModel):
    order_id: str
    method: str
    amount_cents: int


@app.post("/charges", status_code=201)
async def charge(wanted: Charge) -> dict[str, str]:
    provider = PROVIDERS[wanted.method]
    obskit.annotate({"payment.provider": provider, "payment.amount_cents": wanted.amount_cents})
    await ask(provider, wanted.order_id)
    charge_id = f"ch-{wanted.order_id}"
    await db.rows("INSERT INTO charges VALUES (?, ?, ?, ?)", charge_id, wanted.order_id, provider, wanted.amount_cents)
    log.info("charged", **{"payment.provider": provider, "charge.id": charge_id})
    return {"charge_id": charge_id}


async def ask(provider: str, order_id: str) -> None:
    """What the provider does with an order follows from the seed and the order alone, whatever else runs."""
    fate = random.Random(f"{SEED}/{order_id}")
    dice = fate.random()
    await asyncio.sleep(fate.uniform(0.006, 0.014))
    if dice < 0.02:
        raise HTTPException(402, "declined")
    if dice < 0.04:
        log.error("provider unavailable", **{"payment.provider": provider})
        raise HTTPException(503, f"{provider} is unavailable")
    if dice < 0.05:
        await asyncio.sleep(0.08)
        raise ProviderTimeoutError(f"{provider} did not answer within 80 ms")
    if dice < 0.09:
        log.warning("provider is slow", **{"payment.provider": provider})
        await asyncio.sleep(fate.uniform(0.05, 0.12))
