"""One FastAPI service, for stops and faults."""

import asyncio

import obskit
from fastapi import FastAPI

app = FastAPI()
obs = obskit.init(app, service_name="plain")
log = obskit.get_logger()


@app.get("/work/{number}")
async def work(number: int) -> int:
    await asyncio.sleep(0.005 * (number % 3))
    return number


@app.get("/chatty")
async def chatty(lines: int, size: int) -> int:
    for number in range(lines):
        log.info("chatty", number=number, padding="x" * size)
    return lines
