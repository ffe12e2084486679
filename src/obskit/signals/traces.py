"""Traces: an operation as an OpenTelemetry span (https://opentelemetry.io/docs/specs/otel/trace/api/)."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import StatusCode

from obskit import semconv
from obskit._exception import Exceptions
from obskit.config import Config
from obskit.operation import Operation

# The span has a start and an end of its own.
_DURATIONS = frozenset({semconv.DURATION_MS, semconv.TIME_TO_FIRST_BYTE_MS})


class Traces:
    """The signal that gives an operation its span, and with it the ids that the other signals carry.

    Args:
        tracer: where spans are started.
        exceptions: writes an exception down as it may leave the process.
    """

    name = "traces"

    def __init__(self, tracer: trace.Tracer, exceptions: Exceptions) -> None:
        self._tracer = tracer
        self._exceptions = exceptions

    def start(self, op: Operation) -> None:
        """Start the span, and put it into the operation's context."""
        span = self._tracer.start_span(
            op.name,
            context=op.context,
            kind=op.kind,
            attributes=op.fields,
            links=op.links,
            start_time=op.start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        context = span.get_span_context()
        op.span = span
        op.context = trace.set_span_in_context(span, op.context)
        if context.is_valid:
            op.trace_id = f"{context.trace_id:032x}"
            op.span_id = f"{context.span_id:016x}"
            op.sampled = context.trace_flags.sampled

    def finish(self, op: Operation) -> None:
        """Give the span the operation's fields, and end it at the very moment the operation did."""
        span = op.span
        if span is None:
            return
        if span.is_recording():
            span.update_name(op.name)
            span.set_attributes({name: value for name, value in op.fields.items() if name not in _DURATIONS})
            span.set_attribute(semconv.OUTCOME, op.outcome)
            if op.outcome == "error":
                self._record_error(op, span)
        span.end(op.start_ns + op.duration_ns)

    def _record_error(self, op: Operation, span: trace.Span) -> None:
        if op.exception is None:
            span.set_status(StatusCode.ERROR)
            return
        written = self._exceptions.describe(op.exception)
        span.add_event("exception", written, timestamp=op.start_ns + op.duration_ns)
        span.set_status(StatusCode.ERROR, f"{written[semconv.EXCEPTION_TYPE]}: {written[semconv.EXCEPTION_MESSAGE]}")


def build_sampler(config: Config) -> Sampler:
    """The sampler that ``OTEL_TRACES_SAMPLER`` names."""
    root: Callable[[], Sampler]
    name = config.sampler.removeprefix("parentbased_")
    if name == "traceidratio":
        sampler: Sampler = TraceIdRatioBased(config.sampler_ratio)
    else:
        sampler = ALWAYS_OFF if name == "always_off" else ALWAYS_ON
    return ParentBased(sampler) if config.sampler.startswith("parentbased_") else sampler


def span_limits(config: Config) -> SpanLimits:
    """The SDK's limits for `config`, every one given, so that none is read from the environment again."""
    return SpanLimits(
        max_attributes=config.attribute_count_limit,
        max_span_attributes=config.attribute_count_limit,
        max_event_attributes=config.attribute_count_limit,
        max_link_attributes=config.attribute_count_limit,
        max_events=config.span_event_limit,
        max_links=config.span_link_limit,
        max_attribute_length=SpanLimits.UNSET,  # events: a stack trace is bounded where it is written
        max_span_attribute_length=config.attribute_value_length_limit,
    )
