"""The app that every server serves: FastAPI with a lifespan; it says which process answered."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

import obskit


@contextlib.asynccontextmanager
async def lifespan(_app):
    yield
    sys.stderr.write(f"lifespan of {os.getpid()} is over\n")


app = FastAPI(lifespan=lifespan)
obs = obskit.init(app, service_name="served")
log = obskit.get_logger()
maintenance = Path(os.environ.get("MAINTENANCE_FILE", tempfile.gettempdir() + "/no-such-file"))


@obs.check("maintenance", affects="ready", ttl=0.0)
def in_rotation() -> bool:
    return not maintenance.exists()


if "DRAIN_BY" in os.environ:
    signal.signal(signal.Signals[os.environ["DRAIN_BY"]], lambda *_: obs.drain())


@app.get("/work/{number}")
async def work(number: int, response: Response) -> int:
    response.headers["x-pid"] = str(os.getpid())
    await asyncio.sleep(0.002 * (number % 3))
    return number


@app.get("/chatty")
async def chatty(response: Response, lines: int, size: int) -> int:
    response.headers["x-pid"] = str(os.getpid())
    await asyncio.sleep(0.05)
    for number in range(lines):
        log.info("chatty", number=number, padding="x" * size)
    return lines


@app.get("/ids")
async def ids(response: Response) -> str:
    response.headers["x-pid"] = str(os.getpid())
    await asyncio.sleep(0.05)
    return f"{random.getrandbits(64)} {obskit.current_operation().trace_id}"


@app.get("/broken")
async def broken() -> None:
    msg = "the shelf is broken"
    raise RuntimeError(msg)


if __name__ == "__main__":  # the module then runs twice in one process
    uvicorn.run("served:app", fd=int(sys.argv[1]))
