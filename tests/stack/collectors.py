"""A Collector of a test: the real binary with the files that ship, on free ports of loopback, in a process group of its own."""

import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

from backends import program

CONFIG = Path(__file__).resolve().parents[2] / "collector-config"
#: What gateways are started with, so that the tail sampler writes the weight of what it keeps into the tracestate.
FEATURE_GATES = "--feature-gates=+processor.tailsamplingprocessor.usetracestate"
_given = set()
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def free_port():
    """A port of loopback that nobody listens on, and that no connection is given before who asked for it listens.

    Below those that systems give to connections, of which the programs of a test make many; no port twice.
    """
    for port in random.sample(range(16384, 32768), 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
    msg = "no port is free"
    raise OSError(msg)


class Collector:
    """One process of `program(binary)`, which keeps its ports, its queue and its log over restarts.

    `files` are names in collector-config/; `environ` are the variables that the files read, beside the ports.
    """

    def __init__(self, *files, folder, name=None, binary="otelcol", **environ):
        self.name = name or Path(files[0]).stem
        self.files = files
        self.binary = binary
        self.grpc, self.http, self.health, self.self_metrics = (free_port() for _ in range(4))
        self.folder = Path(folder) / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "log"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOSTNAME": self.name,
            "CONFIG_DIRECTORY": str(CONFIG),
            "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{self.grpc}",
            "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{self.http}",
            "HEALTH_ENDPOINT": f"127.0.0.1:{self.health}",
            "SELF_METRICS_HOST": "127.0.0.1",
            "SELF_METRICS_PORT": str(self.self_metrics),
            "QUEUE_DIRECTORY": str(self.folder / "queue"),
        } | {key: str(value) for key, value in environ.items()}
        if limit := environ.get("MEMORY_LIMIT_MIB"):  # as whoever deploys it sets it
            self.environ.setdefault("GOMEMLIMIT", f"{limit}MiB")
        self.process = None

    @property
    def grpc_endpoint(self):
        """What another Collector sends to."""
        return f"127.0.0.1:{self.grpc}"

    @property
    def endpoint(self):
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.http}"

    def command(self, verb=None):
        configs = [f"--config={CONFIG / file}" for file in self.files]
        return [str(program(self.binary)), *([verb] if verb else []), *configs, FEATURE_GATES]

    def start(self, within=30):
        """Start it, and return when its health check answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=self.environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.health}/", timeout=1):
                return self
            time.sleep(0.05)
        msg = f"{self.name} did not start: {self.tail()}"
        raise RuntimeError(msg)

    def kill(self):
        """As kill -9 does."""
        self._end(signal.SIGKILL, 10)

    def stop(self, within=30):
        """As an orchestrator does: SIGTERM, and wait."""
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

    @property
    def rss_mib(self):
        """Its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def metrics(self):
        """What it says of itself: a list of (name, labels, value)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.self_metrics}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = (_SAMPLE.match(line) for line in lines if not line.startswith("#"))
        return [(each[1], dict(_LABEL.findall(each[2] or "")), float(each[3])) for each in found if each]

    def metric(self, name, **labels):
        """The sum of a metric of its own over all series with `labels`; 0 where there is none."""
        return sum(
            value for n, ls, value in self.metrics() if n == name and all(ls.get(k) == v for k, v in labels.items())
        )

    def tail(self, lines=30):
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@contextmanager
def running(*collectors):
    """Start them, the last one first, as each sends to the one after it; stop them in their order."""
    try:
        for each in reversed(collectors):
            each.start()
        yield collectors
    finally:
        for each in collectors:
            each.stop()
