"""Consistent probability sampling: who agrees with whom, what travels, and what strangers may send."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace._sampling_experimental import (
    composable_traceid_ratio_based,
    composite_sampler,
)
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

import obskit
from obskit import Config
from obskit._probability import (
    ALWAYS,
    NEVER,
    probability_in,
    randomness_of,
    rate_of,
    threshold_in,
    threshold_of,
    vetted,
    with_threshold,
)
from obskit.propagation import remote_span_context
from obskit.signals._samplers import Consistent
from obskit.testing import capture

HALF = 1 << 55
TRACE = 0x4BF92F3577B34DA6A3_CE929D0E0E4736
RANDOMNESS = 0xCE929D0E0E4736


def state(text):
    return TraceState([("vendor", "v"), ("ot", text)])


def context(text, *, sampled=True):
    return SpanContext(TRACE, 7, is_remote=True, trace_flags=TraceFlags(int(sampled)), trace_state=state(text))


@pytest.mark.parametrize(
    ("probability", "threshold", "text", "rate"),
    [
        (1.0, ALWAYS, "th:0", 1.0),
        (0.5, HALF, "th:8", 2.0),
        (0.25, 3 << 54, "th:c", 4.0),
        (0.1, 0xE6666666666668, "th:e6666666666668", 10.0),
        (0.01, 0xFD70A3D70A3D70, "th:fd70a3d70a3d7", 100.0),
        (1e-30, NEVER - 1, "th:ffffffffffffff", float(1 << 56)),
    ],
)
def test_a_probability_is_a_threshold_a_text_and_a_rate(probability, threshold, text, rate):
    assert threshold_of(probability) == threshold
    said = with_threshold(trace.DEFAULT_TRACE_STATE, threshold)
    assert dict(said) == {"ot": text}
    assert (threshold_in(said), rate_of(threshold)) == (threshold, rate)


def test_a_share_of_nothing_reaches_no_threshold():
    assert threshold_of(0.0) == NEVER > (1 << 56) - 1


@pytest.mark.parametrize(
    ("text", "threshold", "randomness"),
    [
        ("th:8", HALF, RANDOMNESS),
        ("th:08", 0x08 << 48, RANDOMNESS),
        ("rv:ff00000000000a", ALWAYS, 0xFF00000000000A),
        ("p:1;th:c;rv:ff00000000000a;x:y", 3 << 54, 0xFF00000000000A),
        ("p:8", ALWAYS, RANDOMNESS),
    ],
)
def test_what_the_tracestate_says_is_read(text, threshold, randomness):
    assert (threshold_in(state(text)), randomness_of(TRACE, state(text))) == (threshold, randomness)
    assert dict(vetted(context(text))) == {"vendor": "v", "ot": text}


MALFORMED = {
    "empty threshold": "th:",
    "threshold of 15 digits": "th:123456789abcdef",
    "upper case": "th:8A",
    "python's digits": "th:0x8",
    "python's separators": "th:1_0",
    "sign": "th:-8",
    "short randomness": "rv:8",
    "long randomness": "rv:123456789abcdef",
    "twice": "th:8;th:c",
    "no value": "th",
    "empty": "th:8;;p:1",
    "name in upper case": "TH:8",
    "space": "th:8; p:1",
    "too long": "x:" + "y" * 256,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_says_nothing_and_goes_no_further(text):
    assert (threshold_in(state(text)), randomness_of(TRACE, state(text))) == (ALWAYS, RANDOMNESS)
    header = f"ot={text},vendor=v"
    remote = remote_span_context([f"00-{TRACE:032x}-00f067aa0ba902b7-01"], [header])
    assert "ot" not in remote.trace_state
    assert dict(vetted(context(text))) == {"vendor": "v"}


@pytest.mark.parametrize(
    ("text", "sampled", "kept"),
    [
        ("th:cf", True, None),  # the trace's randomness is below
        ("th:8", False, None),
        ("th:cf;rv:cf000000000000", True, "th:cf;rv:cf000000000000"),
        ("th:c;rv:10000000000000", True, "rv:10000000000000"),
        ("th:ce", True, "th:ce"),
    ],
)
def test_a_threshold_that_the_flags_contradict_is_dropped(text, sampled, kept):
    told = vetted(context(text, sampled=sampled))
    assert told.get("ot") == kept
    assert told["vendor"] == "v"


@given(
    st.text(st.characters(codec="ascii"), max_size=300) | st.from_regex(r"(th:[0-9a-f]{0,15}|rv:\w{14})(;\w+:\w*){0,3}")
)
def test_whatever_stands_in_it_is_contained(text):
    remote = remote_span_context([f"00-{TRACE:032x}-00f067aa0ba902b7-01"], [f"ot={text}"])
    said = probability_in(remote.trace_state)
    again = with_threshold(remote.trace_state, ALWAYS)
    assert probability_in(again) == said._replace(threshold=ALWAYS)
    assert len(again["ot"]) <= 256


def test_a_state_that_is_full_loses_its_last_member_and_one_too_long_its_last_pair():
    full = TraceState([(f"k{index}", "1") for index in range(32)])
    said = with_threshold(full, HALF)
    assert (len(said), said["ot"], "k30" in said, "k31" in said) == (32, "th:8", True, False)
    long = with_threshold(TraceState([("ot", "a:" + "b" * 120 + ";c:" + "d" * 125)]), NEVER - 1)
    assert long["ot"] == "th:ffffffffffffff;a:" + "b" * 120


@given(st.integers(1, 2**128 - 1), st.floats(0, 1), st.floats(0, 1))
def test_what_a_smaller_share_keeps_a_greater_one_keeps_too(trace_id, one, other):
    small, great = sorted((one, other))
    kept = [Consistent(share).should_sample(None, trace_id, "x").decision.is_sampled() for share in (small, great)]
    assert kept[0] <= kept[1]


@given(st.integers(1, 2**128 - 1), st.sampled_from([0.5, 0.25, 0.0625, 1.0]))
def test_it_decides_as_the_sdks_own_composable_sampler(trace_id, share):
    theirs = composite_sampler(composable_traceid_ratio_based(share)).should_sample(None, trace_id, "x")
    ours = Consistent(share).should_sample(None, trace_id, "x")
    assert ours.decision is theirs.decision
    assert share == 1.0 or dict(ours.trace_state) == dict(theirs.trace_state or {})


@pytest.mark.parametrize(
    ("share", "flags", "text", "sampled", "said"),
    [
        (0.25, 0, None, True, "th:c"),
        (0.125, 1, "th:8;x:y", False, "x:y"),
        (0.25, 1, "th:8;x:y", True, "th:c;x:y"),
        (1.0, 1, "th:8", True, "th:0"),
        (1.0, 0, None, True, None),
        (0.0, 1, "th:8", False, None),
        (0.25, 1, "rv:10000000000000", False, "rv:10000000000000"),
    ],
)
def test_a_sampler_that_does_not_follow_the_parent_says_what_it_applied(share, flags, text, sampled, said):
    members = [("k", "v")] + ([("ot", text)] if text else [])
    remote = SpanContext(TRACE, 7, is_remote=True, trace_flags=TraceFlags(flags), trace_state=TraceState(members))
    parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    with capture(config=Config(sampler="traceidratio", sampler_ratio=share)), obskit.operation("job", parent=parent):
        own = trace.get_current_span().get_span_context()
    assert (own.trace_flags.sampled, own.trace_state.get("ot"), own.trace_state["k"]) == (sampled, said, "v")


def test_a_share_of_the_traces_is_recorded_and_stands_for_all():
    """Statistics: of 4,000 traces a quarter, within four standard deviations; the rates add up to all of them."""
    random.seed(20261125)
    with capture(config=Config(sampler="parentbased_traceidratio", sampler_ratio=0.25)) as captured:
        for _ in range(4000):
            with obskit.operation("job"):
                pass
        spans = captured.spans
        assert len(captured.lines) == 4001  # with that of the start: lines are not sampled unless they are asked to be
        assert not any("sample_rate" in line for line in captured.lines)
    assert 890 < len(spans) < 1110
    assert {span.attributes["sample_rate"] for span in spans} == {4.0}
    assert {dict(span.context.trace_state)["ot"] for span in spans} == {"th:c"}
    assert all(span.context.trace_id & ((1 << 56) - 1) >= 3 << 54 for span in spans)


def test_all_spans_of_a_trace_carry_it_those_of_other_instrumentations_too():
    random.seed(3)
    with capture(config=Config(sampler="parentbased_traceidratio", sampler_ratio=0.5)) as captured:
        tracer = trace.get_tracer("theirs")
        while not captured.spans:
            with obskit.operation("job"), tracer.start_as_current_span("theirs"), obskit.operation("below"):
                carrier = {}
                obskit.inject(carrier)
        names = {span.name: span.attributes["sample_rate"] for span in captured.spans}
    assert names == {"job": 2.0, "theirs": 2.0, "below": 2.0}
    assert carrier["tracestate"] == "ot=th:8"
    assert carrier["traceparent"].endswith("-03")


def test_the_ids_of_a_trace_that_begins_here_are_said_to_be_random_and_others_are_not():
    unrecorded = Config(sampler="always_off")
    for config, flags in ((Config(), 3), (unrecorded, 2)):
        with capture(config=config) as captured:
            with obskit.operation("job"):
                assert trace.get_current_span().get_span_context().trace_flags == flags
                carrier = {}
                obskit.inject(carrier)
            assert carrier["traceparent"].endswith(f"-0{flags}")
            assert captured.line("job ok")["trace_flags"] == f"0{flags}"
    with capture():
        parent = obskit.extract({"traceparent": f"00-{TRACE:032x}-00f067aa0ba902b7-01"})
        with obskit.operation("job", parent=parent):
            assert trace.get_current_span().get_span_context().trace_flags == 1


def test_the_threshold_of_the_caller_is_kept_and_counts():
    headers = {"traceparent": f"00-{TRACE:032x}-00f067aa0ba902b7-01", "tracestate": "ot=th:c;x:y,vendor=v"}
    with capture() as captured:
        with obskit.operation("job", parent=obskit.extract(headers)):
            carrier = {}
            obskit.inject(carrier)
        span = captured.span("job")
    assert carrier["tracestate"] == "ot=th:c;x:y,vendor=v"
    assert span.attributes["sample_rate"] == 4.0
