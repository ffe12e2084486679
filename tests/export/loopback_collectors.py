"""Collectors on loopback, well-behaved and not, and spans to send to them."""

import gzip
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceFlags

RESOURCE = Resource({"service.name": "orders"})


def make_span(number=1, *, flags=TraceFlags.SAMPLED, **given):
    context = SpanContext(0xABC, number, is_remote=False, trace_flags=TraceFlags(flags))
    return ReadableSpan(f"span {number}", context, resource=RESOURCE, start_time=1, end_time=2, **given)


def make_spans(count):
    return [make_span(number) for number in range(1, count + 1)]


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    raw: bytes
    at: float

    @property
    def body(self):
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw

    @property
    def names(self):
        message = ExportTraceServiceRequest.FromString(self.body)
        return [span.name for r in message.resource_spans for s in r.scope_spans for span in s.spans]

    @property
    def resource_attributes(self):
        """Of the spans' resources."""
        message = ExportTraceServiceRequest.FromString(self.body)
        return [attribute for r in message.resource_spans for attribute in r.resource.attributes]

    @property
    def records(self):
        """(record, scope's name, resource's attributes) of each log record; in protobuf."""
        message = ExportLogsServiceRequest.FromString(self.body)
        return [
            (record, s.scope.name, attributes_of(r.resource.attributes))
            for r in message.resource_logs
            for s in r.scope_logs
            for record in s.log_records
        ]

    @property
    def metrics(self):
        """(metric, scope's name, resource's attributes) of each metric; in protobuf."""
        message = ExportMetricsServiceRequest.FromString(self.body)
        return [
            (metric, s.scope.name, attributes_of(r.resource.attributes))
            for r in message.resource_metrics
            for s in r.scope_metrics
            for metric in s.metrics
        ]


def attributes_of(pairs):
    """Key-value pairs of a decoded message as a dict of Python's values."""
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)


@dataclass
class Collector:
    """Records what it is sent; answers from `answers`, then 200."""

    server: ThreadingHTTPServer
    answers: deque = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def port(self):
        return self.server.server_address[1]

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}/v1/traces"

    @property
    def names(self):
        return [name for request in self.requests for name in request.names]

    @property
    def pushes(self):
        """The requests that hold metrics."""
        return [request for request in self.requests if request.path == "/v1/metrics"]

    @property
    def records(self):
        return [each for request in self.requests if request.path == "/v1/logs" for each in request.records]


def start_collector(wrap=None):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def setup(self):
            collector.connections += 1
            super().setup()

        def do_POST(self):
            raw = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            collector.requests.append(Request(self.path, headers, raw, time.monotonic()))
            status, more, body = collector.answers.popleft() if collector.answers else (200, {}, b"")
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_):
            pass  # clients that leave are what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    if wrap:
        server.socket = wrap(server.socket)
    collector = Collector(server)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return collector


def receive_request(connection):
    """Read one whole HTTP request; its head and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            return data, b""
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(65536)
    return head, body


def hang(connection):
    while connection.recv(65536):
        pass


def drip_head(connection):
    receive_request(connection)
    while True:
        connection.sendall(b"H")
        time.sleep(0.05)


def drip_body(connection):
    receive_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def reset(connection):
    receive_request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
