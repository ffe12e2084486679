"""What operations pass through: the field policy on the way in, the signals at start and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from obskit._fields import FieldPolicy

if TYPE_CHECKING:
    from obskit.operation import Operation


class Signal(Protocol):
    """A projection of operations. It reads the operation and computes no fact of its own."""

    name: str

    def start(self, op: Operation) -> None:
        """The operation has begun; its early fields are set."""
        ...

    def finish(self, op: Operation) -> None:
        """The operation has ended; duration, outcome and all fields are final."""
        ...


class Pipeline:
    """What operations pass through: the field policy on the way in, the signals at start and end.

    Args:
        signals: in the order in which they start; traces first, since it gives the operation its ids.
        policy: how user fields enter.

    Emptying ``signals`` switches everything that was instrumented off; ``close()`` does so.
    """

    __slots__ = ("dropped_fields", "policy", "signals")

    def __init__(self, signals: Sequence[Signal] = (), policy: FieldPolicy | None = None) -> None:
        self.signals: tuple[Signal, ...] = tuple(signals)
        self.policy = policy or FieldPolicy()
        self.dropped_fields = 0


_pipeline = Pipeline()


def install(pipeline: Pipeline) -> None:
    """Make `pipeline` the one that :func:`current_pipeline` gives; ``init()`` and ``close()`` call it."""
    global _pipeline  # noqa: PLW0603  (the process has one pipeline; the handle restores the empty one)
    _pipeline = pipeline


def current_pipeline() -> Pipeline:
    """The pipeline that is installed; an empty one outside of ``init()`` and ``close()``."""
    return _pipeline
