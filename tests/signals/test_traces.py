"""The span of an operation, of obskit's own provider and of somebody else's; and the provider of the process."""

import copy
import json
from contextlib import ExitStack

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

import obskit
from obskit import Config
from obskit.signals import _provider
from obskit.signals._samplers import parented, root_sampler
from obskit.signals.traces import span_limits
from obskit.testing import capture

OTHER = SpanContext(trace_id=1, span_id=2, is_remote=True)


@pytest.fixture
def captured():
    with capture() as captured:
        yield captured


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    """A provider of the user's own, global until the end of the test."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with as_global(provider):
        yield provider


def as_global(provider):
    patched = pytest.MonkeyPatch()
    patched.setattr(trace, "_TRACER_PROVIDER", provider)
    stack = ExitStack()
    stack.callback(patched.undo)
    return stack


# -- while it runs ------------------------------------------------------------------------------------------------


def test_a_running_span_can_be_read_as_the_sdks_can(captured):
    link = Link(OTHER)
    with obskit.operation("job", kind="producer", fields={"a": 1}, links=[link]) as op:
        span = trace.get_current_span()
        assert isinstance(span, ReadableSpan)
        assert (span.name, span.kind, span.parent, span.end_time) == ("job", SpanKind.PRODUCER, None, None)
        assert (span.start_time, span.context) == (op.start_ns, span.get_span_context())
        assert span.resource.attributes["service.name"] == "test"
        assert span.instrumentation_scope.name == "obskit"
        assert (dict(span.attributes), span.dropped_attributes) == ({"a": 1}, 0)
        span.set_attribute("b", 2)
        span.update_name("renamed")
        span.add_event("event")
        span.set_status(StatusCode.OK)
        assert (span.name, dict(span.attributes), span.status.status_code) == (
            "renamed",
            {"a": 1, "b": 2},
            StatusCode.OK,
        )
        assert ([event.name for event in span.events], list(span.links)) == (["event"], [link])
        assert json.loads(span.to_json())["name"] == "job"  # as it was when it was first asked for what is kept
        assert copy.copy(span).get_span_context() == span.get_span_context()
        assert not hasattr(span, "no_such_thing")
        with pytest.raises(TypeError):
            span.attributes["c"] = 3
    ended = captured.span("renamed")
    assert ended is span
    assert json.loads(ended.to_json())["attributes"] == {"a": 1, "b": 2, "outcome": "ok"}


def test_an_ended_span_takes_no_more(captured):
    with obskit.operation("job"):
        span = trace.get_current_span()
        assert span.is_recording()
    assert not span.is_recording()
    before = captured.span("job").to_json()
    span.set_attribute("late", 1)
    span.set_attributes({"late": 1})
    span.add_event("late")
    span.add_link(OTHER)
    span.update_name("late")
    span.set_status(StatusCode.ERROR)
    span.record_exception(ValueError())
    span.end()
    assert captured.span("job").to_json() == before


def test_events_and_links_are_bounded_clean_and_redacted():
    with capture(config=Config(span_event_limit=2, span_link_limit=1)) as captured:
        with obskit.operation("job"):
            span = trace.get_current_span()
            for index in range(4):
                span.add_event("e", {"index": index, "password": "hunter2", "list": [1, None]}, timestamp=7)
                span.add_link(OTHER, {"token": "hunter2"})
        span = captured.span("job")
    assert [event.attributes["index"] for event in span.events] == [0, 1]
    assert span.events[0].timestamp == 7
    assert span.events[0].attributes["list"] == [1]
    assert len(span.links) == 1
    assert "hunter2" not in span.to_json()


@pytest.mark.parametrize(
    ("told", "ends_by", "status", "description"),
    [
        ([], None, StatusCode.UNSET, None),
        ([(StatusCode.OK, None)], None, StatusCode.OK, None),
        ([(StatusCode.ERROR, "why")], None, StatusCode.ERROR, "why"),
        ([(Status(StatusCode.ERROR, "why"), None)], None, StatusCode.ERROR, "why"),
        ([(StatusCode.OK, None), (StatusCode.ERROR, "late")], None, StatusCode.OK, None),
        ([(StatusCode.OK, None)], ValueError("no"), StatusCode.ERROR, "ValueError: no"),
    ],
)
def test_status(captured, told, ends_by, status, description):
    try:
        with obskit.operation("job"):
            for code, why in told:
                trace.get_current_span().set_status(code, why)
            if ends_by:
                raise ends_by
    except ValueError:
        pass
    span = captured.span("job")
    assert (span.status.status_code, span.status.description) == (status, description)


def test_an_exception_is_one_event_whoever_records_it_first(captured):
    with pytest.raises(ValueError), obskit.operation("job"):  # noqa: PT012  (the body is what is tested)
        try:
            raise ValueError("password=hunter2")
        except ValueError as error:
            trace.get_current_span().record_exception(error, {"more": 1})
            trace.get_current_span().record_exception(KeyError("another"))
            raise
    first, second = captured.span("job").events
    assert (first.attributes["exception.type"], first.attributes["more"]) == ("ValueError", 1)
    assert second.attributes["exception.type"] == "KeyError"
    assert "hunter2" not in captured.span("job").to_json()


def test_an_error_that_is_only_a_status(captured):
    with obskit.operation("job") as op:
        op.finish(error_type="503")
    span = captured.span("job")
    assert (span.status.status_code, span.events, span.attributes["error.type"]) == (StatusCode.ERROR, (), "503")


# -- sampling -----------------------------------------------------------------------------------------------------

SAMPLED, DROPPED = 1, 0


@pytest.mark.parametrize(
    ("sampler", "ratio", "parent", "sampled"),
    [
        ("parentbased_always_on", 1.0, None, True),
        ("parentbased_always_on", 1.0, DROPPED, False),
        ("parentbased_always_off", 1.0, None, False),
        ("parentbased_always_off", 1.0, SAMPLED, True),
        ("parentbased_traceidratio", 0.0, None, False),
        ("parentbased_traceidratio", 1.0, None, True),
        ("parentbased_traceidratio", 0.0, SAMPLED, True),
        ("always_on", 1.0, DROPPED, True),
        ("always_off", 1.0, SAMPLED, False),
        ("traceidratio", 0.0, SAMPLED, False),
        ("traceidratio", 1.0, DROPPED, True),
    ],
)
def test_samplers(sampler, ratio, parent, sampled):
    """As the SDK's own decides, and the trace is one whatever is decided."""
    config = Config(sampler=sampler, sampler_ratio=ratio)
    theirs = parented(root_sampler(config), config)
    context = None
    if parent is not None:
        flags = TraceFlags(parent)
        remote = SpanContext(0xABC << 64, 7, is_remote=True, trace_flags=flags, trace_state=TraceState([("k", "v")]))
        context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    assert theirs.should_sample(context, 0xABC << 64, "job").decision.is_sampled() is sampled
    with capture(config=config) as captured:
        with obskit.operation("job", parent=context) as op:
            span = trace.get_current_span()
            own = span.get_span_context()
            assert (op.sampled, span.is_recording(), bool(own.trace_flags.sampled)) == (sampled,) * 3
            assert f"{own.span_id:016x}" == op.span_id
            if parent is not None:
                assert (own.trace_id, own.trace_state.get("k"), own.span_id != 7) == (0xABC << 64, "v", True)
        assert len(captured.spans) == int(sampled)
        assert captured.line("job ok")["trace_flags"] == f"{own.trace_flags:02x}"


def test_the_limits_are_all_given_so_that_no_variable_is_read_again(monkeypatch):
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "3")
    limits = span_limits(Config(attribute_count_limit=5, span_event_limit=6, span_link_limit=7))
    assert (limits.max_span_attributes, limits.max_events, limits.max_links) == (5, 6, 7)


# -- a provider of somebody else's --------------------------------------------------------------------------------


def test_spans_go_through_the_users_provider(provider, exporter):
    with capture() as captured:
        with obskit.operation("outer", fields={"a": 1}), pytest.raises(ValueError), obskit.operation("inner"):
            raise ValueError("password=hunter2")
        with obskit.operation("status") as op:
            op.finish(error_type="503")
        assert captured.spans == []
        assert "traces → the tracer provider that was set already |" in captured.lines[0]["message"]
        assert "off: " not in captured.lines[0]["message"]
    inner, outer, status = exporter.get_finished_spans()
    assert inner.parent.span_id == outer.context.span_id
    assert dict(outer.attributes) == {"a": 1, "outcome": "ok"}
    assert (inner.status.status_code, [event.name for event in inner.events]) == (StatusCode.ERROR, ["exception"])
    assert "hunter2" not in inner.to_json()
    assert status.status.status_code is StatusCode.ERROR
    assert f"{outer.context.span_id:016x}" == captured.line("outer ok")["span_id"]


def test_an_exception_that_the_users_instrumentation_has_recorded_is_one_event(provider, exporter):
    with capture(), pytest.raises(ValueError), obskit.operation("job"):  # noqa: PT012  (the body is what is tested)
        error = ValueError("no")
        trace.get_current_span().record_exception(error)
        raise error
    (span,) = exporter.get_finished_spans()
    assert len(span.events) == 1


def test_a_provider_without_an_exporter_is_given_obskits_until_close():
    provider = TracerProvider(shutdown_on_exit=False)
    with as_global(provider):
        for _ in range(3):
            with capture() as captured:
                with obskit.operation("job"), provider.get_tracer("theirs").start_as_current_span("below"):
                    pass
                assert provider.force_flush()
                assert [span.name for span in captured.spans] == ["below", "job"]
            provider.get_tracer("theirs").start_span("after close").end()
            assert len(captured._exporter.spans) == 2
            assert [relay.target for relay in provider._active_span_processor._span_processors] == [None]
        assert provider.force_flush()
    assert len(provider._active_span_processor._span_processors) == 1


@pytest.mark.parametrize("name", ["ALWAYS_OFF", "ALWAYS_ON"])
def test_its_sampler_and_limits_hold(name):
    provider = TracerProvider(
        sampler=getattr(sampling, name), span_limits=SpanLimits(max_span_attribute_length=2), shutdown_on_exit=False
    )
    with as_global(provider), capture() as captured:
        with obskit.operation("job", fields={"a": "long"}) as op:
            assert len(op.trace_id) == 32
        assert [span.attributes["a"] for span in captured.spans] == (["lo"] if name == "ALWAYS_ON" else [])


def test_a_provider_that_is_not_the_sdks_is_left_alone():
    """The API's no-op, or another vendor's, that takes no processors."""
    with as_global(trace.NoOpTracerProvider()), capture() as captured:
        with obskit.operation("job") as op:
            assert (op.trace_id, op.sampled) == ("", False)
        assert "trace_id" not in captured.line("job ok")
        assert captured.metric("obskit_operation_duration_seconds_count", operation_name="job") == 1


# -- the provider that obskit sets --------------------------------------------------------------------------------


def test_a_tracer_that_is_kept_follows_from_init_to_init():
    with capture() as captured:
        provider, tracer = trace.get_tracer_provider(), trace.get_tracer("kept", "1.0")
        assert provider is _provider._global
        tracer.start_span("first").end()
        with tracer.start_as_current_span("second"):
            assert trace.get_current_span().is_recording()
        assert [span.name for span in captured.spans] == ["first", "second"]
        assert captured.span("first").instrumentation_scope.version == "1.0"
        assert provider.resource.attributes["service.name"] == "test"
        assert provider.force_flush()
        provider.shutdown()  # not theirs to end
        tracer.start_span("third").end()
        assert len(captured.spans) == 3
    assert not tracer.start_span("between").is_recording()
    assert (provider.force_flush(), dict(provider.resource.attributes)) == (True, {})
    provider.add_span_processor(SpanProcessor())
    with capture() as captured:
        assert trace.get_tracer_provider() is provider
        tracer.start_span("again").end()
        assert [span.name for span in captured.spans] == ["again"]


def test_a_processor_of_somebody_elses_that_fails_costs_no_span(captured, contained_errors):
    class Failing(SpanProcessor):
        def on_start(self, span, parent_context=None):
            raise RuntimeError("theirs")

        def on_end(self, span):
            raise RuntimeError("theirs")

    trace.get_tracer_provider().add_span_processor(Failing())
    with obskit.operation("job") as op:
        assert op.sampled
    assert captured.span("job").attributes["outcome"] == "ok"
    assert [component for component, _ in contained_errors] == ["traces"] * 2
    contained_errors.clear()


def test_processors_see_what_the_span_is_now(captured):
    seen = []

    class Reading(SpanProcessor):
        def on_start(self, span, parent_context=None):
            span.set_attribute("added", 1)
            seen.append((span.name, dict(span.attributes), span.is_recording(), trace.get_current_span(parent_context)))

    trace.get_tracer_provider().add_span_processor(Reading())
    with obskit.operation("outer"):
        outer = trace.get_current_span()
        with obskit.operation("inner"):
            pass
    assert seen[1] == ("inner", {"added": 1}, True, outer)
