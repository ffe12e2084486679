"""What a run shows and leaves: the tables that tests print, and no process."""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

PR_SET_CHILD_SUBREAPER = 36


def pytest_sessionstart():
    """Stops on SIGTERM as on Ctrl-C, with what was started; adopts orphans (Linux), which is how they are found."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Ends what tests left running, and fails the run by it.

    Where processes of pytest-xdist run the tests, whoever started those does: it adopts what they leave.
    """
    if hasattr(session.config, "workerinput"):
        return
    session.left = _running_children()
    for pid in session.left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if session.left and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """Prints what passed tests printed: their tables. pytest prints that of failed ones."""
    for report in terminalreporter.getreports("passed"):
        if report.capstdout.strip():
            terminalreporter.write_line(f"\n{report.nodeid}", bold=True)
            terminalreporter.write_line(report.capstdout.strip("\n"))
    for pid, command in getattr(terminalreporter._session, "left", {}).items():
        terminalreporter.write_line(f"ERROR: left running, now killed: {pid} {command}", red=True)


def _running_children():
    """The command lines of this process's descendants by pid, but for those that have ended."""
    parents, commands = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            pid = int(status.parent.name)
            if state not in "ZX":
                parents[pid] = int(parent)
                commands[pid] = (status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")

    def descends(pid):
        return pid == os.getpid() or (pid in parents and descends(parents[pid]))

    return {pid: commands[pid] for pid in parents if pid != os.getpid() and descends(pid)}
