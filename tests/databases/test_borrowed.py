"""What instrumentors start is an operation, whatever they do with it; and no value of a query is shown."""

import asyncio
import contextlib
import gc
import re
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

import obskit
from obskit._pipeline import current_pipeline
from obskit.config import Config
from obskit.instrumentation import _borrowed
from obskit.instrumentation._borrowed import Borrowed
from obskit.instrumentation._query import without_literals
from obskit.testing import capture


@pytest.fixture
def captured():
    with capture(config=Config(attribute_count_limit=8)) as captured:
        yield captured


@pytest.fixture
def tracer(captured):
    return Borrowed(current_pipeline(), "db.client.operation").get_tracer("contrib")


def test_a_message_that_is_processed_has_a_line_of_its_own(captured, tracer):
    sent = {"messaging.system": "rabbitmq", "messaging.destination": "orders", "net.peer.port": 5672}
    with obskit.operation("publisher"), tracer.start_as_current_span("orders send", kind=SpanKind.PRODUCER) as span:
        span.set_attributes(sent)
        headers = {}
        obskit.inject(headers)
    context = obskit.extract(headers)
    with tracer.start_as_current_span("orders receive", context, SpanKind.CONSUMER, attributes=sent):
        obskit.annotate({"order.id": 7})
        tracer.start_span("SELECT", kind=SpanKind.CLIENT, attributes={"db.system": "x", "db.statement": "q"}).end()
    line = captured.line("orders receive ok")
    assert line["event.name"] == "message.process"
    assert (line["messaging.destination.name"], line["server.port"], line["db.client.count"]) == (
        "orders",
        5672,
        1,
    )
    assert line["order.id"] == 7
    assert captured.span("orders receive").parent.span_id == captured.span("orders send").context.span_id
    labels = {"operation_name": "orders receive", "operation_kind": "consumer"}
    assert captured.metric("obskit_operation_duration_seconds_count", **labels) == 1


def test_an_instrumentors_span_is_as_good_as_the_sdks(captured, tracer):
    with obskit.operation("job"):
        span = tracer.start_span("SELECT", kind=SpanKind.CLIENT, attributes={"db.system": "postgresql"})
        assert span.is_recording()
        assert (span.name, span.kind, dict(span.attributes)) == (
            "SELECT",
            SpanKind.CLIENT,
            {"db.system.name": "postgresql"},
        )
        span.update_name("INSERT shop")
        span.add_event("retry", {"attempt": 2})
        span.add_link(span.get_span_context())
        span.set_attribute("nothing", None)
        for number in range(20):
            span.set_attribute(f"more.{number}", number)
        span.end()
        span.set_attribute("late", 1)
        span.end()
        assert not span.is_recording()
    seen = captured.span("INSERT shop")
    assert [event.name for event in seen.events] == ["retry"]
    assert len(seen.links) == 1
    assert seen.attributes["db.operation.name"] == "INSERT"
    assert "late" not in seen.attributes
    assert len([name for name in seen.attributes if name.startswith("more.")]) == 7  # the limit is 8
    assert captured.line("job ok")["db.client.count"] == 1


def test_a_query_that_fails_keeps_nothing_of_its_code_alive(captured, tracer):
    class Payload:
        pass

    seen = []

    def fail():
        payload = Payload()
        seen.append(weakref.ref(payload))
        with tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT) as span:
            assert span.is_recording()
            raise ValueError

    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            fail()
        assert captured.span("SELECT").attributes["error.type"] == "ValueError"
        assert seen[0]() is None
    finally:
        gc.enable()


def test_names_of_before_are_the_stable_ones(captured, tracer):
    before = {
        "db.name": "shop", "db.operation": "SELECT", "db.statement": "SELECT 1", "db.system": "postgresql",
        "net.peer.ip": "127.0.0.1",
    }  # fmt: skip
    of_messages = {
        "messaging.destination": "orders", "messaging.message_id": "m1", "messaging.operation": "receive",
        "net.peer.name": "broker", "net.peer.port": 5672,
    }  # fmt: skip
    with obskit.operation("job"):
        tracer.start_span("SELECT", kind=SpanKind.CLIENT, attributes=before).end()
        tracer.start_span("orders send", kind=SpanKind.PRODUCER, attributes=of_messages).end()
    assert dict(captured.span("SELECT").attributes) == {
        "db.namespace": "shop", "db.operation.name": "SELECT", "db.query.text": "SELECT ?",
        "db.system.name": "postgresql", "network.peer.address": "127.0.0.1", "outcome": "ok",
    }  # fmt: skip
    assert dict(captured.span("orders send").attributes) == {
        "messaging.destination.name": "orders", "messaging.message.id": "m1", "messaging.operation.type": "receive",
        "server.address": "broker", "server.port": 5672, "outcome": "ok",
    }  # fmt: skip


ENDINGS = {
    "nothing": (lambda span: None, "ok", None),
    "a status": (lambda span: span.set_status(Status(StatusCode.ERROR, "broken")), "error", "_OTHER"),
    "a status code": (lambda span: span.set_status(StatusCode.ERROR), "error", "_OTHER"),
    "a status that is well": (lambda span: span.set_status(StatusCode.OK), "ok", None),
    "an error type": (
        lambda span: (span.set_attribute("error.type", "42P01"), span.set_status(StatusCode.ERROR)),
        "error",
        "42P01",
    ),
    "an exception": (lambda span: span.record_exception(KeyError("k")), "error", "KeyError"),
    "a cancellation": (lambda span: span.record_exception(asyncio.CancelledError()), "cancelled", None),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_an_operation_ends_as_its_instrumentor_says(how, captured, tracer):
    tell, outcome, error_type = ENDINGS[how]
    with obskit.operation("job"):
        span = tracer.start_span("SELECT", kind=SpanKind.CLIENT)
        tell(span)
        span.end()
    attributes = captured.span("SELECT").attributes
    assert (attributes["outcome"], attributes.get("error.type")) == (outcome, error_type)
    assert captured.line("job ok")["db.client.errors"] == (outcome == "error")


def test_an_error_that_is_handled_while_a_call_is_made_is_not_the_calls(captured, tracer):
    with obskit.operation("job"):
        try:
            raise KeyError
        except KeyError:
            tracer.start_span("SELECT", kind=SpanKind.CLIENT).end()
    assert captured.span("SELECT").attributes["outcome"] == "ok"


def test_without_a_trace_or_without_obskit_the_current_span_stays(captured, tracer):
    with obskit.operation("job"):
        here = trace.get_current_span().get_span_context()
        captured.obs.close()
        with tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT) as span:
            assert not span.is_recording()
            assert trace.get_current_span().get_span_context() == here


def test_a_disabled_trace_has_spans_without_context():
    with capture(config=Config(enabled=False, request_log="off")):
        tracer = Borrowed(current_pipeline(), "db.client.operation").get_tracer("contrib")
        with obskit.operation("job"):
            span = tracer.start_span("SELECT", kind=SpanKind.CLIENT)
            span.add_event("e")
            span.add_link(span.get_span_context())
            assert not span.get_span_context().is_valid
            span.end()


def test_a_fault_of_obskits_own_reaches_nobody(captured, tracer, contained_errors, monkeypatch):
    monkeypatch.setattr(_borrowed, "Operation", lambda *_args, **_kwargs: 1 / 0)
    assert not tracer.start_span("SELECT").is_recording()
    monkeypatch.undo()
    span = tracer.start_span("SELECT", kind=SpanKind.CLIENT)
    monkeypatch.setattr(span.operation, "event", None)
    monkeypatch.setattr(type(span.operation), "finish", lambda *_args, **_kwargs: 1 / 0)
    span.end()
    assert [component for component, _ in contained_errors] == ["databases", "databases"]
    contained_errors.clear()


# -- the text of a query ------------------------------------------------------------------------------------------

QUERIES = {
    "SELECT * FROM t WHERE name = 'O''Brien' AND n = 42": "SELECT * FROM t WHERE name = ? AND n = ?",
    "SELECT t1.c2 FROM t1 WHERE a=-1.50 LIMIT 10": "SELECT t1.c2 FROM t1 WHERE a=-? LIMIT ?",
    "SELECT $1, :2, %s, ?, @p3": "SELECT $1, :2, %s, ?, @p3",
    'SELECT "Column 7" FROM `t 8`': 'SELECT "Column ?" FROM `t ?`',
    "SELECT 'open": "SELECT ?",
    "DO $$ secret $$; SELECT $tag$ it's $tag$": "DO ?; SELECT ?",
    "GET ?": "GET ?",
    "": "",
}


@pytest.mark.parametrize("query", QUERIES)
def test_values_are_taken_out_of_queries(query):
    assert without_literals(query) == QUERIES[query]


@given(st.text(), st.text(alphabet="'$ab1 \\;\"-\n", max_size=40))
def test_no_string_in_quotes_survives(before, secret):
    before = before.replace("'", "").replace("$", "")
    shown = without_literals(f"{before}'<{secret.replace(chr(39), chr(39) * 2)}>' END")
    assert shown.endswith("? END")
    assert "<" not in shown.removeprefix(re.sub(r"\d", "?", before)) or "<" in before


@pytest.mark.parametrize(
    "text", ["'" * 60_000, "$" * 60_000, "$a$" * 20_000, "1" * 60_000, "'a" * 30_000, "$1" * 30_000]
)
def test_the_longest_text_is_looked_through_once(text):
    assert len(without_literals(text)) <= 16 * 1024
