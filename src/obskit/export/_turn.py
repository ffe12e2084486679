"""Taking turns on a pipe that several processes write to, so that none writes into the middle of another's line."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable
from typing import Final

_RETRY_SECONDS: Final = 0.002
#: For how long the turn of a process that does nothing with it, as one that a debugger has stopped, is respected.
_PATIENCE_SECONDS: Final = 1.0


class Turn:
    """A record lock on the pipe itself, which obskit's writers ask for before they write.

    There is nothing to set up: whoever has inherited the pipe finds the same lock. It belongs to the process and ends
    with it, also by ``kill -9``, and a forked child does not have it. Where the system has no such locks, as for what
    is no file of POSIX's, everybody writes when they like.

    Args:
        fd: the pipe.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._possible = True

    def take(self, *, writable: Callable[[], bool], given_up: Callable[[], bool]) -> None:
        """Wait for the turn, as long as the pipe is full, and then for a second at most.

        Args:
            writable: whether the pipe would take something now: then whoever has the turn should be done soon.
            given_up: whether to wait no longer.
        """
        patience = _PATIENCE_SECONDS
        while self._possible and not self._taken() and patience > 0 and not given_up():
            time.sleep(_RETRY_SECONDS)
            patience -= _RETRY_SECONDS if writable() else 0.0

    def give(self) -> None:
        """Let the next one."""
        if self._possible:
            with contextlib.suppress(OSError):  # it is closed, and with that the lock is gone
                fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _taken(self) -> bool:
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # another process has it
            return False
        except OSError:
            self._possible = False
        return True
