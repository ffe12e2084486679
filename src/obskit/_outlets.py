"""All that leaves the process, flushed and closed as one and by one deadline."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

from obskit._tally import Tally
from obskit._writer import Writer

# What the last lines get of the time that close() has, after all that is exported.
_SHARE_OF_LINES = 0.2


class Export(Protocol):
    """A bounded queue in front of an exporter, such as :class:`obskit.export.spans.SpanQueue`.

    Attributes:
        items: what it holds, in the plural, for a message such as "spans not exported".
        tally: what became of them.
    """

    items: str
    tally: Tally

    def release(self) -> None:
        """Queue what is held back until it is known whether to keep it: the process ends."""
        ...

    def flush(self, timeout: float) -> bool:
        """Ask for the export of what is queued and wait for it; with a `timeout` of 0 only ask."""
        ...

    def close(self, timeout: float) -> bool:
        """Flush, and take no more; what is left after `timeout` seconds is dropped and counted."""
        ...

    def export_through(self, seconds: float = math.inf) -> None:
        """For `seconds` from now export each item as it comes, waiting for it a little."""
        ...

    def trouble(self) -> str:
        """What keeps items from being exported, as the end of a sentence; empty when nothing is known to."""
        ...


class Others(Protocol):
    """What others have added to have spans leave, each flushed in a thread of its own.

    Both return what waits until a time on the monotonic clock, and tells whether all were done by then.
    """

    def flush(self, timeout: float) -> Callable[[float], bool]:
        """Begin to flush."""
        ...

    def close(self, timeout: float) -> Callable[[float], bool]:
        """Begin to flush and to shut down."""
        ...


class Outlets:
    """The ways out of the process: exports, which go over the network, and the lines, which go last.

    Args:
        writer: takes the log lines.
        others: exports that are not obskit's.
    """

    def __init__(self, writer: Writer, others: Others) -> None:
        self._writer = writer
        self._others = others
        self._exports: list[Export] = []

    def add(self, *exports: Export | None) -> None:
        """Have each of `exports`, of those that there are, flushed and closed with the others."""
        self._exports += [export for export in exports if export is not None]

    def flush(self, timeout: float) -> bool:
        """Send what is queued, by `timeout` seconds from now; whether all of it has left the process."""
        end = time.monotonic() + timeout
        lost = self._lost()
        self._ask()
        others_sent = self._others.flush(timeout)
        sent = [export.flush(max(0.0, end - time.monotonic())) for export in self._exports]
        sent.append(others_sent(end))
        written = self._writer.flush(max(0.0, end - time.monotonic()))
        return all(sent) and written and self._lost() == lost

    def close(self, timeout: float, restore: Callable[[], None]) -> bool:
        """Send what is queued and take no more.

        Args:
            timeout: seconds for all of it; what is left by then is dropped and counted.
            restore: called when the exports are done and before the lines are, since it may have something to say.

        Returns:
            Whether everything has left the process.
        """
        end = time.monotonic() + timeout
        exports_end = end - _SHARE_OF_LINES * timeout
        lost = self._lost()
        self._ask()
        others_sent = self._others.close(timeout)
        sent = [export.close(max(0.0, exports_end - time.monotonic())) for export in self._exports]
        sent.append(others_sent(exports_end))
        self._writer.flush(_SHARE_OF_LINES / 2 * timeout)  # others are told what became of the lines, by `restore`
        restore()
        written = self._writer.close(max(_SHARE_OF_LINES / 2 * timeout, end - time.monotonic()))
        return all(sent) and written and self._lost() == lost

    def release(self) -> None:
        """Let go of what is held back: nobody will ask for it any more."""
        for export in self._exports:
            export.release()

    def through(self, seconds: float = math.inf) -> None:
        """Let each item leave as it comes, since the process may end at any moment.

        Args:
            seconds: for how long exports do so, which wait for the network; lines do until :meth:`at_leisure`.
        """
        for export in self._exports:
            export.export_through(seconds)
        self._writer.write_through()

    def at_leisure(self) -> None:
        """Let items gather again."""
        for export in self._exports:
            export.export_through(0.0)
        self._writer.write_through(on=False)

    def report_left(self) -> None:
        """Say what has not left: close(), which would say so, may never run. uvicorn ends by the signal it got."""
        for export in self._exports:
            if left := export.tally.queued:
                logging.getLogger("obskit").warning(
                    "%s not exported within shutdown_seconds, and lost if the process ends now: %d%s",
                    export.items,
                    left,
                    export.trouble(),
                )

    def _ask(self) -> None:
        """Wake all exports before waiting for the first: one that hangs must not take the others' time."""
        for export in self._exports:
            export.flush(0.0)

    def _lost(self) -> int:
        tallies = [export.tally for export in self._exports] + [self._writer.tally]
        return sum(tally.lost for tally in tallies)
