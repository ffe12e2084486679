"""Propagation: the specification's own cases, and whatever else a stranger may send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import default_setter

import obskit
import obskit.testing
from obskit._carrier import AnyCaseGetter
from obskit.propagation import (
    BoundedBaggage,
    StrictTraceContext,
    parse_baggage,
    parse_traceparent,
    parse_tracestate,
    propagator,
    remote_span_context,
    traceparent_of,
    with_baggage,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (GOOD, 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-03", 3),
        (f"00-{TRACE}-{SPAN}-ff", 3),  # unknown flags are not passed on
        (f"01-{TRACE}-{SPAN}-01", 1),  # a later version is read as far as it is known
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", 1),
    ],
)
def test_a_valid_traceparent_is_continued(header, flags):
    context = parse_traceparent(header)
    assert (context.trace_id, context.span_id, int(context.trace_flags)) == (int(TRACE, 16), int(SPAN, 16), flags)
    assert context.is_remote


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-011",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"cc-{TRACE}-{SPAN}-01.what",
        f" {GOOD}",
        f"{GOOD}\n",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",  # a digit of another script
        f"{GOOD},{GOOD}",
    ],
)
def test_an_invalid_traceparent_is_no_traceparent(header):
    assert parse_traceparent(header) is None


def test_two_traceparents_are_none():
    assert (
        not trace.get_current_span(obskit.extract([("traceparent", GOOD), ("traceparent", GOOD)]))
        .get_span_context()
        .is_valid
    )


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["foo=1,bar=2"], {"foo": "1", "bar": "2"}),
        (["foo=1", "bar=2"], {"foo": "1", "bar": "2"}),
        (["foo=1 \t , \t bar=2, "], {"foo": "1", "bar": "2"}),
        ([",foo=1,,"], {"foo": "1"}),
        (["foo@bar=1"], {"foo@bar": "1"}),
        ([f"{'z' * 256}=1"], {"z" * 256: "1"}),
        ([f"{'t' * 241}@{'v' * 14}=1"], {f"{'t' * 241}@{'v' * 14}": "1"}),
        ([f"foo={'v' * 256}"], {"foo": "v" * 256}),
        (["foo=1 2"], {"foo": "1 2"}),
        ([",".join(f"k{i}=1" for i in range(32))], {f"k{i}": "1" for i in range(32)}),
    ],
)
def test_a_valid_tracestate_is_kept_in_order(headers, expected):
    state = parse_tracestate(headers)
    assert list(state.items()) == list(expected.items())


@pytest.mark.parametrize(
    "headers",
    [
        ["foo"],
        ["foo=1,foo=2"],
        ["foo=1", "foo=2"],
        ["foo =1"],
        ["FOO=1"],
        ["foo.bar=1"],
        ["foo@=1,bar=2"],
        ["@foo=1,bar=2"],
        ["foo@@bar=1,bar=2"],
        ["foo@bar@baz=1,bar=2"],
        [f"{'z' * 257}=1"],
        [f"{'t' * 242}@v=1"],
        [f"t@{'v' * 15}=1"],
        ["foo=bar=baz"],
        ["foo=,bar=3"],
        [f"foo={'v' * 257}"],
        [",".join(f"k{i}=1" for i in range(33))],
        [f"foo={'v' * 200}," * 50],
        [""],
    ],
)
def test_an_invalid_tracestate_is_no_tracestate(headers):
    assert parse_tracestate(headers) is None


def test_an_invalid_tracestate_does_not_spoil_the_traceparent():
    context = trace.get_current_span(obskit.extract({"traceparent": GOOD, "tracestate": "foo@=1"})).get_span_context()
    assert (context.trace_id, dict(context.trace_state)) == (int(TRACE, 16), {})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["a=1,b=2"], {"a": "1", "b": "2"}),
        (["a=1;prop=x, b = 2 ;p"], {"a": "1", "b": "2"}),
        (["a=%C3%BC%20x"], {"a": "ü x"}),
        (["a=%ff"], {"a": "�"}),
        (["a=", "b=2"], {"a": "", "b": "2"}),
        (["a b=1,(x)=2,=3,c,d=4"], {"d": "4"}),
        (['a="q",b=\\,c=1'], {"c": "1"}),
        ([",".join(f"k{i}=1" for i in range(100))], {f"k{i}": "1" for i in range(64)}),
    ],
)
def test_baggage_keeps_what_is_valid_and_within_the_limits(headers, expected):
    assert parse_baggage(headers) == expected


def test_no_more_baggage_is_read_than_the_specification_allows():
    entries = parse_baggage(["a=" + "x" * 8190 + ",b=1", "c=1"])
    assert entries == {"a": "x" * 8190}


ANY_HEADERS = st.lists(st.text(max_size=300) | st.from_regex(r"[0-9a-f\-]{50,60}"), max_size=4)


@given(ANY_HEADERS, ANY_HEADERS, ANY_HEADERS)
def test_nothing_that_is_sent_raises(traceparent, tracestate, baggage_headers):
    context = with_baggage(baggage_headers, Context())
    remote = remote_span_context(traceparent, tracestate)
    if remote is not None:
        context = trace.set_span_in_context(trace.NonRecordingSpan(remote), context)
    carrier: dict[str, str] = {}
    propagator(("tracecontext", "baggage")).inject(carrier, context)
    assert set(carrier) <= {"traceparent", "tracestate", "baggage"}
    assert all(value.isascii() and "\n" not in value for value in carrier.values())


@given(
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.integers(0, 3),
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_\-*/]{0,10}", fullmatch=True),
        st.from_regex(r"[!-+\--<>-~]{1,9}", fullmatch=True),
        max_size=4,
    ),
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(st.characters(codec="utf-8"), max_size=20), max_size=4
    ),
)
def test_what_is_injected_is_extracted(trace_id, span_id, flags, state, bag):
    span_context = trace.SpanContext(
        trace_id,
        span_id,
        is_remote=False,
        trace_flags=trace.TraceFlags(flags),
        trace_state=trace.TraceState(list(state.items())),
    )
    context = trace.set_span_in_context(trace.NonRecordingSpan(span_context), Context())
    for name, value in bag.items():
        context = baggage.set_baggage(name, value, context)
    carrier: dict[str, str] = {}
    propagator(("tracecontext", "baggage")).inject(carrier, context)
    back = obskit.extract(carrier)
    got = trace.get_current_span(back).get_span_context()
    assert (got.trace_id, got.span_id, int(got.trace_flags)) == (trace_id, span_id, flags)
    assert dict(got.trace_state) == state
    assert dict(baggage.get_all(back)) == bag


def test_baggage_that_does_not_fit_is_left_out():
    context = Context()
    for i in range(70):
        context = baggage.set_baggage(f"k{i}", "v" * 200, context)
    context = baggage.set_baggage("no such name", "x", context)
    carrier: dict[str, str] = {}
    BoundedBaggage().inject(carrier, context)
    assert len(carrier["baggage"]) <= 8192
    assert "no such name" not in carrier["baggage"]
    assert len(parse_baggage([carrier["baggage"]])) == carrier["baggage"].count(",") + 1


@pytest.mark.parametrize(
    "carrier",
    [
        {"traceparent": GOOD},
        {"Traceparent": [GOOD]},
        [("TraceParent", GOOD)],
        [(b"traceparent", GOOD.encode())],
    ],
)
def test_extract_reads_carriers_of_every_shape(carrier):
    context = trace.get_current_span(obskit.extract(carrier)).get_span_context()
    assert context.trace_id == int(TRACE, 16)


def test_extract_of_a_carrier_without_context_starts_a_new_trace():
    assert not trace.get_current_span(obskit.extract({"content-type": "text/plain"})).get_span_context().is_valid


def test_propagators_name_their_headers():
    assert StrictTraceContext().fields == {"traceparent", "tracestate"}
    assert BoundedBaggage().fields == {"baggage"}
    assert propagator(("none",)).fields == set()


def test_without_a_span_nothing_is_injected():
    carrier: dict[str, str] = {}
    StrictTraceContext().inject(carrier, Context(), default_setter)
    assert carrier == {}


def test_traceparent_of_is_what_is_parsed():
    assert traceparent_of(parse_traceparent(GOOD)) == GOOD


@pytest.mark.parametrize("carrier", [{"A": "1"}, [(b"A", "1")]])
def test_a_carrier_of_any_shape_has_names(carrier):
    assert AnyCaseGetter().keys(carrier) == ["A"]


@pytest.mark.parametrize("carrier", [None, {}, [], {"traceparent": None}, {"traceparent": [None]}, 5])
def test_a_carrier_that_is_none_starts_a_new_trace(carrier, contained_errors):
    assert not trace.get_current_span(obskit.extract(carrier)).get_span_context().is_valid
    assert {component for component, _ in contained_errors} <= {"propagation"}
    contained_errors.clear()


def test_a_carrier_that_takes_nothing_does_not_stop_the_sender(contained_errors):
    with obskit.testing.capture(), obskit.operation("send"):
        obskit.inject(None)
    assert [component for component, _ in contained_errors] == ["propagation"]
    contained_errors.clear()
