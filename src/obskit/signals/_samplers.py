"""What decides, when a span starts, whether it is recorded."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import DEFAULT_TRACE_STATE, Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from obskit._probability import ALWAYS, NEVER, probability_in, randomness_of, threshold_of, with_threshold
from obskit.config import Config


class Consistent(Sampler):
    """Records a share of traces, by the trace's own randomness, and says so in the tracestate.

    The SDK's samplers of the same names say nothing of the probability, which then nobody downstream can know.

    Args:
        probability: the share, 0 to 1.

    Attributes:
        threshold: what a trace's randomness must reach.
        state: the tracestate of a trace that begins here and is recorded; empty where all are.
    """

    def __init__(self, probability: float) -> None:
        self.threshold = threshold_of(probability)
        sampled = ALWAYS < self.threshold < NEVER
        self.state = with_threshold(DEFAULT_TRACE_STATE, self.threshold) if sampled else DEFAULT_TRACE_STATE

    def should_sample(  # noqa: PLR0913  (the SDK's signature)
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,  # noqa: ARG002
        kind: SpanKind | None = None,  # noqa: ARG002
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002
        trace_state: TraceState | None = None,  # noqa: ARG002
    ) -> SamplingResult:
        """Decide; what a parent has decided does not count, but what its tracestate says of randomness does."""
        state = trace.get_current_span(parent_context).get_span_context().trace_state
        if self.threshold > randomness_of(trace_id, state):
            return SamplingResult(Decision.DROP, None, with_threshold(state, None))
        silent = self.threshold == ALWAYS and probability_in(state).threshold is None
        applied = with_threshold(state, None if silent else self.threshold)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, applied)

    def get_description(self) -> str:
        """As OpenTelemetry names what this is."""
        return f"ProbabilitySampler{{threshold={self.threshold:x}}}"


def root_sampler(config: Config) -> Consistent:
    """What decides about traces that begin here, of what ``OTEL_TRACES_SAMPLER`` names."""
    name = config.sampler.removeprefix("parentbased_")
    return Consistent({"always_on": 1.0, "always_off": 0.0}.get(name, config.sampler_ratio))


def parented(root: Sampler, config: Config) -> Sampler:
    """The sampler that ``OTEL_TRACES_SAMPLER`` names, with `root` for traces that begin here."""
    return ParentBased(root) if config.sampler.startswith("parentbased_") else root
