"""A Collector of a test: the real binary with the files that ship, on free ports of loopback."""

import re
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

from backends import program
from daemon import CONFIG, Daemon
from ports import free_port

#: What gateways are started with, so that the tail sampler writes the weight of what it keeps into the tracestate.
FEATURE_GATES = "--feature-gates=+processor.tailsamplingprocessor.usetracestate"
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Collector(Daemon):
    """A process of `program(binary)`.

    `files` are names in collector-config/; `environ` are the variables that the files read, beside the ports.
    """

    def __init__(self, *files, folder, name=None, binary="otelcol", **environ):
        super().__init__(name or Path(files[0]).stem, folder)
        self.files = files
        self.binary = binary
        self.grpc, self.http, self.health, self.self_metrics = (free_port() for _ in range(4))
        self._environ = {
            "CONFIG_DIRECTORY": str(CONFIG),
            "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{self.grpc}",
            "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{self.http}",
            "HEALTH_ENDPOINT": f"127.0.0.1:{self.health}",
            "SELF_METRICS_HOST": "127.0.0.1",
            "SELF_METRICS_PORT": str(self.self_metrics),
            "QUEUE_DIRECTORY": str(self.folder / "queue"),
        } | {key: str(value) for key, value in environ.items()}
        if limit := environ.get("MEMORY_LIMIT_MIB"):  # as whoever deploys it sets it
            self._environ.setdefault("GOMEMLIMIT", f"{limit}MiB")

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
        return [program(self.binary), *([verb] if verb else []), *configs, FEATURE_GATES]

    def environ(self):
        return self._environ

    def answers(self):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.health}/", timeout=1):
            return True
        return False

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
