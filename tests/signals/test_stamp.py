"""Trace ids in a pipeline that is the team's own."""

import copy
import io
import json
import logging
import pickle

import pytest
import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from obskit import semconv
from obskit._pipeline import Pipeline
from obskit.operation import Operation
from obskit.signals import _stamp
from obskit.signals._stamp import emit_to_team, stamp_records, stamp_structlog
from obskit.signals.logs import Logs

IDS = ("trace_id", "span_id", "trace_flags")


class Spans:
    name = "traces"

    def start(self, op):
        op.span = TracerProvider().get_tracer("test").start_span(op.name)
        op.context = trace.set_span_in_context(op.span, op.context)
        ids = op.span.get_span_context()
        op.trace_id, op.span_id, op.sampled = f"{ids.trace_id:032x}", f"{ids.span_id:016x}", True
        op.trace_flags = "01"

    def finish(self, op):
        pass


def started(*signals, event=semconv.EVENT_OPERATION, **fields):
    return Operation(Pipeline([Spans(), *signals]), event, "job", SpanKind.INTERNAL, fields=fields)


@pytest.fixture
def op():
    op = started()
    token = otel_context.attach(op.context)
    yield op
    otel_context.detach(token)


@pytest.fixture
def stamped():
    undo = stamp_records("orders")
    yield undo
    undo()


@pytest.fixture
def team():
    """A stdlib pipeline as teams have it: a formatter that names the ids."""
    logger, stream = logging.getLogger("obskit.request"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(trace_id)s %(span_id)s %(trace_flags)s %(service.name)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def structured():
    """A structlog as teams configure it."""
    out = []
    processors = [structlog.processors.add_log_level, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        logger_factory=lambda *_args: structlog.testing.CapturingLogger(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    processors.insert(1, lambda _logger, _name, event: out.append(event) or event)
    yield out
    structlog.reset_defaults()


def test_records_carry_the_ids(stamped, op, team):
    logging.getLogger("obskit.request").info("x %d", 1)
    assert team.getvalue() == f"x 1 {op.trace_id} {op.span_id} 01 orders\n"


def test_filters_see_the_ids_before_the_message_is_made(stamped, op, caplog):
    seen = []
    logger = logging.Logger("shop")  # noqa: LOG001  (it has no parent)
    logger.addFilter(lambda record: seen.append((record.trace_id, getattr(record, "other", None))) or True)
    logger.info("x")
    assert seen == [(op.trace_id, None)]


def test_what_the_caller_gives_stands(stamped, op, caplog):
    logging.getLogger("shop").warning("x", extra={"trace_id": "mine"})
    record = caplog.records[0]
    assert record.getMessage() == "x"
    assert record.trace_id == "mine"
    assert record.span_id == op.span_id


def test_outside_of_a_trace_only_the_service(stamped, caplog):
    logging.getLogger("shop").warning("x")
    record = caplog.records[0]
    assert record.getMessage() == "x"
    assert record.__dict__["service.name"] == "orders"
    assert not hasattr(record, "trace_id")


def test_without_a_service_name_only_the_ids(op, caplog):
    undo = stamp_records("")
    logging.getLogger("shop").warning("x")
    undo()
    assert caplog.records[0].getMessage() == "x"
    assert "service.name" not in caplog.records[0].__dict__


def test_records_can_be_copied_and_pickled(stamped, op):
    record = logging.getLogger("shop").makeRecord("shop", 20, "f", 1, "x", (), None)
    for each in (copy.copy(record), copy.deepcopy(record), pickle.loads(pickle.dumps(record))):  # noqa: S301  (our own)
        assert each.trace_id == op.trace_id
        assert each.getMessage() == "x"


def test_a_factory_of_the_teams_is_kept_and_stamped(op, caplog):
    class Theirs(logging.LogRecord):
        pass

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Theirs)
    try:
        undo = stamp_records("orders")
        logging.getLogger("shop").warning("x")
        undo()
        assert logging.getLogRecordFactory() is Theirs
    finally:
        logging.setLogRecordFactory(before)
    assert isinstance(caplog.records[0], Theirs)
    assert caplog.records[0].trace_id == op.trace_id


def test_a_factory_that_wrapped_ours_since_stays(caplog):
    before = logging.getLogRecordFactory()
    undo = stamp_records("orders")
    ours = logging.getLogRecordFactory()

    def wrapper(*args, **kwargs):
        return ours(*args, **kwargs)

    logging.setLogRecordFactory(wrapper)
    undo()
    try:
        assert logging.getLogRecordFactory() is wrapper
    finally:
        logging.setLogRecordFactory(before)


@pytest.mark.parametrize("kind", [list, tuple])
def test_structlog_events_carry_the_ids(structured, op, kind):
    seen = []
    last = lambda _logger, _name, event: seen.append(dict(event)) or "rendered"  # noqa: E731
    theirs = kind([structlog.processors.add_log_level, last])
    structlog.configure(processors=theirs)
    bound = structlog.get_logger().bind(a=1)
    undo = stamp_structlog("orders")
    structlog.get_logger().info("x", span_id="mine")
    assert seen[0]["trace_id"] == op.trace_id
    assert seen[0]["span_id"] == "mine"
    assert seen[0]["service.name"] == "orders"
    bound.info("x")
    assert ("trace_id" in seen[1]) is (kind is list), "a list is held by the loggers that are bound already"
    undo()
    undo()
    assert structlog.get_config()["processors"] is theirs
    assert theirs == kind([structlog.processors.add_log_level, last])


def test_structlog_is_stamped_once(structured):
    stamp_structlog("orders")
    count = len(structlog.get_config()["processors"])
    stamp_structlog("orders")()
    assert len(structlog.get_config()["processors"]) == count


def test_a_fault_of_the_stamp_is_contained(structured, op, monkeypatch, contained_errors):
    stamp_structlog("orders")
    monkeypatch.setattr(_stamp, "trace_fields", lambda: 1 / 0)
    structlog.get_logger().info("x")
    assert [component for component, _ in contained_errors] == ["logs"]
    contained_errors.clear()
    assert structured[0]["event"] == "x"


# -- the canonical line -------------------------------------------------------------------------------------------


def test_the_canonical_line_goes_through_stdlib(stamped, team, caplog):
    op = started(Logs(emit_to_team), **{"user.tier": "gold", "name": "mine", "message": "mine"})
    op.finish()
    assert team.getvalue() == f"job ok {op.trace_id} {op.span_id} 01 orders\n"
    record = caplog.records[0].__dict__
    assert record["name"] == "obskit.request"
    assert record["user.tier"] == "gold"
    assert record["fields.name"] == record["fields.message"] == "mine"
    assert record["event.name"] == "operation"
    assert record["duration_ms"] == op.duration_ms
    assert record["levelname"] == "INFO"


def test_a_failed_one_carries_its_exception(stamped, team, caplog):
    error = ValueError("no")
    started(Logs(emit_to_team)).finish(exception=error)
    record = caplog.records[0]
    assert record.levelname == "ERROR"
    assert record.exc_info[1] is error
    assert "ValueError: no" in team.getvalue()


def test_the_teams_level_holds(stamped, team):
    logging.getLogger("obskit.request").setLevel(logging.ERROR)
    started(Logs(emit_to_team)).finish()
    assert team.getvalue() == ""


def test_the_canonical_line_goes_through_the_teams_structlog(structured):
    stamp_structlog("orders")
    op = started(Logs(emit_to_team), **{"user.tier": "gold"})
    op.annotate(event="mine")
    op.finish()
    [event] = structured
    assert event["event"] == "job ok"
    assert event["fields.event"] == "mine"
    assert event["user.tier"] == "gold"
    assert event["level"] == "info"
    assert event["trace_id"] == op.trace_id


def test_a_failed_one_through_structlog(structured):
    error = ValueError("no")
    started(Logs(emit_to_team)).finish(exception=error)
    assert structured[0]["exc_info"] is error
    assert structured[0]["level"] == "error"
    json.dumps(structured[0], default=str)
