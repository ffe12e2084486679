"""Where log lines leave the process, as those who write them see it."""

from __future__ import annotations

from typing import Protocol

from obskit._tally import Tally


class Writer(Protocol):
    """Takes lines and writes them: :class:`obskit.export.writer.LineWriter`, or a test's.

    Attributes:
        tally: what became of the lines.
        bytes_written: how many bytes have left the process.
    """

    tally: Tally
    bytes_written: int

    def write(self, line: bytes) -> None:
        """Take one line, its newline included; never blocks or raises."""
        ...

    def leave_out(self, reason: str) -> None:
        """Count a line that was left out on purpose."""
        ...

    def flush(self, timeout: float) -> bool:
        """Write what was taken, within `timeout` seconds."""
        ...

    def close(self, timeout: float) -> bool:
        """Flush, and take no more."""
        ...

    def write_through(self, *, on: bool = True) -> None:
        """From now on write each line at once, or no longer."""
        ...
