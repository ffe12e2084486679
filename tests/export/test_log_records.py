"""Log lines as OTLP's log records: what each holds, in both encodings, and that none is lost uncounted."""

import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk.resources import Resource
from otlp_json import parse_json

from obskit import semconv
from obskit.export._encode_logs import logs_json, logs_protobuf
from obskit.export._exporter import ExportResult
from obskit.export._sdk_logs import sdk_records
from obskit.export.log_records import LogQueue, record_of

RESOURCE = Resource({"service.name": "orders"})
TRACED = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", "trace_flags": "01"}


def record(ns=1_700_000_000_123_456_789, *, max_attributes=128, max_length=4096, **fields):
    line = {"level": "info", "message": "hello", "logger": "shop.orders", **fields}
    return record_of((ns, line), RESOURCE, max_attributes, max_length)


def read(encode, records):
    encoded = encode(records)
    assert encoded.dropped == 0
    if encode is logs_json:
        return parse_json(encoded.body, ExportLogsServiceRequest)
    return ExportLogsServiceRequest.FromString(encoded.body)


TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(bool), inner, max_size=3),
    max_leaves=6,
)
LINES = st.fixed_dictionaries(
    {"level": st.sampled_from(["debug", "info", "warning", "error", "critical"]), "message": TEXTS, "logger": TEXTS},
    optional={"event.name": TEXTS.filter(bool), "http.route": TEXTS, "n": VALUES, "nested": VALUES},
)


@pytest.mark.parametrize("encode", [logs_protobuf, logs_json])
@settings(max_examples=60, deadline=None)
@given(lines=st.lists(st.tuples(LINES, st.booleans()), min_size=1, max_size=4))
def test_both_encodings_equal_the_official_encoder(encode, lines):
    records = [
        record_of((1000 + n, {**line, **(TRACED if traced else {})}), RESOURCE, 128, 4096)
        for n, (line, traced) in enumerate(lines)
    ]
    expected = encode_logs(sdk_records(records))
    for of_resource in expected.resource_logs:
        for of_scope in of_resource.scope_logs:
            for each in of_scope.log_records:
                if not each.trace_id.strip(b"\0"):  # which the official encoder writes as zeros: no trace
                    each.ClearField("trace_id")
                    each.ClearField("span_id")
    assert by_scope(read(encode, records)) == by_scope(expected)


def by_scope(message):
    return {
        of_scope.scope.name: (of_resource.resource, list(of_scope.log_records))
        for of_resource in message.resource_logs
        for of_scope in of_resource.scope_logs
    }


@pytest.mark.parametrize(
    ("level", "number"),
    [
        ("trace", 1),
        ("debug", 5),
        ("info", 9),
        ("warning", 13),
        ("error", 17),
        ("critical", 21),
        ("between", 11),
        ("beyond", 24),
        ("nobody's", 0),
        ("", 0),
    ],
)
def test_severity(level, number):
    logging.addLevelName(27, "BETWEEN")
    logging.addLevelName(1000, "BEYOND")
    found = record(level=level)
    assert (found.severity_number, found.severity_text) == (number, level)


def test_what_stands_in_fields_of_its_own_is_no_attribute():
    found = record(
        **TRACED,
        **{
            "timestamp": "2026-01-01T00:00:00.000000Z",
            "service.name": "orders",
            "service.version": "1",
            "deployment.environment.name": "test",
            "event.name": "http.server.request",
            "http.route": "/orders",
        },
    )
    assert found.attributes == {"http.route": "/orders"}
    assert (found.body, found.event_name) == ("hello", "http.server.request")
    assert (found.trace_id, found.span_id, found.trace_flags) == (TRACED["trace_id"], TRACED["span_id"], 1)
    assert found.instrumentation_scope.name == "shop.orders"
    assert found.time_ns == 1_700_000_000_123_456_789


def test_attributes_are_bounded_and_what_is_dropped_is_said():
    found = record(max_attributes=2, max_length=3, a="abcdef", b=5, c="x")
    assert found.attributes == {"a": "abc", "b": 5}
    assert found.dropped_attributes == 1
    assert read(logs_protobuf, [found]).resource_logs[0].scope_logs[0].log_records[0].dropped_attributes_count == 1
    assert read(logs_json, [found]) == read(logs_protobuf, [found])


def test_a_stack_trace_is_kept_whole_and_a_message_is_bounded():
    found = record(max_length=3, message="m" * 100_000, **{semconv.EXCEPTION_STACKTRACE: "s" * 100})
    assert found.attributes == {"exception.stacktrace": "s" * 100}
    assert len(found.body) == 16_384


@pytest.mark.parametrize("encode", [logs_protobuf, logs_json])
def test_a_record_that_cannot_be_encoded_is_dropped_alone(encode, contained_errors):
    encoded = encode([record(**TRACED | {"trace_id": "no hex"}), record()])
    if encode is logs_json:  # which carries ids as they are
        assert encoded.dropped == 0
        return
    assert encoded.dropped == 1
    assert len(ExportLogsServiceRequest.FromString(encoded.body).resource_logs[0].scope_logs[0].log_records) == 1
    assert [component for component, _ in contained_errors] == ["encode"]
    contained_errors.clear()


# -- the queue --------------------------------------------------------------------------------------------------------


class Said:
    """An exporter that logs while it exports, as those of others do."""

    def __init__(self):
        self.records = []
        self.queue = None

    def export(self, records, deadline):
        self.queue.add(1, {"level": "warning", "message": "cannot export", "logger": "exporter"})
        self.records += records
        return ExportResult()

    def close(self):
        pass


def queue_to(exporter, **batching):
    return LogQueue(exporter, RESOURCE, max_attributes=128, max_length=4096, **batching)


def test_what_the_export_itself_says_is_not_exported():
    exporter = Said()
    exporter.queue = queue = queue_to(exporter)
    queue.add(5, {"level": "info", "message": "mine", "logger": "a"})
    assert queue.flush(5.0)
    assert queue.close(5.0)
    assert [(each.time_ns, each.body) for each in exporter.records] == [(5, "mine")]
    assert (queue.tally.produced, queue.tally.exported) == (1, 1)


def test_what_does_not_fit_is_dropped_and_counted():
    arrived, let = threading.Event(), threading.Event()

    class Slow(Said):
        def export(self, records, deadline):
            arrived.set()
            let.wait(10)
            return ExportResult()

    queue = queue_to(Slow(), max_queue_size=3, max_batch_size=1)
    queue.add(1, {"message": "first"})
    assert arrived.wait(5)
    for _ in range(5):
        queue.add(2, {"message": "more"})
    assert queue.tally.dropped["queue_full"] == 2
    let.set()
    assert queue.close(5.0)
    tally = queue.tally
    assert (tally.produced, tally.exported, sum(tally.dropped.values())) == (6, 4, 2)
