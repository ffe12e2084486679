"""Where the spans of operations come from, for a provider of obskit's own."""

from __future__ import annotations

import random

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler
from opentelemetry.trace import DEFAULT_TRACE_STATE, NonRecordingSpan, Span, SpanContext, TraceFlags
from opentelemetry.util.types import Attributes

from obskit._b3 import Deferred
from obskit._exception import Exceptions
from obskit._fields import FieldPolicy, Value
from obskit._guard import contained
from obskit._probability import RANDOM_BITS
from obskit.operation import Operation
from obskit.signals._processors import Processors
from obskit.signals._samplers import Consistent
from obskit.signals._span import OperationSpan

SAMPLED, _RANDOM, KNOWN_FLAGS = 0x01, 0x02, 0x03
_FLAGS = tuple(TraceFlags(flags) for flags in range(4))
_getrandbits = random.getrandbits


def context_of(op: Operation) -> Context:
    """The context that an operation was started under, as samplers and processors of others expect it."""
    return op.context if op.remote is None else trace.set_span_in_context(NonRecordingSpan(op.remote), op.context)


class SpanSource:
    """Starts the spans of operations for a provider of obskit's own.

    Args:
        provider: for its resource.
        processors: the provider's.
        sampler: the provider's.
        root: what decides about spans without parent: `sampler` itself, or what it asks.
        policy: what may stand in an event's or a link's attributes.
        exceptions: writes exceptions down.
        limits: how many events and links a span holds.
    """

    def __init__(  # noqa: PLR0913  (each is a part of its own)
        self,
        provider: TracerProvider,
        processors: Processors,
        sampler: Sampler,
        root: Consistent,
        policy: FieldPolicy,
        exceptions: Exceptions,
        limits: SpanLimits,
    ) -> None:
        self.provider = provider
        self.processors = processors
        self.exceptions = exceptions
        self.max_events = limits.max_events or 0
        self.max_links = limits.max_links or 0
        self._policy = policy
        self._sampler = sampler
        # What the commonest samplers would answer, without asking them for each request: ParentBased for a span with a
        # parent, and the root's for one without.
        self._follows_parent = type(sampler) is ParentBased
        self._threshold = root.threshold
        self._state = root.state

    def cleaned(self, attributes: Attributes) -> dict[str, Value]:
        """Attributes of an event or a link as they may leave the process."""
        policy = self._policy
        return {name: policy.safe(name, value) for name, value in (attributes or {}).items()}

    def start(self, op: Operation) -> Span:
        """The span of an operation that begins: recording if its trace is sampled, else only its ids."""
        parent: SpanContext | None = op.remote
        if parent is None:
            parent = trace.get_current_span(op.context).get_span_context()
        if parent is not None and parent.is_valid:
            decided = type(parent.trace_flags) is not Deferred
            trace_id, flags, state = parent.trace_id, parent.trace_flags & KNOWN_FLAGS, parent.trace_state
        else:  # from another process, though it names no trace: what B3 has for a decision alone
            decided = parent is not None and parent.is_remote
            flags = _RANDOM | (0 if parent is None else parent.trace_flags & SAMPLED)
            parent, trace_id, state = None, _getrandbits(128) or 1, DEFAULT_TRACE_STATE
        if not decided:
            if not self._threshold or trace_id & RANDOM_BITS >= self._threshold:
                flags, state = flags & _RANDOM | SAMPLED, self._state
            else:
                flags &= _RANDOM
        elif not self._follows_parent:
            result = self._sampler.should_sample(context_of(op), trace_id, op.name, op.kind, op.fields, op.links)
            recording = result.decision.is_sampled()  # type: ignore[no-untyped-call]  # the SDK's own gap
            flags = (flags & _RANDOM) | (SAMPLED if recording else 0)
            state = result.trace_state or DEFAULT_TRACE_STATE
        context = SpanContext(trace_id, _getrandbits(64) or 1, False, _FLAGS[flags], state)  # noqa: FBT003  (is_remote)
        if not flags & SAMPLED:
            return NonRecordingSpan(context)
        span = OperationSpan(op, context, parent, self)
        if self.processors.others:
            try:
                span.begin(context_of(op))
            except Exception as error:  # of a processor of somebody else's
                contained("traces", error)
        return span
