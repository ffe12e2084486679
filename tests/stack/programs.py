"""Programs of the stack as processes of a test: started with the files that ship, killed, started again on what they kept."""

import json
from contextlib import suppress

import httpx
from backends import program
from daemon import CONFIG, Daemon
from ports import free_port

PROMETHEUS_FLAGS = ("--enable-feature=exemplar-storage", "--web.enable-otlp-receiver")
TARGETS = ("services", "collectors", "backends", "alertmanagers")


class Program(Daemon):
    """A server of HTTP; `ready` is the path that answers 200 once it takes work."""

    ready = "/-/ready"

    def __init__(self, name, folder):
        super().__init__(name, folder)
        self.port = free_port()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ready_url(self):
        return self.url + self.ready

    def answers(self):
        with suppress(httpx.TransportError):
            return httpx.get(self.ready_url(), timeout=2).is_success
        return False


class Prometheus(Program):
    """`targets` are the files of collector-config/prometheus/targets, by name: lists of (address, labels)."""

    def __init__(self, folder, targets):
        super().__init__("prometheus", folder)
        shipped = CONFIG / "prometheus"
        for each in ("prometheus.yaml", "rules"):
            (self.folder / each).symlink_to(shipped / each)
        (self.folder / "targets").mkdir()
        self.aim(targets)

    def aim(self, targets):
        """Write the files of targets: every second, instead of the fifteen that suit more than a test."""
        for name in TARGETS:
            every = {} if name == "alertmanagers" else {"__scrape_interval__": "1s", "__scrape_timeout__": "1s"}
            blocks = [
                {"targets": [address], "labels": {**every, **labels}} for address, labels in targets.get(name, ())
            ]
            (self.folder / "targets" / f"{name}.yaml").write_text(json.dumps(blocks))  # JSON is YAML

    def command(self):
        return [
            program("prometheus"),
            f"--config.file={self.folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            *PROMETHEUS_FLAGS,
        ]


class Alertmanager(Program):
    """Sends to `webhook`, as the file that ships says."""

    def __init__(self, folder, webhook):
        super().__init__("alertmanager", folder)
        (self.folder / "alertmanager.yaml").symlink_to(CONFIG / "prometheus" / "alertmanager.yaml")
        (self.folder / "webhook-url").write_text(webhook)

    def command(self):
        return [
            program("alertmanager"),
            f"--config.file={self.folder / 'alertmanager.yaml'}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]


class Jaeger(Program):
    def __init__(self, folder):
        super().__init__("jaeger", folder)
        self.otlp, self.grpc, self.health, self.metrics = (free_port() for _ in range(4))

    def ready_url(self):
        return f"http://127.0.0.1:{self.health}/status"

    def command(self):
        return [program("jaeger"), f"--config={CONFIG / 'jaeger' / 'jaeger.yaml'}"]

    def environ(self):
        return {
            "OTLP_GRPC_ENDPOINT": f"127.0.0.1:{self.otlp}",
            "STORAGE_DIRECTORY": str(self.folder / "data"),
            "QUERY_HTTP_ENDPOINT": f"127.0.0.1:{self.port}",
            "QUERY_GRPC_ENDPOINT": f"127.0.0.1:{self.grpc}",
            "HEALTH_ENDPOINT": f"127.0.0.1:{self.health}",
            "SELF_METRICS_HOST": "127.0.0.1",
            "SELF_METRICS_PORT": str(self.metrics),
        }


class Loki(Program):
    ready = "/ready"

    def __init__(self, folder):
        super().__init__("loki", folder)
        self.grpc = free_port()

    def command(self):
        return [program("loki"), f"-config.file={CONFIG / 'loki' / 'loki.yaml'}", "-config.expand-env=true"]

    def environ(self):
        return {
            "LOKI_HOST": "127.0.0.1",
            "LOKI_HTTP_PORT": str(self.port),
            "LOKI_GRPC_PORT": str(self.grpc),
            "LOKI_DIRECTORY": str(self.folder / "data"),
        }
