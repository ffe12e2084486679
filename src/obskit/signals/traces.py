"""Traces: an operation as an OpenTelemetry span (https://opentelemetry.io/docs/specs/otel/trace/api/)."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Protocol

from opentelemetry import trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.trace import Span, StatusCode, Tracer

from obskit import semconv
from obskit._exception import Exceptions
from obskit._fields import FieldPolicy, Value
from obskit._sdk import without_variables
from obskit._version import __version__
from obskit.config import Config
from obskit.operation import Operation
from obskit.signals import _provider
from obskit.signals._processors import Processors
from obskit.signals._samplers import parented, root_sampler
from obskit.signals._source import KNOWN_FLAGS, SAMPLED, SpanSource, context_of
from obskit.signals._span import OperationSpan, error_status, is_recorded

#: OpenTelemetry's declarative configuration: where it is set, it decides about providers, exporters and propagators
#: (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#declarative-configuration).
CONFIG_FILE = "OTEL_CONFIG_FILE"
_HEX_FLAGS = tuple(f"{flags:02x}" for flags in range(KNOWN_FLAGS + 1))


class Spans(Protocol):
    """Starts the spans of operations."""

    def start(self, op: Operation) -> Span:
        """The span of an operation that begins."""
        ...


class TracerSpans:
    """The spans of operations from a tracer of somebody else's provider: its sampler, its limits, its processors.

    Args:
        tracer: where spans are started.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start(self, op: Operation) -> Span:
        """The span of an operation that begins."""
        return self._tracer.start_span(
            op.name, context=context_of(op), kind=op.kind, attributes=op.fields, links=op.links, start_time=op.start_ns
        )


class Traces:
    """The signal that gives an operation its span, and with it the ids that the other signals carry.

    Args:
        spans: where they are started.
        exceptions: writes an exception down as it may leave the process.
    """

    name = "traces"

    def __init__(self, spans: Spans, exceptions: Exceptions) -> None:
        self._spans = spans
        self._exceptions = exceptions

    def start(self, op: Operation) -> None:
        """Start the span, unless somebody else has; its ids are the operation's."""
        span = op.span
        if span is None:
            op.span = span = self._spans.start(op)
        else:
            for link in op.links:
                span.add_link(link.context, link.attributes)
        context = span.get_span_context()
        if context.is_valid:
            op.trace_id = f"{context.trace_id:032x}"
            op.span_id = f"{context.span_id:016x}"
            flags = context.trace_flags & KNOWN_FLAGS
            op.trace_flags = _HEX_FLAGS[flags]
            op.sampled = flags & SAMPLED != 0

    def finish(self, op: Operation) -> None:
        """Give the span the operation's fields, and end it at the very moment the operation did.

        One that was adopted is ended by who has made it, right after.
        """
        span = op.span
        if span is None or not (op.sampled or span.is_recording()):
            return
        attributes = {**op.fields, semconv.OUTCOME: op.outcome}
        attributes.pop(semconv.TIME_TO_FIRST_BYTE_MS, None)  # the span's own times say as much
        end_ns = op.start_ns + op.duration_ns
        if isinstance(span, OperationSpan):
            span.finish(attributes, end_ns)
        else:
            self._finish_foreign(op, span, attributes, end_ns)

    def _finish_foreign(self, op: Operation, span: Span, attributes: dict[str, Value], end_ns: int) -> None:
        span.update_name(op.name)
        span.set_attributes(attributes)
        if op.outcome == "error" and op.exception is not None:
            written = op.written = self._exceptions.describe(op.exception)
            if not is_recorded(written, getattr(span, "events", ()), self._exceptions):
                span.add_event("exception", written, timestamp=end_ns)
            span.set_status(error_status(written))
        elif op.outcome == "error":
            span.set_status(StatusCode.ERROR)
        if not op.adopted:
            span.end(end_ns)


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


class _Provider(TracerProvider):
    """A provider whose resource is the very one that the other signals have, in forked children too."""

    def _update_resource(self, resource: Resource) -> None:
        """Nothing: the SDK would put another instance's id into a copy; obskit's resource renews itself."""


def build_spans(  # noqa: PLR0913  (the parts that a provider is made of)
    config: Config,
    resource: Resource,
    policy: FieldPolicy,
    exceptions: Exceptions,
    processors: Processors,
    undo: ExitStack,
) -> Spans:
    """Where operations get their spans: a provider of obskit's own, unless the process has one already."""
    if os.environ.get(CONFIG_FILE):  # what the file configures is not obskit's to configure
        return TracerSpans(trace.get_tracer("obskit", __version__))
    foreign = _provider.foreign_provider()
    if foreign is not None:
        if processors.exports and not _provider.has_exporter(foreign):
            _provider.attach(foreign, processors, undo)
        processors.kept = foreign
        return TracerSpans(foreign.get_tracer("obskit", __version__))
    root, limits = root_sampler(config), span_limits(config)
    sampler = parented(root, config)
    with without_variables("SDK_DISABLED"):  # `enabled` has been decided; arguments beat the environment
        provider = _Provider(
            sampler,
            resource,
            shutdown_on_exit=False,
            active_span_processor=processors,
            span_limits=limits,
            meter_provider=NoOpMeterProvider(),  # the SDK would count spans as well, in a meter that nobody frees
        )
    _provider.make_live(provider, undo, native=config.server_spans == "native")
    return SpanSource(provider, processors, sampler, root, policy, exceptions, limits)
