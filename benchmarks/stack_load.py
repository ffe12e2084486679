"""Load for the programs of the stack: traces of ten spans by OTLP, and targets that Prometheus scrapes."""

from __future__ import annotations

import gzip
import os
import re
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread

from otlp import CLIENT, SERVER, posted, span, traces
from ports import free_port

BATCH = 100
#: Of each batch: one trace with an error, two that are slow. As plan.EXCEPTIONAL says.
ERRORS, SLOW = 1, 2
_CALLED = ("orders", "inventory", "pricing", "payments")
_MARK = re.compile(rb"trace-id-\d{7}")


def _request(method, route, **values):
    return {
        "http__request__method": method,
        "http__route": route,
        "http__response__status_code": 200,
        "url__path": route,
        "url__scheme": "http",
        "server__port": 8000,
        "client__address": "10.0.3.17",
        "user_agent__original": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
        "network__protocol__version": "1.1",
        "outcome": "ok",
    } | values


def _trace(number, spans):
    """Ten spans of five services, of which the first calls the others and the last a database."""
    common = {"trace_id": b"trace-id-%07d" % number, "error": number < ERRORS}
    seconds = 1.5 if ERRORS <= number < ERRORS + SLOW else 0.05
    root = span("POST /orders", **common, seconds=seconds, **_request("POST", "/orders", user_id=f"u{number}"))
    spans.setdefault("edge", []).append(root)
    for service in _CALLED:
        url = {"server__address": service, "url__full": f"http://{service}:8000/{service}/{number}"}
        call = span("GET", **common, parent=root.span_id, kind=CLIENT, http__request__method="GET", outcome="ok", **url)
        route = f"/{service}/{{item_id}}"
        served = span(f"GET {route}", **common, parent=call.span_id, kind=SERVER, **_request("GET", route))
        spans["edge"].append(call)
        spans.setdefault(service, []).append(served)
    query = "SELECT price, currency FROM prices WHERE item_id = ? AND valid_until > ?"
    values = {"db__system__name": "postgresql", "db__query__text": query, "server__address": "db", "outcome": "ok"}
    spans["payments"].append(span("SELECT", **common, parent=served.span_id, kind=CLIENT, **values))


def templates():
    """An export of each service for a batch of traces, whose ids stand to be replaced."""
    spans = {}
    for number in range(BATCH):
        _trace(number, spans)
    resource = {"service.namespace": "shop", "deployment.environment.name": "load", "service.version": "1.4.2"}
    return [traces({service: each}, **resource).SerializeToString() for service, each in spans.items()]


def exports(bodies):
    """The same exports, with new ids of traces."""
    ids = {b"trace-id-%07d" % number: os.urandom(16) for number in range(BATCH)}
    return [_MARK.sub(lambda mark: ids[mark[0]], body) for body in bodies]


def send(endpoint, batches, senders=2):
    """Send batches as fast as they are taken, and raise on the first that is refused."""
    bodies = templates()

    def one(_):
        for body in exports(bodies):
            status = posted(endpoint, "/v1/traces", gzip.compress(body, 1), {"content-encoding": "gzip"})
            if status != 200:
                raise RuntimeError(f"{endpoint} answered {status}")

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(one, range(batches)))


def exposition(series):
    """Histograms as obskit's, 17 series a route; @ stands for the value of the moment."""
    bounds = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, "+Inf")
    name, lines = "http_server_request_duration_seconds", []
    for number in range(-(-series // 17)):
        labels = f'http_request_method="GET",http_response_status_code="200",http_route="/r{number}/{{id}}"'
        lines += [f'{name}_bucket{{{labels},le="{bound}"}} @' for bound in bounds]
        lines += [f"{name}_sum{{{labels}}} @", f"{name}_count{{{labels}}} @"]
    return "\n".join([f"# TYPE {name} histogram", *lines[:series], ""]).encode()


def targets(series):
    """A server whose every path is a target with so many series, each new at every scrape; and its address."""
    body, numbers = exposition(series), count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            answer = body.replace(b"@", b"%d" % next(numbers))
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server, f"127.0.0.1:{server.server_port}"
