"""The same line over and over: past some hundreds in a second the rest of it is left out, and a line says how many.

What counts as the same is narrow, so that nobody misses a line: one logger's, at one level, with one text before its
arguments are filled in. Of warnings and errors it is that of one exception type; below, that of one trace, since what
each of many requests says once is a story of its own. Canonical lines do not pass here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from obskit._tally import REPEATED
from obskit.signals._encoding import exception_of

#: Lines of any kind that are written in each second uncounted, and after them lines of one kind: 250 to 500 of it.
LIMIT: Final = 250
_SECOND_NS: Final = 10**9
_MAX_KINDS: Final = 1024
_MAX_TEXT: Final = 256
_CALM: Final = frozenset({"debug", "info"})

Kind = tuple[str, str, str | int, object]
"""Logger, level, text (or its hash, where it is long), and the trace or the exception's type."""


class Repeats:
    """Counts lines by their kind, a thousand kinds a second; what is beyond those is never left out.

    Args:
        left_out: told the reason, for each line.

    Attributes:
        suppressed: how many of each kind were left out since it was last said.
    """

    __slots__ = ("_counts", "_free", "_left_out", "_lock", "_since", "_until", "suppressed")

    def __init__(self, left_out: Callable[[str], None]) -> None:
        self._left_out = left_out
        self._counts: dict[Kind, int] = {}
        self._free = 0
        self._since = self._until = 0
        self._lock = threading.RLock()
        self.suppressed: dict[Kind, int] = {}

    def too_many(  # noqa: PLR0913  (what makes a kind; runs for every line, where objects cost)
        self, ns: int, level: str, logger: str, text: str, trace_id: str | None, exc_info: Any
    ) -> bool:
        """Whether a line is to be left out; it is counted."""
        if not self._since <= ns < self._until:
            self._since, self._until = ns, ns + _SECOND_NS
            self._counts, self._free = {}, LIMIT
        if self._free:
            self._free -= 1
            return False
        scope: object = trace_id
        if level not in _CALM:
            scope = type(exception_of(exc_info)) if exc_info else None
        kind = (logger, level, text if len(text) <= _MAX_TEXT else hash(text), scope)
        counts = self._counts
        count = counts.get(kind, 0)
        if count < LIMIT:
            if count or len(counts) < _MAX_KINDS:
                counts[kind] = count + 1
            return False
        with self._lock:
            self.suppressed[kind] = self.suppressed.get(kind, 0) + 1
        self._left_out(REPEATED)
        return True

    def due(self, ns: int) -> bool:
        """Whether lines were left out in a second that is over."""
        return bool(self.suppressed) and not self._since <= ns < self._until

    def take(self) -> dict[Kind, int]:
        """What was left out since the last call."""
        with self._lock:
            taken, self.suppressed = self.suppressed, {}
            return taken
