"""The process's tracer provider: OpenTelemetry lets it be set once, so what is set delegates to what is live."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Literal

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.util.types import Attributes

from obskit._sdk import without_variables

#: FastAPI's native telemetry wakes up for every app of the process once a provider is set. obskit sets one for its
#: own spans: apps that it does not observe stay as quiet as they were, and those that it does need no second span,
#: unless it is to be FastAPI's.
_NATIVE_FASTAPI = "fastapi"


class GlobalTracerProvider(trace.TracerProvider):
    """What obskit sets as the global provider: passes everything on to the live one, and to nothing once closed.

    Libraries may keep a tracer for as long as they like: it delegates at each span.
    """

    def __init__(self) -> None:
        self.live: SdkTracerProvider | None = None
        self.native = False

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        """A tracer that uses whichever provider is live when it starts a span."""
        return _GlobalTracer(self, (instrumenting_module_name, instrumenting_library_version, schema_url, attributes))

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """As the SDK's: `span_processor` sees every span of the process until obskit is closed."""
        if self.live is not None:
            self.live.add_span_processor(span_processor)

    @property
    def resource(self) -> Resource:
        """The live provider's resource; empty when there is none."""
        return Resource.get_empty() if self.live is None else self.live.resource

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """As the SDK's; True when there is nothing to flush."""
        return True if self.live is None else self.live.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Nothing: the handle's ``close()`` shuts down what is live."""


class _GlobalTracer(trace.Tracer):
    def __init__(self, provider: GlobalTracerProvider, identity: tuple[Any, ...]) -> None:
        self._provider = provider
        self._identity = identity
        self._resolved: tuple[SdkTracerProvider | None, trace.Tracer] = (None, trace.NoOpTracer())

    def _tracer(self) -> trace.Tracer:
        live, tracer = self._resolved
        wanted = self._provider.live
        if self._identity[0] == _NATIVE_FASTAPI and not self._provider.native:
            wanted = None
        if live is not wanted:
            live = wanted
            tracer = trace.NoOpTracer() if live is None else live.get_tracer(*self._identity)
            self._resolved = (live, tracer)
        return tracer

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:  # the delegate's signature, whatever its version
        return self._tracer().start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._tracer().start_as_current_span(*args, **kwargs)


class Relay(SpanProcessor):
    """A span processor that can be taken back: the SDK has no way to remove one, so this stays and turns empty."""

    def __init__(self) -> None:
        self.target: SpanProcessor | None = None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Pass on."""
        if self.target is not None:
            self.target.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass on."""
        if self.target is not None:
            self.target.on_end(span)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Pass on."""
        return True if self.target is None else self.target.force_flush(timeout_millis)


_global = GlobalTracerProvider()
_relays: weakref.WeakKeyDictionary[trace.TracerProvider, Relay] = weakref.WeakKeyDictionary()


def foreign_provider() -> trace.TracerProvider | None:
    """The provider that somebody else has set for the process, if any."""
    try:
        provider = trace.get_tracer_provider()
    except Exception:  # StopIteration as of 1.45, where the variable names a provider that is not installed
        value = os.environ.get(OTEL_PYTHON_TRACER_PROVIDER)
        logging.getLogger("obskit").warning(
            "%s=%r is ignored: there is no such provider; obskit sets its own", OTEL_PYTHON_TRACER_PROVIDER, value
        )
        return None
    if provider is _global or isinstance(provider, trace.ProxyTracerProvider):
        return None
    return provider


#: What the SDK's processors that export keep their exporter in; others only look at spans, or add to them.
_EXPORTING = ("span_exporter", "_batch_processor", "_exporter")


def has_exporter(provider: trace.TracerProvider) -> bool:
    """Whether spans of a foreign provider already go somewhere: it has a processor that exports."""
    active = getattr(provider, "_active_span_processor", None)
    processors: Sequence[SpanProcessor] = getattr(active, "_span_processors", ())
    return any(hasattr(processor, mark) for processor in processors for mark in _EXPORTING)


def foreign() -> Literal["none", "bare", "exports"]:
    """What there is of somebody else's: no provider, one whose spans go nowhere but to obskit, one that exports."""
    provider = foreign_provider()
    if provider is None:
        return "none"
    return "exports" if has_exporter(provider) else "bare"


def make_live(provider: SdkTracerProvider, undo: ExitStack, *, native: bool) -> None:
    """Make `provider` what the global provider delegates to, until `undo` is closed.

    Args:
        provider: the live one.
        undo: where its end is registered.
        native: whether FastAPI's own telemetry is to make spans.
    """
    with without_variables(OTEL_PYTHON_TRACER_PROVIDER):  # a provider that it names has been looked for
        if trace.get_tracer_provider() is not _global:
            trace.set_tracer_provider(_global)
    _global.live, _global.native = provider, native
    undo.callback(setattr, _global, "live", None)


def attach(provider: trace.TracerProvider, processor: SpanProcessor, undo: ExitStack) -> bool:
    """Have a foreign `provider` call `processor`, until `undo` is closed; False where it takes no processors."""
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        return False
    relay = _relays.get(provider)
    if relay is None:
        relay = _relays[provider] = Relay()
        add(relay)
    relay.target = processor
    undo.callback(setattr, relay, "target", None)
    return True
