"""The whole stack of a test run: the shop before agent, gateway, Jaeger, Prometheus, Loki and Alertmanager, all real."""

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from collectors import Collector
from examples.shop._peers import PORTS
from examples.shop._processes import environment, start, stop, wait_until_ready
from examples.shop.load import drive
from ports import free_port

from programs import Alertmanager, Jaeger, Loki, Prometheus

IDENTITY = {"service_namespace": "shop", "deployment_environment_name": "test"}
SEED = 7
SCRAPED = "http_server_request_duration_seconds_count"
FROM_SPANS = 'traces_span_metrics_calls_total{span_kind="SPAN_KIND_SERVER"}'
#: Short, where a test would wait for it.
HASTE = {
    "OTEL_BSP_SCHEDULE_DELAY": "500",
    "OTEL_BLRP_SCHEDULE_DELAY": "500",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
}


class Webhook:
    """Who Alertmanager tells: a server that keeps what it is sent, as `alerts`."""

    def __init__(self):
        self.alerts = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                webhook.alerts += json.loads(self.rfile.read(int(self.headers["content-length"])))["alerts"]
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Stack:
    """Everything, started; `url` of the shop, and what to ask each backend."""

    def __init__(self, folder, left):
        folder = Path(folder)
        self.folder = folder
        self.begun = time.time()
        self._restarted = set()
        self._next_order = 1
        self.webhook = Webhook()
        left.callback(self.webhook.close)
        self.alertmanager = Alertmanager(folder, self.webhook.url)
        self.jaeger, self.loki = Jaeger(folder), Loki(folder)
        ports = {name: free_port() for name in PORTS}
        self.prometheus = Prometheus(folder, {})
        self.gateway = Collector(
            "gateway.yaml",
            folder=folder,
            JAEGER_ENDPOINT=f"127.0.0.1:{self.jaeger.otlp}",
            PROMETHEUS_OTLP_ENDPOINT=f"{self.prometheus.url}/api/v1/otlp",
            LOKI_OTLP_ENDPOINT=f"{self.loki.url}/otlp",
            SAMPLE_PERCENT=100,
            DECISION_WAIT="3s",
            SPAN_METRICS_INTERVAL="1s",
        )
        self.agent = Collector("agent.yaml", folder=folder, GATEWAY_ENDPOINT=self.gateway.grpc_endpoint)
        self.prometheus.aim(self._targets(ports))
        backends = (self.jaeger, self.prometheus, self.loki, self.alertmanager)
        for each in (*backends, self.gateway, self.agent):
            left.callback(each.stop)
        for each in backends:
            each.spawn()
        for each in (self.gateway, self.agent):
            each.start()
        self.services = self._shop(ports)
        left.callback(lambda: stop(self.services))
        for each in backends:
            each.wait()
        wait_until_ready(self.services)

    def _targets(self, ports):
        collectors = [f"127.0.0.1:{each.self_metrics}" for each in (self.agent, self.gateway)]
        backends = {
            "prometheus": self.prometheus.port,
            "jaeger": self.jaeger.metrics,
            "loki": self.loki.port,
            "alertmanager": self.alertmanager.port,
        }
        return {
            "services": [(f"127.0.0.1:{port}", {"service_name": name, **IDENTITY}) for name, port in ports.items()],
            "collectors": [(address, {}) for address in collectors],
            "backends": [(f"127.0.0.1:{port}", {"program": name}) for name, port in backends.items()],
            "alertmanagers": [(f"127.0.0.1:{self.alertmanager.port}", {})],
        }

    def _shop(self, ports):
        folder = self.folder / "shop"
        folder.mkdir()
        self._variables = {
            **environment(ports, folder, SEED),
            **HASTE,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.agent.endpoint,
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shop,deployment.environment.name=test,service.version=1.4.0",
        }
        return [start(name, port, folder, self._variables) for name, port in ports.items()]

    @contextmanager
    def without(self, name):
        """The shop while one of its services is dead, as by kill -9; it is back once the block is left.

        Its counters begin anew then, those of its spans at the gateway do not: `settle` compares it no more.
        """
        (at,) = [at for at, service in enumerate(self.services) if service.name == name]
        service = self.services[at]
        os.killpg(service.process.pid, signal.SIGKILL)
        service.process.wait(10)
        self._restarted.add(name)
        try:
            yield
        finally:
            self.services[at] = start(name, service.port, self.folder / "shop", self._variables)
            wait_until_ready(self.services)

    @property
    def url(self):
        """The shop's front door."""
        return self.services[0].url

    # -- load ---------------------------------------------------------------------------------------------------------

    def drive(self, seconds, rate=25, seed=SEED):
        """Customers for a time; the answers by status."""
        with self.customers(seconds, rate, seed) as seen:
            return seen

    @contextmanager
    def customers(self, seconds, rate=25, seed=SEED):
        """Customers beside what the block does; gives their answers by status, whole once it is left."""
        seen = Counter()
        work = drive(
            self.url,
            seed=seed,
            seconds=seconds,
            rate=rate,
            answered=lambda outcome: seen.update([outcome]),
            first_order=self._next_order,
        )
        self._next_order += 10_000
        thread = threading.Thread(target=asyncio.run, args=(work,))
        thread.start()
        try:
            yield seen
        finally:
            thread.join(seconds + 30)

    def settle(self, within=40, twice=False):
        """Wait until each service's requests are in Prometheus, by scrape and from spans alike, and neither grows.

        What was under way when a program was killed may count `twice`, from spans.
        """
        deadline, before = time.monotonic() + within, None
        while time.monotonic() < deadline:
            found = [
                {name: count for name, count in self.requests(way) if name not in self._restarted}
                for way in (SCRAPED, FROM_SPANS)
            ]
            scraped, from_spans = found
            alike = scraped == from_spans or (
                twice
                and scraped.keys() == from_spans.keys()
                and all(from_spans[name] >= scraped[name] for name in scraped)
            )
            if found == before and alike:
                return
            before = found
            time.sleep(1.5)
        msg = f"what was scraped and what spans say differ after {within} s: {before}"
        raise AssertionError(msg)

    def requests(self, series):
        """How many requests each service served, by one of the two ways: a list of (service, count)."""
        return [(labels["service_name"], value) for labels, value in self.query(f"sum by (service_name) ({series})")]

    # -- questions ----------------------------------------------------------------------------------------------------

    def query(self, expr, at=None):
        """An instant query: a list of (labels, value)."""
        found = self.prometheus_api("query", query=expr, **({} if at is None else {"time": at}))["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]

    def value(self, expr):
        """The one value of an instant query; 0 where there is none."""
        found = self.query(expr)
        assert len(found) <= 1, f"{expr}: {found}"
        return found[0][1] if found else 0.0

    def exemplars(self, selector):
        """The exemplars since the start: a list of (labels of the series, labels of the exemplar, value)."""
        found = self.prometheus_api("query_exemplars", query=selector, start=self.begun - 60, end=time.time() + 60)
        return [
            (series["seriesLabels"], each["labels"], float(each["value"]))
            for series in found
            for each in series["exemplars"]
        ]

    def prometheus_api(self, what, **parameters):
        """The data of a question to its HTTP API."""
        answer = get(f"{self.prometheus.url}/api/v1/{what}", **parameters)
        assert answer["status"] == "success", answer
        return answer["data"]

    def trace(self, trace_id):
        """A trace as Jaeger's API gives it: {"spans": [...], "processes": {...}}; None where it has none."""
        try:
            return get(f"{self.jaeger.url}/api/traces/{trace_id}")["data"][0]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise

    def traces(self, service, **parameters):
        """What Jaeger finds of a service, the newest first."""
        return get(f"{self.jaeger.url}/api/traces", service=service, lookback="1h", **parameters)["data"]

    def lines(self, query, limit=1000):
        """What Loki finds since the start: a list of (labels and structured metadata, line)."""
        answer = get(
            f"{self.loki.url}/loki/api/v1/query_range",
            query=query,
            start=int((self.begun - 60) * 1e9),
            end=int((time.time() + 60) * 1e9),
            limit=limit,
        )
        return [(stream["stream"], line) for stream in answer["data"]["result"] for _, line in stream["values"]]


def get(url, **parameters):
    """The JSON at a URL."""
    return httpx.get(url, params=parameters, timeout=20).raise_for_status().json()


@contextmanager
def started(folder):
    """The stack, and nothing of it left afterwards."""
    with ExitStack() as left:
        yield Stack(folder, left)
