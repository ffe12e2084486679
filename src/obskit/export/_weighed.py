"""Spans that say how many they stand for, where the sampling of their trace kept one of several."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import DEFAULT_TRACE_STATE, SpanContext

from obskit._hold import hold_of
from obskit._probability import rate_of, threshold_in, with_threshold
from obskit.export._copied import copied
from obskit.semconv import SAMPLE_RATE

_TRACE_STATE = 4


def weighed(span: ReadableSpan) -> ReadableSpan:
    """The span itself where no sampling has thinned its trace, else with a threshold and ``sample_rate``.

    Args:
        span: finished; an operation's is changed in place, since nobody else needs it.
    """
    context = span.context
    if context is None:
        return span
    hold = hold_of(context)
    if hold is None and context[_TRACE_STATE] is DEFAULT_TRACE_STATE:
        return span
    threshold = threshold_in(context.trace_state) if hold is None else hold.threshold
    if not threshold:
        return span
    trace_id, span_id, is_remote, flags, state, _ = context
    context = SpanContext(trace_id, span_id, is_remote, flags, with_threshold(state, threshold))
    rate = {SAMPLE_RATE: rate_of(threshold)}
    own = getattr(span, "weigh", None)
    if own is not None:
        own(context, rate)
        return span
    return copied(span, context=context, attributes={**(span.attributes or {}), **rate})
