"""SIGTERM, ahead of whoever decides about it: nothing is lost, and the process ends as it would without obskit.

Python runs a signal's handler in the main thread between any two steps of the code that it finds there, so a handler
here takes no lock, starts threads without the :mod:`threading` module's, and waits for nothing but a flush.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import logging
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import FrameType
from typing import Any

from obskit._guard import contained

#: For how long a loop that runs may take to come round before the process ends in the middle of what it is at.
_LOOP_PATIENCE_SECONDS = 1.0
#: What comes so soon after a first signal is the same order: hypercorn's parent sends its workers two, a moment apart.
#: Less than the patience, whose end sends one more.
_SAME_ORDER_SECONDS = _LOOP_PATIENCE_SECONDS / 2
#: What asyncio's and uvloop's loops install: the signal's number wakes the loop, which then calls what it was given.
_OF_LOOPS = ("_sighandler_noop", "_Loop__sighandler")


class _Handler(ABC):
    """A handler for SIGTERM that passes on to what was there before it.

    Args:
        before: what was there.
    """

    def __init__(self, before: Any) -> None:
        self._before = before

    @abstractmethod
    def __call__(self, number: int, frame: FrameType | None) -> None:
        """What happens at the signal."""

    def install(self) -> None:
        """Take the place of what was there."""
        signal.signal(signal.SIGTERM, self)

    def restore(self) -> None:
        """Give it its place back, unless somebody has taken it since."""
        with contextlib.suppress(ValueError):  # another thread: the process is on its way out
            if self._is_installed():
                signal.signal(signal.SIGTERM, self._before)

    def _is_installed(self) -> bool:
        handler: object = signal.getsignal(signal.SIGTERM)
        return handler is self

    def _send_again(self, seconds: float, needless: Callable[[], bool]) -> None:
        """Send the signal again, unless there is another handler: the process is then about to end by itself."""
        time.sleep(seconds)
        if self._is_installed() and not needless():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


class _BeforeDefault(_Handler):
    """Nobody handles SIGTERM: the last word of a process that it ends."""

    def __init__(self, leave: Callable[[], None]) -> None:
        super().__init__(signal.SIG_DFL)
        self._leave = leave
        self._asked: float | None = None
        self._leaving = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        loop = None
        if self._asked is None:
            self._asked = time.monotonic()
            with contextlib.suppress(RuntimeError):
                loop = asyncio.get_running_loop()
        elif time.monotonic() - self._asked < _SAME_ORDER_SECONDS:
            return
        if loop is None:
            self._end()
        else:
            loop.call_soon_threadsafe(self._end)
            _thread.start_new_thread(self._send_again, (_LOOP_PATIENCE_SECONDS, lambda: self._leaving))

    def _end(self) -> None:
        if not self._leaving:
            self._leaving = True
            _contained(self._leave)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)


class _BeforeServer(_Handler):
    """Comes between SIGTERM and the server's own handler."""

    def __init__(
        self, server: Callable[..., object], drain: Callable[[], None], seconds: float, leave: Callable[[], None]
    ) -> None:
        super().__init__(server)
        self._drain = drain
        self._seconds = seconds
        self._leave = leave
        self._drained = False
        self._passed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self._drained:
            self._drained = True
            _contained(self._drain)
            if self._seconds and _contained(self._hold_back):
                return
        if not self._passed:
            self._passed = True
            _contained(self._leave)
        self._before(number, frame)

    def _hold_back(self) -> None:
        _thread.start_new_thread(self._wait, ())

    def _wait(self) -> None:
        logging.getLogger("obskit").info("SIGTERM is held back for %g s: not ready any more", self._seconds)
        self._send_again(self._seconds, lambda: self._passed)


def before_default(leave: Callable[[], None]) -> Callable[[], None]:
    """Where nobody handles SIGTERM, have `leave` called before it ends the process.

    It still ends by the signal; one that comes later, while `leave` is at it, ends it at once. Where an event loop
    runs, that first finishes the step it is in, so that no operation ends by half. Nothing is changed outside of the
    main thread, or where SIGTERM is handled or ignored.

    Returns:
        A function that restores the default, unless somebody has changed it since.
    """
    if not in_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return lambda: None
    handler = _BeforeDefault(leave)
    handler.install()
    return handler.restore


def before_server(
    drain: Callable[[], None], drain_seconds: float, leave: Callable[[], None] = lambda: None
) -> Callable[[], None] | None:
    """Come between SIGTERM and the server's own handler for it.

    The handler is called as it would be, in the main thread. A second SIGTERM goes straight through to it.

    Args:
        drain: called at the signal.
        drain_seconds: for how long the server's handler is then held back.
        leave: called right ahead of the server's handler.

    Returns:
        A function that gives the handler its place back, unless somebody has taken it since. None where nothing was
        changed: outside of the main thread; where no handler in Python decides; where `drain_seconds` are wanted and
        the handler is an event loop's (``add_signal_handler``), which can be preceded but not held back.
    """
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before) or isinstance(before, _BeforeDefault) or not in_main_thread():
        return None
    if drain_seconds and getattr(before, "__name__", "") in _OF_LOOPS:
        return None
    handler = _BeforeServer(before, drain, drain_seconds, leave)
    handler.install()
    return handler.restore


def in_main_thread() -> bool:
    """Whether this is the thread that may set handlers, and that they run in."""
    return threading.current_thread() is threading.main_thread()


def _contained(call: Callable[[], None]) -> bool:
    """Call it; whether it went well."""
    try:
        call()
    except Exception as error:
        contained("sigterm", error)
        return False
    return True
