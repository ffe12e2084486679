"""How workers tell each other: one writes down what it can be asked for, when another asks and once a second.

The question is a connection to a socket in the group's folder, the answer is its end. Whoever asks waits for a
moment only: of a worker that is stopped or hangs, what it said last is used.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from obskit._guard import contained

ANSWER_SECONDS = 0.5
_INTERVAL_SECONDS = 1.0
_BACKLOG = 16


class Teller:
    """The thread of one worker that writes down what it is asked for.

    Args:
        path: of the socket.
        tell: called with True when a worker asks, with False once a second.

    Raises:
        OSError: there can be no such socket.
    """

    def __init__(self, path: Path, tell: Callable[[bool], None]) -> None:
        self._tell = tell
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(path))
            self._listener.listen(_BACKLOG)
            self._listener.settimeout(0)
        except OSError:
            self._listener.close()
            raise
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="obskit-worker", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer no more; returns when the thread has ended, or does not within a moment."""
        self._stopped = True
        with suppress(OSError):  # wakes it
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(ANSWER_SECONDS)
        self._listener.close()

    def forget(self) -> None:
        """In a forked child: there is no thread, and who asks the parent must not reach the child."""
        self._listener.close()

    def _run(self) -> None:
        questions = select.poll()
        questions.register(self._listener, select.POLLIN)
        asked = False  # what is so at the start, all can know
        while not self._stopped:
            try:
                self._answer(asked=asked)
                asked = bool(questions.poll(_INTERVAL_SECONDS * 1e3))
            except Exception as error:
                if self._stopped:
                    return
                contained("workers", error)
                time.sleep(_INTERVAL_SECONDS)

    def _answer(self, *, asked: bool) -> None:
        with ExitStack() as waiting:
            with suppress(BlockingIOError):
                while asked:
                    waiting.enter_context(self._listener.accept()[0])
            self._tell(asked)


def ask(sockets: Iterable[Path], seconds: float = ANSWER_SECONDS) -> None:
    """Have the workers at these sockets write down what is so now; returns when all have, or after `seconds`."""
    until = time.monotonic() + seconds
    with ExitStack() as opened:
        waiting = select.poll()
        left = 0
        for path in sockets:
            question = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            question.settimeout(0)
            with suppress(OSError):  # it has gone, or so many are waiting for it that one more would not help
                question.connect(str(path))
                waiting.register(question, select.POLLIN)
                left += 1
        while left and (remaining := until - time.monotonic()) > 0:
            for descriptor, _ in waiting.poll(remaining * 1e3):
                waiting.unregister(descriptor)
                left -= 1
