"""How obskit follows a server from its first word to the end, in process; real servers are in tests/servers."""

import asyncio
import logging
import signal

import pytest
from fastapi import FastAPI

import obskit
import raw_asgi
from obskit import Config
from obskit.testing import capture
from receiver import until


@pytest.fixture
def server():
    """What the server's handler for SIGTERM was called with; for the time of the test it is the process's."""
    called = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: called.append(number))
    yield called
    signal.signal(signal.SIGTERM, before)


def make_app():
    app = FastAPI()
    app.get("/work")(lambda: "done")
    return app


def test_readiness_goes_ahead_of_the_server(server):
    app, own = make_app(), signal.getsignal(signal.SIGTERM)

    async def during():
        signal.raise_signal(signal.SIGTERM)
        assert server == []
        statuses = [(await raw_asgi.request(app, path)).status for path in ("/readyz", "/livez", "/work")]
        assert statuses == [503, 200, 200]
        await asyncio.to_thread(until, lambda: server)

    with obskit.init(app, config=Config(log_mode="off", drain_seconds=0.3)):
        asyncio.run(raw_asgi.lifespan(app, during))
        assert server == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is own


def test_without_drain_seconds_and_with_a_lifespan_sigterm_is_the_servers(server):
    app, own = make_app(), signal.getsignal(signal.SIGTERM)

    async def during():
        assert signal.getsignal(signal.SIGTERM) is own

    with obskit.init(app, config=Config(log_mode="off")):
        asyncio.run(raw_asgi.lifespan(app, during))


def test_that_a_loop_takes_sigterm_is_said_once(server, caplog):
    app = make_app()

    async def twice():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
        await raw_asgi.lifespan(app)
        await raw_asgi.lifespan(app)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    with caplog.at_level(logging.WARNING), obskit.init(app, config=Config(log_mode="off", drain_seconds=5)):
        asyncio.run(twice())
    assert [record.message[:31] for record in caplog.records] == ["drain_seconds=5 has no effect u"]


def test_without_a_lifespan_what_ends_after_sigterm_leaves_at_once(server):
    app = make_app()
    with capture(app) as captured:
        queue = captured.obs._outlets._exports[0]
        raw_asgi.get(app, "/work")
        signal.raise_signal(signal.SIGTERM)
        assert (server, queue.tally.queued) == ([signal.SIGTERM], 0)
        raw_asgi.get(app, "/work")
        assert queue.tally.queued == 0
        assert raw_asgi.get(app, "/readyz").status == 503


def test_the_last_word_of_a_process_that_sigterm_ends():
    app = make_app()
    with capture(app) as captured:
        raw_asgi.get(app, "/work")
        captured.obs._life.dying()
        assert captured.obs._outlets._exports[0].tally.queued == 0
        assert raw_asgi.get(app, "/readyz").status == 503


def test_after_close_no_server_is_followed(server):
    app, own = make_app(), signal.getsignal(signal.SIGTERM)
    obs = obskit.init(app, config=Config(log_mode="off", drain_seconds=5))
    obs.close()
    obs._life.begin()
    obs._life.started()
    assert signal.getsignal(signal.SIGTERM) is own
