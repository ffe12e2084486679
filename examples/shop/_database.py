"""A service's SQLite file, as far away as a database server usually is."""

import asyncio
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import obskit

SEED = int(os.environ.get("SHOP_SEED", "7"))

#: SQLite answers within microseconds because it lives in the process. A database server is a network away: every
#: statement waits this long, in seconds, so that the number of statements costs here what it costs there.
ROUND_TRIP = 0.0015


class Database:
    """One SQLite database, opened when the service starts.

    Args:
        name: of the service; the file is ``<SHOP_DATA>/<name>.db``.
        schema: statements that create its tables.
        seed: fills the new tables; gets the connection and a generator that follows from SHOP_SEED and the name.
    """

    def __init__(
        self, name: str, schema: str, seed: Callable[[sqlite3.Connection, random.Random], None] | None = None
    ) -> None:
        self.name, self.schema, self.seed = name, schema, seed
        self.connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        folder = Path(os.environ.get("SHOP_DATA", "var/shop/data"))
        folder.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(folder / f"{self.name}.db", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        if not self.connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            self.connection.executescript(f"BEGIN; {self.schema}")
            if self.seed:
                self.seed(self.connection, random.Random(f"{SEED}/{self.name}"))
            self.connection.execute("COMMIT")
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    @property
    def opened(self) -> sqlite3.Connection:
        if self.connection is None:
            raise sqlite3.ProgrammingError(f"the database of {self.name} is not open")
        return self.connection

    async def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; a client operation, which the request above it counts and times."""
        fields = {"db.system.name": "sqlite", "db.namespace": self.name, "db.query.text": statement}
        verb = statement.split(maxsplit=1)[0]
        async with obskit.operation(f"{verb} {self.name}", kind="client", fields=fields):
            await asyncio.sleep(ROUND_TRIP)
            return self.opened.execute(statement, parameters).fetchall()

    async def ping(self) -> None:
        """The service's readiness check; no operation, since nobody asked for it."""
        self.opened.execute("SELECT 1")

    async def row(self, statement: str, *parameters: Any) -> tuple[Any, ...] | None:
        """The first row of a statement, if it has one."""
        return next(iter(await self.rows(statement, *parameters)), None)
