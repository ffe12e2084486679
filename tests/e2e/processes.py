"""Real processes under test: started, watched, stopped, and ended whatever happens."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from receiver import until

APPS = Path(__file__).parent / "apps"
START_SECONDS = 60.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def environment(**variables):
    """This process's environment without what configures obskit or OpenTelemetry, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OBSKIT_", "COV_"))}
    path = os.pathsep.join(filter(None, (str(APPS), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, **variables}


class Process:
    """A Python process whose output is read as it comes.

    Args:
        arguments: of the interpreter.
        variables: added to the environment.
        stdout: a descriptor to write to instead of a pipe that is read here.
        inherited: descriptors that the process gets besides.
        cwd: where it runs.
    """

    def __init__(self, *arguments, variables=None, stdout=None, inherited=(), cwd=None):
        self._out, self._err = bytearray(), bytearray()
        self.popen = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment(**(variables or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            pass_fds=inherited,
            cwd=cwd,
            start_new_session=True,  # a group of its own, workers and all
        )
        pairs = [(self.popen.stdout, self._out), (self.popen.stderr, self._err)]
        self._readers = [
            threading.Thread(target=_read, args=(pipe, into), daemon=True) for pipe, into in pairs if pipe is not None
        ]
        for reader in self._readers:
            reader.start()

    @property
    def output(self):
        """What it has written to standard output so far; to standard error, `errors`."""
        return bytes(self._out)

    @property
    def errors(self):
        return self._err.decode()

    @property
    def lines(self):
        """All it wrote, parsed; to be asked for when it has ended."""
        return parsed(self.output)

    @property
    def whole_lines(self):
        """What it has written so far, parsed, up to the last newline."""
        return parsed(self.output[: self.output.rfind(b"\n") + 1])

    def wait(self, seconds=20.0):
        """Its exit code, once it has ended and all it wrote is read."""
        code = self.popen.wait(seconds)
        for reader in self._readers:
            reader.join(5.0)
        return code

    def stop(self, seconds=20.0):
        """End it by SIGTERM; the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def end(self):
        """Have it gone, and the workers that it may have left; for teardown."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.wait()


class Service(Process):
    """A server on a port of its own, ready for requests when it has been made and `ready()` was called.

    The listening socket is made here and inherited, so that no other process can take the port in between, and early
    connections wait instead of being refused.

    Args:
        app: the module and variable that uvicorn loads, or None where `arguments` do all of it; ``{fd}`` stands for
            the inherited socket.
    """

    def __init__(self, app=None, *arguments, **given):
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = listener.getsockname()[1]
        descriptor = str(listener.fileno())
        command = ["-m", "uvicorn", app, "--fd", descriptor] if app else []
        command += [argument.replace("{fd}", descriptor) for argument in arguments]
        with listener:
            super().__init__(*command, inherited=(listener.fileno(),), **given)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ready(self):
        """Wait for /readyz to answer 200."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.popen.poll() is None, f"exited: {self.errors}{self.output.decode()}"
            try:
                if self.get("/readyz")[0] == 200:
                    return self
            except OSError:
                assert time.monotonic() < deadline, f"not ready: {self.errors}{self.output.decode()}"
            time.sleep(0.02)

    def get(self, path, headers=None, *, method="GET", body=None, seconds=10.0):
        """Status, headers and body of one request on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()
        finally:
            connection.close()

    def scrape(self, seconds=10.0):
        """/metrics in OpenMetrics, as {name: [sample]}."""
        _, headers, body = self.get("/metrics", {"accept": OPENMETRICS}, seconds=seconds)
        assert headers["content-type"].startswith("application/openmetrics-text")
        return _samples(parse_openmetrics(body.decode()))

    def scrape_text(self):
        """/metrics in the older text format, as {name: [sample]}."""
        _, headers, body = self.get("/metrics")
        assert headers["content-type"].startswith("text/plain")
        return _samples(parse_text(body.decode()))

    def tally(self, what):
        """Produced, exported and {reason: dropped} of `spans` or `log_lines`."""
        samples = self.scrape()
        dropped = {s.labels["reason"]: int(s.value) for s in samples[f"obskit_{what}_dropped_total"]}
        [produced] = samples[f"obskit_{what}_produced_total"]
        [exported] = samples[f"obskit_{what}_exported_total"]
        return int(produced.value), int(exported.value), dropped

    def settled(self, what, seconds=15.0):
        """The tally once nothing is queued any more."""
        found = None

        def nothing_is_queued():
            nonlocal found
            produced, exported, dropped = found = self.tally(what)
            assert produced >= exported + sum(dropped.values())
            return produced == exported + sum(dropped.values())

        until(nothing_is_queued, seconds, every=0.05)
        return found


class Terminal:
    """A pseudo-terminal to be a process's standard output; `descriptor` is the process's end of it."""

    def __init__(self):
        own, self.descriptor = pty.openpty()
        self._shown = bytearray()
        shown = os.fdopen(own, "rb", buffering=0)
        self._reader = threading.Thread(target=_read, args=(shown, self._shown), daemon=True)

    def watch(self):
        """Read what is shown, from when the process has been started."""
        os.close(self.descriptor)
        self._reader.start()

    @property
    def raw(self):
        return self._shown.decode()

    @property
    def lines(self):
        """The whole lines shown so far, without colours."""
        return re.sub("\x1b\\[[0-9;]*m", "", self.raw).split("\r\n")[:-1]


def parsed(output):
    """The lines of `output`: each whole, and JSON."""
    assert not output or output.endswith(b"\n"), f"a torn line: {output[-200:]!r}"
    return [json.loads(line) for line in output.splitlines()]


def requests_of(lines):
    """The canonical lines of requests among `lines`."""
    return [line for line in lines if line.get("event.name") == "http.server.request"]


def messages(lines):
    return [line["message"] for line in lines]


def _samples(families):
    samples = {}
    for family in families:
        for sample in family.samples:
            samples.setdefault(sample.name, []).append(sample)
    return samples


def _read(pipe, into):
    with pipe, suppress(OSError):  # which is how a terminal ends
        while chunk := os.read(pipe.fileno(), 65536):
            into.extend(chunk)
