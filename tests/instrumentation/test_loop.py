"""Event-loop lag: what is measured, what is named as the cause, and that watching leaves no trace when it ends."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
import warnings
import weakref

import httpx
import pytest
import uvicorn
from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from obskit._pipeline import Pipeline
from obskit.health.checks import Checks
from obskit.health.endpoints import Endpoints
from obskit.instrumentation import _blame, _loop
from obskit.instrumentation._loop import LoopMonitor
from obskit.instrumentation.asgi import ObservedApp, ServerOptions
from obskit.operation import Operation

LONG = 30.0
BLOCK = 0.3  # long enough to be seen by a monitor with the short times below


def watchdogs():
    return [thread for thread in threading.enumerate() if thread.name == "obskit-loop"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    until(lambda: not watchdogs())


def until(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


async def until_async(condition):
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110  (what is waited for is told by no event)
            await asyncio.sleep(0.005)


@contextlib.contextmanager
def monitored(**options):
    lags = []
    monitor = LoopMonitor(lags.append, interval=0.02, blocked_after=0.05, **options)
    try:
        yield monitor, lags
    finally:
        monitor.stop()


def blocks(seconds=BLOCK):
    time.sleep(seconds)  # the line to be named


def lines(caplog):
    return [record for record in caplog.records if record.name == "obskit.loop"]


def watch(main, **options):
    """Run `main(monitor, lags)` on a loop that is watched."""

    async def scenario():
        with monitored(**options) as (monitor, lags):
            monitor.start(asyncio.get_running_loop())
            await until_async(lambda: len(lags) > 1)
            await main(monitor, lags)

    asyncio.run(scenario())


class TestLag:
    def test_ticks_are_observed_and_a_block_shows(self):
        async def main(monitor, lags):
            assert all(0 <= lag < LONG for lag in lags)
            seen = len(lags)
            blocks()
            await until_async(lambda: len(lags) > seen)
            assert max(lags[seen:]) >= BLOCK - 0.05

        watch(main)

    def test_a_fault_in_the_observer_is_contained_and_the_ticks_go_on(self, contained_errors):
        calls = []

        def broken(lag):
            calls.append(lag)
            raise RuntimeError("a fault")

        async def scenario():
            monitor = LoopMonitor(broken, interval=0.01)
            monitor.start(asyncio.get_running_loop())
            await until_async(lambda: len(calls) > 2)
            monitor.stop()

        asyncio.run(scenario())
        assert {component for component, _ in contained_errors} == {"loop"}
        contained_errors.clear()

    def test_a_loop_that_stood_still_was_not_blocked(self, caplog):
        loop = asyncio.new_event_loop()
        with monitored() as (monitor, lags):
            monitor.start(loop)
            loop.run_until_complete(until_async(lambda: len(lags) > 1))
            time.sleep(1.0)  # between two runs: nothing waits for this loop
            seen = len(lags)
            loop.run_until_complete(until_async(lambda: len(lags) > seen + 1))
        loop.close()
        assert max(lags[seen:]) < 0.9
        assert lines(caplog) == []


class TestCulprit:
    def test_the_blocking_code_is_named_with_the_whole_duration(self, caplog):
        async def main(monitor, lags):
            blocks()
            await until_async(lambda: lines(caplog))

        watch(main)
        (line,) = lines(caplog)
        assert line.levelno == logging.WARNING
        assert vars(line)["code.function.name"].endswith("test_loop.blocks")
        assert vars(line)["code.file.path"] == __file__
        assert vars(line)["code.line.number"] == blocks.__code__.co_firstlineno + 1
        assert BLOCK * 1e3 - 50 <= vars(line)["duration_ms"] < LONG * 1e3
        assert "http.route" not in vars(line)
        assert line.getMessage().startswith("event loop was blocked for ")

    def test_library_code_is_charged_to_who_called_it(self, caplog):
        async def main(monitor, lags):
            threading.Event().wait(BLOCK)
            await until_async(lambda: lines(caplog))

        watch(main)
        (line,) = lines(caplog)
        assert vars(line)["code.file.path"] == __file__
        assert "main" in vars(line)["code.function.name"]

    @pytest.mark.parametrize(
        ("files", "named"),
        [
            (["{site}/lib.py", "{std}/json/decoder.py"], "{site}/lib.py"),
            (["{std}/asyncio/events.py", "{std}/json/decoder.py"], "{std}/json/decoder.py"),
            (["/srv/app.py", "{site}/lib.py"], "/srv/app.py"),
            (["/srv/app.py", "{obskit}x.py", "<string>"], "/srv/app.py"),
            (["/srv/app.py", "/usr/lib/python3/dist-packages/lib.py"], "/srv/app.py"),
        ],
    )
    def test_which_frame_is_named(self, files, named):
        std = os.path.dirname(os.__file__)  # noqa: PTH120  (as sysconfig writes it)
        places = {"std": std, "site": f"{std}/site-packages", "obskit": _blame._OBSKIT}
        files = [file.format(**places) for file in files]
        below = _blame.stack_below(sys._getframe()) | {sys._getframe().f_code}
        blocked, busy, found = threading.Lock(), threading.get_ident(), []
        call = blocked.acquire
        for file in reversed(files):
            namespace = {"call": call, "__name__": "m"}
            exec(compile("def run():\n    call()\n", file, "exec"), namespace)  # noqa: S102  (frames of given files)
            call = namespace["run"]

        def look():
            until(lambda: sys._current_frames()[busy].f_code.co_filename == files[-1])
            found.append(_blame.culprit_of(busy, below))
            blocked.release()

        blocked.acquire()
        other = threading.Thread(target=look)
        other.start()
        call()
        other.join(LONG)
        assert found[0].file == named.format(**places)
        assert (found[0].function, found[0].line) == ("m.run", 2)

    def test_without_a_callback_there_is_nothing_to_name(self):
        everything = frozenset(frame.f_code for frame in _blame.callers(sys._getframe()))
        assert _blame.culprit_of(threading.get_ident(), everything | {_blame.culprit_of.__code__}) is None
        assert _blame.culprit_of(-1, everything) is None

    def test_one_line_in_ten_seconds(self, caplog, monkeypatch):
        async def main(monitor, lags):
            for expected in (1, 1):
                blocks()
                await until_async(lambda expected=expected: len(lines(caplog)) >= expected)
                await asyncio.sleep(0.1)
            assert len(lines(caplog)) == 1
            monitor._log_from = time.monotonic()  # ten seconds later
            blocks()
            await until_async(lambda: len(lines(caplog)) == 2)

        watch(main)

    def test_a_block_that_does_not_end_is_logged_before_it_does(self, caplog, monkeypatch):
        monkeypatch.setattr(_loop, "_HUNG_AFTER_SECONDS", 0.1)
        release = threading.Event()

        def hangs():
            assert release.wait(LONG)

        def releases():
            until(lambda: lines(caplog))
            time.sleep(0.25)  # hung for more than twice the time after which it is logged: still one line
            release.set()

        async def main(monitor, lags):
            other = threading.Thread(target=releases)
            other.start()
            hangs()
            other.join(LONG)
            seen = len(lags)
            await until_async(lambda: len(lags) > seen + 2)  # the watch goes on

        watch(main)
        (line,) = lines(caplog)
        assert line.getMessage().startswith("event loop is still blocked, so far for ")
        assert "hangs" in vars(line)["code.function.name"]

    def test_a_stack_that_was_read_too_late_blames_nobody(self, caplog, monkeypatch):
        looked = []

        def slow(thread, below):
            seen = len(ticks)
            until(lambda: len(ticks) > seen)  # the block has ended by now
            looked.append(True)
            return culprit_of(thread, below)

        culprit_of, ticks = _loop.culprit_of, []
        monkeypatch.setattr(_loop, "culprit_of", slow)

        async def main(monitor, lags):
            monitor.observe = ticks.append
            blocks()
            await until_async(lambda: looked)
            await asyncio.sleep(0.1)

        watch(main)
        assert lines(caplog) == []

    def test_a_fault_in_the_watchdog_is_contained(self, contained_errors, caplog):
        def broken():
            raise RuntimeError("a fault")

        async def main(monitor, lags):
            blocks()
            await until_async(lambda: contained_errors)

        watch(main, route_of=broken)
        assert [component for component, _ in contained_errors] == ["loop"]
        contained_errors.clear()

    def test_the_route_may_come_from_elsewhere(self, caplog):
        async def main(monitor, lags):
            blocks()
            await until_async(lambda: lines(caplog))

        watch(main, route_of=lambda: "/given")
        (line,) = lines(caplog)
        assert vars(line)["http.route"] == "/given"
        assert line.getMessage().endswith(", serving /given")


class Quiet:
    name = "quiet"

    def start(self, op):
        pass

    def finish(self, op):
        pass


class Lifecycle:
    begun = True


def observed(app):
    return ObservedApp(app, Pipeline((Quiet(),)), Endpoints(Checks()), Lifecycle(), ServerOptions())


async def endpoint(request):
    blocks()
    return PlainTextResponse("done")


async def passing(request, call_next):
    return await call_next(request)


MIDDLE = [Middleware(BaseHTTPMiddleware, dispatch=passing)]


@contextlib.contextmanager
def served(app, monitor):
    async def started(scope, receive, send):
        monitor.start(asyncio.get_running_loop())
        await app(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(started, port=0, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(LONG)


class TestRoute:
    @pytest.mark.parametrize(
        ("app", "path", "route"),
        [
            (Starlette(routes=[Route("/slow/{name}", endpoint)]), "/slow/x", "/slow/{name}"),
            (Starlette(routes=[Route("/slow/{name}", endpoint)], middleware=MIDDLE), "/slow/x", "/slow/{name}"),
            (
                Starlette(routes=[Mount("/v{v}", app=Starlette(routes=[Route("/slow/{name}", endpoint)]))]),
                "/v1/slow/x",
                "/v{v}/slow/{name}",
            ),
        ],
        ids=["plain", "below BaseHTTPMiddleware", "mounted"],
    )
    def test_it_is_named_under_a_real_server(self, app, path, route, caplog):
        with monitored() as (monitor, _), served(observed(app), monitor) as url:
            assert httpx.get(f"{url}{path}", timeout=LONG).text == "done"
            assert httpx.get(f"{url}{path}", timeout=LONG).text == "done"  # the first may come before the first tick
            until(lambda: lines(caplog))
        line = lines(caplog)[0]
        assert vars(line)["http.route"] == route
        assert vars(line)["code.function.name"].endswith("test_loop.blocks")
        assert line.getMessage().endswith(f", serving {route}")

    def test_below_a_mount_that_cannot_be_named_there_is_none(self, caplog):
        inner = Starlette(routes=[Route("/slow/{name}", endpoint)])
        app = Starlette(routes=[Mount("/v1", app=inner)], middleware=MIDDLE)
        with monitored() as (monitor, _), served(observed(app), monitor) as url:
            for _ in range(2):
                httpx.get(f"{url}/v1/slow/x", timeout=LONG)
            until(lambda: lines(caplog))
        assert "http.route" not in vars(lines(caplog)[0])

    def test_a_framework_that_only_tells_the_path(self, caplog):
        class Told:
            path = "/told/{name}"

        async def app(scope, receive, send):
            scope["route"] = Told()
            blocks()
            await PlainTextResponse("done")(scope, receive, send)

        with monitored() as (monitor, _), served(observed(app), monitor) as url:
            for _ in range(2):
                httpx.get(url, timeout=LONG)
            until(lambda: lines(caplog))
        assert vars(lines(caplog)[0])["http.route"] == "/told/{name}"

    def test_an_operation_without_route_is_named(self):
        op = Operation(Pipeline(), "operation", "nightly", SpanKind.INTERNAL, fields={}, context=otel_context.Context())
        code = "def run(op):\n    return culprit(thread, below)\n"
        below = _blame.stack_below(sys._getframe())
        namespace = {"culprit": _blame.culprit_of, "thread": threading.get_ident(), "below": below, "__name__": "m"}
        exec(compile(code, f"{_blame._OBSKIT}x.py", "exec"), namespace)  # noqa: S102  (a frame of obskit's)
        assert namespace["run"](op).operation == "nightly"
        assert namespace["run"](op).route is None
        op.fields["http.route"] = "/known"
        assert namespace["run"](op).route == "/known"
        assert namespace["run"]("no operation").operation is None


class TestLife:
    def test_start_again_is_the_same_watch(self):
        async def main(monitor, lags):
            (thread,) = watchdogs()
            monitor.start(asyncio.get_running_loop())
            assert watchdogs() == [thread]

        watch(main)

    def test_stop_ends_ticks_and_thread_and_can_be_repeated(self):
        async def main(monitor, lags):
            monitor.stop()
            assert watchdogs() == []
            seen = len(lags)
            await asyncio.sleep(0.1)
            assert len(lags) == seen
            monitor.stop()
            monitor.start(asyncio.get_running_loop())
            await until_async(lambda: len(lags) > seen)

        watch(main)

    def test_stop_at_once_after_start(self):
        async def scenario():
            with monitored() as (monitor, lags):
                monitor.start(asyncio.get_running_loop())
                monitor.stop()
                await asyncio.sleep(0.05)
                assert lags == []

        asyncio.run(scenario())

    def test_stop_from_the_observer_and_from_the_watchdog(self, caplog):
        async def from_observer():
            monitor = LoopMonitor(lambda lag: monitor.stop(), interval=0.01)
            monitor.start(asyncio.get_running_loop())
            await until_async(lambda: not watchdogs())

        asyncio.run(from_observer())

        async def from_watchdog(monitor, lags):
            monitor._route_of = monitor.stop
            blocks()
            await until_async(lambda: not watchdogs())

        watch(from_watchdog)

    def test_another_loop_takes_over(self):
        with monitored() as (monitor, lags):

            async def scenario():
                monitor.start(asyncio.get_running_loop())
                seen = len(lags)
                await until_async(lambda: len(lags) > seen)

            for _ in range(3):
                asyncio.run(scenario())
                assert len(watchdogs()) <= 1

    def test_a_closed_loop_is_neither_kept_nor_watched(self):
        with monitored() as (monitor, lags):
            loop = asyncio.new_event_loop()
            monitor.start(loop)
            loop.run_until_complete(until_async(lambda: len(lags) > 1))
            loop.close()
            gone = weakref.ref(loop)
            del loop
            until(lambda: not watchdogs())
            gc.collect()
            assert gone() is None

    def test_a_loop_dropped_without_close_ends_the_watch(self):
        with monitored() as (monitor, lags):
            loop = asyncio.new_event_loop()
            monitor.start(loop)
            loop.run_until_complete(until_async(lambda: len(lags) > 1))
            gone = weakref.ref(loop)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # asyncio's, about a loop that was not closed
                del loop
                gc.collect()
            assert gone() is None
            until(lambda: not watchdogs())

    def test_start_on_a_closed_loop_is_contained(self, contained_errors):
        loop = asyncio.new_event_loop()
        loop.close()
        with monitored() as (monitor, _):
            monitor.start(loop)
        assert [component for component, _ in contained_errors] == ["loop"]
        contained_errors.clear()

    def test_a_process_ends_while_it_is_watched(self):
        code = """
            import asyncio
            from obskit.instrumentation._loop import LoopMonitor
            lags = []
            monitor = LoopMonitor(lags.append, interval=0.01)
            async def main():
                monitor.start(asyncio.get_running_loop())
                while len(lags) < 3:
                    await asyncio.sleep(0.01)
            asyncio.run(main())
            print("ended")
        """
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)

    def test_idle_wake_ups_are_few(self):
        code = """
            import asyncio, json, resource, threading
            from obskit.instrumentation._loop import LoopMonitor
            async def main():
                LoopMonitor(lambda lag: None).start(asyncio.get_running_loop())
                await asyncio.sleep(0.3)
                before = resource.getrusage(resource.RUSAGE_SELF)
                await asyncio.sleep(1.5)
                after = resource.getrusage(resource.RUSAGE_SELF)
                print(json.dumps([after.ru_nvcsw - before.ru_nvcsw, after.ru_utime + after.ru_stime
                                  - before.ru_utime - before.ru_stime]))
            asyncio.run(main())
        """
        pytest.importorskip("resource")
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=LONG, check=True
        )
        switches, _cpu = json.loads(done.stdout)
        assert switches <= 60  # two threads at four a second make 12, and some for who waits for the interpreter
