"""A service whose metrics come from everywhere: obskit's, prometheus_client's, OpenTelemetry's API."""

import os

import httpx
from fastapi import FastAPI, HTTPException
from opentelemetry import metrics
from prometheus_client import Counter, Histogram

import obskit

app = FastAPI()
obs = obskit.init(app, service_name="measured")
refunds = Counter("refunds", "Refunds paid.", ["currency"], registry=obs.registry)
waits = Histogram("wait_seconds", "Waits.", buckets=(0.1, 1))  # on the default registry
calls = metrics.get_meter("lib").create_counter("lib.calls", "{call}")
work = metrics.get_meter("lib").create_histogram("lib.work", "s")
metrics.get_meter("lib").create_observable_gauge("lib.share", [lambda _: [metrics.Observation(0.5)]], "1")
itself = httpx.AsyncClient(base_url=os.environ.get("ITSELF", ""))


@obs.check("database")
def database() -> None:
    pass


@app.get("/orders/{order_id}")
async def read_order(order_id: int, tier: str = "free") -> dict[str, int]:
    obskit.annotate({"user.tier": tier})
    refunds.labels("eur").inc()
    waits.observe(0.3)
    calls.add(1, {"kind": "read"})
    work.record(0.02)
    if order_id == 404:
        raise HTTPException(404)
    if order_id == 500:
        raise RuntimeError
    with obskit.operation("price"):
        pass
    return {"order_id": order_id}


@app.get("/twice/{order_id}")
async def read_twice(order_id: int) -> int:
    return (await itself.get(f"/orders/{order_id}")).status_code
