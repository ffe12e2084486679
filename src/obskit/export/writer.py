"""Whole log lines from any thread to a descriptor that other processes share, without ever making the caller wait.

Callers append to a bounded buffer; one daemon thread does all input and output. So a full pipe, a stopped terminal or
a hung disk holds up that thread alone, and every wait of a caller (``flush``, ``close``) is a wait with a deadline.
The thread never needs the callers' lock, so that a signal handler may write and flush while the code that it
interrupted was in the middle of a write.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import queue
import select
import stat
import threading
import time
import weakref
from collections import deque
from typing import Final

from obskit._guard import contained
from obskit._tally import REPEATED, SAMPLED_OUT, Tally
from obskit.export._turn import Turn

BUFFER_FULL: Final = "buffer_full"
TOO_LONG: Final = "too_long"
CLOSED_PIPE: Final = "closed_pipe"
IO_ERROR: Final = "io_error"
SHUTDOWN: Final = "shutdown"

#: POSIX promises that a pipe takes so many bytes in one piece, never mixed with those of another process.
_PIPE_BUF: Final = select.PIPE_BUF
_FILE_CHUNK: Final = 256 * 1024
_READER_GONE: Final = frozenset({errno.EPIPE, errno.EBADF, errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN})
_POLL_MS: Final = 100
_RETRY_SECONDS: Final = 0.01
#: What write_through() lets the first write to a stuck descriptor wait; the wait halves each time, so 0.2 s in all.
_PATIENCE_SECONDS: Final = 0.1

_live: weakref.WeakSet[LineWriter] = weakref.WeakSet()


@functools.cache
def _follow_forks() -> None:
    """Once a process, and not once a writer: what is registered at fork cannot be taken back."""

    def start_anew() -> None:
        for writer in list(_live):
            writer._start_anew()  # noqa: SLF001  (a friend of the class in its own module)

    os.register_at_fork(after_in_child=start_anew)


class LineWriter:
    """Writes whole lines to `fd` from a background thread, which starts at the first write.

    Pipes, sockets and terminals are polled and get chunks of whole lines of at most ``PIPE_BUF`` bytes, so that lines
    of several processes never mix. A single longer line goes out in pieces, between which obskit's writers in other
    processes wait (:class:`obskit.export._turn.Turn`). The descriptor's flags are left alone. Files get large writes.
    What is not written is dropped whole and counted by reason.

    Args:
        fd: an open descriptor, usually 1; never closed here.
        max_bytes: bytes of lines that may wait, those being written included.
        max_line: bytes of a line, its newline included; a longer one is dropped, never cut.
        interval: seconds for which lines gather after the first one came.

    Attributes:
        tally: lines by fate; ``produced == exported + dropped + queued`` whenever nobody is in the middle of a call.
        bytes_written: bytes that the descriptor took.
    """

    def __init__(
        self, fd: int, *, max_bytes: int = 8 * 2**20, max_line: int = 64 * 2**10, interval: float = 0.05
    ) -> None:
        self.tally = Tally((BUFFER_FULL, TOO_LONG, CLOSED_PIPE, IO_ERROR, SHUTDOWN, SAMPLED_OUT, REPEATED))
        self._fd = fd
        self._max_bytes = max_bytes
        self._max_line = max_line
        self._interval = interval
        self._limit = max_bytes
        self._refusal: str | None = None
        self._through = False
        self._patience = _PATIENCE_SECONDS
        self._start_anew()
        _live.add(self)
        _follow_forks()

    def _start_anew(self) -> None:
        """Empty, uncounted, unlocked and without a thread: the state of a new writer, and of a forked child's."""
        self._lock = threading.RLock()  # the callers'; reentrant, since signal handlers and finalizers log too
        self._fate_lock = threading.RLock()  # who decides what became of a line: the thread, or close()
        self._lines: deque[bytes] = deque()
        self._requests: queue.SimpleQueue[threading.Lock | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._accepted = self._released = 0
        self._wake_above = 0
        self._torn = False
        self.bytes_written = 0
        self.tally.produced = self.tally.exported = 0
        self.tally.dropped.update(dict.fromkeys(self.tally.dropped, 0))

    def write(self, line: bytes) -> None:
        """Queue one line; returns at once and never raises.

        The line ends with a newline; one elsewhere becomes a space, a missing one is added.
        """
        try:
            size = len(line)
            if line.find(b"\n") != size - 1 or not size:
                line = line.removesuffix(b"\n").replace(b"\n", b" ") + b"\n"
                size = len(line)
            with self._lock:
                self.tally.produced += 1
                held = self._accepted - self._released + size
                if size > self._max_line or held > self._limit:
                    self._refuse(size)
                    return
                self._accepted += size
                self._lines.append(line)
                if held > self._wake_above:
                    self._wake()
            if self._through:
                self._patience = _PATIENCE_SECONDS if self.flush(self._patience) else self._patience / 2
        except Exception as error:
            contained("writer", error)

    def leave_out(self, reason: str) -> None:
        """Count a line that was made and is left out on purpose, as dropped for `reason`."""
        with self._lock:
            self.tally.produced += 1
            with self._fate_lock:
                self.tally.dropped[reason] += 1

    def flush(self, timeout: float) -> bool:
        """Wait until every line written before is out or dropped, for `timeout` seconds at most; whether it was."""
        if self._thread is None or self._refusal == SHUTDOWN:
            return self._refusal == SHUTDOWN or not self._lines
        done = threading.Lock()
        done.acquire()
        self._requests.put(done)
        return done.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX))

    def close(self, timeout: float) -> bool:
        """Flush and stop for good; what is left after `timeout` seconds is dropped, as is every later line.

        Returns:
            Whether nothing was left: every line was out, or had been dropped for a reason of its own.
        """
        deadline = time.monotonic() + timeout
        flushed = self.flush(timeout)
        with self._lock, self._fate_lock:
            self._refusal, self._limit = SHUTDOWN, -1
            self.tally.dropped[SHUTDOWN] += self.tally.queued
        self._requests.put(None)
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))
        return flushed

    def write_through(self, *, on: bool = True) -> None:
        """From now on ``write()`` returns when its line is out, or after a short wait where nothing is read.

        For the time after the server's shutdown, when a signal may end the process before anything else runs.
        """
        self._through = on
        if on:
            self.flush(_PATIENCE_SECONDS)

    def _refuse(self, size: int) -> None:
        with self._fate_lock:
            self.tally.dropped[self._refusal or (TOO_LONG if size > self._max_line else BUFFER_FULL)] += 1

    def _wake(self) -> None:
        """Ask the thread for a drain: at the first line, when half of the buffer is taken, and when all of it is."""
        if self._thread is None:
            self._look_at_descriptor()
            # Known before it runs: a signal handler that writes meanwhile must not start a second one.
            self._thread = threading.Thread(target=self._run, name="obskit-writer", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None
                raise
        # Before the request: the thread sets it back to 0 after it took one.
        self._wake_above = self._max_bytes // 2 if self._wake_above == 0 else self._max_bytes
        self._requests.put(None)

    def _look_at_descriptor(self) -> None:
        try:
            mode = os.fstat(self._fd).st_mode
        except OSError:  # closed: the first write to it will say so
            mode = 0
        regular = stat.S_ISREG(mode)
        self._turn = Turn(self._fd) if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else None
        self._poll = None if regular else select.poll()
        self._chunk = _FILE_CHUNK if regular else _PIPE_BUF
        if self._poll is not None:
            self._poll.register(self._fd, select.POLLOUT)

    def _run(self) -> None:
        while self._refusal != SHUTDOWN:
            try:
                waiter = self._next_request()
                self._wake_above = 0
                self._drain(len(self._lines))
                if waiter is not None:
                    waiter.release()
            except Exception as error:
                contained("writer", error)
        self._lines.clear()

    def _next_request(self) -> threading.Lock | None:
        """Sleep until lines came and gathered, or somebody wants them out at once and waits for it."""
        waiter = self._requests.get()
        if waiter is None and self._refusal is None:
            with contextlib.suppress(queue.Empty):
                return self._requests.get(timeout=self._interval)
        return waiter

    def _drain(self, count: int) -> None:
        """Take what is there now and no more: lines that come meanwhile gather for the next time."""
        while count > 0 and self._refusal != SHUTDOWN:
            chunk = [self._lines.popleft()]
            size = len(chunk[0])
            while len(chunk) < count and size + len(self._lines[0]) <= self._chunk:
                chunk.append(self._lines.popleft())
                size += len(chunk[-1])
            count -= len(chunk)
            self._send(b"".join(chunk), len(chunk))

    def _send(self, chunk: bytes, lines: int) -> None:
        mend = b"\n" if self._torn else b""  # ends the line that a failure tore, so that only that one is lost
        data = mend + chunk
        sent, error = (0, None) if self._refusal else self._push_in_turn(data)
        self.bytes_written += sent
        if sent:
            self._torn = data[sent - 1] != ord("\n")
        self._settle(data.count(b"\n", len(mend), sent), lines, len(chunk), error)

    def _push_in_turn(self, data: bytes) -> tuple[int, OSError | None]:
        turn, poll = self._turn, self._poll
        if turn is None or poll is None:
            return self._push(data)
        turn.take(writable=lambda: bool(poll.poll(0)), given_up=lambda: self._refusal == SHUTDOWN)
        try:
            return self._push(data)
        finally:
            turn.give()

    def _push(self, data: bytes) -> tuple[int, OSError | None]:
        """Write `data` until all is out, the descriptor fails, or close() gave up; bytes out, and what failed."""
        view, sent = memoryview(data), 0
        while sent < len(view) and self._writable():
            try:
                sent += os.write(self._fd, view[sent : sent + self._chunk])
            except BlockingIOError:  # another process made the shared descriptor non-blocking
                time.sleep(_RETRY_SECONDS)
            except OSError as error:
                return sent, error
        return sent, None

    def _writable(self) -> bool:
        while self._refusal != SHUTDOWN:
            if self._poll is None or self._poll.poll(_POLL_MS):
                return True
        return False

    def _settle(self, exported: int, lines: int, size: int, error: OSError | None) -> None:
        with self._fate_lock:
            if self._refusal == SHUTDOWN:  # close() has counted them
                return
            if error is not None and error.errno in _READER_GONE:
                self._refusal, self._limit = CLOSED_PIPE, -1
            self.tally.exported += exported
            self.tally.dropped[self._refusal or IO_ERROR] += lines - exported
            self._released += size
