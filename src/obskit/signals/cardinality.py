"""The cap on label sets: what a metric does with the ones that are too many.

A metric keeps at most `limit` label sets, and one more, the overflow set. Label sets are never removed or moved, so
a counter never goes backward; what is new when there is no room is folded, coarser step by step, until it fits:

1. the promoted fields (``metric_fields``) become ``_other``;
2. the route becomes ``_other`` too;
3. the overflow set takes it: every label empty, ``otel_metric_overflow="true"``.

Each step has a share of its own (a tenth of the limit), so that there is still room for the folded sets when the
detailed ones have used theirs up. An empty label stays empty: no route is not a folded route, no error no folded one.

Strangers decide what arrives, so they must not decide what is kept. What a stranger can make up without the app's
doing (no route, a method that the route does not take, a close code outside the protocol's) is charged to another
tenth, set aside for it. It has the same detail while that lasts, then folds on its own, and when that is used up as
well it goes to the overflow set. No such label set ever takes the room of a known route, however many come.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from obskit.semconv import LABEL_OVERFLOW, VALUE_OTHER

Labels = tuple[str, ...]
S = TypeVar("S")

_MAX_LENGTH = 256


@dataclass(frozen=True, kw_only=True)
class Folding:
    """How the label sets of a metric are folded when there is no room for more.

    Args:
        steps: the labels that become ``_other``, one tuple for each step after the full label set.
        strange: whether a label set is of a stranger's making; None where strangers have no say.
        strange_steps: `steps` for these.
    """

    steps: Sequence[Labels] = ()
    strange: Callable[[Labels], bool] | None = None
    strange_steps: Sequence[Labels] = ()


class _Budget:
    """How many label sets one group may have, and the ways to fold them: positions and a ceiling for each step."""

    __slots__ = ("steps", "used")

    def __init__(self, room: int, share: int, folds: Sequence[frozenset[int]]) -> None:
        self.used = 0
        last = len(folds)
        self.steps = [
            (fold, max(0, room - share * (last - step))) for step, fold in enumerate((frozenset[int](), *folds))
        ]


NO_FOLDING = Folding()


class CappedSeries(Generic[S]):
    """The series of one metric by label values, never more than `limit` and the overflow set.

    Args:
        metric: the metric's name.
        labels: its label names.
        limit: label sets it may have, at least 1; the overflow set comes on top.
        make: makes the series of a label set, given its labels.
        folding: how further ones are folded; by default they go to the overflow set at once.
    """

    def __init__(
        self,
        metric: str,
        labels: Labels,
        limit: int,
        make: Callable[[dict[str, str]], S],
        folding: Folding = NO_FOLDING,
    ) -> None:
        self.metric = metric
        self.labels = labels
        self.limit = limit
        self._make = make
        self._strange = folding.strange
        share = -(-limit // 10)
        aside = 0 if folding.strange is None else share
        self._own = _Budget(limit - aside, share, self._positions(folding.steps))
        self._strangers = _Budget(aside, -(-aside // 4), self._positions(folding.strange_steps))
        self._warned = False
        self.renew()

    def renew(self) -> None:
        """Forget every series, and any lock that is held: the state of a new process, and of a forked child."""
        # Re-entrant: a finalizer that the collector runs in here may finish an operation of its own.
        self._lock = threading.RLock()
        #: Series by their exact label values; read without the lock.
        self.known: dict[Labels, S] = {}
        self.overflow: S | None = None
        self._own.used = self._strangers.used = 0

    def __len__(self) -> int:
        return len(self.known) + (self.overflow is not None)

    def __getitem__(self, values: Labels) -> S:
        """The series for these label values; a known one costs a dict look-up and takes no lock. Never raises."""
        return self.known.get(values) or self._admit(values)

    def all(self) -> list[S]:
        """Every series, the overflow set last; a copy, whatever other threads add meanwhile."""
        series = list(self.known.copy().values())
        return series if self.overflow is None else [*series, self.overflow]

    def _admit(self, values: Labels) -> S:
        clean = tuple(map(_clean, values))
        with self._lock:
            series, folded = self._place(clean)
            warn = folded and not self._warned
            self._warned = self._warned or folded
        if warn:
            logging.getLogger("obskit").warning(
                "metric %s has used up its room for label sets (%d in all, series_limit): "
                'further ones fold into "%s" and then into the one with %s="true"',
                self.metric,
                self.limit,
                VALUE_OTHER,
                LABEL_OVERFLOW,
            )
        return series

    def _place(self, values: Labels) -> tuple[S, bool]:
        """The series that takes `values`, and whether they had to be folded for it."""
        budget = self._strangers if self._strange is not None and self._strange(values) else self._own
        for fold, ceiling in budget.steps:
            key = tuple(VALUE_OTHER if i in fold and value else value for i, value in enumerate(values))
            if key in self.known:
                return self.known[key], key != values
            if budget.used < ceiling:
                budget.used += 1
                self.known[key] = series = self._make(dict(zip(self.labels, key, strict=True)))
                return series, key != values
        if self.overflow is None:
            self.overflow = self._make({**dict.fromkeys(self.labels, ""), LABEL_OVERFLOW: "true"})
        return self.overflow, True

    def _positions(self, folds: Sequence[Labels]) -> list[frozenset[int]]:
        return [frozenset(map(self.labels.index, fold)) for fold in folds]


def _clean(value: str) -> str:
    """A label value that every exposition format can carry: valid Unicode, bounded."""
    return str(value)[:_MAX_LENGTH].encode("utf-8", "replace").decode()
