"""Lines that repeat are left out and counted, and nothing that a person would miss is."""

import logging
from collections import Counter

import pytest

import obskit
from obskit import Config
from obskit.signals import _lines
from obskit.signals._repeats import LIMIT, Repeats
from obskit.testing import capture

SECOND = 10**9
MOST = 2 * LIMIT


class Clock:
    def __init__(self):
        self.ns = 1_790_000_000 * SECOND

    def time_ns(self):
        return self.ns

    strftime, gmtime = staticmethod(_lines.time.strftime), staticmethod(_lines.time.gmtime)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("obskit.signals._pipeline", "obskit.signals._lines"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


@pytest.fixture
def captured(clock):
    with capture(config=Config(log_level="DEBUG")) as captured:
        yield captured


def written(captured, logger="shop"):
    return [line for line in captured.lines if line["logger"] == logger and "suppressed" not in line]


def suppressed(captured):
    return {line["message"]: line["suppressed"] for line in captured.lines if "suppressed" in line}


def repeat(method, *args, times=1000, **fields):
    for number in range(times):
        method(*args, **fields, number=number)


def test_a_line_that_floods_is_left_out_counted_and_said_once(captured, clock):
    log = obskit.get_logger("shop")
    repeat(log.warning, "no stock", times=MOST + 700)
    assert len(written(captured)) == MOST
    assert suppressed(captured) == {}
    clock.ns += SECOND
    log.info("another")
    said = captured.lines[-2]
    assert (said["level"], said["logger"], said["suppressed"]) == ("warning", "shop", 700)
    assert said["message"] == "700 lines like 'no stock' were left out within a second"
    assert "trace_id" not in said
    assert captured.metric("obskit_log_lines_dropped_total", reason="repeated") == 700
    assert captured.metric("obskit_log_lines_produced_total") == MOST + 700 + 3
    repeat(log.warning, "no stock", times=LIMIT)
    assert len(written(captured)) == MOST + 1 + LIMIT
    assert len(suppressed(captured)) == 1
    assert captured.obs.flush(), "what is left out is no loss"


def test_it_is_said_by_the_next_canonical_line_too_and_at_the_end(clock):
    with capture() as captured:
        log = obskit.get_logger("shop")
        repeat(log.warning, "no stock")
        clock.ns += SECOND
        with obskit.operation("job") as op:
            op.start_ns = clock.ns
        assert list(suppressed(captured).values()) == [1000 - MOST]
        repeat(log.warning, "again", times=MOST + 3)
    assert list(suppressed(captured).values()) == [1000 - MOST, 3]


def values_differ(log, number):
    log.warning("no stock", order=number)


def stdlib(name, message, *args):
    """A record of a moment of the test's own."""
    given = {"name": name, "levelno": logging.WARNING, "levelname": "WARNING", "msg": message, "args": args}
    logging.getLogger(name).handle(logging.makeLogRecord({**given, "created": 1_790_000_000.5}))


def arguments_differ(log, number):
    stdlib("shop", "no stock of %d", number)


def loggers_differ(log, number):
    stdlib(f"shop.{number % 3}", "no stock")


def levels_differ(log, number):
    (log.info, log.warning, log.error)[number % 3]("no stock")


def texts_differ(log, number):
    log.warning(("no stock", "no room", "no way")[number % 3])


def exceptions_differ(log, number):
    error = (ValueError, KeyError, OSError)[number % 3]("no")
    log.error("no stock", exc_info=error)


def messages_of_one_exception_differ(log, number):
    log.error("no stock", exc_info=ValueError(str(number)))


def requests_differ(log, number):
    with obskit.operation("request", kind="server"):
        log.info("sold")


def requests_differ_and_it_warns(log, number):
    with obskit.operation("request", kind="server") as op:
        op.start_ns = 1_790_000_000 * SECOND  # the test's own moment, for the canonical line
        log.warning("no stock")


def long_texts(log, number):
    log.warning("x" * 10_000)


@pytest.mark.parametrize(
    ("log", "kinds"),
    [
        (values_differ, 2 * LIMIT),
        (arguments_differ, 2 * LIMIT),
        (long_texts, LIMIT),
        (messages_of_one_exception_differ, 2 * LIMIT),
        (requests_differ_and_it_warns, 2 * LIMIT),
        (loggers_differ, LIMIT + 3 * LIMIT),
        (levels_differ, LIMIT + 3 * LIMIT),
        (texts_differ, 3 * 2 * LIMIT),
        (exceptions_differ, LIMIT + 3 * LIMIT),
        (requests_differ, 1500),
    ],
)
def test_what_counts_as_the_same(captured, clock, log, kinds):
    logger = obskit.get_logger("shop")
    for number in range(1500):
        log(logger, number)
    found = sum(line["logger"].startswith("shop") and "suppressed" not in line for line in captured.lines)
    assert found == kinds
    assert len([line for line in captured.lines if line["logger"] == "obskit.request"]) % 1500 == 0


def test_a_loop_within_one_request_is_the_same(captured):
    log = obskit.get_logger("shop")
    with obskit.operation("job"):
        repeat(log.info, "step")
    assert len(written(captured)) == MOST


def test_lines_in_reasonable_numbers_are_all_written(captured, clock):
    log = obskit.get_logger("shop")
    for _ in range(5):
        repeat(log.error, "no stock", times=LIMIT)
        clock.ns += SECOND
    assert len(written(captured)) == 5 * LIMIT
    assert suppressed(captured) == {}


def test_a_clock_that_goes_back_begins_a_new_second(captured, clock):
    log = obskit.get_logger("shop")
    repeat(log.error, "no stock", times=MOST + 5)
    clock.ns -= 3600 * SECOND
    log.error("no stock")
    assert Counter(line.get("suppressed") for line in captured.lines)[5] == 1
    assert written(captured)[-1]["message"] == "no stock"


def test_kinds_are_bounded_and_those_past_the_bound_are_written():
    left_out = []
    repeats = Repeats(left_out.append, left_out.append)
    for number in range(3000):
        repeats.too_many(1, "warning", "shop", f"text {number}", {}, None)
    for number in range(3 * LIMIT):
        assert not repeats.too_many(1, "warning", "shop", "text 2999", {}, None)
        repeats.too_many(1, "info", "shop", "text 1", {"trace_id": f"{number}"}, None)
    for number in range(3000):
        repeats.too_many(1, "info", "shop", "text 1", {"trace_id": f"{number}"}, None)
    assert left_out == []
    assert (len(repeats._texts), len(repeats._kinds)) == (1024, 1024)


def test_a_text_with_a_secret_is_said_without(captured, clock):
    log = obskit.get_logger("shop")
    repeat(log.warning, "login with password=hunter2")
    clock.ns += SECOND
    log.info("next")
    [message] = suppressed(captured)
    assert "hunter2" not in message
