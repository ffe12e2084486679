"""A histogram's label set that keeps exponential buckets beside the explicit ones, to be pushed by OTLP.

https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram: bucket `i` at scale `s` holds what is
above ``base ** i`` and at most ``base ** (i + 1)``, with ``base = 2 ** (2 ** -s)``. The scale begins at its finest and
is halved whenever the values span more than MAX_BUCKETS of its buckets.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from obskit.signals._families import HistogramSeries, Seen

#: The specification's defaults.
MAX_BUCKETS = 160
MAX_SCALE = 20


class Exponential(NamedTuple):
    """The buckets at one moment.

    Attributes:
        scale: of all buckets.
        zero: how many values were 0.
        offset: the index of the first bucket.
        counts: of each bucket from there on, those between included.
    """

    scale: int
    zero: int
    offset: int
    counts: list[int]


class ExponentialSeries(HistogramSeries):
    """The observations of one label set, in both kinds of buckets; see :class:`HistogramSeries`."""

    __slots__ = ("_buckets", "_first", "_last", "_scale", "_zero")

    def __init__(self, *given: Any, **named: Any) -> None:  # as the class above takes them
        super().__init__(*given, **named)
        self._scale = MAX_SCALE
        self._zero = 0
        self._buckets: dict[int, int] = {}
        self._first, self._last = 0, -1

    def observe(self, value: float, exemplar: Seen | None = None) -> None:
        """Record `value`, which is not negative, in both."""
        with self._lock:
            super().observe(value, exemplar)
            if value <= 0:
                self._zero += 1
                return
            index = index_of(value, self._scale)
            if not self._buckets:
                self._first = self._last = index
            self._buckets[index] = self._buckets.get(index, 0) + 1
            self._first, self._last = min(self._first, index), max(self._last, index)
            while self._last - self._first >= MAX_BUCKETS:
                self._scale -= 1
                self._buckets = _halved(self._buckets)
                self._first >>= 1
                self._last >>= 1

    def read_exponential(self) -> tuple[Exponential, float, list[Seen | None]]:
        """The exponential buckets, the sum and the exemplars: all from one moment."""
        with self._lock:
            _counts, total, exemplars = self.read()
            counts = [self._buckets.get(index, 0) for index in range(self._first, self._last + 1)]
            return Exponential(self._scale, self._zero, self._first, counts), total, exemplars


def index_of(value: float, scale: int) -> int:
    """The bucket of a positive value."""
    fraction, exponent = math.frexp(value)  # value = fraction * 2 ** exponent, 0.5 <= fraction < 1
    if scale <= 0:
        return (exponent - 1 - (fraction == 0.5)) >> -scale  # noqa: PLR2004  (a power of two belongs to the one below)
    if fraction == 0.5:  # noqa: PLR2004
        return ((exponent - 1) << scale) - 1
    return math.ceil(math.ldexp(math.log2(value), scale)) - 1


def _halved(buckets: dict[int, int]) -> dict[int, int]:
    merged: dict[int, int] = {}
    for index, count in buckets.items():
        merged[index >> 1] = merged.get(index >> 1, 0) + count
    return merged
