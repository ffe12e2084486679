"""Spans that say how many they stand for, where the sampling of their trace kept one of several."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import DEFAULT_TRACE_STATE

from obskit._probability import rate_of, threshold_in
from obskit.export._copied import copied
from obskit.semconv import SAMPLE_RATE

_TRACE_STATE, _ATTRIBUTES = 4, 8


def weighed(span: ReadableSpan) -> ReadableSpan:
    """The span itself where its tracestate says of no thinning, else with the attribute ``sample_rate``.

    Args:
        span: finished; an operation's is changed in place, since nobody else needs it.
    """
    context = span.context
    if context is None or context[_TRACE_STATE] is DEFAULT_TRACE_STATE:
        return span
    threshold = threshold_in(context.trace_state)
    if not threshold:
        return span
    rate = {SAMPLE_RATE: rate_of(threshold)}
    facts = getattr(span, "facts", None)
    if facts is not None:
        facts[_ATTRIBUTES].update(rate)
        return span
    return copied(span, attributes={**(span.attributes or {}), **rate})
