"""A program that a test starts, kills, and starts again on what it has kept."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[2] / "collector-config"


class Daemon:
    """One process in a group of its own, which keeps its ports, its data and its log over restarts.

    Who knows the program gives its `command`, the `environ` that it reads beside PATH, and whether it `answers`.
    """

    def __init__(self, name, folder):
        self.name = name
        self.folder = Path(folder) / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "log"
        self.process = None

    def command(self):
        raise NotImplementedError

    def environ(self):
        return {}

    def answers(self):
        """Whether it takes work."""
        raise NotImplementedError

    def run(self, *command):
        """A process of `command` in its folder, which writes to its log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(each) for each in command],
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "HOSTNAME": self.name, **self.environ()},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def spawn(self):
        """Start it, and do not wait: several start side by side."""
        self.process = self.run(*self.command())
        return self

    def wait(self, within=60):
        """Return when it takes work."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.answers():
                return self
            time.sleep(0.05)
        msg = f"{self.name} did not start:\n{self.tail()}"
        raise RuntimeError(msg)

    def start(self):
        return self.spawn().wait()

    def kill(self):
        """As kill -9 does."""
        self._end(signal.SIGKILL, 10)

    def stop(self, within=30):
        """As an orchestrator does: SIGTERM, and wait; an error where that does not end it."""
        self._end(signal.SIGTERM, within)

    def _end(self, number, within):
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            raise
        self.process = None

    def tail(self, lines=30):
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
