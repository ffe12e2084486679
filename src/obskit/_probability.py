"""Consistent probability sampling: all who see a trace decide about it by the same 56 random bits.

A span is kept with probability p where its trace's randomness is at least the threshold (1 - p) * 2**56, so that what a
smaller p keeps, a greater one keeps too. The threshold that was applied travels in the tracestate, as ``ot=th:...``
(https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/). The randomness is the end of the
trace id, which level 2 of W3C Trace Context makes random, or stands beside the threshold as ``rv``
(https://opentelemetry.io/docs/specs/otel/trace/tracestate-handling/).
"""

from __future__ import annotations

import functools
import re
from typing import Final, NamedTuple

from opentelemetry.trace import DEFAULT_TRACE_STATE, SpanContext, TraceState

_LIMIT: Final = 1 << 56
#: The bits of a trace id that are its randomness.
RANDOM_BITS: Final = _LIMIT - 1
#: The thresholds of probability 1 and 0.
ALWAYS, NEVER = 0, _LIMIT
_OPENTELEMETRY: Final = "ot"
_MAX_MEMBERS: Final = 32
_MAX_CHARS: Final = 256
_PAIR = r"[a-z][a-z0-9]*:[A-Za-z0-9._\-]*"
_PAIRS = re.compile(rf"{_PAIR}(?:;{_PAIR})*")
_THRESHOLD = re.compile(r"[0-9a-f]{1,14}")
_RANDOMNESS = re.compile(r"[0-9a-f]{14}")


class Probability(NamedTuple):
    """What the member ``ot`` of a tracestate says: the threshold applied, explicit randomness, and all the rest."""

    threshold: int | None = None
    randomness: int | None = None
    rest: tuple[str, ...] = ()


_NOTHING: Final = Probability()


def threshold_of(probability: float) -> int:
    """The threshold that a share of traces from 0 to 1 reaches."""
    if probability <= 0.0:
        return NEVER
    return min(round((1.0 - probability) * _LIMIT), _LIMIT - 1)


def rate_of(threshold: int) -> float:
    """How many events one stands for that was kept by `threshold`, which is not NEVER; to six digits."""
    return round(_LIMIT / (_LIMIT - threshold), 6)


def probability_in(state: TraceState) -> Probability:
    """What `state` says of sampling; what breaks the format says nothing."""
    if state is DEFAULT_TRACE_STATE:  # the commonest, for a tenth of the time
        return _NOTHING
    text = state.get(_OPENTELEMETRY)
    return _NOTHING if text is None else _parsed(text) or _NOTHING


def threshold_in(state: TraceState) -> int:
    """The threshold that `state` says was applied; ALWAYS where it says nothing."""
    return probability_in(state).threshold or ALWAYS


def randomness_of(trace_id: int, state: TraceState) -> int:
    """The 56 random bits that decide about a trace."""
    explicit = probability_in(state).randomness
    return trace_id & RANDOM_BITS if explicit is None else explicit


def with_threshold(state: TraceState, threshold: int | None) -> TraceState:
    """`state`, saying that `threshold` was applied; saying of none where that is None."""
    said = probability_in(state)
    return state if said.threshold == threshold else _saying(state, said._replace(threshold=threshold))


def vetted(context: SpanContext) -> TraceState:
    """The tracestate of a context that came from outside, without what it says wrongly of sampling.

    An ``ot`` that breaks the format is dropped, and so is a threshold that the trace's sampled flag contradicts.
    """
    state = context.trace_state
    text = state.get(_OPENTELEMETRY)
    if text is None:
        return state
    said = _parsed(text)
    if said is None:
        return _saying(state, _NOTHING)
    if said.threshold is None:
        return state
    right = context.trace_flags.sampled and said.threshold <= randomness_of(context.trace_id, state)
    return state if right else _saying(state, said._replace(threshold=None))


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> Probability | None:
    if len(text) > _MAX_CHARS or not _PAIRS.fullmatch(text):
        return None
    values: dict[str, str] = {}
    for pair in text.split(";"):
        name, _, value = pair.partition(":")
        if name in values:
            return None
        values[name] = value
    threshold, randomness = values.pop("th", None), values.pop("rv", None)
    if threshold is not None and not _THRESHOLD.fullmatch(threshold):
        return None
    if randomness is not None and not _RANDOMNESS.fullmatch(randomness):
        return None
    return Probability(
        None if threshold is None else int(threshold.ljust(14, "0"), 16),
        None if randomness is None else int(randomness, 16),
        tuple(f"{name}:{value}" for name, value in values.items()),
    )


def _saying(state: TraceState, said: Probability) -> TraceState:
    pairs = [] if said.threshold is None else ["th:" + (f"{said.threshold:014x}".rstrip("0") or "0")]
    pairs += [] if said.randomness is None else [f"rv:{said.randomness:014x}"]
    pairs += said.rest
    while len(text := ";".join(pairs)) > _MAX_CHARS:
        pairs.pop()
    others = [(key, value) for key, value in state.items() if key != _OPENTELEMETRY]
    if not text:
        return TraceState(others) if others else DEFAULT_TRACE_STATE
    return TraceState([(_OPENTELEMETRY, text), *others[: _MAX_MEMBERS - 1]])
