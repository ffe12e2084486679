"""The encoders against the official one, for every span that it can encode, and beyond it."""

import enum
import math
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState
from otlp_json import parse_json

from obskit.export import _encode_protobuf, _values_protobuf
from obskit.export._encode_json import encode_json
from obskit.export._encode_protobuf import encode_protobuf

UINT32 = st.integers(0, 2**32 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text("aé", min_size=100, max_size=20000)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([0, 1, -1, 127, 128, 2**63 - 1, -(2**63)])
    | st.floats().map(lambda number: math.nan if math.isnan(number) else number)  # JSON has one NaN only
    | st.sampled_from([0.0, -0.0, 1.0])
    | TEXT
    | st.binary(max_size=200)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
ATTRIBUTES = st.dictionaries(st.sampled_from(["k", "http.route", "é" * 70]) | TEXT, VALUES, max_size=5)


@st.composite
def bounded(draw):
    attributes = draw(ATTRIBUTES)
    kept = BoundedAttributes(draw(st.none() | st.integers(0, 3)), attributes, immutable=True)
    return draw(st.sampled_from([kept, attributes]))


@st.composite
def bounded_list(draw, items):
    values = draw(st.lists(items, max_size=3))
    return draw(st.sampled_from([BoundedList.from_seq(2, values), values, ()]))


TRACE_STATES = st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.just("v1:x"), max_size=3).map(
    lambda pairs: TraceState(list(pairs.items()))
)
CONTEXTS = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3)]),
    st.none() | TRACE_STATES,
)
TIMES = st.integers(0, 2**64 - 1)
EVENTS = st.builds(Event, TEXT, bounded(), st.integers(1, 2**63))
LINKS = st.builds(Link, CONTEXTS, bounded())
STATUSES = st.just(Status(StatusCode.UNSET)) | st.just(Status(StatusCode.OK)) | TEXT.map(
    lambda text: Status(StatusCode.ERROR, text or None)
)  # fmt: skip
RESOURCES = st.sampled_from(
    [
        Resource({"service.name": "orders", "n": 1, "list": ["a", "b"]}, "https://example.org/schema"),
        Resource(
            {"service.name": "orders", "n": 1, "list": ["a", "b"]}, "https://example.org/schema"
        ),  # equal, not same
        Resource({}),
        Resource({"service.name": "é"}),
    ]
)
SCOPES = st.none() | st.sampled_from(
    [
        InstrumentationScope("obskit", "1", "https://example.org/scope", {"a": 1}),
        InstrumentationScope("obskit", "1", "https://example.org/scope", {"a": 1}),
        InstrumentationScope("other"),
        InstrumentationScope(""),
    ]
)
SPANS = st.builds(
    ReadableSpan,
    name=TEXT,
    context=CONTEXTS,
    parent=st.none() | CONTEXTS,
    resource=RESOURCES,
    attributes=st.none() | bounded(),
    events=bounded_list(EVENTS),
    links=bounded_list(LINKS),
    kind=st.sampled_from(SpanKind),
    status=STATUSES,
    start_time=st.none() | TIMES,
    end_time=st.none() | TIMES,
    instrumentation_scope=SCOPES,
)


def from_protobuf(spans):
    encoded = encode_protobuf(spans)
    assert encoded.dropped == 0
    return ExportTraceServiceRequest.FromString(encoded.body)


def from_json(spans):
    encoded = encode_json(spans)
    assert encoded.dropped == 0
    return parse_json(encoded.body)


def comparable(message):
    """NaN differs from itself: compare by the deterministic wire form."""
    return message.SerializeToString(deterministic=True)


THOROUGH = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@THOROUGH
@given(st.lists(SPANS, max_size=5))
def test_protobuf_equals_the_official_encoder(spans):
    assert comparable(from_protobuf(spans)) == comparable(encode_spans(spans))


@THOROUGH
@given(st.lists(SPANS, max_size=5))
def test_json_equals_the_official_encoder(spans):
    assert comparable(from_json(spans)) == comparable(encode_spans(spans))


def test_spans_of_the_sdk_equal_the_official_encoder():
    exporter = InMemorySpanExporter()
    limits = SpanLimits(max_span_attributes=3, max_events=1, max_links=1, max_event_attributes=1)
    provider = TracerProvider(shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("shop", "2")
    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("ot", "th:8")]))
    with tracer.start_as_current_span("root", attributes={"a": 1, "b": True, "c": "x", "d": 1.5}):
        tracer.start_span("child", links=[Link(remote, {"l": 1}), Link(remote)], kind=SpanKind.CLIENT).end()
    from opentelemetry.trace import set_span_in_context

    span = tracer.start_span("remote parent", context=set_span_in_context(NonRecordingSpan(remote)))
    span.record_exception(ValueError("boom"))
    span.add_event("two")
    span.set_status(StatusCode.ERROR, "boom")
    span.end()
    spans = exporter.get_finished_spans()
    assert [span.dropped_attributes for span in spans] == [0, 1, 0]
    assert spans[0].dropped_links == 1
    assert spans[2].dropped_events == 1
    assert from_protobuf(spans) == from_json(spans) == encode_spans(spans)


def span_with(**given):
    given.setdefault("context", SpanContext(1, 2, is_remote=False))
    return ReadableSpan("name", resource=Resource({}), start_time=1, end_time=2, **given)


@pytest.mark.parametrize("read", [from_protobuf, from_json])
def test_values_equal_to_each_other_keep_their_types(read):
    spans = [span_with(attributes={"k": value}) for value in (1, True, 1.0, "1", 0, False, 0.0)] * 2
    assert read(spans) == encode_spans(spans)


@pytest.mark.parametrize("read", [from_protobuf, from_json])
def test_subclasses_of_attribute_types(read):
    class Number(enum.IntEnum):
        ONE = 1

    class Text(enum.StrEnum):
        A = "a"

    class Real(float):
        pass

    spans = [span_with(attributes={"i": Number.ONE, "s": Text.A, "f": Real(1.5), Text.A: [Number.ONE, Text.A]})]
    assert read(spans) == encode_spans(spans)


@pytest.mark.parametrize("read", [from_protobuf, from_json])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0])
def test_floats_that_json_has_not(read, number):
    spans = [span_with(attributes={"f": number})]
    assert comparable(read(spans)) == comparable(encode_spans(spans))


@pytest.mark.parametrize("read", [from_protobuf, from_json])
def test_lone_surrogates_are_replaced(read):
    bad = "a\ud800b"
    span = ReadableSpan(
        bad,
        SpanContext(1, 2, is_remote=False),
        resource=Resource({bad: bad}),
        attributes={bad: bad, "list": [bad], "map": {bad: bad}},
        events=[Event(bad, {bad: bad}, 1)],
        status=Status(StatusCode.ERROR, bad),
        instrumentation_scope=InstrumentationScope(bad),
        start_time=1,
        end_time=2,
    )
    scope = read([span, span_with()]).resource_spans[0].scope_spans[0]
    assert scope.spans[0].name == scope.scope.name == scope.spans[0].status.message == "a?b"
    attributes = {item.key: item.value for item in scope.spans[0].attributes}
    assert attributes["a?b"].string_value == attributes["list"].array_value.values[0].string_value == "a?b"
    assert attributes["map"].kvlist_value.values[0].key == "a?b"


SELF_CONTAINING: list = []
SELF_CONTAINING.append(SELF_CONTAINING)


@pytest.mark.parametrize("encode", [encode_protobuf, encode_json])
@pytest.mark.parametrize("bad", [2**63, -(2**63) - 1, object(), [1, {2}], {"deep": object()}, SELF_CONTAINING])
def test_a_value_that_otlp_has_not_costs_its_attribute_only(contained_errors, encode, bad):
    read = parse_json if encode is encode_json else ExportTraceServiceRequest.FromString
    encoded = encode([span_with(attributes={"before": 1, "bad": bad, "after": 2})])
    (span,) = read(encoded.body).resource_spans[0].scope_spans[0].spans
    assert [item.key for item in span.attributes] == ["before", "after"]
    assert encoded.dropped == 0
    assert [component for component, _ in contained_errors] == ["encode"]
    contained_errors.clear()


@pytest.mark.parametrize("encode", [encode_protobuf, encode_json])
def test_a_key_that_is_no_string_costs_its_attribute_only(contained_errors, encode):
    read = parse_json if encode is encode_json else ExportTraceServiceRequest.FromString
    (span,) = read(encode([span_with(attributes={5: "x", "k": "x"})]).body).resource_spans[0].scope_spans[0].spans
    assert [item.key for item in span.attributes] == ["k"]
    contained_errors.clear()


BAD_SPANS = {
    "no context": ReadableSpan("x", None, resource=Resource({})),
    "trace id too long": span_with(context=SpanContext(2**128, 2, is_remote=False)),
    "negative time": ReadableSpan("x", SpanContext(1, 2, is_remote=False), resource=Resource({}), start_time=-1),
    "time too late": ReadableSpan("x", SpanContext(1, 2, is_remote=False), resource=Resource({}), end_time=2**64),
    "time in seconds": ReadableSpan("x", SpanContext(1, 2, is_remote=False), resource=Resource({}), end_time=1.5),
    "name is no string": ReadableSpan(5, SpanContext(1, 2, is_remote=False), resource=Resource({})),
    "event at no time": span_with(
        events=[SimpleNamespace(name="e", timestamp=None, attributes={}, dropped_attributes=0)]
    ),
    "link to nothing": span_with(links=[Link(None)]),
    "attributes are no mapping": span_with(attributes=7),
}


@pytest.mark.parametrize("encode", [encode_protobuf, encode_json])
@pytest.mark.parametrize("bad", BAD_SPANS.values(), ids=BAD_SPANS.keys())
def test_a_span_that_cannot_be_encoded_is_dropped_alone(contained_errors, encode, bad):
    read = parse_json if encode is encode_json else ExportTraceServiceRequest.FromString
    good = span_with()
    encoded = encode([good, bad, good])
    assert encoded.dropped == 1
    assert read(encoded.body) == encode_spans([good, good])
    assert [component for component, _ in contained_errors] == ["encode"]
    contained_errors.clear()


@pytest.mark.parametrize("read", [from_protobuf, from_json])
def test_a_span_of_another_make_is_read_by_its_public_properties(read):
    real = span_with(
        attributes=BoundedAttributes(1, {"a": 1, "b": 2}),
        events=BoundedList.from_seq(1, [Event("e", {"k": 1}, 5), Event("f", None, 6)]),
        status=Status(StatusCode.ERROR, "x"),
        parent=SpanContext(1, 3, is_remote=True),
    )
    names = (
        "context parent name kind start_time end_time status attributes dropped_attributes "
        "events dropped_events links dropped_links resource instrumentation_scope"
    )
    other = SimpleNamespace(**{name: getattr(real, name) for name in names.split()})
    assert read([other]) == encode_spans([real])


def test_the_caches_stay_bounded():
    context, resource = SpanContext(1, 2, is_remote=False), Resource({})
    for first in range(0, 5000, 500):
        encode_protobuf(
            [
                ReadableSpan(f"n{i}", context, resource=resource, attributes={f"k{i}": "v", "k": f"{i}", "n": i})
                for i in range(first, first + 500)
            ]
        )
    big = "x" * 1000
    encode_protobuf([ReadableSpan(big, context, resource=resource, attributes={big: "v", "big": big})])
    encoder = _values_protobuf
    assert 0 < len(_encode_protobuf._names) <= 1024
    assert 0 < len(encoder._keys) <= 1024
    assert 0 < len(encoder._key_values) <= 256
    assert max(map(len, encoder._key_values.values())) <= 64
    kept = [*_encode_protobuf._names.values(), *encoder._keys.values()]
    kept += [encoded for values in encoder._key_values.values() for encoded in values.values()]
    assert max(map(len, kept)) <= 128


@pytest.mark.parametrize("read", [from_protobuf, from_json])
def test_every_length_of_key_and_value(read):
    """Lengths are varints, and those of one byte have a way of their own: none may fall between."""
    lengths = [*range(300), *range(16370, 16400)]
    attributes = [
        {"k" * (1 + n % 140): "v" * n, "e" * (1 + n): "", "i" * (1 + n): -n, "f" * (1 + n): 0.5} for n in lengths
    ]
    spans = [
        span_with(attributes=each, events=[Event("e" * (1 + n), each, 1)])
        for n, each in zip(lengths, attributes, strict=True)
    ]
    assert read(spans) == encode_spans(spans)


def test_what_is_remembered_is_what_was_encoded():
    spans = [span_with(attributes={"k": value, "other": value}) for value in ("a", "b", "a", 1, 2, 1, *range(200))] * 2
    assert from_protobuf(spans) == encode_spans(spans)
    assert 0 < len(_values_protobuf._key_values["k"]) <= 64


def test_nothing_is_an_empty_request():
    assert encode_protobuf([]) == (b"", 0)
    assert parse_json(encode_json([]).body) == ExportTraceServiceRequest()
