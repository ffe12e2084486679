"""Keep rules: what is kept whole, what is thinned to a share, and that every span and line is accounted for."""

import asyncio
import gc
import os
import pickle
import random
import signal
import threading
import weakref
from contextlib import contextmanager, suppress

import pytest
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util._once import Once
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

import obskit
from obskit import Config
from obskit._hold import Hold, hold_of
from obskit._keep import Rules, rules_of
from obskit._probability import threshold_of
from obskit.exceptions import ConfigError
from obskit.testing import capture

#: Below every share but 1, and above each: by the last 56 bits.
OUT, IN = 0xABC << 64, (0xABC << 64) | ((1 << 56) - 1)


@contextmanager
def keeping(*keep, rate=0.0, **more):
    with capture(config=Config(keep=keep, keep_rate=rate, **more)) as captured:
        yield captured


def caller(trace_id, flags="01", **more):
    """The context of a trace that another process began."""
    return obskit.extract({"traceparent": f"00-{trace_id:032x}-00f067aa0ba902b7-{flags}", **more})


def names(captured):
    return sorted(span.name for span in captured.spans)


def lines(captured):
    return [line for line in captured.lines if line["logger"] == "obskit.request"]


def queue(captured):
    return captured.obs._outlets._exports[0]


def tally(captured):
    return queue(captured).tally


# -- rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "rules"),
    [
        ((), Rules()),
        (("errors",), Rules(errors=True)),
        (("slow:1s",), Rules(slow_ns=10**9)),
        (("slow:0.25",), Rules(slow_ns=250_000_000)),
        (("slow:1.5s", "slow:/a/{b:int}=300ms"), Rules(slow_ns=1_500_000_000, slow_by_name={"/a/{b:int}": 3 * 10**8})),
        (("slow:job=2s",), Rules(slow_by_name={"job": 2 * 10**9})),
        (("field:user.tier=gold", "field:a=b=c"), Rules(fields=frozenset({("user.tier", "gold"), ("a", "b=c")}))),
    ],
)
def test_rules_are_read(keep, rules):
    assert rules_of(keep) == rules


@pytest.mark.parametrize(
    "rule",
    [
        "error",
        "slow",
        "slow:",
        "slow:-1s",
        "slow:1h",
        "slow:=1s",
        "slow:/a=",
        "slow:nan",
        "field:",
        "field:a",
        "field:=b",
        "a=b",
        "",
    ],
)
def test_a_rule_that_is_none_is_an_error_that_says_which_there_are(rule):
    with pytest.raises(ConfigError, match=r"keep.*errors, slow:TIME, slow:ROUTE=TIME and field:NAME=VALUE"):
        Config(keep=("errors", rule))


def test_rules_without_a_share_keep_everything_and_are_warned_about(caplog):
    [note] = Config.from_env({"OBSKIT_KEEP": "errors"}).notes
    assert Config.from_env({"OBSKIT_KEEP": "errors", "OBSKIT_KEEP_RATE": "1"}).notes == ()
    with caplog.at_level("WARNING", "obskit"), obskit.init(service_name="s", config=Config(keep=("errors",))):
        pass
    assert note in caplog.messages
    assert "keep_rate (OBSKIT_KEEP_RATE), whose default, 1, keeps everything" in note
    with capture(config=Config(keep=("errors",))) as captured, obskit.operation("job"):
        pass
    assert "sample_rate" not in captured.span("job").attributes


def fail(op):
    raise ValueError("no")


def fail_below(op):
    with suppress(ValueError), obskit.operation("below"):
        raise ValueError("handled")


def fail_theirs(op):
    with suppress(ValueError), trace.get_tracer("theirs").start_as_current_span("theirs"):
        raise ValueError("handled")


def fail_status(op):
    op.finish(error_type="503")


def cancel(op):
    op.finish(cancelled=True)


def be_slow(op):
    op._started -= 2 * 10**9


def be_slow_below(op):
    with obskit.operation("below") as below:
        below._started -= 2 * 10**9


def be_gold(op):
    obskit.annotate({"user.tier": "gold"})


def be_gold_below(op):
    with obskit.operation("below"):
        obskit.annotate({"user.tier": "gold"})


def be_gold_theirs(op):
    trace.get_tracer("theirs").start_span("theirs", attributes={"user.tier": "gold"}).end()


def be_vip(op):
    obskit.annotate(vip=True)


def be_ordinary(op):
    pass


@pytest.mark.parametrize(
    ("keep", "work", "kept"),
    [
        ("errors", be_ordinary, False),
        ("errors", fail, True),
        ("errors", fail_below, True),
        ("errors", fail_theirs, True),
        ("errors", fail_status, True),
        ("errors", cancel, False),
        ("errors", be_slow, False),
        ("slow:1s", fail, False),
        ("slow:1s", be_slow, True),
        ("slow:1s", be_slow_below, False),
        ("slow:1s", be_ordinary, False),
        ("slow:3s", be_slow, False),
        ("slow:job=1s", be_slow, True),
        ("slow:other=1s", be_slow, False),
        ("slow:1s,slow:job=3s", be_slow, False),
        ("field:user.tier=gold", be_gold, True),
        ("field:user.tier=gold", be_gold_below, True),
        ("field:user.tier=gold", be_gold_theirs, True),
        ("field:user.tier=silver", be_gold, False),
        ("field:vip=true", be_vip, True),
        ("none", fail, False),
    ],
)
@pytest.mark.parametrize("sampled", ["recorded", "unrecorded"])
def test_what_a_rule_keeps(monkeypatch, keep, work, kept, sampled):
    """Spans and the line alike, and where no spans are recorded, the line all the same."""
    config = Config.from_env({"OBSKIT_KEEP": keep, "OBSKIT_KEEP_RATE": "0"})
    flags = "01" if sampled == "recorded" else "00"
    with capture(config=config) as captured:
        with suppress(ValueError), obskit.operation("job", parent=caller(OUT, flags)) as op:
            work(op)
        by_spans_only = work in (fail_theirs, be_gold_theirs)
        assert len(lines(captured)) == int(kept and (flags == "01" or not by_spans_only))
        assert ("job" in names(captured)) is (kept and flags == "01")
        assert not any("sample_rate" in line for line in lines(captured))
        assert not any("sample_rate" in span.attributes for span in captured.spans)
        assert tally(captured).queued == 0


# -- the share ----------------------------------------------------------------------------------------------------


def test_the_rest_is_thinned_to_a_share_that_stands_for_all():
    """Statistics: 3,000 roots at 0.2, within four standard deviations; whole or not at all; rates add up."""
    random.seed(20261125)
    with keeping("errors", rate=0.2) as captured:
        tracer = trace.get_tracer("theirs")
        for _ in range(3000):
            with obskit.operation("job"), tracer.start_as_current_span("theirs"), obskit.operation("below"):
                pass
        kept = captured.spans
        assert {span.attributes["sample_rate"] for span in kept} == {5.0}
        assert {span.context.trace_state["ot"] for span in kept} == {"th:ccccccccccccd"}
        traces = {}
        for span in kept:
            traces.setdefault(f"{span.context.trace_id:032x}", []).append(span.name)
        assert all(sorted(each) == ["below", "job", "theirs"] for each in traces.values())
        assert {line["trace_id"] for line in lines(captured)} == set(traces)
        assert {line["sample_rate"] for line in lines(captured)} == {5.0}
        assert 513 < len(traces) < 688
        assert 2560 < sum(line["sample_rate"] for line in lines(captured)) < 3440
        assert captured.metric("obskit_operation_duration_seconds_count", operation_name="job") == 3000


@pytest.mark.parametrize(
    ("ratio", "rate", "span_rate", "line_rate"),
    [(0.5, 0.25, 4.0, 4.0), (0.25, 0.5, 4.0, 2.0), (0.25, 0.0, None, None), (1.0, 0.25, 4.0, 4.0)],
)
def test_the_smaller_share_counts(ratio, rate, span_rate, line_rate):
    """What the start of the trace has left and what the end leaves, each by its own account."""
    random.seed(5)
    more = {"sampler": "parentbased_traceidratio", "sampler_ratio": ratio}
    with keeping("errors", rate=rate, **more) as captured:
        for _ in range(600):
            with obskit.operation("job"):
                pass
        for _ in range(100):
            with suppress(ValueError), obskit.operation("bad"):
                raise ValueError("no")
        good = [span for span in captured.spans if span.name == "job"]
        bad = [span for span in captured.spans if span.name == "bad"]
        assert {span.attributes.get("sample_rate") for span in good} == ({span_rate} if span_rate else set())
        assert {span.attributes.get("sample_rate") for span in bad} == {None if ratio == 1.0 else 1 / ratio}
        written = [line.get("sample_rate") for line in lines(captured) if line["level"] == "info"]
        assert set(written) == ({line_rate} if line_rate else set())
        assert len([line for line in lines(captured) if line["level"] == "error"]) == 100


def test_services_with_one_rate_keep_the_same_traces_and_a_smaller_one_a_part():
    random.seed(7)
    traces = [random.getrandbits(128) for _ in range(300)]
    kept = []
    for rate in (0.3, 0.3, 0.1):
        with keeping(rate=rate) as captured:
            for trace_id in traces:
                with obskit.operation("serve", kind="server", parent=caller(trace_id)):
                    pass
            kept.append({span.context.trace_id for span in captured.spans})
    assert kept[0] == kept[1] > kept[2] > set()


def test_a_callers_threshold_and_randomness_count():
    with keeping(rate=0.5) as captured:
        for state in ("ot=th:c;rv:d0000000000000", "ot=rv:90000000000000", "ot=rv:70000000000000", ""):
            with obskit.operation("serve", kind="server", parent=caller(OUT, tracestate=state)):
                pass
        assert [span.attributes["sample_rate"] for span in captured.spans] == [4.0, 2.0]
        assert [span.context.trace_state["ot"] for span in captured.spans] == [
            "th:c;rv:d0000000000000",
            "th:8;rv:90000000000000",
        ]


# -- lines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_log", "keep", "written"),
    [
        ("all", "errors", {"bad": None, "in": 2.0, "unrecorded in": 2.0}),
        ("all", "none", {"in": 2.0, "unrecorded in": 2.0}),
        ("sampled", "errors", {"bad": None, "in": 2.0}),
        ("sampled", "none", {"bad": None, "in": 2.0}),
        ("sampled", "slow:1s", {"bad": None, "in": 2.0, "slow": None}),
        ("errors", "errors", {"bad": None}),
        ("off", "errors", {}),
    ],
)
def test_which_lines_there_are(request_log, keep, written):
    config = Config.from_env({"OBSKIT_KEEP": keep, "OBSKIT_KEEP_RATE": "0.5", "OBSKIT_REQUEST_LOG": request_log})
    with capture(config=config) as captured:
        for name, trace_id, flags in (
            ("in", IN, "01"),
            ("out", OUT, "01"),
            ("unrecorded in", IN, "00"),
            ("unrecorded out", OUT, "00"),
            ("bad", OUT, "01"),
            ("slow", OUT, "00"),
        ):
            with suppress(ValueError), obskit.operation(name, parent=caller(trace_id, flags)) as op:
                if name == "bad":
                    raise ValueError("no")
                if name == "slow":
                    be_slow(op)
        found = {line["message"].rsplit(" ", 1)[0]: line.get("sample_rate") for line in lines(captured)}
        counted = captured.obs._outlets._writer.tally.dropped["sampled_out"]
    assert found == written
    assert counted == (6 - len(written) if request_log == "all" else 0)


def test_sampled_lines_without_a_keep_rate_are_errors_slow_ones_and_traces_that_are_recorded():
    config = Config(request_log="sampled", keep=("slow:1s",), sampler="parentbased_traceidratio", sampler_ratio=0.5)
    with capture(config=config) as captured:
        for name, parent in (("in", "01"), ("out", "00"), ("slow", "00"), ("bad", "00")):
            state = "ot=th:8" if parent == "01" else ""
            with suppress(ValueError), obskit.operation(name, parent=caller(IN, parent, tracestate=state)) as op:
                if name == "slow":
                    be_slow(op)
                if name == "bad":
                    raise ValueError("no")
        assert {line["message"]: line.get("sample_rate") for line in lines(captured)} == {
            "in ok": 2.0,
            "slow ok": None,
            "bad error": None,
        }
        assert type(queue(captured)).__name__ == "SpanQueue"


def test_lines_of_the_users_own_stay():
    with keeping() as captured:
        with obskit.operation("job", parent=caller(OUT)):
            obskit.get_logger("shop").info("paid")
        assert captured.line("paid")["trace_flags"] == "01"
        assert lines(captured) == []


def test_a_line_that_is_thinned_leaves_the_servers_own_report_of_an_exception():
    """So that no stack trace is lost."""

    async def bad(request):
        raise ValueError("no")

    app = Starlette(routes=[Route("/bad", bad)])
    with capture(app, config=Config(keep=(), keep_rate=0.0)) as captured:
        TestClient(app, raise_server_exceptions=False).get("/bad")
        assert (lines(captured), captured.spans) == ([], [])


# -- metrics and exemplars ----------------------------------------------------------------------------------------


def exemplars(captured):
    text = openmetrics(captured.obs.registry).decode()
    return {line.split('trace_id="')[1][:32] for line in text.splitlines() if 'trace_id="' in line}


def test_exemplars_name_kept_traces_only_and_red_counts_all():
    random.seed(11)
    with keeping("errors", "field:user.tier=gold", rate=0.3) as captured:
        for number in range(60):
            with suppress(ValueError), obskit.operation(f"job {number % 20}"):
                with obskit.operation(f"call {number % 20}", kind="client"):
                    pass
                if number % 7 == 0:
                    be_gold(None)
                if number % 11 == 0:
                    raise ValueError("no")
        kept = {f"{span.context.trace_id:032x}" for span in captured.spans}
        assert exemplars(captured) <= kept
        assert len(exemplars(captured)) > 10
        assert captured.metric("obskit_operation_duration_seconds_count") == 120


@pytest.mark.parametrize(
    ("trace_id", "work", "named"),
    [(OUT, be_ordinary, False), (IN, be_ordinary, True), (OUT, fail, True)],
    ids=["thinned", "of the share", "failed itself"],
)
def test_what_ends_before_the_decision_names_its_trace_where_that_is_certain(trace_id, work, named):
    with keeping("errors", rate=0.5) as captured, obskit.operation("job", parent=caller(trace_id)):
        with suppress(ValueError), obskit.operation("below") as below:
            work(below)
        assert exemplars(captured) == ({f"{trace_id:032x}"} if named else set())


# -- what is held -------------------------------------------------------------------------------------------------


def test_nothing_leaves_before_the_root_has_ended():
    with keeping(rate=0.5) as captured:
        with obskit.operation("job", parent=caller(IN)):
            with obskit.operation("below"):
                pass
            assert (captured.spans, tally(captured).produced) == ([], 0)
        assert names(captured) == ["below", "job"]


def test_work_that_starts_after_its_root_goes_its_way_where_that_is_kept_and_else_its_own():
    with keeping("errors") as captured:
        for name, root_fails, late_fails in (("a", True, False), ("b", False, True), ("c", False, False)):
            with suppress(ValueError), obskit.operation(name, parent=caller(OUT)) as root:
                context = trace.set_span_in_context(root.span)
                if root_fails:
                    raise ValueError("no")
            with suppress(ValueError), obskit.operation(f"{name} late", parent=context):
                if late_fails:
                    raise ValueError("no")
        assert names(captured) == ["a", "a late", "b late"]
        assert [line["message"] for line in lines(captured)] == ["a error", "a late ok", "b late error"]


@pytest.mark.parametrize("overlapping", [False, True])
def test_a_chain_of_roots_that_each_begin_the_next_does_not_grow(overlapping):
    def begin(context):
        return obskit.operation("step", kind="consumer", parent=context)._start().op

    with keeping("errors"):
        op = begin(caller(OUT))
        for _ in range(4):
            before, context = op, op.context
            if not overlapping:
                before.finish()
            op = begin(context)
            before.finish()
        hold = hold_of(op.span.get_span_context())
        assert hold.above.above is None
        op.finish()
        assert hold.above is None


@pytest.mark.parametrize(("trace_id", "kept"), [(IN, True), (OUT, False)])
def test_what_ends_after_its_root_goes_its_way(trace_id, kept):
    tracer = trace.get_tracer("theirs")
    with keeping(rate=0.5) as captured:
        with obskit.operation("job", parent=caller(trace_id)) as root:
            late, below = tracer.start_span("late"), obskit.operation("below")._start().op
            context = trace.set_span_in_context(root.span)
        tracer.start_span("later", context=context).end()
        late.end()
        below.finish()
        assert names(captured) == (["below", "job", "late", "later"] if kept else [])
        assert {span.attributes["sample_rate"] for span in captured.spans} == ({2.0} if kept else set())
        assert (tally(captured).produced, tally(captured).dropped["sampled_out"]) == (4, 0 if kept else 4)


def test_background_work_of_a_request_goes_its_way():
    async def later():
        with obskit.operation("later"):
            pass

    async def endpoint(request):
        return PlainTextResponse("ok", background=BackgroundTask(later))

    app = Starlette(routes=[Route("/", endpoint)])
    with capture(app, config=Config(keep_rate=0.5)) as captured:
        for trace_id in (IN, OUT):
            TestClient(app).get("/", headers={"traceparent": f"00-{trace_id:032x}-00f067aa0ba902b7-01"})
        assert {span.context.trace_id for span in captured.spans} == {IN}
        assert {"GET /", "later"} <= set(names(captured))


def test_a_root_holds_a_quarter_of_the_room_and_its_own_span_beside():
    with keeping("errors", span_queue_size=40) as captured:
        with suppress(ValueError), obskit.operation("job"):
            for _ in range(25):
                with obskit.operation("below"):
                    pass
            raise ValueError("no")
        assert names(captured) == ["below"] * 10 + ["job"]
        assert (tally(captured).produced, tally(captured).dropped["held_full"]) == (26, 15)


def test_where_all_room_is_taken_the_oldest_root_gives_way():
    with keeping("errors", span_queue_size=40) as captured:
        roots = [obskit.operation(f"root {number}", kind="consumer")._start().op for number in range(6)]
        for root in roots:
            for _ in range(9):
                with obskit.operation("below", parent=root.context):
                    pass
        spans = queue(captured)
        assert (spans._held, len(spans._holding), tally(captured).dropped["held_full"]) == (36, 4, 18)
        for root in roots:
            root.finish(exception=ValueError("no"))
            captured.obs.flush()
        kept = names(captured)
        assert (kept.count("below"), len(kept)) == (36, 42)
        assert (tally(captured).produced, tally(captured).dropped["held_full"], spans._held) == (60, 18, 0)


def test_what_is_held_when_the_process_stops_is_kept():
    with keeping(span_queue_size=40) as captured:
        roots = [obskit.operation("endless", kind="server", parent=caller(OUT))._start().op for _ in range(60)]
        for root in roots:
            with obskit.operation("below", parent=root.context):
                pass
        assert tally(captured).dropped["held_full"] == 20
        asyncio.run(captured.obs._life.stopped())
        assert names(captured) == ["below"] * 40
        with obskit.operation("late", parent=roots[-1].context):
            pass
        assert names(captured) == ["below"] * 40 + ["late"]
        held = obskit.operation("endless", kind="server", parent=caller(OUT))._start().op
        with obskit.operation("last", parent=held.context):
            pass
    assert captured._exporter.spans[-1].name == "last"
    assert tally(captured).queued == 0


def test_a_root_that_ends_while_all_are_released_is_no_error():
    class Ending(Hold):
        """Whose spans another thread takes, once they have been looked at."""

        looked_at = Hold.spans

        @property
        def spans(self):
            spans = self.looked_at
            self.looked_at = []
            return spans

        @spans.setter
        def spans(self, spans):
            self.looked_at = spans

    with keeping("errors") as captured:
        hold = Ending(1, None, by_operation=True)
        with obskit.operation("job") as op:
            hold.spans = [op.span]
            queue(captured)._holding[hold] = None
            queue(captured)._held += 1
            queue(captured).release()
        assert hold.threshold is not None
        queue(captured)._held = 0


def test_a_root_that_is_forgotten_frees_what_hangs_on_it():
    with keeping("errors"):
        op = obskit.operation("job")._start().op
        gone = weakref.ref(op.span)
        del op
        gc.collect()
        assert gone() is None


def test_leaving_out_is_no_loss():
    with keeping() as captured:
        for _ in range(3):
            with obskit.operation("job"):
                pass
        assert captured.obs.flush()
        with obskit.operation("job"):
            pass
        assert captured.obs.close()
    text = generate_latest(captured.obs.registry).decode()
    assert 'obskit_spans_dropped_total{reason="sampled_out"} 4.0' in text
    assert 'obskit_log_lines_dropped_total{reason="sampled_out"} 4.0' in text
    assert "obskit_spans_produced_total 4.0" in text


def test_threads_below_one_root_lose_and_double_nothing():
    with keeping("errors", span_queue_size=100_000) as captured:
        context = []

        def work():
            for _ in range(200):
                with obskit.operation("below", parent=context[0]):
                    pass

        with suppress(ValueError), obskit.operation("job"):
            from opentelemetry import context as otel_context

            context.append(otel_context.get_current())
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads[:2]:
                thread.join()
            raise ValueError("no")
        for thread in threads:
            thread.join()
        assert len(captured.spans) == tally(captured).produced == 801


def test_what_starts_below_a_root_that_is_just_ending_goes_its_way():
    """Between the end of an operation and the decision about its trace another thread may start one below it."""
    with keeping("errors") as captured:
        signals = captured.obs._pipeline.signals
        [keep] = [signal for signal in signals if signal.name == "keep"]

        class Meanwhile:
            name = "meanwhile"

            def start(self, op):
                pass

            def finish(self, op):
                if op.name == "job":
                    with obskit.operation("below", parent=trace.set_span_in_context(op.span)):
                        pass

        at = signals.index(keep)
        captured.obs._pipeline.signals = (*signals[:at], Meanwhile(), *signals[at:])
        with suppress(ValueError), obskit.operation("job", parent=caller(OUT)):
            raise ValueError("no")
        assert names(captured) == ["below", "job"]


def test_a_forked_child_holds_nothing_of_its_parents():
    with keeping("errors") as captured, suppress(ValueError), obskit.operation("job"):
        with obskit.operation("below"):
            pass
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.write(
                write,
                f"{queue(captured)._held} {len(queue(captured)._holding)}".encode(),
            )
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert os.read(read, 99) == b"0 0"
        os.close(read)
        os.close(write)
        raise ValueError("no")
    assert sorted(span.name for span in captured._exporter.spans) == ["below", "job"]


def test_a_span_context_is_pickled_without_what_it_shares():
    with keeping(), obskit.operation("job") as op:
        context = op.span.get_span_context()
        again = pickle.loads(pickle.dumps(context))  # noqa: S301  (of our own making)
        assert again == context
        assert not any(vars(again).values())


# -- whose spans --------------------------------------------------------------------------------------------------


def test_roots_of_other_instrumentations_are_decided_by_their_own_end():
    with keeping("errors", "slow:1s", "field:queue=orders", rate=0.5) as captured:
        tracer = trace.get_tracer("theirs")
        for name, parent, attributes in (("in", IN, {}), ("out", OUT, {}), ("field", OUT, {"queue": "orders"})):
            with (
                tracer.start_as_current_span(name, context=caller(parent), attributes=attributes),
                tracer.start_as_current_span(f"{name} below"),
            ):
                pass
        slow = tracer.start_span("slow", context=caller(OUT), start_time=1)
        slow.end(2 * 10**9)
        bad = tracer.start_span("bad", context=caller(OUT))
        bad.set_status(StatusCode.ERROR)
        bad.end()
        assert names(captured) == ["bad", "field", "field below", "in", "in below", "slow"]
        rates = {span.name: span.attributes.get("sample_rate") for span in captured.spans}
        assert (rates["in"], rates["in below"], rates["bad"]) == (2.0, 2.0, None)


def test_what_a_rule_keeps_keeps_the_root_above_it():
    """A request served in process below a call, and work below a span of another instrumentation's."""
    with keeping("field:user.tier=gold") as captured:
        with obskit.operation("outer"), obskit.operation("served", kind="server"):
            obskit.annotate({"user.tier": "gold"})
        with trace.get_tracer("theirs").start_as_current_span("theirs"):
            with obskit.operation("plain"):
                pass
            with obskit.operation("gold"):
                obskit.annotate({"user.tier": "gold"})
        assert names(captured) == ["gold", "outer", "served", "theirs"]


def test_what_is_served_or_consumed_below_another_stands_for_itself():
    tracer = trace.get_tracer("theirs")
    with keeping("errors") as captured:
        with suppress(ValueError), obskit.operation("root", parent=caller(OUT)):
            for kind in (SpanKind.SERVER, SpanKind.CONSUMER, SpanKind.INTERNAL):
                tracer.start_span(kind.name, kind=kind).end()
            with obskit.operation("consumed", kind="consumer"):
                pass
            raise ValueError("no")
        assert names(captured) == ["INTERNAL", "root"]
    with keeping("errors") as captured:
        with suppress(ValueError), obskit.operation("root", parent=caller(OUT)) as root:
            raise ValueError("no")
        with obskit.operation("late", kind="consumer", parent=trace.set_span_in_context(root.span)):
            pass
        assert names(captured) == ["root"]


@contextmanager
def as_global(provider):
    before, once = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, Once()
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = before, once


def test_a_provider_that_exports_exports_all_and_lines_are_thinned():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with as_global(provider), keeping("errors", rate=0.5) as captured:
        for parent in (IN, OUT):
            with obskit.operation("job", parent=caller(parent)):
                pass
        assert [line["sample_rate"] for line in lines(captured)] == [2.0]
        [said] = [line["message"] for line in captured.lines if line["message"].startswith("obskit ")]
        assert "kept → errors and 0.5 of the other traces" in said
        assert "off: keep rules for spans (the tracer provider exports them itself; lines are kept by them)" in said
        assert exemplars(captured) == {f"{OUT:032x}"}  # the last: it is exported
    assert len(exporter.get_finished_spans()) == 2


def test_a_provider_that_exports_nothing_is_obskits_to_hold_back():
    with as_global(TracerProvider(shutdown_on_exit=False)), keeping("errors", rate=0.5) as captured:
        for parent in (IN, OUT):
            with (
                obskit.operation("job", parent=caller(parent)),
                trace.get_tracer("theirs").start_as_current_span("theirs"),
                obskit.operation("below"),
            ):
                pass
        assert names(captured) == ["below", "job", "theirs"]
        assert {span.attributes["sample_rate"] for span in captured.spans} == {2.0}
        assert tally(captured).dropped["sampled_out"] == 3


def test_without_a_trace_every_line_is_kept():
    with as_global(trace.NoOpTracerProvider()), keeping("errors") as captured:
        with obskit.operation("job"):
            pass
        assert len(lines(captured)) == 1
    with as_global(trace.NoOpTracerProvider()), keeping("errors", request_log="sampled") as captured:
        with obskit.operation("job"):
            pass
        assert lines(captured) == []


def test_a_span_whose_start_cannot_be_followed_is_not_lost(contained_errors):
    with keeping("errors") as captured:
        queue(captured).on_start(object())
        for name, context in (("unknown", trace.SpanContext(OUT, 7, False, trace.TraceFlags(1))), ("no context", None)):
            queue(captured).on_end(ReadableSpan(name, context))
        assert names(captured) == ["unknown"]
    assert [component for component, _ in contained_errors] == ["spans"]
    contained_errors.clear()


def test_the_line_at_the_start_says_what_is_kept():
    with keeping("errors", "slow:1s", rate=0.1) as captured:
        assert "| kept → errors slow:1s and 0.1 of the other traces |" in captured.lines[0]["message"]
    with capture() as captured:
        assert "kept" not in captured.lines[0]["message"]


# -- requests -----------------------------------------------------------------------------------------------------


async def plain(request):
    return PlainTextResponse("ok")


async def stream(request):
    async def chunks():
        yield "data: 1\n\n"
        await asyncio.sleep(0.03)
        yield "data: 2\n\n"

    return StreamingResponse(chunks(), media_type="text/event-stream")


async def late_stream(request):
    await asyncio.sleep(0.03)
    return await stream(request)


async def socket(websocket):
    await websocket.accept()
    await asyncio.sleep(0.03)
    await websocket.close()


@pytest.mark.parametrize(
    ("path", "keep", "kept"),
    [
        ("/plain/7", "slow:20ms", False),
        ("/plain/7", "slow:0", True),
        ("/plain/7", "slow:/plain/{id}=0", True),
        ("/plain/7", "slow:0,slow:/plain/{id}=20s", False),
        ("/stream", "slow:20ms", False),
        ("/late", "slow:20ms", True),
        ("/socket", "slow:20ms", False),
        ("/socket", "slow:/socket=20ms", True),
    ],
)
def test_how_slow_a_request_is(path, keep, kept):
    routes = [Route("/plain/{id}", plain), Route("/stream", stream), Route("/late", late_stream)]
    app = Starlette(routes=[*routes, WebSocketRoute("/socket", socket)])
    config = Config.from_env({"OBSKIT_KEEP": keep, "OBSKIT_KEEP_RATE": "0"})
    with capture(app, config=config) as captured:
        client = TestClient(app)
        if path == "/socket":
            with suppress(Exception), client.websocket_connect(path) as connection:
                connection.receive()
        else:
            client.get(path)
        assert len(lines(captured)) == len(captured.spans) == int(kept)


def test_the_share_of_nothing_is_above_all_randomness():
    assert threshold_of(0.0) > IN & ((1 << 56) - 1)


@pytest.mark.parametrize("server_spans", ["obskit", "contrib", "native"])
def test_whoever_makes_the_server_span(server_spans):
    """An adopted span ends after the decision, and goes its way, as do the spans that its maker makes below it."""
    app = FastAPI()

    @app.get("/work/{what}")
    async def work(what: str) -> str:
        with obskit.operation("below"):
            if what == "bad":
                raise ValueError("no")
        return what

    with capture(app, config=Config(keep=("errors",), keep_rate=0.5, server_spans=server_spans)) as captured:
        client = TestClient(app, raise_server_exceptions=False)
        for what, trace_id in (("in", IN), ("out", OUT), ("bad", OUT + 1)):
            client.get(f"/work/{what}", headers={"traceparent": f"00-{trace_id:032x}-00f067aa0ba902b7-01"})
        kept = {}
        for span in captured.spans:
            kept.setdefault(span.context.trace_id, set()).add((span.name, span.attributes.get("sample_rate")))
        assert set(kept) == {IN, OUT + 1}
        assert {("GET /work/{what}", 2.0), ("below", 2.0)} <= kept[IN]
        assert {("GET /work/{what}", None), ("below", None)} <= kept[OUT + 1]
        assert {rate for _, rate in kept[IN]} == {2.0}
        assert {rate for _, rate in kept[OUT + 1]} == {None}
        assert {line["trace_id"]: line.get("sample_rate") for line in lines(captured)} == {
            f"{IN:032x}": 2.0,
            f"{OUT + 1:032x}": None,
        }
        assert tally(captured).queued == 0


def test_processors_of_the_users_own_see_all_spans():
    seen = []

    class Reading(SpanProcessor):
        def on_end(self, span):
            seen.append(span.name)

    with keeping("errors", rate=0.5) as captured:
        trace.get_tracer_provider().add_span_processor(Reading())
        for parent in (IN, OUT):
            with (
                obskit.operation("job", parent=caller(parent)),
                trace.get_tracer("theirs").start_as_current_span("theirs"),
                obskit.operation("below"),
            ):
                pass
        assert seen == ["below", "theirs", "job"] * 2
        assert names(captured) == ["below", "job", "theirs"]
        with suppress(ValueError), obskit.operation("bad", parent=caller(OUT)):
            raise ValueError("no")
        assert names(captured) == ["bad", "below", "job", "theirs"]
        assert captured.span("job").name == "job"
        assert captured.span("job").context.trace_state["ot"] == "th:8"


def test_spans_that_nobody_sampled_are_not_held():
    with keeping(rate=0.5) as captured:
        trace.get_tracer("theirs").start_span("theirs", context=caller(IN, "00")).end()
        with obskit.operation("job", parent=caller(IN, "00")), obskit.operation("below"):
            pass
        assert (tally(captured).produced, queue(captured)._held, exemplars(captured)) == (0, 0, set())


def test_disabled_keeps_every_line():
    with keeping(enabled=False) as captured:
        with obskit.operation("job"):
            pass
        assert len(lines(captured)) == 1
