"""Fresh processes that are measured, and the pipe by which the parent has them work in turns.

OpenTelemetry's and prometheus_client's globals can be set once in a process, so each subject has a process of its
own. Commands go in as JSON lines on stdin, answers come back on a pipe of their own; stdout is a file, where the
subject's log lines go as they would in production.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

STOP_SECONDS = 20.0
#: Variables of the caller that configure telemetry: each subject gets its own instead.
FOREIGN_PREFIXES = ("OTEL_", "OBSKIT_", "PROMETHEUS_")


@dataclass(frozen=True, slots=True)
class Child:
    """What a part's ``child(subject)`` returns, in the worker's process.

    Attributes:
        commands: what the parent can ask for, by name; arguments and answers are JSON.
        run: occupies the main thread, as a server does, while a second thread takes the commands.
        stop: called when there are no more commands; ends `run`.
    """

    commands: Mapping[str, Callable[..., Any]]
    run: Callable[[], None] | None = None
    stop: Callable[[], None] | None = None


class Worker:
    """A subject in a process of its own.

    Args:
        part: the module of this package whose ``child`` the process calls.
        subject: what it measures.
        folder: where its stdout and stderr go, as ``<part>-<subject>.log`` and ``.err``.
        environment: added to the inherited environment, which loses all that configures telemetry.
    """

    def __init__(self, part: str, subject: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.subject = subject
        self.log = folder / f"{part}-{subject}.log"
        self._errors = folder / f"{part}-{subject}.err"
        answers, theirs = os.pipe()
        with self.log.open("wb") as out, self._errors.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.workers", part, subject, str(theirs)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                pass_fds=(theirs,),
                env=clean_environment() | dict(environment),
                cwd=Path(__file__).parent.parent,
            )
        os.close(theirs)
        self._answers: IO[bytes] = os.fdopen(answers, "rb")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Have the worker do `command` and wait for its answer; RuntimeError with its stderr if it died of it."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101  (Popen was given PIPE)
        try:
            stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            pass  # the answer's end of file tells the same
        answer = self._answers.readline()
        if not answer:
            self._process.wait(STOP_SECONDS)
            raise RuntimeError(f"{self.subject} died at {command!r}:\n{self._errors.read_text(errors='replace')}")
        return json.loads(answer)

    def lines(self) -> int:
        """How many complete lines stand in its log."""
        return self.log.read_bytes().count(b"\n")

    def stop(self) -> None:
        """End the process in its own way; kill it when it does not."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def clean_environment() -> dict[str, str]:
    """The environment without whatever configures telemetry, the same for every subject."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_PREFIXES)}
    # The stable conventions for all (contrib reads this once, at its first instrumentation), and equal dict order.
    return kept | {"OTEL_SEMCONV_STABILITY_OPT_IN": "http", "PYTHONHASHSEED": "0"}


def _serve(child: Child, answers: IO[bytes]) -> None:
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer = child.commands[request.pop("command")](**request)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
    if child.stop is not None:
        child.stop()


def _main(part: str, subject: str, answers_fd: str) -> None:
    child: Child = importlib.import_module(f"benchmarks.{part}").child(subject)
    with os.fdopen(int(answers_fd), "wb") as answers:
        if child.run is None:
            _serve(child, answers)
            return
        commands = threading.Thread(target=_serve, args=(child, answers), daemon=True)
        commands.start()
        child.run()


if __name__ == "__main__":
    _main(*sys.argv[1:])
