"""Users: who has an account, of which tier and region. Plain Starlette."""

import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import obskit
from examples.shop._database import Database

SCHEMA = "CREATE TABLE users (user_id TEXT PRIMARY KEY, name TEXT, tier TEXT, region TEXT, since INTEGER);"
NAMES = ("Ada", "Alan", "Barbara", "Edsger", "Frances", "Grace", "Hedy", "Ken", "Margaret", "Niklaus", "Radia")


def seed(connection: sqlite3.Connection, rng: random.Random) -> None:
    """Three users in ten are gold; half of all live in the EU."""
    for number in range(600):
        tier = rng.choices(("free", "pro", "gold"), (40, 30, 30))[0]
        region = rng.choices(("eu", "us", "apac"), (50, 35, 15))[0]
        user = (f"u{number}", rng.choice(NAMES), tier, region, rng.randint(2015, 2026))
        connection.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?)", user)


db = Database("users", SCHEMA, seed)
log = obskit.get_logger(__name__)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    with db:
        yield


async def user(request: Request) -> JSONResponse:
    user_id = request.path_params["user_id"]
    found = await db.row("SELECT user_id, name, tier, region FROM users WHERE user_id = ?", user_id)
    if found is None:
        log.warning("no such user", **{"user.id": user_id})
        return JSONResponse({"detail": "no such user"}, status_code=404)
    obskit.annotate({"user.tier": found[2], "user.region": found[3]})
    return JSONResponse(dict(zip(("user_id", "name", "tier", "region"), found, strict=True)))


app = Starlette(routes=[Route("/users/{user_id}", user)], lifespan=lifespan)
obs = obskit.init(app, service_name="users")
obs.check("database", affects="ready")(db.ping)
