"""Spans that other instrumentations make leave the process without secrets, and otherwise as they are."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import obskit
from obskit import testing
from obskit.export._redacted import redacted
from obskit.redaction import Redactor


@pytest.fixture
def made():
    """Makes one finished span of the SDK's."""

    def make(use):
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with provider.get_tracer("theirs").start_as_current_span("work") as span:
            use(span)
        return exporter.get_finished_spans()[0]

    return make


def test_a_span_without_secrets_is_the_very_span(made):
    span = made(lambda span: span.set_attributes({"a": 1, "b": "x", "c": ["x", "y"], "d": 1.5, "e": True}))
    assert redacted(span, Redactor()) is span


def test_secrets_go_from_every_part_and_all_else_stays(made):
    link = trace.SpanContext(1, 2, is_remote=True)

    def use(span):
        span.set_attributes(
            {"password": "hunter2", "db.url": "postgres://u:hunter2@h/d", "n": 1, "all": ["token=hunter2", "x"]}
        )
        span.add_event("said", {"message": "password=hunter2", "n": 1}, 5)
        span.add_link(link, {"api_key": "hunter2"})
        span.set_status(trace.StatusCode.ERROR, "Bearer hunter2hunter2")

    span = made(use)
    safe = redacted(span, Redactor())
    assert "hunter2" in span.to_json()
    assert "hunter2" not in safe.to_json() + str([link.attributes for link in safe.links])
    assert (safe.attributes["n"], safe.attributes["all"][1], safe.events[0].attributes["n"]) == (1, "x", 1)
    assert (safe.name, safe.context, safe.start_time, safe.end_time, safe.kind, safe.resource) == (
        span.name, span.context, span.start_time, span.end_time, span.kind, span.resource,
    )  # fmt: skip
    assert safe.events[0].timestamp == 5
    assert (safe.links[0].context, safe.status.status_code) == (link, trace.StatusCode.ERROR)
    assert safe.instrumentation_scope.name == "theirs"


def test_it_happens_on_the_way_out():
    with testing.capture() as captured:
        with trace.get_tracer("theirs").start_as_current_span("work") as span:
            span.set_attribute("password", "hunter2")
        with obskit.operation("ours"):
            pass
        assert captured.span("work").attributes["password"] == "[REDACTED]"
        assert captured.span("ours").attributes["outcome"] == "ok"
