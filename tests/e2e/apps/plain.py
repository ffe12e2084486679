"""One FastAPI service, for stops and faults."""

import asyncio

import httpx
from fastapi import FastAPI, Request

import obskit

app = FastAPI()
obs = obskit.init(app, service_name="plain")
log = obskit.get_logger()
client = httpx.AsyncClient()


@app.get("/work/{number}")
async def work(number: int) -> int:
    await asyncio.sleep(0.005 * (number % 3))
    return number


@app.get("/chatty")
async def chatty(lines: int, size: int) -> int:
    for number in range(lines):
        log.info("chatty", number=number, padding="x" * size)
    return lines


@app.get("/calls/{count}")
async def calls(request: Request, count: int) -> int:
    obskit.annotate({"user.tier": "gold"})
    for number in range(count):
        await client.get(f"{request.base_url}work/{number}")
    return count


@app.get("/broken")
async def broken() -> None:
    log.warning("about to break", shelf=3)
    msg = "the shelf is broken"
    raise RuntimeError(msg)
