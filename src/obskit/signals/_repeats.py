"""The same line over and over: past some hundreds in a second the rest of it is left out, and a line says how many.

What counts as the same is narrow, so that nobody misses a line: one logger's, at one level, with one text before its
arguments are filled in. Of warnings and errors it is that of one exception type; below, that of one trace, since what
each of many requests says once is a story of its own. Canonical lines do not pass here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from obskit._locks import reentrant_lock
from obskit._tally import REPEATED
from obskit.semconv import TRACE_ID
from obskit.signals._encoding import exception_of

#: Lines with one text that are written in each second whatever they are, and after them lines of one kind.
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
        say: told the time, in nanoseconds, when a second is over in which lines were left out.
    """

    __slots__ = ("_kinds", "_left_out", "_lock", "_say", "_since", "_suppressed", "_texts", "_until")

    def __init__(self, left_out: Callable[[str], None], say: Callable[[int], None]) -> None:
        self._left_out = left_out
        self._say = say
        self._texts: dict[str, int] = {}
        self._kinds: dict[Kind, int] = {}
        self._since = self._until = 0
        self._lock = reentrant_lock()
        self._suppressed: dict[Kind, int] = {}

    def too_many(  # noqa: PLR0913  (what makes a kind; runs for every line, where objects cost)
        self, ns: int, level: str, logger: str, text: str, ids: Mapping[str, str], exc_info: Any
    ) -> bool:
        """Whether a line is to be left out; it is counted.

        Args:
            ns: when, nanoseconds since the epoch.
            level: its name, lower case.
            logger: its name.
            text: the message before its arguments are filled in.
            ids: the trace's, if the line is within one.
            exc_info: as logging has it.
        """
        if not self._since <= ns < self._until:
            self.tick(ns)
        texts = self._texts  # by itself a text is counted for a third of the time
        count = texts.get(text, 0)
        if count < LIMIT:
            if count or (len(texts) < _MAX_KINDS and len(text) <= _MAX_TEXT):
                texts[text] = count + 1
                return False
            if len(text) <= _MAX_TEXT:
                return False
        return self._is_beyond(level, logger, text, ids, exc_info)

    def _is_beyond(self, level: str, logger: str, text: str, ids: Mapping[str, str], exc_info: Any) -> bool:
        scope: object = ids.get(TRACE_ID)
        if level not in _CALM:
            scope = type(exception_of(exc_info)) if exc_info else None
        kind = (logger, level, text if len(text) <= _MAX_TEXT else hash(text), scope)
        kinds = self._kinds
        count = kinds.get(kind, 0)
        if count < LIMIT:
            if count or len(kinds) < _MAX_KINDS:
                kinds[kind] = count + 1
            return False
        with self._lock:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
        self._left_out(REPEATED)
        return True

    def tick(self, ns: int) -> None:
        """Begin a new second, if the last one is over at `ns`, and have what was left out said."""
        if not self._since <= ns < self._until:
            self._since, self._until = ns, ns + _SECOND_NS
            self._texts, self._kinds = {}, {}
            if self._suppressed:
                self._say(ns)

    def take(self) -> dict[Kind, int]:
        """How many of each kind were left out since the last call."""
        with self._lock:
            taken, self._suppressed = self._suppressed, {}
            return taken
