"""What is pushed, straight to Prometheus or through the gateway, and what is scraped of the same traffic are the same series."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from collectors import Collector, running
from ports import free_port
from tables import show

from programs import Prometheus
from receiver import until

WAYS = ("straight", "by the gateway")
NAMES = dict(zip(WAYS, ("orders", "refunds"), strict=True))
IDENTITY = {"service_namespace": "shop", "deployment_environment_name": "test"}
#: What is asked of each service, and how often: (path, times).
TRAFFIC = {
    "/orders/1?tier=gold": 7,
    "/orders/2?tier=free": 4,
    "/orders/3?tier=silver": 2,
    "/orders/4?tier=none": 3,
    "/nowhere": 2,
}
#: Labels that say by which way a series came, and not what it is of.
OF_THE_WAY = ("job", "instance", "service_instance_id")
#: Measured in the process or of the scrape, and not pushed.
SCRAPED_ONLY = r"process_.+|python_.+|target_info|up|scrape_.+"
#: Goes on while nobody asks anything, so that two ways never have it of one moment.
MOVING = r"obskit_event_loop_lag_seconds.*|obskit_metric_points_.+|obskit_health_.+"


class Service:
    """`pushed_app` as a process that is scraped and pushes to `endpoint`, with its metrics under `path` there."""

    def __init__(self, name, folder, **environ):
        self.port = free_port()
        variables = {
            **os.environ,
            "OTEL_SERVICE_NAME": name,
            "OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shop,deployment.environment.name=test",
            "OTEL_METRICS_EXPORTER": "prometheus,otlp",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OBSKIT_METRIC_FIELDS": "user.tier=free|pro|gold",
            **environ,
        }
        command = [sys.executable, "-m", "uvicorn", "pushed_app:app", "--port", str(self.port)]
        with (folder / f"{name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=Path(__file__).parent, env=variables, stdout=log, stderr=log, start_new_session=True
            )
        self.url = f"http://127.0.0.1:{self.port}"

    def ready(self):
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz", timeout=1).is_success

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(20)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """A Prometheus that has the traffic of two services, each scraped, and pushed by one of the ways."""
    folder = tmp_path_factory.mktemp("push")
    prometheus = Prometheus(folder, {})
    receiver = f"{prometheus.url}/api/v1/otlp"
    gateway = Collector("gateway.yaml", folder=folder, PROMETHEUS_OTLP_ENDPOINT=receiver)
    services = []
    prometheus.start()
    try:
        with running(gateway):
            services += [
                Service(NAMES["straight"], folder, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{receiver}/v1/metrics"),
                Service(NAMES["by the gateway"], folder, OTEL_EXPORTER_OTLP_ENDPOINT=gateway.endpoint),
            ]
            targets = [
                (f"127.0.0.1:{service.port}", {"service_name": name, **IDENTITY})
                for service, name in zip(services, NAMES.values(), strict=True)
            ]
            for service in services:
                until(service.ready, 20)
            prometheus.aim({"services": targets})
            for service in services:
                for path, times in TRAFFIC.items():
                    for _ in range(times):
                        httpx.get(service.url + path, timeout=5)
            yield prometheus
    finally:
        for service in services:
            service.stop()
        prometheus.stop()


def series(prometheus, name, job):
    """What Prometheus has of a service by a job: {(series, its other labels): value}."""
    query = f'{{service_name="{name}", job{job}, __name__!~"{SCRAPED_ONLY}", __name__!~"{MOVING}"}}'
    answer = httpx.get(f"{prometheus.url}/api/v1/query", params={"query": query}, timeout=10).raise_for_status().json()
    return {
        (each["metric"]["__name__"], *sorted(labels(each["metric"]).items())): float(each["value"][1])
        for each in answer["data"]["result"]
    }


def labels(metric):
    """Labels beside the name, but those of the way; a bound is a number, however it is written."""
    kept = {key: value for key, value in metric.items() if key not in (*OF_THE_WAY, "__name__")}
    return kept | ({"le": float(kept["le"])} if "le" in kept else {})


def both(prometheus, way):
    # What rules record of either has no job.
    return series(prometheus, NAMES[way], '="obskit"'), series(prometheus, NAMES[way], '!~"|obskit"')


@pytest.mark.parametrize("way", WAYS)
def test_names_labels_and_sums_are_the_same(prometheus, way):
    def settled():
        scraped, pushed = both(prometheus, way)
        return scraped == pushed and sum(counts(scraped).values()) and (scraped, pushed)

    with suppress(AssertionError):
        until(settled, 30, every=0.5)
    scraped, pushed = both(prometheus, way)
    assert {key: (scraped.get(key), pushed.get(key)) for key in scraped.keys() ^ pushed.keys()} == {}
    assert {key: (value, pushed[key]) for key, value in scraped.items() if value != pushed[key]} == {}
    names = Counter(name for name, *_ in scraped)
    show(f"Scraped, and pushed {way}", ("series", "label sets"), sorted(names.items()))
    assert names.keys() >= {
        "http_server_request_duration_seconds_bucket", "http_client_request_duration_seconds_sum",
        "obskit_operation_duration_seconds_count", "refunds_total",
    }  # fmt: skip
    assert all(dict(key[1:]).items() >= ({"service_name": NAMES[way]} | IDENTITY).items() for key in scraped)


@pytest.mark.parametrize("way", WAYS)
def test_the_newest_exemplars_are_the_same(prometheus, way):
    query = f'http_server_request_duration_seconds_bucket{{service_name="{NAMES[way]}"}}'

    def exemplars():
        answer = httpx.get(
            f"{prometheus.url}/api/v1/query_exemplars",
            params={"query": query, "start": time.time() - 300, "end": time.time() + 60},
            timeout=10,
        )
        scraped, pushed = {}, {}
        for each in answer.raise_for_status().json()["data"]:
            side = scraped if each["seriesLabels"]["job"] == "obskit" else pushed
            newest = max(each["exemplars"], key=lambda exemplar: float(exemplar["timestamp"]))
            side[tuple(sorted(labels(each["seriesLabels"]).items()))] = newest["labels"]
        return scraped, pushed

    def settled():
        scraped, pushed = exemplars()
        return scraped and scraped == pushed

    with suppress(AssertionError):
        until(settled, 20, every=0.5)
    scraped, pushed = exemplars()
    assert scraped == pushed
    assert all(each.keys() == {"trace_id", "span_id"} for each in scraped.values())
    assert scraped


def counts(found):
    """Requests by route and tier, of the histogram."""
    requests = Counter()
    for (name, *pairs), value in found.items():
        if name == "http_server_request_duration_seconds_count":
            have = dict(pairs)
            requests[have.get("http_route", ""), have.get("user_tier", ""), have["http_response_status_code"]] += value
    return requests


@pytest.mark.parametrize("way", WAYS)
def test_they_are_what_was_asked(prometheus, way):
    expected = {
        ("/orders/{order_id}", "gold", "200"): 7,
        ("/orders/{order_id}", "free", "200"): 4,
        ("/orders/{order_id}", "_other", "200"): 2,
        ("/orders/{order_id}", "_other", "503"): 3,
        ("", "", "404"): 2,
    }
    until(lambda: counts(both(prometheus, way)[1]).items() >= expected.items(), 20, every=0.5)
    assert counts(both(prometheus, way)[0]).items() >= expected.items()
