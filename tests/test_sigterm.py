"""What is told ahead of a server's handler for SIGTERM. Real signals to real servers are in tests/e2e/test_stop.py."""

import signal
import threading

import pytest

from obskit._sigterm import before_sigterm


@pytest.fixture
def order():
    """What was called, in order; for the time of the test, the process's handler for SIGTERM is one of a server."""
    called = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: called.append(f"server {number}"))
    yield called
    signal.signal(signal.SIGTERM, before)


def deliver():
    signal.getsignal(signal.SIGTERM)(signal.SIGTERM, None)


def test_obskit_is_told_first_and_the_server_obeys(order):
    restore = before_sigterm(lambda: order.append("told"))
    deliver()
    assert order == ["told", "server 15"]
    restore()
    deliver()
    assert order == ["told", "server 15", "server 15"]


def test_the_server_obeys_whatever_happens_in_obskit(order, contained_errors):
    before_sigterm(lambda: 1 / 0)
    deliver()
    assert order == ["server 15"]
    assert [component for component, _ in contained_errors] == ["close"]
    contained_errors.clear()


def test_a_handler_that_was_set_since_stays(order):
    restore = before_sigterm(lambda: order.append("told"))
    theirs = lambda _number, _frame: order.append("theirs")  # noqa: E731
    signal.signal(signal.SIGTERM, theirs)
    restore()
    assert signal.getsignal(signal.SIGTERM) is theirs


def test_what_the_operating_system_does_is_left_to_it():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        before_sigterm(lambda: None)()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_changes_nothing(order):
    installed = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: before_sigterm(lambda: order.append("told")))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is installed


def test_another_thread_cannot_restore_and_does_not_fail(order):
    restore = before_sigterm(lambda: order.append("told"))
    thread = threading.Thread(target=restore)
    thread.start()
    thread.join()
    deliver()
    assert order == ["told", "server 15"]
