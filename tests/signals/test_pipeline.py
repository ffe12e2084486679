"""structlog and stdlib logging come out as the same line."""

import asyncio
import json
import logging

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from obskit import semconv
from obskit._exception import mark_carried
from obskit._pipeline import Pipeline
from obskit.operation import Operation
from obskit.redaction import Redactor
from obskit.signals._lines import LINE_FIELDS, Lines
from obskit.signals._pipeline import _Sink, configure_structlog, get_logger, structlog_is_the_teams
from obskit.signals._records import LineHandler

RESOURCE = {"service.name": "orders", "service.version": "1.2", "deployment.environment.name": "test", "host.name": "h"}
PREFIX = ["timestamp", "level", "message", "logger"]
IDS = ["trace_id", "span_id", "trace_flags"]
SERVICE = ["service.name", "service.version", "deployment.environment.name"]


class Memory:
    def __init__(self):
        self.raw: list[bytes] = []

    def write(self, line):
        self.raw.append(line)

    @property
    def lines(self):
        for line in self.raw:
            assert line.endswith(b"\n")
            assert line.count(b"\n") == 1
        return [json.loads(line) for line in self.raw]

    @property
    def last(self):
        return self.lines[-1]


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def lines(memory):
    return Lines(memory, Redactor(), RESOURCE)


@pytest.fixture
def structured(lines):
    undo = configure_structlog(lines, logging.INFO)
    yield lines
    undo()


@pytest.fixture
def stdlib(lines):
    """A stdlib logger whose records reach the handler and no other."""
    logger = logging.Logger("shop.stdlib", logging.DEBUG)  # noqa: LOG001  (it has no parent)
    logger.addHandler(LineHandler(lines))
    return logger


class Spans:
    name = "traces"

    def __init__(self):
        self._tracer = TracerProvider().get_tracer("test")

    def start(self, op):
        op.span = self._tracer.start_span(op.name)
        op.context = trace.set_span_in_context(op.span, op.context)
        ids = op.span.get_span_context()
        op.trace_id, op.span_id = f"{ids.trace_id:032x}", f"{ids.span_id:016x}"
        op.sampled, op.trace_flags = True, "01"

    def finish(self, op):
        op.span.end()


@pytest.fixture
def op():
    op = Operation(Pipeline([Spans()]), semconv.EVENT_HTTP_SERVER, "GET /", SpanKind.SERVER, fields={})
    token = otel_context.attach(op.context)
    yield op
    otel_context.detach(token)


def test_the_order_of_a_line(structured, memory, op):
    get_logger("shop").info("order placed", order_id=17, tier="gold")
    assert list(memory.last) == [*PREFIX, *IDS, *SERVICE, "order_id", "tier"]
    assert memory.last | {"timestamp": 0} == {
        "timestamp": 0,
        "level": "info",
        "message": "order placed",
        "logger": "shop",
        "trace_id": op.trace_id,
        "span_id": op.span_id,
        "trace_flags": "01",
        "service.name": "orders",
        "service.version": "1.2",
        "deployment.environment.name": "test",
        "order_id": 17,
        "tier": "gold",
    }


def test_stdlib_and_structlog_write_the_same_line(structured, stdlib, memory, op):
    structlog.get_logger("shop.stdlib").warning("order %s placed", 17, tier="gold")
    stdlib.warning("order %s placed", 17, extra={"tier": "gold"})
    ours, theirs = memory.lines
    assert ours.pop("timestamp") <= theirs.pop("timestamp")
    assert ours == theirs
    assert list(ours) == list(theirs)


def test_outside_of_a_trace_there_are_no_ids(stdlib, memory):
    stdlib.info("x")
    assert list(memory.last) == [*PREFIX, *SERVICE]


def test_what_is_not_known_of_the_service_is_left_out(memory):
    lines = Lines(memory, Redactor(), {"service.name": "a", "service.version": ""})
    lines.log(0, "info", "x", "m", {})
    assert list(memory.last) == [*PREFIX, "service.name"]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_700_000_000_000_001_999, "2023-11-14T22:13:20.000001Z"),
        (1_700_000_000_999_999_999, "2023-11-14T22:13:20.999999Z"),
        (1_700_000_001_000_000_000, "2023-11-14T22:13:21.000000Z"),
    ],
)
def test_timestamps(lines, ns, text):
    lines.timestamp(1_699_999_999_000_000_000)
    assert lines.timestamp(ns) == text


def test_the_current_span_is_authoritative_within_an_operation(stdlib, memory, op):
    inner = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(0)))
    with trace.use_span(inner):
        stdlib.info("x")
    assert [memory.last[name] for name in IDS] == [f"{0xABC:032x}", f"{0xDEF:016x}", "00"]
    stdlib.info("x")
    assert memory.last["span_id"] == op.span_id


def test_an_unsampled_operation_and_one_without_a_trace(stdlib, memory, op):
    op.sampled, op.trace_flags = False, "00"
    stdlib.info("x")
    assert memory.last["trace_flags"] == "00"
    op.trace_id = ""
    stdlib.info("x")
    assert "trace_id" not in memory.last


def test_an_invalid_span_gives_no_ids(stdlib, memory):
    with trace.use_span(NonRecordingSpan(SpanContext(0, 0, is_remote=False))):
        stdlib.info("x")
    assert "trace_id" not in memory.last


# -- fields -------------------------------------------------------------------------------------------------------


def test_reserved_names_are_prefixed_and_reported_once(structured, memory, caplog):
    fields = dict.fromkeys(sorted(LINE_FIELDS), "evil")
    log = get_logger("shop")
    log.info("real", **fields)
    log.info("real", **fields)
    for line in memory.lines:
        assert line["message"] == "real"
        assert line["service.name"] == "orders"
        assert {name: line["fields." + name] for name in LINE_FIELDS} == fields
        assert not {"trace_id", "exception.type", "truncated", "event.name"} & set(line)
    reports = [record for record in caplog.records if record.name == "obskit"]
    assert len(reports) == len(LINE_FIELDS)
    assert "'level'" in "".join(record.getMessage() for record in reports)


def test_extra_takes_any_key_and_reserved_ones_are_prefixed(stdlib, memory):
    stdlib.info("real", extra={"level": "evil", 7: "seven", "color_message": "hidden"})
    assert memory.last["level"] == "info"
    assert memory.last["fields.level"] == "evil"
    assert memory.last["7"] == "seven"
    assert "color_message" not in memory.last


def test_secrets_are_redacted_by_name_and_by_text(structured, stdlib, memory):
    get_logger().info(
        "to postgres://me:hunter2@db/x", password="hunter2", dsn="amqp://me:hunter2@mq", n={"token": "hunter2"}
    )
    stdlib.error("to %s", "postgres://me:hunter2@db/x", extra={"password": 2})
    assert b"hunter2" not in b"".join(memory.raw)
    assert memory.lines[0]["password"] == "[REDACTED]"
    assert memory.lines[1]["password"] == "[REDACTED]"


def test_values_that_json_cannot_hold(structured, memory):
    get_logger().info("m\ud800", nan=float("nan"), big=10**30, raw=b"\xff", circle={"a": object}, long="x" * 200_000)
    line = memory.last
    assert line["message"] == "m\\ud800"
    assert line["nan"] == "NaN"
    assert line["big"] == str(10**30)
    assert line["raw"] == "\\xff"
    assert line["circle"] == {"a": "<class 'object'>"}
    assert line["truncated"] is True
    assert len(memory.raw[-1]) <= 65_536


def test_a_long_message_is_cut(stdlib, memory):
    stdlib.info("x" * 1_000_000)
    assert memory.last["truncated"] is True
    assert memory.last["message"].startswith("xxx")


# -- exceptions ---------------------------------------------------------------------------------------------------


def failing():
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("no postgres://me:hunter2@db/x") from error


@pytest.mark.parametrize(
    "call",
    [
        lambda log, _error: log.exception("failed"),  # noqa: LOG004  (called in a handler)
        lambda log, _error: log.error("failed", exc_info=True),  # noqa: LOG014  (called in a handler)
        lambda log, error: log.error("failed", exc_info=error),
        lambda log, error: log.error("failed", exc_info=(type(error), error, error.__traceback__)),
    ],
    ids=["exception", "True", "instance", "tuple"],
)
@pytest.mark.parametrize("kind", ["structlog", "stdlib"])
def test_exceptions(structured, stdlib, memory, call, kind):
    try:
        failing()
    except ValueError as error:
        call(get_logger("s") if kind == "structlog" else stdlib, error)
    line = memory.last
    assert line["level"] == "error"
    assert line["exception.type"] == "ValueError"
    assert line["exception.message"].startswith("no postgres://")
    assert "KeyError: 'inner'" in line["exception.stacktrace"]
    assert "in failing" in line["exception.stacktrace"]
    assert b"hunter2" not in memory.raw[-1]
    assert not {"exc_info", "exc_text"} & set(line)


def test_exc_info_where_there_is_no_exception(structured, stdlib, memory):
    get_logger().info("x", exc_info=True)
    stdlib.info("x", exc_info=True)
    assert all("exception.type" not in line for line in memory.lines)


def test_exception_groups(stdlib, memory):
    error = ExceptionGroup("both", [ValueError("one"), KeyError("two")])
    stdlib.error("failed", exc_info=error)
    assert memory.last["exception.type"] == "ExceptionGroup"
    assert "ValueError: one" in memory.last["exception.stacktrace"]
    assert "KeyError: 'two'" in memory.last["exception.stacktrace"]


def test_an_endless_recursion_has_a_bounded_stack_trace(stdlib, memory):
    def down(n):
        return up(n + 1)

    def up(n):
        return down(n + 1)

    try:
        down(0)
    except RecursionError as error:
        stdlib.error("failed", exc_info=error)
    assert len(memory.last["exception.stacktrace"]) < 20_000


def test_an_exception_that_cannot_be_printed(stdlib, memory):
    class BadError(Exception):
        def __str__(self):
            raise RuntimeError("no")

    stdlib.error("failed", exc_info=BadError())
    assert memory.last["exception.type"].endswith("BadError")


@pytest.mark.parametrize("kind", ["structlog", "stdlib"])
def test_the_stack_of_the_call(structured, stdlib, memory, kind):
    (get_logger() if kind == "structlog" else stdlib).info("x", stack_info=True)
    assert "test_the_stack_of_the_call" in memory.last["code.stacktrace"]
    assert "test_pipeline.py" in memory.last["code.stacktrace"].splitlines()[-2], "the innermost frame is the caller's"
    assert "stack_info" not in memory.last


# -- structlog ----------------------------------------------------------------------------------------------------


def test_levels_of_structlog(structured, memory):
    log = get_logger()
    for method in ("debug", "info", "msg", "warning", "warn", "error", "exception", "critical", "fatal"):
        getattr(log, method)("x")
    log.log(logging.ERROR, "x")
    log.log(logging.DEBUG, "x")
    assert [line["level"] for line in memory.lines] == [
        "info", "info", "warning", "warning", "error", "error", "critical", "critical", "error",
    ]  # fmt: skip
    assert not log.is_enabled_for(logging.DEBUG)


def test_another_wrapper_class_writes_the_same_line(structured, memory):
    log = structlog.get_logger("shop", a=1).bind()
    stdlib_like = structlog.wrap_logger(_Sink("shop"), wrapper_class=structlog.stdlib.BoundLogger)
    log.warning("x %s", 1)
    stdlib_like.warn("x 1", a=1)
    stdlib_like.fatal("x 1", a=1)
    assert [line["level"] for line in memory.lines] == ["warning", "warning", "critical"]
    assert memory.lines[0]["message"] == memory.lines[1]["message"] == "x 1"


async def test_async_methods(structured, memory, op):
    log = get_logger("shop")
    await log.ainfo("x", a=1)
    await log.adebug("x")
    try:
        failing()
    except ValueError:
        await log.aexception("failed")
    assert [line["message"] for line in memory.lines] == ["x", "failed"]
    assert memory.lines[0]["trace_id"] == op.trace_id
    assert memory.last["exception.type"] == "ValueError"


@pytest.mark.parametrize(
    ("message", "args", "expected"),
    [
        ("x %s %d", ("a", 1), "x a 1"),
        ("x %(a)s", ({"a": 1},), "x 1"),
        ("x %s", ({},), "x {}"),
        ("100%", ("a",), "100% ('a',)"),
        ("x %d", ("a",), "x %d ('a',)"),
        ("100%", (), "100%"),
        (None, (), "None"),
        ({"a": 1}, (), "{'a': 1}"),
    ],
)
def test_messages_and_their_arguments_in_structlog(structured, memory, message, args, expected):
    get_logger().info(message, *args)
    assert memory.last["message"] == (expected if message is not None else "")


def test_bad_arguments_in_stdlib(stdlib, memory):
    stdlib.info("100%", "a")
    stdlib.info("x %d", "a")
    stdlib.info("x %(a)s", {"a": 1})
    stdlib.info(ValueError("v"))
    assert [line["message"] for line in memory.lines] == ["100% ('a',)", "x %d ('a',)", "x 1", "v"]


def test_any_keyword_is_a_field(structured, memory):
    get_logger().info("real", **{"self": 1, "event": 2, "name": 3, "method_name": 4, "args": 5, "fields": 6, "": 7})
    assert memory.last["message"] == "real"
    assert {"self": 1, "name": 3, "method_name": 4, "args": 5, "fields": 6, "": 7}.items() <= memory.last.items()


def test_bound_and_context_fields(structured, memory):
    with structlog.contextvars.bound_contextvars(tenant="t1", level="evil"):
        get_logger("shop").bind(a=1).info("x", b=2)
    assert {"tenant": "t1", "a": 1, "b": 2, "level": "info", "fields.level": "evil"}.items() <= memory.last.items()


def test_names_of_loggers(structured, memory):
    get_logger().info("x")
    get_logger("shop").info("x")
    structlog.get_logger().info("x")
    structlog.get_logger("shop").info("x")
    assert [line["logger"] for line in memory.lines] == [__name__, "shop", "root", "shop"]


@pytest.mark.parametrize("result", ["text", b"bytes", {"a": 1}, (("b",), {"c": 2})])
def test_what_other_processors_leave_goes_to_the_wrapped_logger(structured, result):
    wrapped = structlog.testing.CapturingLogger()
    structlog.wrap_logger(wrapped, processors=[lambda *_args: result]).info("x")
    args, kwargs = (
        result if isinstance(result, tuple) else ((), result) if isinstance(result, dict) else ((result,), {})
    )
    assert wrapped.calls == [("info", args, kwargs)]


def test_messages_that_hold_a_secret_are_redacted_each_time(structured, memory):
    for _ in range(2):
        get_logger().info("password=hunter2")
        get_logger().info("harmless")
    assert [line["message"] for line in memory.lines] == ["password=[REDACTED]", "harmless"] * 2


def test_many_different_messages(structured, memory):
    for number in range(1_500):
        get_logger().info(f"message {number}")
    assert memory.last["message"] == "message 1499"


def test_a_processor_that_drops_the_event(structured, memory):
    def drop(*_args):
        raise structlog.DropEvent

    structlog.wrap_logger(None, processors=[drop]).info("x")
    assert memory.raw == []


def test_capture_logs_of_structlog_works(structured, memory):
    log = get_logger("shop")
    log.info("before")
    with structlog.testing.capture_logs() as captured:
        log.info("x", a=1)
    log.info("after")
    assert captured == [{"event": "x", "a": 1, "log_level": "info"}]
    assert [line["message"] for line in memory.lines] == ["before", "after"]


def test_a_fault_of_the_pipeline_is_contained(structured, stdlib, memory, contained_errors, monkeypatch):
    structured.render = lambda _line: 1 / 0
    get_logger().info("x")
    stdlib.info("x")
    assert [component for component, _ in contained_errors] == ["logs", "logs"]
    assert all(isinstance(error, ZeroDivisionError) for _, error in contained_errors)
    contained_errors.clear()
    assert memory.raw == []


def test_a_fault_does_not_recurse_through_the_handler_that_reports_it(lines, memory, contained_errors):
    handler = LineHandler(lines)
    logging.getLogger("obskit").addHandler(handler)
    try:
        lines.render = lambda _line: 1 / 0
        logging.getLogger("obskit").info("x")  # its fault is logged by the same logger, once
        logging.getLogger("obskit").warning("x")
    finally:
        logging.getLogger("obskit").removeHandler(handler)
    assert 2 <= len(contained_errors) <= 3
    contained_errors.clear()


# -- configuring and undoing --------------------------------------------------------------------------------------


def test_structlog_is_as_it_was_afterwards(lines):
    before = structlog.get_config()
    assert not structlog.is_configured()
    undo = configure_structlog(lines, logging.INFO)
    assert structlog.is_configured()
    assert not structlog_is_the_teams()
    undo()
    assert structlog.get_config() == before
    assert not structlog.is_configured()


def test_loggers_that_were_used_before_follow_close_and_the_next_init(lines, memory, capsys):
    cached, bound = get_logger("shop"), []
    undo = configure_structlog(lines, logging.WARNING)
    cached.warning("first")
    cached.debug("filtered")
    bound.append(get_logger("shop").bind(a=1))
    undo()
    cached.debug("to the console")
    bound[0].info("to the console, too")
    assert [line["message"] for line in memory.lines] == ["first"]
    out = capsys.readouterr().out
    assert "to the console" in out
    assert "to the console, too" in out
    other = Memory()
    undo = configure_structlog(Lines(other, Redactor(), {}), logging.DEBUG)
    cached.debug("second")
    bound[0].debug("second")
    undo()
    assert [line["message"] for line in other.lines] == ["second", "second"]
    assert len(memory.raw) == 1


def test_what_someone_configured_since_stays(lines):
    undo = configure_structlog(lines, logging.INFO)
    theirs = [structlog.processors.JSONRenderer()]
    structlog.configure(processors=theirs)
    assert structlog_is_the_teams()
    undo()
    try:
        assert structlog.get_config()["processors"] is theirs
        assert isinstance(structlog.get_config()["logger_factory"], structlog.PrintLoggerFactory)
    finally:
        structlog.reset_defaults()


def test_a_logger_of_the_teams_configuration(lines):
    structlog.configure(logger_factory=structlog.testing.CapturingLogger, processors=[lambda *args: args[2]])
    try:
        get_logger().info("no argument is forced on their factory")
    finally:
        structlog.reset_defaults()


# -- stdlib -------------------------------------------------------------------------------------------------------


def test_levels_of_stdlib(stdlib, memory):
    logging.addLevelName(5, "TRACE")
    for number in (10, 20, 30, 40, 50, 33):
        stdlib.log(number, "x")
    logging.addLevelName(33, "Notice")
    stdlib.log(33, "x")
    assert [line["level"] for line in memory.lines] == [
        "debug", "info", "warning", "error", "critical", "level 33", "notice",
    ]  # fmt: skip


def test_a_handlers_own_filters_count(lines, memory):
    handler = LineHandler(lines)
    handler.addFilter(lambda record: record.levelno > 20)
    assert not handler.handle(logging.makeLogRecord({"levelno": 20}))
    assert handler.handle(logging.makeLogRecord({"levelno": 40, "levelname": "ERROR"}))
    assert len(memory.raw) == 1


def test_attributes_of_a_factory_of_the_teams_are_fields(stdlib, memory):
    before = logging.getLogRecordFactory()

    def factory(*args, **kwargs):
        record = before(*args, **kwargs)
        record.tenant = "t1"
        return record

    logging.setLogRecordFactory(factory)
    try:
        stdlib.info("x")
    finally:
        logging.setLogRecordFactory(before)
    assert memory.last["tenant"] == "t1"


def test_what_other_handlers_leave_on_a_record_is_no_field(stdlib, memory):
    formatting = logging.StreamHandler(open("/dev/null", "w"))  # noqa: PTH123, SIM115
    formatting.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    stdlib.handlers.insert(0, formatting)
    stdlib.info("x", extra={"a": 1})
    formatting.stream.close()
    assert list(memory.last) == [*PREFIX, *SERVICE, "a"]


ACCESS = ("10.0.0.1:5000", "GET", "/a?token=hunter2", "1.1", 200)


def access(args=ACCESS, name="uvicorn.access"):
    return logging.LogRecord(name, 20, "", 0, '%s - "%s %s HTTP/%s" %d', args, None)


def test_access_lines_become_facts(lines, memory):
    LineHandler(lines).handle(access())
    line = memory.last
    assert line["message"] == "GET /a 200"
    assert {name: line[name] for name in list(line)[7:]} == {
        "client.address": "10.0.0.1",
        "http.request.method": "GET",
        "url.path": "/a",
        "network.protocol.version": "1.1",
        "http.response.status_code": 200,
    }
    assert b"hunter2" not in memory.raw[-1]


def test_access_lines_of_another_shape_are_ordinary_lines(lines, memory):
    LineHandler(lines).handle(logging.LogRecord("gunicorn.access", 20, "", 0, "hello %s", ("x",), None))
    LineHandler(lines).handle(logging.LogRecord("uvicorn.access", 20, "", 0, "hello", None, None))
    assert [line["message"] for line in memory.lines] == ["hello x", "hello"]


def test_access_lines_give_way(lines, memory):
    handler = LineHandler(lines)
    handler.access_gives_way = True
    handler.handle(access())
    assert memory.raw == []


def test_the_servers_report_of_a_carried_exception_gives_way(lines, memory):
    handler = LineHandler(lines)
    carried, other = ValueError("a"), ValueError("b")
    mark_carried(carried)
    for error in (carried, other):
        handler.handle(
            logging.LogRecord(
                "uvicorn.error", 40, "", 0, "Exception in ASGI application\n", None, (ValueError, error, None)
            )
        )
    handler.handle(logging.LogRecord("shop", 40, "", 0, "mine", None, (ValueError, carried, None)))
    assert [line["exception.message"] for line in memory.lines] == ["b", "a"]


def test_an_exception_can_be_marked_whatever_its_class():
    class SlottedError(Exception):
        __slots__ = ("a",)

        def __setattr__(self, name, value):
            raise TypeError

    mark_carried(SlottedError())


# -- whatever comes -----------------------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=())) | st.sampled_from(sorted(LINE_FIELDS))
texts = st.text(st.characters(exclude_categories=())) | st.sampled_from(["\x1b[31m", "a\nb", "\r\n", "\u2028", "\x00"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
SPECIAL = {"event", "exc_info", "stack_info"}


def check(memory, fields, message):
    assert len(memory.lines) == 1
    line = memory.last
    assert list(line)[: len(PREFIX) + len(SERVICE)] == [*PREFIX, *SERVICE]
    assert line["level"] == "info"
    assert line["logger"] == "shop"
    assert line["service.name"] == "orders"
    assert line["message"] == message.encode("utf-8", "backslashreplace").decode()
    for name in fields:
        kept = "fields." + name if name in LINE_FIELDS else name
        assert kept.encode("utf-8", "backslashreplace").decode() in line
    memory.raw.clear()


@settings(deadline=None)
@given(texts, st.dictionaries(names, values, max_size=5))
def test_any_structlog_call_is_one_line(message, fields):
    fields = {name: value for name, value in fields.items() if name not in SPECIAL}
    memory = Memory()
    undo = configure_structlog(Lines(memory, Plain(), RESOURCE), logging.INFO)
    try:
        structlog.get_logger("shop").info(message, **fields)
    finally:
        undo()
    check(memory, fields, message)


@settings(deadline=None)
@given(texts, st.dictionaries(names, values, max_size=5))
def test_any_stdlib_call_is_one_line(message, fields):
    taken = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}
    fields = {name: value for name, value in fields.items() if name not in taken}
    memory = Memory()
    logger = logging.Logger("shop")  # noqa: LOG001  (it has no parent)
    logger.addHandler(LineHandler(Lines(memory, Plain(), RESOURCE)))
    logger.info(message, extra=fields)
    check(memory, fields, message)


class Plain:
    def __call__(self, name, value):
        return value

    def text(self, text):
        return text


def test_lines_of_many_threads_stay_apart(structured, memory):
    log = get_logger("shop")

    async def many():
        await asyncio.gather(
            *(asyncio.to_thread(lambda n=n: [log.info("x", n=n, i=i) for i in range(50)]) for n in range(4))
        )

    asyncio.run(many())
    assert sorted((line["n"], line["i"]) for line in memory.lines) == [(n, i) for n in range(4) for i in range(50)]
