"""Calls without a timeout: counted, and the place of each in the code named once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from types import CodeType, FrameType

from obskit import semconv
from obskit._locks import reentrant_lock
from obskit.instrumentation._blame import callers, is_application, is_plumbing

#: So many places are named; whoever has more knows by then.
_MAX_PLACES = 100
#: Below these nobody awaits: whoever made the task has gone on.
_EVENT_LOOP = frozenset({"asyncio.events", "asyncio.base_events", "asyncio.runners"})


class Unbounded:
    """Takes note of calls that nothing ends if nobody answers.

    Args:
        libraries: the client libraries, whose code is not the place to name.

    Attributes:
        count: how many there were.
    """

    def __init__(self, libraries: Collection[str]) -> None:
        self.count = 0
        self._libraries = frozenset(libraries)
        self._places: set[tuple[CodeType, int] | None] = set()
        self._lock = reentrant_lock()

    def note(self, host: str) -> None:
        """Count a call to `host`, and name where the application makes it, once for each place."""
        frame = self._place(sys._getframe(1))  # noqa: SLF001  (documented, of CPython)
        place = None if frame is None else (frame.f_code, frame.f_lineno)
        with self._lock:
            self.count += 1
            if place in self._places or len(self._places) >= _MAX_PLACES:
                return
            self._places.add(place)
        _tell(host, frame)

    def _place(self, frame: FrameType | None) -> FrameType | None:
        """The innermost frame of the application; else of a library that is no client."""
        other = None
        for caller in callers(frame):
            module = str(caller.f_globals.get("__name__"))
            if module in _EVENT_LOOP:
                break
            file = caller.f_code.co_filename
            if is_application(file):
                return caller
            if other is None and not is_plumbing(file) and module.partition(".")[0] not in self._libraries:
                other = caller
        return other


def _tell(host: str, frame: FrameType | None) -> None:
    log = logging.getLogger("obskit.clients")
    if frame is None:
        log.warning("a call to %s has no timeout: it waits for as long as nobody answers (made in a task)", host)
        return
    code = frame.f_code
    function = f"{frame.f_globals.get('__name__', '')}.{code.co_qualname}"
    log.warning(
        "the call to %s by %s (%s:%d) has no timeout: it waits for as long as nobody answers",
        host,
        function,
        code.co_filename,
        frame.f_lineno,
        extra={
            semconv.CODE_FUNCTION_NAME: function,
            semconv.CODE_FILE_PATH: code.co_filename,
            semconv.CODE_LINE_NUMBER: frame.f_lineno,
        },
    )
