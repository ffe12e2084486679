"""What a terminal shows: readable, and safe to show."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind

from obskit import semconv
from obskit._pipeline import Pipeline
from obskit.operation import Operation
from obskit.redaction import Redactor
from obskit.signals._console import Console, colours_wanted, visible
from obskit.signals._lines import Lines
from obskit.signals.logs import Logs, write_to

SGR = re.compile(r"\x1b\[[0-9;]*m")
TIME = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} ")


class Memory:
    def __init__(self):
        self.text = ""

    def write(self, line):
        assert line.endswith(b"\n")
        self.text += line.decode()


@pytest.fixture
def memory():
    return Memory()


def lines_to(memory, *, colours=False):
    console = Console(colours=colours)
    lines = Lines(memory, Redactor(), {"service.name": "orders"}, console.line)
    return lines, Logs(write_to(lines, console.request), keep_calls=True)


def request(signal, **fields):
    given = {
        "http.request.method": "GET",
        "http.route": "/orders/{order_id}",
        "http.response.status_code": 200,
        "url.path": "/orders/17",
        "url.scheme": "http",
        "user_agent.original": "curl",
        "request_id": "r1",
        **fields,
    }
    op = Operation(
        Pipeline([signal]),
        semconv.EVENT_HTTP_SERVER,
        "GET",
        SpanKind.SERVER,
        fields={name: value for name, value in given.items() if value is not None},
    )
    op.trace_id, op.span_id, op.sampled = "4bf92f3577b34da6a3ce929d0e0e4736", "b" * 16, True
    return op


def call(signal, root, exception=None, **fields):
    op = Operation(
        Pipeline([signal]), semconv.EVENT_HTTP_CLIENT, "GET", SpanKind.CLIENT, fields=fields, context=root.context
    )
    op.finish(exception=exception)
    return op


def body(memory):
    return [TIME.sub("", line) for line in memory.text.splitlines()]


def test_one_line_a_request(memory):
    _, signal = lines_to(memory)
    op = request(signal)
    op.annotate({"user.tier": "gold", "note": "two words"})
    op.finish()
    assert body(memory) == [
        f'200 GET /orders/{{order_id}} {op.duration_ms:.1f}ms user.tier=gold note="two words" 4bf92f35'
    ]


def test_outbound_calls_stand_below_it(memory):
    _, signal = lines_to(memory)
    op = request(signal, **{"http.response.status_code": 503})
    call(
        signal,
        op,
        **{
            "http.request.method": "POST",
            "server.address": "payments",
            "server.port": 9000,
            "http.response.status_code": 503,
        },
    )
    call(signal, op, exception=ConnectionError("refused"), **{"http.request.method": "GET", "server.address": "users"})
    call(signal, op)
    op.finish(error_type="503")
    first, second, third, fourth = body(memory)
    assert first.startswith("503 GET /orders/{order_id} ")
    assert "error.type=503" in first
    assert "http.client" not in first
    assert re.fullmatch(r"  └ POST payments:9000 503 \d+\.\dms", second)
    assert re.fullmatch(r"  └ GET users ConnectionError \d+\.\dms", third)
    assert re.fullmatch(r"  └ GET ok \d+\.\dms", fourth)


def test_without_a_route_the_path_tells_what_was_not_found(memory):
    _, signal = lines_to(memory)
    request(signal, **{"http.route": None, "http.response.status_code": 404}).finish()
    assert body(memory)[0].startswith("404 GET /orders/17 ")


def test_an_operation_that_is_no_request(memory):
    _, signal = lines_to(memory)
    op = Operation(Pipeline([signal]), semconv.EVENT_OPERATION, "nightly", SpanKind.INTERNAL, fields={})
    op.finish()
    assert re.fullmatch(r"ok nightly \d+\.\dms", body(memory)[0])


def test_a_failed_request_shows_the_whole_stack(memory):
    _, signal = lines_to(memory)
    op = request(signal)
    try:
        raise ValueError("no")
    except ValueError as error:
        op.finish(exception=error)
    shown = body(memory)
    assert "error.type=ValueError" in shown[0]
    assert shown[1] == "Traceback (most recent call last):"
    assert shown[-1] == "ValueError: no"


def test_ordinary_lines(memory):
    lines, _ = lines_to(memory)
    lines.log(
        time.time_ns(), "info", "shop", "order placed", {"order_id": 17, "empty": "", "n": {"a": [1]}, "q": 'a"b'}
    )
    lines.log(time.time_ns(), "error", "shop", "failed", {"code.stacktrace": "Stack:\n  here"}, ValueError("no"))
    assert body(memory) == [
        r"""info     order placed order_id=17 empty="" n="{'a': [1]}" q="a\"b" shop""",
        "error    failed shop",
        "Stack:",
        "  here",
        "ValueError: no",
    ]


@pytest.mark.parametrize("colours", [False, True])
def test_long_lines_are_cut(memory, colours):
    lines, _ = lines_to(memory, colours=colours)
    lines.log(0, "info", "shop", "m", {"a": "x" * 5_000, "b": 1})
    assert "=" + "x" * 1024 + "… " in memory.text
    assert "1" in memory.text[-40:]
    memory.text = ""
    lines.log(0, "info", "shop", "é\x00" * 60_000, {})
    assert 60_000 < len(memory.text.encode()) <= 65_536
    assert memory.text.endswith("\x1b[0m\n" if colours else "…\n")


def test_the_time_is_local(memory, monkeypatch):
    monkeypatch.setenv("TZ", "Etc/GMT-3")
    time.tzset()
    try:
        lines, _ = lines_to(memory)
        lines.log(1_700_000_000_123_000_000, "info", "shop", "m", {})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert memory.text.startswith("01:13:20.123 ")


def test_colours(memory):
    lines, signal = lines_to(memory, colours=True)
    for status, colour in ((200, 32), (302, 36), (404, 33), (500, 31), (99, 32)):
        request(signal, **{"http.response.status_code": status}).finish()
        assert f"\x1b[{colour}m{status}\x1b[0m" in memory.text
        memory.text = ""
    lines.log(0, "critical", "shop", "m", {"error.type": "X"})
    assert "\x1b[1;31mcritical" in memory.text
    assert "=\x1b[31mX" in memory.text
    lines.log(0, "trace", "shop", "m", {})
    assert SGR.sub("", memory.text).splitlines()[-1].endswith("trace    m shop")


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm"}, True),
    ],
)
def test_colours_wanted(environ, wanted):
    assert colours_wanted(environ) is wanted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\rc", "a\\nb\\rc"),
        ("\x9b31m", "\\x9b31m"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("\u2028\u202e", "\\u2028\\u202e"),
        ("tab\there, é, 漢, 🙂", "tab\there, é, 漢, 🙂"),
    ],
)
def test_visible(text, shown):
    assert visible(text) == shown


def test_visible_keeps_what_it_is_told_to():
    assert visible("a\n\x1b", keep="\n") == "a\n\\x1b"


hostile = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["\x1b]0;x\x07", "\n", "\r", "\x9b", "\ud800"]
)


@settings(deadline=None)
@given(hostile, hostile, st.dictionaries(hostile, hostile | st.integers() | st.binary(), max_size=4), st.booleans())
def test_nothing_of_a_stranger_steers_the_terminal(message, name, fields, colours):
    memory = Memory()
    lines, signal = lines_to(memory, colours=colours)
    lines.log(0, "info", name, message, fields)
    op = request(signal, **{"http.route": None, "url.path": message, "server.address": name})
    call(signal, op, **{"server.address": name, "http.request.method": message})
    op.annotate(fields)
    op.finish()
    shown = SGR.sub("", memory.text) if colours else memory.text
    assert shown.count("\n") == 3
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", shown)


@settings(deadline=None)
@given(hostile)
def test_nor_does_a_stack_trace(text):
    memory = Memory()
    lines, _ = lines_to(memory)
    lines.log(0, "info", "shop", "m", {}, ValueError(text))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028]", memory.text)
