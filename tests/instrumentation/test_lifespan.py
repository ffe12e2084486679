"""The lifespan of observed apps, those without one included."""

import asyncio

import pytest

from obskit.instrumentation._lifespan import observe_lifespan


class Told:
    """A lifecycle that writes down what it is told."""

    def __init__(self, log, *, failing=False):
        self.log = log
        self.begun = False
        self.failing = failing

    def begin(self):
        self.begun = True
        self._note("begin")

    def started(self):
        self._note("started")

    def without_lifespan(self):
        self._note("without_lifespan")

    def stopping(self):
        self._note("stopping")

    async def stopped(self):
        await asyncio.sleep(0)
        self._note("stopped")

    def _note(self, what):
        self.log.append(what)
        if self.failing:
            raise RuntimeError(what)


async def run(app, *, failing=False):
    """The order in which lifecycle and server learn of things."""
    log = []
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive():
        return next(messages)

    async def send(message):
        log.append(message["type"])

    await observe_lifespan(app, Told(log, failing=failing), {"type": "lifespan"}, receive, send)
    return log


async def speaks(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    await send({"type": "lifespan.shutdown.complete"})


async def fails_at_startup(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def refuses(scope, receive, send):
    assert scope["type"] == "http"


async def refuses_late(scope, receive, send):
    await receive()
    raise RuntimeError


async def returns(scope, receive, send):
    return


WHOLE = [
    "begin", "started", "lifespan.startup.complete", "stopping", "stopped", "lifespan.shutdown.complete",
]  # fmt: skip


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (speaks, WHOLE),
        (refuses, WHOLE),
        (returns, WHOLE),
        (fails_at_startup, ["begin", "stopped", "lifespan.startup.failed"]),
    ],
)
async def test_the_lifecycle_is_told_before_the_server(app, expected):
    assert await run(app) == expected


async def test_faults_of_obskits_own_do_not_stop_the_server(contained_errors):
    assert await run(speaks, failing=True) == WHOLE
    assert [str(error) for _, error in contained_errors] == ["begin", "started", "stopping", "stopped"]
    contained_errors.clear()


async def test_an_app_that_raises_at_its_startup_has_not_started():
    with pytest.raises(RuntimeError):
        await run(refuses_late)


async def test_an_error_after_startup_is_the_apps():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise KeyError

    with pytest.raises(KeyError):
        await run(app)


async def test_an_app_that_is_started_again_begins_again():
    log = []
    told = Told(log)
    told.begun = True

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        log.append(message["type"])

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})

    await observe_lifespan(app, told, {"type": "lifespan"}, receive, send)
    assert log == ["begin", "started", "lifespan.startup.complete"]
