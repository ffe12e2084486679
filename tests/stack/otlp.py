"""OTLP from and to tests: a few lines that make and send spans and log records, and a backend that keeps what it takes."""

import gzip
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from ports import free_port

SERVER, CLIENT, INTERNAL = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_INTERNAL
#: What an SDK tries again after, None being no answer at all.
RETRYABLE = (None, 429, 502, 503, 504)
_REQUESTS = {
    "traces": trace_service_pb2.ExportTraceServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
}


def attributes(values):
    """A dict as OTLP's list of pairs."""
    return [KeyValue(key=key, value=_value(value)) for key, value in values.items()]


def _value(value):
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[_value(each) for each in value]))
    return AnyValue(string_value=value)


def plain(pairs):
    """OTLP's list of pairs as a dict."""
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value):
    kind = value.WhichOneof("value")
    return [_plain(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)


def span(name, *, trace_id=None, parent=b"", kind=SERVER, seconds=0.01, error=False, state="", message="", **values):
    """One span that has just ended; `values` are its attributes, with __ for a dot."""
    end = time.time_ns()
    return Span(
        trace_id=trace_id or os.urandom(16),
        span_id=os.urandom(8),
        parent_span_id=parent,
        trace_state=state,
        flags=0x301,
        name=name,
        kind=kind,
        start_time_unix_nano=end - round(seconds * 1e9),
        end_time_unix_nano=end,
        attributes=attributes({key.replace("__", "."): value for key, value in values.items()}),
        status=Status(code=Status.STATUS_CODE_ERROR if error else Status.STATUS_CODE_UNSET, message=message),
    )


def traces(by_service, **resource):
    """An export of spans: {service: [span, …]}."""
    request = trace_service_pb2.ExportTraceServiceRequest()
    for service, spans in by_service.items():
        each = request.resource_spans.add()
        each.resource.attributes.extend(attributes({"service.name": service} | resource))
        each.scope_spans.add().spans.extend(spans)
    return request


def send(endpoint, request, *, patience=60):
    """Post an export by HTTP, as an SDK does: tried again while the other end says that it is busy or is not there.

    Returns how often it was refused.
    """
    signal = next(name for name, kind in _REQUESTS.items() if isinstance(request, kind))
    body = gzip.compress(request.SerializeToString(), 1)
    deadline, refused = time.monotonic() + patience, 0
    while (status := posted(endpoint, f"/v1/{signal}", body, {"content-encoding": "gzip"})) != 200:
        if status not in RETRYABLE or time.monotonic() > deadline:
            msg = f"{endpoint} refuses {signal}: {status or 'nobody is there'}"
            raise RuntimeError(msg)
        refused += 1
        time.sleep(0.1)
    return refused


def posted(endpoint, path, body, headers):
    """The status of the answer to a body of protobuf; None where there was none."""
    headers = {"content-type": "application/x-protobuf"} | headers
    with closing(HTTPConnection(endpoint.removeprefix("http://"), timeout=10)) as connection:
        try:
            connection.request("POST", path, body, headers)
            return connection.getresponse().status
        except (OSError, HTTPException):
            return None


@dataclass
class Kept:
    """A span, record or point as a backend has it, with the resource that it came with."""

    resource: dict
    attributes: dict
    proto: object
    name: str = ""
    scope: dict = field(default_factory=dict)


class Backend:
    """Takes OTLP by gRPC and by HTTP, and keeps what it has taken; `close` and `open` again on the same ports."""

    def __init__(self):
        self.grpc_port, self.http_port = free_port(), free_port()
        self.headers = []
        self._requests = []
        self._lock = threading.Lock()
        self._servers = ()
        self.open()

    @property
    def grpc(self):
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http(self):
        return f"http://127.0.0.1:{self.http_port}"

    def open(self):
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 32 << 20)])
        for module, pb2, name in (
            (trace_service_pb2_grpc, trace_service_pb2, "Trace"),
            (metrics_service_pb2_grpc, metrics_service_pb2, "Metrics"),
            (logs_service_pb2_grpc, logs_service_pb2, "Logs"),
        ):
            servicer = type(name, (), {"Export": _export(self, getattr(pb2, f"Export{name}ServiceResponse"))})()
            getattr(module, f"add_{name}ServiceServicer_to_server")(servicer, server)
        server.add_insecure_port(self.grpc)
        server.start()
        http = ThreadingHTTPServer(("127.0.0.1", self.http_port), _handler(self))
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self._servers = (server, http)

    def close(self):
        if self._servers:
            server, http = self._servers
            self._servers = ()
            server.stop(None).wait()
            http.shutdown()
            http.server_close()

    def take(self, request, headers):
        with self._lock:
            self._requests.append(request)
            self.headers.append(headers)

    def _of(self, kind):
        with self._lock:
            return [each for each in self._requests if isinstance(each, _REQUESTS[kind])]

    @property
    def spans(self):
        return [
            Kept(plain(rs.resource.attributes), plain(each.attributes), each, each.name, plain(ss.scope.attributes))
            for request in self._of("traces")
            for rs in request.resource_spans
            for ss in rs.scope_spans
            for each in ss.spans
        ]

    @property
    def records(self):
        return [
            Kept(plain(rl.resource.attributes), plain(each.attributes), each, each.event_name)
            for request in self._of("logs")
            for rl in request.resource_logs
            for sl in rl.scope_logs
            for each in sl.log_records
        ]

    @property
    def points(self):
        return [
            Kept(plain(rm.resource.attributes), plain(point.attributes), point, metric.name)
            for request in self._of("metrics")
            for rm in request.resource_metrics
            for sm in rm.scope_metrics
            for metric in sm.metrics
            for point in getattr(metric, metric.WhichOneof("data")).data_points
        ]


def _export(backend, answer):
    def export(_self, request, context):
        backend.take(request, dict(context.invocation_metadata()))
        return answer()

    return export


def _handler(backend):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            request = _REQUESTS[self.path.rsplit("/", 1)[1]].FromString(body)
            backend.take(request, {key.lower(): value for key, value in self.headers.items()} | {":path": self.path})
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    return Handler


def until(condition, within=30, every=0.1):
    """Poll until `condition()` is true, and return what it returned; after `within` seconds, what it returned last."""
    deadline = time.monotonic() + within
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(every)
    return found
