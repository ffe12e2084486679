"""The canonical line of an operation."""

import json

import pytest
from opentelemetry.trace import SpanKind

from obskit import semconv
from obskit._exception import is_carried
from obskit._pipeline import Pipeline, install
from obskit.instrumentation.function import operation
from obskit.operation import Operation, current_operation
from obskit.redaction import Redactor
from obskit.signals._lines import Lines
from obskit.signals.logs import Logs, write_to


class Memory:
    def __init__(self):
        self.raw: list[bytes] = []

    def write(self, line):
        self.raw.append(line)

    @property
    def lines(self):
        return [json.loads(line) for line in self.raw]


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def emit(memory):
    return write_to(Lines(memory, Redactor(), {"service.name": "orders"}))


def started(signal, event=semconv.EVENT_HTTP_SERVER, kind=SpanKind.SERVER, name="GET /a", context=None, **fields):
    op = Operation(Pipeline([signal]), event, name, kind, fields=fields, context=context)
    op.trace_id, op.span_id, op.sampled = "a" * 32, "b" * 16, True
    op.trace_flags = "01"
    return op


def request(signal, *, method="GET", route="/orders/{order_id}", status=200, **more):
    given = {semconv.HTTP_REQUEST_METHOD: method, semconv.HTTP_ROUTE: route, semconv.HTTP_RESPONSE_STATUS_CODE: status}
    return started(signal, **{name: value for name, value in given.items() if value is not None}, **more)


def test_a_whole_line(emit, memory):
    op = request(Logs(emit), status=503, **{"url.path": "/orders/17"})
    op.annotate({"user.tier": "gold", "level": "evil"})
    op.finish(error_type="503")
    [line] = memory.lines
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("duration_ms") == op.duration_ms > 0
    assert list(line.items()) == [
        ("level", "error"),
        ("message", "GET /orders/{order_id} 503"),
        ("logger", "obskit.request"),
        ("trace_id", "a" * 32),
        ("span_id", "b" * 16),
        ("trace_flags", "01"),
        ("service.name", "orders"),
        ("event.name", "http.server.request"),
        ("http.request.method", "GET"),
        ("http.route", "/orders/{order_id}"),
        ("http.response.status_code", 503),
        ("url.path", "/orders/17"),
        ("user.tier", "gold"),
        ("fields.level", "evil"),
        ("error.type", "503"),
        ("outcome", "error"),
    ]


def test_the_timestamp_is_the_operations_end(emit, memory):
    op = request(Logs(emit))
    op.start_ns = 1_700_000_000_000_000_000
    op.finish()
    microseconds = f"{op.duration_ns // 1000:06d}"
    assert memory.lines[0]["timestamp"] == f"2023-11-14T22:13:20.{microseconds}Z"


@pytest.mark.parametrize(
    ("method", "route", "status", "message"),
    [
        ("GET", "/a/{b}", 200, "GET /a/{b} 200"),
        ("GET", None, 404, "GET 404"),
        ("_OTHER", None, 405, "_OTHER 405"),
        ("GET", "/a", None, "GET /a ok"),
    ],
)
def test_messages_of_requests_never_hold_the_raw_path(emit, memory, method, route, status, message):
    request(Logs(emit), method=method, route=route, status=status, **{"url.path": "/secret"}).finish()
    assert memory.lines[0]["message"] == message


@pytest.mark.parametrize("event", [semconv.EVENT_OPERATION, semconv.EVENT_MESSAGE, semconv.EVENT_WEBSOCKET])
def test_messages_of_other_operations(emit, memory, event):
    started(Logs(emit), event=event, name="nightly", kind=SpanKind.INTERNAL).finish()
    assert memory.lines[0]["message"] == "nightly ok"
    assert memory.lines[0]["event.name"] == event


@pytest.mark.parametrize(
    ("status", "end", "level", "outcome"),
    [
        (200, {}, "info", "ok"),
        (404, {}, "info", "ok"),
        (500, {}, "error", "ok"),
        (503, {"error_type": "503"}, "error", "error"),
        (200, {"exception": ValueError("x")}, "error", "error"),
        (None, {"error_type": "x"}, "error", "error"),
        (200, {"cancelled": True}, "info", "cancelled"),
        (500, {"cancelled": True}, "info", "cancelled"),
        (None, {"cancelled": True, "exception": ValueError("x")}, "info", "cancelled"),
    ],
)
def test_levels(emit, memory, status, end, level, outcome):
    request(Logs(emit), status=status).finish(**end)
    [line] = memory.lines
    assert (line["level"], line["outcome"]) == (level, outcome)
    assert ("exception.stacktrace" in line) == ("exception" in end and outcome == "error")


def test_an_exception_is_carried_and_marked(emit, memory):
    error = ValueError("no postgres://me:hunter2@db")
    cancelled = ValueError("left")
    try:
        raise error
    except ValueError:
        request(Logs(emit)).finish(exception=error)
    request(Logs(emit)).finish(exception=cancelled, cancelled=True)
    line = memory.lines[0]
    assert line["exception.type"] == line["error.type"] == "ValueError"
    assert "test_an_exception_is_carried" in line["exception.stacktrace"]
    assert b"hunter2" not in memory.raw[0]
    assert is_carried(error)
    assert not is_carried(cancelled)


def test_an_exception_whose_line_is_not_wanted_is_not_marked(emit, memory):
    error = ValueError()
    request(Logs(emit, "off")).finish(exception=error)
    assert not is_carried(error)
    assert memory.raw == []


@pytest.mark.parametrize(
    ("request_log", "expected"),
    [
        ("all", ["ok-sampled", "ok-unsampled", "failed-unsampled"]),
        ("errors", ["failed-unsampled"]),
        ("sampled", ["ok-sampled", "failed-unsampled"]),
        ("off", []),
    ],
)
def test_request_log(emit, memory, request_log, expected):
    for name, sampled, error_type in (
        ("ok-sampled", True, None),
        ("ok-unsampled", False, None),
        ("failed-unsampled", False, "x"),
    ):
        op = started(Logs(emit, request_log), event=semconv.EVENT_OPERATION, name=name)
        op.sampled = sampled
        op.finish(error_type=error_type)
    assert [line["message"].split()[0] for line in memory.lines] == expected


def test_only_local_roots_that_are_no_calls_have_a_line(emit, memory):
    signal = Logs(emit)
    root = request(signal)
    inner = started(signal, event=semconv.EVENT_OPERATION, name="inner", kind=SpanKind.INTERNAL, context=root.context)
    call = started(signal, event=semconv.EVENT_HTTP_CLIENT, name="GET", kind=SpanKind.CLIENT, context=inner.context)
    lone = started(signal, event=semconv.EVENT_HTTP_CLIENT, name="GET", kind=SpanKind.CLIENT)
    for op in (call, inner, lone, root):
        op.finish()
    after = started(signal, event=semconv.EVENT_OPERATION, name="after", kind=SpanKind.INTERNAL, context=root.context)
    after.finish()
    assert [line["message"] for line in memory.lines] == ["GET /orders/{order_id} 200", "after ok"]
    assert memory.lines[0]["http.client.count"] == 1
    assert root.calls is None, "calls are kept for a terminal only"


def test_calls_are_kept_for_a_terminal_and_bounded():
    seen = []
    signal = Logs(lambda op, _level, _message: seen.append(op.calls), keep_calls=True)
    root = request(signal)
    inner = started(signal, event=semconv.EVENT_OPERATION, name="inner", kind=SpanKind.INTERNAL, context=root.context)
    calls = [started(signal, kind=SpanKind.CLIENT, name=f"c{n}", context=inner.context) for n in range(25)]
    for op in (*calls, inner, root):
        op.finish()
    assert seen == [calls[:20]]


def test_what_a_terminal_shows_gets_the_calls(memory):
    lines = Lines(memory, Redactor(), {})
    shown = []
    signal = Logs(
        write_to(lines, lambda line, calls: shown.append((line["message"], calls)) or b"shown\n"), keep_calls=True
    )
    root = request(signal)
    call = started(signal, kind=SpanKind.CLIENT, context=root.context)
    call.finish()
    root.finish()
    request(signal).finish()
    assert shown == [("GET /orders/{order_id} 200", [call]), ("GET /orders/{order_id} 200", [])]
    assert memory.raw == [b"shown\n", b"shown\n"]


def test_without_a_trace_there_are_no_ids(emit, memory):
    op = request(Logs(emit))
    op.trace_id = ""
    op.sampled = False
    op.finish()
    assert not {"trace_id", "span_id", "trace_flags"} & set(memory.lines[0])


def test_an_unsampled_trace_has_ids_and_says_so(emit, memory):
    op = request(Logs(emit))
    op.sampled, op.trace_flags = False, "00"
    op.finish()
    assert memory.lines[0]["trace_flags"] == "00"


def test_fields_that_json_cannot_hold(emit, memory):
    op = request(Logs(emit), **{"url.path": "/\udcff", "user_agent.original": "a\r\n\x1b[31m"})
    op.annotate(ratio=float("nan"))
    op.finish()
    [line] = memory.lines
    assert memory.raw[0].count(b"\n") == 1
    assert line["url.path"] == "/\\udcff"
    assert line["ratio"] == "NaN"


def test_it_works_as_a_signal_of_the_public_operation(emit, memory):
    assert Logs(emit).name == "logs"
    install(Pipeline([Logs(emit)]))
    try:
        with operation("job"):
            current_operation().accumulate("n", 2)
    finally:
        install(Pipeline())
    assert [(line["message"], line["n"]) for line in memory.lines] == [("job ok", 2)]
