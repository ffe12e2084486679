"""What became of every item: the arithmetic behind each ``_produced``, ``_exported`` and ``_dropped``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: Reasons of what is left out because the configuration asks for it, and is no loss: not kept by sampling, or the same
#: line over and over.
SAMPLED_OUT: Final = "sampled_out"
REPEATED: Final = "repeated"
_LEFT_OUT: Final = (SAMPLED_OUT, REPEATED)


class Tally:
    """Counts of one kind of item, such that produced = exported + dropped + queued always holds.

    The owner changes the counts under its own lock; readers (a scrape) see integers that are each right
    and at most one item apart from each other.

    Args:
        reasons: every reason for which an item can be dropped, so that each counter exists from the start at 0.
    """

    __slots__ = ("dropped", "exported", "produced")

    def __init__(self, reasons: Iterable[str]) -> None:
        self.produced = 0
        self.exported = 0
        self.dropped: dict[str, int] = dict.fromkeys(reasons, 0)

    @property
    def lost(self) -> int:
        """Items that were dropped though they should have left."""
        return sum(self.dropped.values()) - sum(self.dropped.get(reason, 0) for reason in _LEFT_OUT)

    @property
    def queued(self) -> int:
        """Items that were produced and have neither left the process nor been dropped."""
        return self.produced - self.exported - sum(self.dropped.values())
