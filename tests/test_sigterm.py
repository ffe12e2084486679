"""What comes ahead of SIGTERM's own way. Real signals to real servers are in tests/servers and tests/e2e/test_stop.py."""

import asyncio
import importlib
import json
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from obskit._sigterm import before_default, before_server


@pytest.fixture
def order():
    """What was called, in order; for the time of the test, the process's handler for SIGTERM is one of a server."""
    called = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: called.append(f"server {number}"))
    yield called
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def default():
    """For the time of the test, nobody handles SIGTERM."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def deliver():
    signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)


def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


# -- where a server handles it ----------------------------------------------------------------------------------------


def test_obskit_is_told_first_and_the_server_obeys(order):
    restore = before_server(lambda: order.append("drain"), 0, lambda: order.append("leave"))
    deliver()
    assert order == ["drain", "leave", "server 15"]
    deliver()
    assert order == ["drain", "leave", "server 15", "server 15"]
    restore()
    deliver()
    assert order[4:] == ["server 15"]


@pytest.mark.parametrize("faulty", ["drain", "leave"])
def test_the_server_obeys_whatever_happens_in_obskit(order, contained_errors, faulty):
    calls = {"drain": lambda: None, "leave": lambda: None, faulty: lambda: 1 / 0}
    before_server(calls["drain"], 0, calls["leave"])
    deliver()
    assert order == ["server 15"]
    assert [component for component, _ in contained_errors] == ["sigterm"]
    contained_errors.clear()


def test_the_server_is_held_back_in_the_main_thread(order):
    passed = threading.Event()
    threads = []

    def server(_number, frame):
        threads.append((threading.current_thread(), frame is not None))
        passed.set()

    signal.signal(signal.SIGTERM, server)
    before_server(lambda: order.append("drain"), 0.05, lambda: order.append("leave"))
    signal.raise_signal(signal.SIGTERM)
    assert (order, threads) == (["drain"], [])
    assert passed.wait(20)
    assert order == ["drain", "leave"]
    assert threads == [(threading.main_thread(), True)]


def test_the_second_signal_goes_straight_through_and_the_first_is_not_repeated(order):
    restore = before_server(lambda: order.append("drain"), 0.2)
    deliver()
    deliver()
    assert order == ["drain", "server 15"]
    threading.Event().wait(0.5)  # nothing comes: there is no condition to wait for
    assert order == ["drain", "server 15"]
    restore()


def test_a_process_that_ends_by_itself_meanwhile_is_left_alone(order):
    """As uvicorn does: its handlers are gone, and the default would kill the process in the midst of its exit."""
    before_server(lambda: order.append("drain"), 0.1)
    deliver()
    signal.signal(signal.SIGTERM, lambda *_: order.append("killed"))
    threading.Event().wait(0.4)
    assert order == ["drain"]


def test_where_no_thread_can_be_started_nothing_is_held_back(order, contained_errors, monkeypatch):
    def refuse(*_):
        msg = "can't start new thread"
        raise RuntimeError(msg)

    before_server(lambda: order.append("drain"), 60)
    monkeypatch.setattr("_thread.start_new_thread", refuse)
    deliver()
    assert order == ["drain", "server 15"]
    assert len(contained_errors) == 1
    contained_errors.clear()


@pytest.mark.parametrize("factory", ["asyncio.new_event_loop", "uvloop.new_event_loop"])
@pytest.mark.parametrize("drain_seconds", [0, 5])
def test_a_loops_handler_can_be_preceded_and_not_held_back(order, factory, drain_seconds):
    module, _, name = factory.partition(".")
    new_loop = getattr(importlib.import_module(module), name)

    async def scenario():
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, lambda: (order.append("loop"), done.set()))
        restore = before_server(lambda: order.append("drain"), drain_seconds)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(done.wait(), 20)
        loop.remove_signal_handler(signal.SIGTERM)
        return restore

    with asyncio.Runner(loop_factory=new_loop) as runner:
        restore = runner.run(scenario())
    assert (order, restore is None) == ((["loop"], True) if drain_seconds else (["drain", "loop"], False))


def test_a_handler_that_was_set_since_stays(order):
    restore = before_server(lambda: order.append("drain"), 0)
    theirs = lambda _number, _frame: order.append("theirs")  # noqa: E731
    signal.signal(signal.SIGTERM, theirs)
    restore()
    assert signal.getsignal(signal.SIGTERM) is theirs


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN])
def test_where_no_handler_in_python_decides_nothing_changes(order, handler):
    signal.signal(signal.SIGTERM, handler)
    assert before_server(lambda: None, 0) is None
    assert signal.getsignal(signal.SIGTERM) is handler


def test_obskits_own_last_word_is_no_server(default):
    restore = before_default(lambda: None)
    assert before_server(lambda: None, 5) is None
    restore()


def test_another_thread_changes_nothing(order):
    installed = signal.getsignal(signal.SIGTERM)
    assert in_thread(lambda: before_server(lambda: order.append("drain"), 0)) is None
    assert signal.getsignal(signal.SIGTERM) is installed


def test_another_thread_cannot_restore_and_does_not_fail(order):
    restore = before_server(lambda: order.append("drain"), 0)
    in_thread(restore)
    deliver()
    assert order == ["drain", "server 15"]


# -- where nobody does ------------------------------------------------------------------------------------------------


def test_the_default_comes_back(default):
    restore = before_default(lambda: None)
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_what_somebody_has_decided_stays(default, handler):
    signal.signal(signal.SIGTERM, handler)
    before_default(lambda: None)()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_another_thread_leaves_the_default(default):
    in_thread(lambda: before_default(lambda: None))()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


BEFORE = """
    import asyncio, os, signal, sys, threading, time
    from obskit._sigterm import before_default

    def say(what):
        print(what, flush=True)

    def hang():
        say("leave")
        time.sleep(60)
"""
#: {how the process is when the signal comes: (what it prints, what it runs)}
DYING = {
    "a script": (["leave"], "before_default(lambda: say('leave')); os.kill(os.getpid(), 15); say('never')"),
    "another thread's signal": (
        ["leave"],
        """
        before_default(lambda: say("leave"))
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        threading.Event().wait()
        """,
    ),
    "a loop finishes its step": (
        ["the step", "leave"],
        """
        async def main():
            os.kill(os.getpid(), signal.SIGTERM)
            say("the step")
            await asyncio.sleep(60)

        before_default(lambda: say("leave"))
        asyncio.run(main())
        """,
    ),
    "uvloop's does too": (
        ["the step", "leave"],
        """
        import uvloop

        async def main():
            os.kill(os.getpid(), signal.SIGTERM)
            say("the step")
            await asyncio.sleep(60)

        before_default(lambda: say("leave"))
        uvloop.run(main())
        """,
    ),
    "a loop that hangs": (
        ["leave"],
        """
        async def main():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

        before_default(lambda: say("leave"))
        asyncio.run(main())
        """,
    ),
    "the second signal ends it": (
        ["leave"],
        """
        before_default(hang)
        threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGTERM)).start()
        os.kill(os.getpid(), signal.SIGTERM)
        """,
    ),
    "two at once, as hypercorn sends them": (
        ["leave"],
        """
        before_default(lambda: [time.sleep(0.4), say("leave")])
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM)).start()
        os.kill(os.getpid(), signal.SIGTERM)
        """,
    ),
    "what is told fails": (["never mind"], "before_default(lambda: [say('never mind'), 1 / 0]); os.kill(os.getpid(), 15)"),
    "a forked child": (
        ["leave", "[-15]"],
        """
        before_default(lambda: say("leave"))
        child = os.fork()
        if child == 0:
            time.sleep(60)
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        say([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        """,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def dying():
    """All of them, side by side."""
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(BEFORE) + textwrap.dedent(code)], stdout=subprocess.PIPE
        )
        for name, (_, code) in DYING.items()
    }
    yield processes
    for process in processes.values():
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("name", DYING)
def test_the_process_still_dies_of_the_signal(dying, name):
    output, _ = dying[name].communicate(timeout=30)
    assert output.decode().split("\n")[:-1] == DYING[name][0]
    assert dying[name].returncode == -signal.SIGTERM


SCRIPT = """
    import json, os, signal, sys
    import obskit
    config = obskit.Config(traces_exporter="console", shutdown_seconds=1.0)
    obs = obskit.init(service_name="script", config=config)
    during = signal.getsignal(signal.SIGTERM)
    obs.close()
    print(json.dumps([during is signal.SIG_DFL, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL]))
"""


def test_close_gives_sigterm_back():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, timeout=30, check=True, text=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [False, True]
