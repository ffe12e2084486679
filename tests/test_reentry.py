"""init() and close() again and again, several apps, threads, and the loops of asyncio and uvloop.

Run as a program it goes through many cycles of a process's whole life and prints what has grown.
"""

import asyncio
import gc
import json
import logging
import os
import sqlite3
import sys
import threading
from collections import Counter
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import uvloop
from fastapi import BackgroundTasks, FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import fresh_process
import obskit
import raw_asgi
from obskit import _guard
from obskit.testing import capture

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
WARM_UP, CYCLES = 30, 1000
#: What a cycle may leave in memory that is no object of obskit's: the SDK registers a fork hook for each provider.
BYTES_A_CYCLE = 8_000


# -- a thousand lives, in the child process -----------------------------------------------------------------------


class Collector(BaseHTTPRequestHandler):
    """Takes whatever is exported."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


async def after():
    """Work after the response."""


async def hello(tasks: BackgroundTasks):
    tasks.add_task(after)
    with trace.get_tracer("library").start_as_current_span("inner"):
        logging.getLogger("x").warning("a line")
    with closing(sqlite3.connect(":memory:")) as database:
        database.cursor().execute("SELECT 1")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(starlette_app())) as client:
        return (await client.get("http://inner/plain/1")).text


async def plain(_request):
    return PlainTextResponse("ok")


def starlette_app():
    return Starlette(routes=[Route("/plain/{id}", plain)])


def cycle(config, new_loop):
    app = FastAPI()
    app.get("/")(hello)
    obs = obskit.init(app, config=config, checks={"c": lambda: True})
    second = obs.wrap(starlette_app())

    async def serve():
        await raw_asgi.request(app, "/")
        await raw_asgi.request(second, "/plain/7")
        await raw_asgi.request(app, "/health")
        await raw_asgi.request(app, "/metrics")

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(raw_asgi.lifespan(app, serve))
    return obs.close()


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def state():
    """What a life may leave behind, by number."""
    gc.collect()
    active = getattr(trace.get_tracer_provider(), "_active_span_processor", None)
    kinds = Counter(type(each).__qualname__ for each in gc.get_objects() if str(type(each).__module__)[:6] == "obskit")
    return {
        **kinds,
        "threads": threading.active_count(),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "handlers": len(logging.root.handlers),
        "processors": len(active._span_processors) if active else 0,
        "finders": len(sys.meta_path),
        "gc callbacks": len(gc.callbacks),
    }


def run_lives(loop, foreign):
    if foreign == "foreign":
        trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = obskit.Config(otlp_endpoint=f"http://127.0.0.1:{server.server_port}", log_format="json")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for _ in range(WARM_UP):
        cycle(config, LOOPS[loop])
    before, memory = state(), resident_bytes()
    whole = sum(cycle(config, LOOPS[loop]) for _ in range(CYCLES))
    afterwards = state()
    grown = {name: count - before.get(name, 0) for name, count in afterwards.items() if count > before.get(name, 0)}
    print(json.dumps([whole, grown, resident_bytes() - memory, dict(_guard.errors)]), file=sys.stderr)


# -- in pytest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loop", "foreign"), [("asyncio", "own"), ("uvloop", "foreign")])
def test_a_thousand_lives_leave_nothing_behind(loop, foreign):
    said = fresh_process.errors(__file__, loop, foreign, timeout=115)
    whole, grown, memory, contained = json.loads(said[-1])
    assert whole == CYCLES  # all of what was queued has left, every time
    assert grown == {}
    assert contained == {}
    assert memory < BYTES_A_CYCLE * CYCLES


@pytest.mark.parametrize("loop", LOOPS)
def test_apps_in_threads_with_loops_of_their_own_are_observed_apart(loop):
    apps, requests = 4, 25

    def make(number):
        app = FastAPI()

        @app.get(f"/app{number}/{{item_id}}")
        async def item(item_id: int):
            obskit.annotate({"app.number": number})
            await asyncio.sleep(0)
            with obskit.operation(f"inner {number}"):
                await asyncio.sleep(0)

        return app

    async def load(app, number):
        paths = [f"/app{number}/{each}" for each in range(requests)]
        await raw_asgi.lifespan(app, lambda: asyncio.gather(*(raw_asgi.request(app, path) for path in paths)))

    def serve(app, number):
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(load(app, number))

    with capture() as captured:
        made = [make(number) for number in range(apps)]
        for app in made:
            captured.obs.instrument(app)
        threads = [threading.Thread(target=serve, args=(app, number)) for number, app in enumerate(made)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        spans, lines = captured.spans, captured.lines
        counted = [
            captured.metric("http_server_request_duration_seconds_count", http_route=f"/app{number}/{{item_id}}")
            for number in range(apps)
        ]
    names = {span.context.span_id: span.name for span in spans}
    inner = Counter((span.name, names[span.parent.span_id]) for span in spans if span.parent)
    assert inner == {(f"inner {n}", f"GET /app{n}/{{item_id}}"): requests for n in range(apps)}
    of_requests = [line for line in lines if line["logger"] == "obskit.request"]
    assert Counter((line["http.route"], line["app.number"]) for line in of_requests) == {
        (f"/app{n}/{{item_id}}", n): requests for n in range(apps)
    }
    assert counted == [requests] * apps


if __name__ == "__main__":
    run_lives(*sys.argv[1:])
