"""Code in a process of its own: what OpenTelemetry, logging and the environment hold once a process."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

#: The command of OpenTelemetry's, beside the interpreter: its folder need not be on PATH.
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))
_NOT_INHERITED = ("OTEL_", "OBSKIT_", "FASTAPI_OTEL_")


def run(code, *arguments, timeout=60, command=(), **environ):
    """Run `code`, or the file that it names, with these variables; what it has printed last, as JSON.

    Args:
        command: what starts the interpreter, such as ``opentelemetry-instrument``.
    """
    return json.loads(output(code, *arguments, timeout=timeout, command=command, **environ)[-1])


def output(code, *arguments, timeout=60, command=(), **environ):
    """The same; every line that it has printed."""
    return _done(code, *arguments, timeout=timeout, command=command, **environ).stdout.splitlines()


def errors(code, *arguments, timeout=60, **environ):
    """The same; every line that it has printed to standard error."""
    return _done(code, *arguments, timeout=timeout, command=(), **environ).stderr.splitlines()


def _done(code, *arguments, timeout, command, **environ):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    program = [code] if code.endswith(".py") else ["-c", textwrap.dedent(code)]
    done = subprocess.run(
        [*command, sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**inherited, **environ},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done
