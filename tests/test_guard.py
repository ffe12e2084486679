"""Containment: obskit's own errors are counted, told at a bounded rate, and reach nobody."""

import logging

import pytest

from obskit import _guard
from obskit._tally import REPEATED, SAMPLED_OUT, Tally
from obskit.exceptions import ConfigError, ObskitError
from obskit.testing import capture


@pytest.fixture(autouse=True)
def expected(contained_errors):
    _guard.forget_rate()
    yield
    contained_errors.clear()


def test_each_error_is_counted_by_component(contained_errors):
    before = _guard.errors["here"]
    error = ValueError("x")
    for _ in range(3):
        _guard.contained("here", error)
    assert _guard.errors["here"] - before == 3
    assert contained_errors == [("here", error)] * 3


def test_each_component_is_logged_at_most_once_a_minute(caplog, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(_guard.time, "monotonic", lambda: clock[0])
    told = []
    for after, component in ((0, "a"), (1, "a"), (0, "b"), (58, "a"), (2, "a"), (0, "b")):
        clock[0] += after
        caplog.clear()
        _guard.contained(component, ValueError("x"))
        told.append(len(caplog.records))
    assert told == [1, 0, 1, 0, 1, 1]


def test_the_line_shows_the_error_and_says_that_the_application_is_well(caplog):
    try:
        raise KeyError("the cause")
    except KeyError as error:
        _guard.contained("here", error)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("obskit", "ERROR")
    assert record.getMessage() == "obskit contained an error of its own in here; the application is not affected"
    assert record.exc_info[0] is KeyError
    assert record.exc_info[2] is not None


def test_a_handler_of_somebody_elses_that_raises_undoes_nothing():
    class Broken(logging.Handler):
        def emit(self, record):
            raise OSError("disk full")

    handler = Broken()
    logging.root.addHandler(handler)
    try:
        _guard.contained("here", ValueError("x"))
    finally:
        logging.root.removeHandler(handler)


def test_it_shows_in_the_metrics():
    with capture() as captured:
        before = captured.metric("obskit_internal_errors_total", component="asgi")
        _guard.contained("asgi", ValueError("x"))
        assert captured.metric("obskit_internal_errors_total", component="asgi") == before + 1


def test_what_was_produced_is_exported_dropped_or_queued():
    tally = Tally(("full", "late"))
    assert (tally.queued, tally.dropped) == (0, {"full": 0, "late": 0})
    tally.produced, tally.exported = 10, 4
    tally.dropped["late"] = 5
    assert tally.queued == 1


def test_what_is_left_out_on_purpose_is_not_lost():
    tally = Tally(("late", SAMPLED_OUT, REPEATED))
    tally.produced = 9
    tally.dropped.update({"late": 2, SAMPLED_OUT: 3, REPEATED: 4})
    assert (tally.queued, tally.lost) == (0, 2)
    assert Tally(("late",)).lost == 0


def test_the_exceptions_name_every_problem():
    error = ConfigError(["one", "two"])
    assert isinstance(error, ObskitError)
    assert isinstance(error, ValueError)
    assert error.problems == ("one", "two")
    assert str(error) == "obskit: 2 problem(s) in the configuration:\n  - one\n  - two"
