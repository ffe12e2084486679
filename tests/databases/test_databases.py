"""Calls to databases and caches: one CLIENT span a call, rolled up into the request, sampled or not.

Against a real PostgreSQL, a real Redis, and SQLite; each driver by itself, and below SQLAlchemy.
"""

import asyncio
import contextlib
import sqlite3

import aio_pika
import asyncpg
import kafka
import psycopg
import pytest
import redis
import redis.asyncio
import sqlalchemy as sa
import sqlalchemy.ext.asyncio as sa_asyncio
from opentelemetry import trace
from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

import fresh_process
import obskit
from obskit.config import Config
from obskit.instrumentation.databases import LIBRARIES, stable_conventions
from obskit.testing import capture

SELECT = "SELECT 'secret' AS a, 7 AS b"
SHOWN = "SELECT ? AS a, ? AS b"


def by_sqlite3(_servers):
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.cursor().execute(SELECT).fetchall()


def by_psycopg(servers):
    with psycopg.connect(servers["postgres"]) as connection, connection.cursor() as cursor:
        cursor.execute(SELECT).fetchall()


def by_psycopg_async(servers):
    async def run():
        async with await psycopg.AsyncConnection.connect(servers["postgres"]) as connection:
            await (await connection.cursor().execute(SELECT)).fetchall()

    asyncio.run(run())


def by_asyncpg(servers):
    async def run():
        connection = await asyncpg.connect(servers["postgres"])
        await connection.fetch(SELECT)
        await connection.close()

    asyncio.run(run())


def by_sqlalchemy(url, servers):
    engine = sa.create_engine(url.format(**servers))
    with engine.connect() as connection:
        connection.execute(sa.text(SELECT)).all()
    engine.dispose()


def by_sqlalchemy_async(url, servers):
    async def run():
        engine = sa_asyncio.create_async_engine(url.format(**servers))
        async with engine.connect() as connection:
            (await connection.execute(sa.text(SELECT))).all()
        await engine.dispose()

    asyncio.run(run())


def by_redis(servers):
    with redis.Redis(port=servers["redis"]) as client:
        client.set("secret-key", "secret-value")


def by_redis_async(servers):
    async def run():
        async with redis.asyncio.Redis(port=servers["redis"]) as client:
            await client.set("secret-key", "secret-value")

    asyncio.run(run())


#: The call, the system that the conventions name, and the text of the query as it is shown.
CALLS = {
    "sqlite3": (by_sqlite3, "sqlite", SHOWN),
    "psycopg": (by_psycopg, "postgresql", SHOWN),
    "psycopg, async": (by_psycopg_async, "postgresql", SHOWN),
    "asyncpg": (by_asyncpg, "postgresql", SHOWN),
    "redis": (by_redis, "redis", "SET ? ?"),
    "redis, async": (by_redis_async, "redis", "SET ? ?"),
    "SQLAlchemy over sqlite3": (lambda servers: by_sqlalchemy("sqlite://", servers), "sqlite", SHOWN),
    "SQLAlchemy over psycopg": (lambda servers: by_sqlalchemy("{postgres_psycopg}", servers), "postgresql", SHOWN),
    "SQLAlchemy over asyncpg": (
        lambda servers: by_sqlalchemy_async("{postgres_asyncpg}", servers),
        "postgresql",
        SHOWN,
    ),
    "SQLAlchemy over aiosqlite": (lambda servers: by_sqlalchemy_async("sqlite+aiosqlite://", servers), "sqlite", SHOWN),
}


@pytest.fixture(scope="module")
def servers(postgres, redis_port):
    return {
        "postgres": postgres,
        "postgres_psycopg": postgres.replace("postgresql", "postgresql+psycopg", 1),
        "postgres_asyncpg": postgres.replace("postgresql", "postgresql+asyncpg", 1),
        "redis": redis_port,
    }


def queries(spans):
    return [span for span in spans if span.kind.name == "CLIENT" and "db.query.text" in span.attributes]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_one_client_span_and_rolls_up(name, servers):
    call, system, shown = CALLS[name]
    with capture() as captured:
        with obskit.operation("job"):
            call(servers)
        spans = captured.spans
        line = captured.line("job ok")
        counted = captured.metric("db_client_operation_duration_seconds_count", db_system_name=system)
    # Drivers may ask their server something of their own at the start of a connection; that is a call as well.
    of_ours = [span for span in queries(spans) if span.attributes["db.query.text"] == shown]
    assert len(of_ours) == 1
    (span,) = of_ours
    [root] = [span for span in spans if span.name == "job"]
    assert span.attributes["db.system.name"] == system
    assert span.attributes["db.operation.name"] == shown.partition(" ")[0]
    assert (span.parent.span_id, span.context.trace_id) == (root.context.span_id, root.context.trace_id)
    assert line["db.client.count"] == len(queries(spans)) == counted
    assert line["db.client.errors"] == 0
    assert line["db.client.duration_ms"] > 0
    assert "secret" not in str([dict(span.attributes) for span in spans])
    assert not {"db.system", "db.statement", "db.name", "net.peer.name"} & {k for s in spans for k in s.attributes}


def test_the_metric_names_the_database_and_the_operation(servers):
    with capture() as captured:
        with obskit.operation("job"):
            by_asyncpg(servers)
            by_redis(servers)
        count = "db_client_operation_duration_seconds_count"
        labels = {"db_system_name": "postgresql", "db_namespace": "postgres", "db_operation_name": "SELECT"}
        assert captured.metric(count, **labels, error_type="") == 1
        assert captured.metric(count, db_system_name="redis", db_operation_name="SET", error_type="") == 1


@pytest.mark.parametrize("name", CALLS)
def test_a_call_rolls_up_where_the_trace_is_not_recorded(name, servers):
    with capture(config=Config(sampler="always_off")) as captured:
        with obskit.operation("job"):
            CALLS[name][0](servers)
        line = captured.line("job ok")
        assert captured.spans == []
    assert line["db.client.count"] >= 1
    assert line["trace_flags"] in ("00", "02")


def psycopg_fails(servers):
    with psycopg.connect(servers["postgres"]) as connection:
        connection.cursor().execute("SELECT * FROM nowhere")


def asyncpg_fails(servers):
    async def run():
        connection = await asyncpg.connect(servers["postgres"])
        try:
            await connection.execute("SELECT * FROM nowhere")
        finally:
            await connection.close()

    asyncio.run(run())


def sqlalchemy_fails(servers):
    engine = sa.create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT * FROM nowhere"))
    finally:
        engine.dispose()


def redis_fails(servers):
    with redis.Redis(port=servers["redis"]) as client:
        client.execute_command("NO-SUCH-COMMAND")


FAILURES = {
    "psycopg": (psycopg_fails, "psycopg.errors.UndefinedTable"),
    "asyncpg": (asyncpg_fails, "asyncpg.exceptions.UndefinedTableError"),
    "SQLAlchemy": (sqlalchemy_fails, "sqlite3.OperationalError"),
    "redis": (redis_fails, "redis.exceptions.ResponseError"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_call_that_fails_is_an_error_by_its_exception(name, servers):
    call, error_type = FAILURES[name]
    with capture() as captured:
        with pytest.raises(Exception), obskit.operation("job"):  # noqa: B017  (which one is the library's business)
            call(servers)
        line = captured.line("job error")
        [span] = [span for span in queries(captured.spans) if span.status.status_code.name == "ERROR"]
        counted = captured.metric("db_client_operation_duration_seconds_count", error_type=error_type)
    assert span.attributes["error.type"] == error_type
    assert [event.name for event in span.events] == ["exception"]
    assert (line["db.client.errors"], counted) == (1, 1)


def test_a_call_that_is_cancelled_is_no_error(servers):
    async def run():
        connection = await asyncpg.connect(servers["postgres"])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await connection.fetch("SELECT pg_sleep(20)")
        await connection.close(timeout=5)

    with capture() as captured:
        with obskit.operation("job"):
            asyncio.run(run())
        [span] = [span for span in captured.spans if "pg_sleep" in str(span.attributes.get("db.query.text"))]
    assert span.attributes["outcome"] == "cancelled"
    assert "error.type" not in span.attributes


@pytest.mark.parametrize(("times", "repeated"), [(4, None), (5, 5), (12, 12)])
def test_a_query_that_is_sent_again_and_again_shows_on_the_line(times, repeated):
    connection = sqlite3.connect(":memory:")
    connection.close()
    with capture() as captured:
        with obskit.operation("job"), contextlib.closing(sqlite3.connect(":memory:")) as connection:
            for number in range(times):
                connection.cursor().execute(f"SELECT {number}")
            connection.cursor().execute("SELECT 'once'  ")
        line = captured.line("job ok")
    assert line.get("db.client.repeated") == repeated
    assert line["db.client.count"] == times + 1


def test_the_shortcuts_of_a_sqlite_connection_are_observed():
    with capture() as captured:
        with obskit.operation("job"), sqlite3.connect(":memory:") as connection:
            connection.execute("CREATE TABLE t (n INTEGER)")
            connection.executemany("INSERT INTO t VALUES (?)", [(1,), (2,)])
            assert connection.execute("SELECT n FROM t").fetchall() == [(1,), (2,)]
            assert isinstance(connection, sqlite3.Connection)
        connection.close()
        texts = [span.attributes["db.query.text"] for span in queries(captured.spans)]
    assert texts == ["CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES (?)", "SELECT n FROM t"]
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        assert type(connection) is sqlite3.Connection


def test_what_sqlalchemy_calls_is_observed_again_once_its_own_call_has_ended():
    engine = sa.create_engine("sqlite://")
    with capture() as captured:
        engine_observed = sa.create_engine("sqlite://")
        with obskit.operation("job"):
            with engine_observed.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
            by_sqlite3({})
            with engine.connect() as connection:  # made before init: its driver's calls are what there is to see
                connection.execute(sa.text("SELECT 2"))
        texts = [span.attributes["db.query.text"] for span in queries(captured.spans)]
        # What SQLAlchemy asks of a connection that it has just opened is its driver's own call, too.
        assert [text for text in texts if "PRAGMA" not in text] == ["SELECT ?", SHOWN, "SELECT ?"]
        engine.dispose()
        engine_observed.dispose()


def test_sqlite_is_observed_below_operations_only():
    with capture() as captured:
        by_sqlite3({})
        assert captured.spans == []
        with obskit.operation("job"):
            by_sqlite3({})
        assert len(queries(captured.spans)) == 1


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_each_library_is_switched_on_and_given_back(library):
    patched = {
        "aio_pika": lambda: aio_pika.Exchange.publish,
        "asyncpg": lambda: asyncpg.Connection.fetch,
        "kafka": lambda: kafka.KafkaProducer.send,
        "psycopg": lambda: psycopg.connect,
        "pymongo": lambda: getattr(PymongoInstrumentor()._commandtracer_instance, "is_enabled", False),
        "redis": lambda: redis.Redis.execute_command,
        "sqlalchemy": lambda: sa.create_engine,
        "sqlite3": lambda: sqlite3.connect,
    }[library]
    before = patched()
    with capture(config=Config(clients=(library,))):
        assert patched() is not before
    assert patched() is before
    with capture(config=Config(clients=())):
        assert patched() is before


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_that_is_imported_after_init_is_observed(library):
    """In a process of its own, with another of them imported before."""
    seen = fresh_process.run(
        f"""
        import json, sys
        import obskit
        from obskit import _guard

        obs = obskit.init(config=obskit.Config(log_format="json", clients=({library!r}, "psycopg")))
        before = {library!r} in sys.modules
        import {library}
        from opentelemetry.instrumentation import {library} as contrib
        instrumentor = getattr(contrib, {LIBRARIES[library].instrumentor!r})()
        during = instrumentor.is_instrumented_by_opentelemetry
        obs.close()
        print(json.dumps([before, during, instrumentor.is_instrumented_by_opentelemetry, dict(_guard.errors)]))
        """
    )
    assert seen == [False, True, False, {}]


def test_what_somebody_else_has_instrumented_stays_theirs():
    instrumentor = SQLite3Instrumentor()
    with stable_conventions():
        instrumentor.instrument(tracer_provider=trace.NoOpTracerProvider())
    try:
        with capture() as captured:
            with obskit.operation("job"):
                by_sqlite3({})
            assert queries(captured.spans) == []
        assert instrumentor.is_instrumented_by_opentelemetry
    finally:
        instrumentor.uninstrument()


def test_connections_that_outlive_close_work_and_are_not_observed(servers):
    with capture() as captured, obskit.operation("job"):
        connection = psycopg.connect(servers["postgres"])
        connection.cursor().execute(SELECT)
        seen = len(captured.spans)
    assert connection.cursor().execute(SELECT).fetchall() == [("secret", 7)]
    connection.close()
    assert seen == 1
