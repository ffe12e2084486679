"""What the spans of one local root share until it ends: whether they are kept is decided for all of them at once.

A hold is found by the span context of any of them, which every span keeps from its start to its end, as a copy of the
span does. So nothing has to be looked up by ids, and what is forgotten with its spans needs no clearing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanContext, SpanKind

from obskit._probability import NEVER

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_HOLD: Final = "_obskit_hold"
#: What is served or consumed stands for itself, also where the caller is in the same process.
ALONE: Final = (SpanKind.SERVER, SpanKind.CONSUMER)


class Hold:
    """The spans of one local root, its own included.

    Args:
        root_id: the root's span id.
        above: that of the local root above this one, which is another's.
        by_operation: whether an operation decides; else the end of the root's span does.

    Attributes:
        ruled: whether a rule keeps it.
        threshold: what it was kept by, NEVER if it was not; None until that is decided.
        spans: those that have ended before.
    """

    __slots__ = ("above", "by_operation", "root_id", "ruled", "spans", "threshold")

    def __init__(self, root_id: int, above: Hold | None, *, by_operation: bool) -> None:
        self.root_id = root_id
        self.above = above
        self.by_operation = by_operation
        self.ruled = False
        self.threshold: int | None = None
        self.spans: list[ReadableSpan] = []

    @property
    def is_kept(self) -> bool:
        """Whether it is decided that it is kept."""
        return self.threshold is not None and self.threshold != NEVER

    @property
    def is_open(self) -> bool:
        """Whether an operation is still to decide."""
        return self.by_operation and self.threshold is None

    def decide(self, threshold: int) -> None:
        """Say what it is kept by.

        What stands above and is decided, too, cannot be ruled any more: of a chain in which each root begins the next,
        all would be kept in memory by the last.
        """
        self.threshold = threshold
        while self.above is not None and self.above.threshold is not None:
            self.above = self.above.above

    def rule(self) -> None:
        """A rule keeps it, and what stands above it, so that the trace is whole."""
        hold: Hold | None = self
        while hold is not None and not hold.ruled:
            hold.ruled = True
            hold = hold.above

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing, ()  # a span context may be pickled, and is without it


def _nothing() -> None:
    """What a hold is in another process."""


def hold_of(context: SpanContext) -> Hold | None:
    """The hold of a span; None where it is not held."""
    hold: Hold | None = getattr(context, _HOLD, None)  # not by vars(), which makes a dict where there is none
    return hold


def share(context: SpanContext, hold: Hold) -> None:
    """Let the span of `context` share `hold`."""
    vars(context)[_HOLD] = hold
