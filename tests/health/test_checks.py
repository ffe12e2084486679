"""Health checks: what passes and fails, deadlines, single flight, time to live, thresholds, and what is logged."""

import asyncio
import functools
import gc
import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from obskit.exceptions import ConfigError
from obskit.health._execution import Threads, _resolve, _Steps
from obskit.health.checks import Checks

LONG = 30.0  # a deadline that no passing test comes near


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def checks(clock):
    made = Checks(clock=clock)
    yield made
    made.close()


def run(checks, affects=None):
    return asyncio.run(asyncio.wait_for(checks.run(affects), LONG))


def until(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def raises():
    raise ConnectionRefusedError("db-7.internal:5432 said no")


async def raises_async():
    raises()


async def passes_async():
    return True


class AsyncCallable:
    async def __call__(self):
        return False


class TestOutcome:
    @pytest.mark.parametrize("value", [None, True, 0, "", "fine", []])
    def test_anything_but_false_passes(self, checks, value):
        checks.register("c", lambda: value)
        state = run(checks)["c"]
        assert (state.ok, state.passed, state.reason) == (True, True, None)

    @pytest.mark.parametrize(
        ("function", "reason"),
        [
            (lambda: False, "returned False"),
            (AsyncCallable(), "returned False"),
            (raises, "ConnectionRefusedError"),
            (raises_async, "ConnectionRefusedError"),
            (functools.partial(asyncio.sleep, 0, result=False), "returned False"),
            (lambda: raises_async(), "ConnectionRefusedError"),  # noqa: PLW0108  (a plain function that hands out a coroutine)
            (lambda: sys.exit(3), "SystemExit"),
            (lambda: next(iter(())), "StopIteration"),
        ],
    )
    def test_failures_name_their_type_only(self, checks, function, reason):
        checks.register("c", function)
        state = run(checks)["c"]
        assert (state.ok, state.passed, state.reason) == (False, False, reason)

    def test_a_user_timeout_error_is_not_the_deadline(self, checks):
        async def own():
            raise TimeoutError

        checks.register("c", own)
        assert run(checks)["c"].reason == "TimeoutError"

    def test_a_check_that_cancels_itself_fails(self, checks):
        async def cancels_itself():
            raise asyncio.CancelledError

        def cancels_itself_in_a_thread():
            raise asyncio.CancelledError

        checks.register("loop", cancels_itself)
        checks.register("thread", cancels_itself_in_a_thread)
        states = run(checks)
        assert states["loop"].reason == "cancelled"
        assert states["thread"].reason == "CancelledError"

    def test_duration_is_measured(self, checks, clock):
        def slow():
            clock.now += 0.5

        async def slow_async():
            clock.now += 0.25

        checks.register("thread", slow)
        assert run(checks)["thread"].duration_seconds == 0.5
        checks.register("loop", slow_async)
        assert run(checks)["loop"].duration_seconds == 0.25

    def test_snapshot_runs_nothing(self, checks):
        ran = []
        checks.register("c", lambda: ran.append(1))
        (before,) = checks.snapshot()
        assert (before.name, before.ok, before.duration_seconds) == ("c", None, 0.0)
        assert ran == []
        run(checks)
        (after,) = checks.snapshot()
        assert after.ok is True

    def test_only_what_affects_the_probe_runs(self, checks):
        ran = []
        for affects in ("health", "ready", "startup"):
            checks.register(affects, functools.partial(ran.append, affects), affects=affects)
        assert set(run(checks, {"ready"})) == {"ready"}
        assert ran == ["ready"]
        assert set(run(checks)) == {"health", "ready", "startup"}


class TestDeadline:
    def test_an_async_check_that_hangs_is_cancelled(self, checks):
        ended = []

        async def hangs():
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(True)

        async def scenario():
            state = (await checks.run())["c"]
            await asyncio.sleep(0)
            return state, list(ended)

        checks.register("c", hangs, timeout=0.02)
        state, ended_by_then = asyncio.run(asyncio.wait_for(scenario(), LONG))
        assert state.reason == "timeout"
        assert ended_by_then == [True]

    def test_an_async_check_that_resists_cancelling_is_not_waited_for(self, checks, caplog):
        async def scenario():
            release, runs = asyncio.Event(), []

            async def stubborn():
                runs.append(1)
                while not release.is_set():
                    try:
                        await release.wait()
                    except asyncio.CancelledError:
                        continue
                raise RuntimeError("nobody reads this")

            checks.register("c", stubborn, timeout=0.02, ttl=0)
            first = (await checks.run())["c"]
            again = (await checks.run())["c"]
            release.set()
            await asyncio.sleep(0.01)
            await checks.run()
            return first, again, runs

        first, again, runs = asyncio.run(asyncio.wait_for(scenario(), LONG))
        assert first.reason == again.reason == "timeout"
        assert len(runs) == 2  # the probe while it hung did not start another
        gc.collect()  # a task whose exception nobody read would be reported here
        assert [record.name for record in caplog.records] == ["obskit.health"]

    def test_a_sync_check_that_hangs_is_not_started_again(self, checks):
        release, runs = threading.Event(), []

        def hangs():
            runs.append(threading.current_thread())
            assert release.wait(LONG)

        checks.register("c", hangs, timeout=0.05, ttl=0)
        assert run(checks)["c"].reason == "timeout"
        assert run(checks)["c"].reason == "timeout"
        assert len(runs) == 1
        release.set()
        runs[0].join(LONG)  # its place was given away: the thread ends
        assert not runs[0].is_alive()
        assert run(checks)["c"].ok is True
        assert len(runs) == 2

    def test_hung_checks_do_not_starve_the_others(self, checks):
        release = threading.Event()
        for number in range(6):
            checks.register(f"hung-{number}", lambda: release.wait(LONG), timeout=0.05)
        checks.register("fine", lambda: True)
        try:
            states = run(checks)
        finally:
            release.set()
        assert states.pop("fine").ok is True
        assert {state.reason for state in states.values()} == {"timeout"}

    def test_waiting_for_a_thread_is_not_the_checks_time(self, checks):
        def works():
            time.sleep(0.15)

        for number in range(12):
            checks.register(f"c{number}", functools.partial(works), timeout=0.4)
        assert {state.ok for state in run(checks).values()} == {True}

    def test_at_most_four_at_once(self, checks):
        lock, running, most = threading.Lock(), [0], [0]

        def counts():
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            threading.Event().wait(0.02)
            with lock:
                running[0] -= 1

        for number in range(10):
            checks.register(f"c{number}", functools.partial(counts))
        run(checks)
        assert 2 <= most[0] <= 4

    def test_a_sync_check_that_came_late_has_failed(self, checks, clock):
        def late():
            clock.now += 1.5

        checks.register("c", late)
        assert run(checks)["c"].reason == "timeout"

    def test_a_check_that_blocks_the_loop_is_named_once(self, checks, clock, caplog):
        async def blocks():
            clock.now += 1.5

        checks.register("greedy", blocks, ttl=0)
        for _ in range(3):
            assert run(checks)["greedy"].reason == "timeout"
        lines = [r.getMessage() for r in caplog.records if "blocked" in r.getMessage()]
        assert lines == ["health check greedy blocked the event loop for 1.500 s"]

    def test_a_hung_check_does_not_hold_the_process(self):
        code = """
            import asyncio, threading
            from obskit.health.checks import Checks
            checks = Checks()
            checks.register("c", threading.Event().wait, timeout=0.05)
            print(asyncio.run(checks.run())["c"].reason)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=LONG, check=True
        )
        assert done.stdout == "timeout\n"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
    def test_threads_are_new_after_a_fork(self):
        code = """
            import asyncio, os
            from obskit.health.checks import Checks
            checks = Checks()
            checks.register("c", lambda: True, ttl=0)
            asyncio.run(checks.run())
            pid = os.fork()
            ok = asyncio.run(checks.run())["c"].ok
            if not pid:
                os._exit(0 if ok else 1)
            print(ok, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=LONG, check=True
        )
        assert done.stdout == "True 0\n"


class TestSharing:
    def test_a_result_is_used_until_its_time_to_live_ends(self, checks, clock):
        runs = []
        checks.register("c", lambda: runs.append(1), ttl=5)
        run(checks)
        clock.now += 4.9
        run(checks)
        assert len(runs) == 1
        clock.now += 0.2
        run(checks)
        assert len(runs) == 2

    @pytest.mark.parametrize("affects", [None, {"ready"}])
    def test_probes_during_a_run_share_it(self, checks, affects):
        runs = []

        async def scenario():
            release = asyncio.Event()

            async def slow():
                runs.append(1)
                await release.wait()

            checks.register("c", slow, ttl=0, affects="ready", timeout=LONG)
            probes = [asyncio.create_task(checks.run()), *(asyncio.create_task(checks.run(affects)) for _ in range(4))]
            await asyncio.sleep(0.01)
            release.set()
            return await asyncio.gather(*probes)

        states = asyncio.run(asyncio.wait_for(scenario(), LONG))
        assert [state["c"].ok for state in states] == [True] * 5
        assert len(runs) == 1

    def test_a_probe_that_goes_away_leaves_the_run_to_the_others(self, checks):
        runs = []

        async def scenario():
            release = asyncio.Event()

            async def slow():
                runs.append(1)
                await release.wait()

            checks.register("c", slow, timeout=LONG)
            leaves, stays = asyncio.create_task(checks.run()), asyncio.create_task(checks.run())
            await asyncio.sleep(0.01)
            leaves.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaves
            release.set()
            return await stays

        assert asyncio.run(asyncio.wait_for(scenario(), LONG))["c"].ok is True
        assert len(runs) == 1

    def test_due_checks_run_at_once(self, checks):
        async def scenario():
            barrier = asyncio.Barrier(3)
            for number in range(2):
                checks.register(f"loop-{number}", functools.partial(meet, barrier), timeout=LONG)
            probe = asyncio.create_task(checks.run())
            await barrier.wait()
            return await probe

        async def meet(barrier):
            await barrier.wait()

        states = asyncio.run(asyncio.wait_for(scenario(), LONG))
        assert [state.ok for state in states.values()] == [True, True]

    def test_a_probe_on_another_loop_shares_the_run(self, checks):
        began, release, runs = threading.Event(), threading.Event(), []

        def slow():
            runs.append(1)
            began.set()
            assert release.wait(LONG)

        checks.register("c", slow, ttl=0, timeout=LONG)
        first = threading.Thread(target=run, args=(checks,))
        first.start()
        assert began.wait(LONG)

        async def scenario():
            probe = asyncio.create_task(checks.run())
            await asyncio.sleep(0.01)
            release.set()
            return await probe

        assert asyncio.run(asyncio.wait_for(scenario(), LONG))["c"].ok is True
        first.join(LONG)
        assert len(runs) == 1

    @pytest.mark.parametrize("kind", ["loop", "thread", "queued"])
    def test_a_loop_that_ends_during_a_run_leaves_no_result(self, checks, kind, caplog):
        release = threading.Event()

        async def hangs():
            if not release.is_set():
                await asyncio.Event().wait()

        def hangs_in_a_thread():
            release.wait(LONG)

        async def leave():
            probe = asyncio.create_task(checks.run())
            await asyncio.sleep(0.05)
            probe.cancel()

        if kind == "queued":
            for number in range(4):
                checks.register(f"fill-{number}", functools.partial(hangs_in_a_thread), timeout=LONG)
        checks.register("c", hangs if kind == "loop" else hangs_in_a_thread, timeout=LONG)
        asyncio.run(leave())
        assert [state.ok for state in checks.snapshot()] == [None] * len(checks.snapshot())
        release.set()
        attempts = [check.attempt for check in checks._checks.values() if check.attempt is not None]
        until(lambda: not any(attempt.running() for attempt in attempts))
        assert run(checks)["c"].ok is True
        assert caplog.records == []


class TestThreshold:
    def test_failing_only_after_so_many_failures_in_a_row(self, checks):
        results = iter([True, False, False, True, False, False, False, True])
        checks.register("c", lambda: next(results), ttl=0, failures=3)
        seen = [run(checks)["c"] for _ in range(8)]
        assert [state.ok for state in seen] == [True, True, True, True, True, True, False, True]
        assert [state.passed for state in seen] == [True] * 8

    def test_the_first_run_counts(self, checks):
        checks.register("c", lambda: False, ttl=0, failures=2)
        first, second = run(checks)["c"], run(checks)["c"]
        assert (first.ok, first.passed, first.reason) == (None, False, "returned False")
        assert (second.ok, second.passed) == (False, False)


class TestLog:
    def test_once_for_each_change_of_state(self, checks, clock, caplog):
        caplog.set_level(logging.INFO, "obskit.health")
        results = iter([True, None, None, True, True, None])

        def flaps():
            clock.now += 0.0125
            return next(results) or raises()

        checks.register("db", flaps, ttl=0)
        for _ in range(6):
            run(checks)
        assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
            ("WARNING", "health check db is failing: ConnectionRefusedError"),
            ("INFO", "health check db is ok again"),
            ("WARNING", "health check db is failing: ConnectionRefusedError"),
        ]
        failing = caplog.records[0]
        assert str(failing.exc_info[1]) == "db-7.internal:5432 said no"
        assert getattr(failing, "duration_ms") == 12.5  # noqa: B009  (the record's attribute of that name)

    def test_it_is_no_part_of_the_request_that_probed(self, checks):
        mark, seen = otel_context.create_key("mark"), []

        class Look(logging.Handler):
            def emit(self, record):
                seen.append(otel_context.get_value(mark))

        handler = Look()
        logging.getLogger("obskit.health").addHandler(handler)
        checks.register("c", raises)
        token = otel_context.attach(otel_context.set_value(mark, "request"))
        try:
            run(checks)
        finally:
            otel_context.detach(token)
            logging.getLogger("obskit.health").removeHandler(handler)
        assert seen == [None]

    def test_what_was_raised_is_not_kept(self, checks):
        class BigError(Exception):
            pass

        alive = []

        async def breaks():
            error = BigError()
            alive.append(weakref.ref(error))
            raise error

        checks.register("c", breaks)
        logging.disable()  # caplog would keep it
        try:
            run(checks)
        finally:
            logging.disable(logging.NOTSET)
        gc.collect()
        assert alive[0]() is None


class TestQuiet:
    def test_checks_make_no_spans_and_see_nothing_of_the_request(self, checks):
        exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        tracer = provider.get_tracer("test")
        mark = otel_context.create_key("mark")
        seen = []

        def look():
            with tracer.start_as_current_span("in-check"):
                seen.append(otel_context.get_value(mark))
                seen.append(otel_context.get_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY))
                seen.append(otel_context.get_value(otel_context._SUPPRESS_HTTP_INSTRUMENTATION_KEY))

        async def look_async():
            look()

        checks.register("thread", look)
        checks.register("loop", look_async)
        token = otel_context.attach(otel_context.set_value(mark, "request"))
        try:
            with tracer.start_as_current_span("probe"):
                run(checks)
        finally:
            otel_context.detach(token)
        assert seen == [None, True, True] * 2
        assert [span.name for span in exporter.get_finished_spans()] == ["probe"]
        provider.shutdown()


class TestArguments:
    def test_every_problem_is_named(self, checks):
        with pytest.raises(ConfigError) as error:
            checks.register(
                "", 5, timeout=0, ttl=-1, affects="live", failures=0  # type: ignore[arg-type]
            )  # fmt: skip
        assert len(error.value.problems) == 6

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": "   "},
            {"name": 7},
            {"function": None},
            {"function": lambda needed: needed},
            {"timeout": float("nan")},
            {"timeout": float("inf")},
            {"timeout": True},
            {"timeout": "1"},
            {"ttl": float("nan")},
            {"failures": 1.5},
            {"failures": True},
            {"affects": None},
        ],
    )
    def test_wrong_arguments(self, checks, wrong):
        arguments = {"name": "c", "function": lambda: None, **wrong}
        with pytest.raises(ConfigError) as error:
            checks.register(arguments.pop("name"), arguments.pop("function"), **arguments)
        assert len(error.value.problems) == 1

    def test_a_builtin_without_signature_is_taken(self, checks):
        checks.register("c", dict)  # inspect finds no signature for it
        assert run(checks)["c"].ok is True

    def test_a_name_is_taken_once(self, checks):
        checks.register("c", lambda: True)
        with pytest.raises(ConfigError, match="exists already"):
            checks.register("c", raises)
        with pytest.raises(ConfigError, match="exists already"):
            checks.register("c", AsyncCallable())

    def test_the_same_code_again_takes_its_place(self, checks):
        module = compile("def db():\n    return fine\n", "main.py", "exec")  # a module that runs twice
        for fine in (False, True):
            namespace = {"fine": fine}
            exec(module, namespace)  # noqa: S102  (as an import does)
            checks.register("db", namespace["db"])
        assert run(checks)["db"].ok is True

    def test_a_mapping_uses_the_defaults(self):
        checks = Checks({"a": lambda: True, "b": passes_async})
        assert {name: state.ok for name, state in run(checks).items()} == {"a": True, "b": True}
        checks.close()

    def test_a_mapping_names_the_problems_of_all(self):
        with pytest.raises(ConfigError) as error:
            Checks({"a": 1, "b": 2})
        assert len(error.value.problems) == 2


class TestSteps:
    def test_it_is_the_coroutine_it_measures(self, clock):
        closed = []

        async def inner():
            try:
                await asyncio.sleep(0)
                clock.now += 2
                await asyncio.sleep(0)
            finally:
                closed.append(True)
            return "done"

        async def scenario():
            steps = _Steps(inner(), clock)
            return await asyncio.create_task(steps), steps.longest, await _Steps(inner(), clock)

        assert asyncio.run(scenario()) == ("done", 2, "done")
        begun = _Steps(inner(), clock)
        begun.send(None)
        begun.close()
        assert closed == [True] * 3


def test_a_thread_may_tell_one_who_has_left():
    async def scenario():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        _resolve(future)
        assert future.cancelled()

    asyncio.run(scenario())


class TestThreads:
    def test_close_lets_them_go_and_a_later_run_starts_new_ones(self, checks):
        threads = []
        checks.register("c", lambda: threads.append(threading.current_thread()), ttl=0)
        run(checks)
        checks.close()
        threads[0].join(LONG)
        assert not threads[0].is_alive()
        assert run(checks)["c"].ok is True

    def test_no_thread_to_be_had_fails_the_check_and_leaves_the_rest_sound(self, checks, monkeypatch):
        def refuse(self):
            raise RuntimeError("can't start new thread")

        checks.register("c", lambda: True, ttl=0)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            assert run(checks)["c"].reason == "RuntimeError"
        assert run(checks)["c"].ok is True

    def test_an_idle_thread_holds_nothing(self):
        class Held:
            def __call__(self):
                return True

        held = Held()
        alive = weakref.ref(held)
        checks = Checks({"c": held})
        run(checks)
        del held
        checks._checks.clear()
        gc.collect()
        assert alive() is None
        checks.close()

    def test_what_a_fork_took_is_made_anew(self, checks):
        checks.register("c", lambda: True, ttl=0)
        run(checks)
        checks.close()
        checks._threads._threads, checks._threads._pid = 1, -1  # what a child sees
        assert run(checks)["c"].ok is True

    def test_size_is_a_bound(self):
        threads = Threads(size=1)

        async def scenario():
            checks = Checks({"a": lambda: None, "b": lambda: None})
            checks._threads = threads
            await checks.run()
            return sum(thread.name == "obskit-health" for thread in threading.enumerate())

        before = sum(thread.name == "obskit-health" for thread in threading.enumerate())
        assert asyncio.run(scenario()) <= before + 1
        threads.close()


def test_a_fault_of_obskits_own_is_contained_and_answers_the_probe(checks, contained_errors, monkeypatch):
    def broken(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr(checks, "_settle", broken)
    checks.register("c", lambda: True)
    assert run(checks)["c"].ok is None
    assert [component for component, _ in contained_errors] == ["health"]
    contained_errors.clear()
