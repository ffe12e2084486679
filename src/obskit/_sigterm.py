"""A word before a server that runs no lifespan obeys SIGTERM: it may end the process without telling anybody else."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from types import FrameType

from obskit._guard import contained


def before_sigterm(tell: Callable[[], None]) -> Callable[[], None]:
    """Have `tell` called ahead of the handler that is installed for SIGTERM now.

    Where there is no handler in Python, or this is not the main thread, nothing is changed: what SIGTERM does to the
    process is not obskit's to decide.

    Returns:
        A function that gives the handler its place back, unless somebody has taken it since.
    """
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        return lambda: None
    handle = before

    def told(number: int, frame: FrameType | None) -> None:
        try:
            tell()
        except Exception as error:
            contained("close", error)
        handle(number, frame)

    signal.signal(signal.SIGTERM, told)

    def restore() -> None:
        with contextlib.suppress(ValueError):  # another thread: the process is on its way out
            if signal.getsignal(signal.SIGTERM) is told:
                signal.signal(signal.SIGTERM, handle)

    return restore
