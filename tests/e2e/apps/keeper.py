"""A service that calls the next one, where there is one, and fails where it is asked to."""

import os

import httpx
from fastapi import FastAPI, HTTPException

import obskit

NEXT = os.environ.get("NEXT_URL", "")
client = httpx.AsyncClient(timeout=10)
app = FastAPI()
obskit.init(app)


@app.get("/work/{what}")
async def work(what: str) -> dict[str, bool]:
    obskit.get_logger("keeper").info("working")
    if NEXT:
        (await client.get(f"{NEXT}/work/{what}")).raise_for_status()
    elif what == "fail":
        raise HTTPException(503)
    return {"ok": True}
