"""A collector on loopback that takes OTLP over HTTP, and that can be made to fail in the ways collectors do."""

import gzip
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from ports import free_port

KINDS = {Span.SPAN_KIND_SERVER: "server", Span.SPAN_KIND_CLIENT: "client", Span.SPAN_KIND_INTERNAL: "internal"}


@dataclass(frozen=True)
class ReceivedSpan:
    """One decoded span, with the ids in hex as log lines and exemplars have them."""

    service: str
    resource: dict
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    attributes: dict
    failed: bool
    events: tuple

    @property
    def duration_ms(self):
        """To the microsecond, as `duration_ms` of a line."""
        return round((self.end_ns - self.start_ns) / 1e6, 3)


class Receiver:
    """Keeps every export it has accepted; `mode` says how it treats the next ones, and may change at any time.

    ok: 200. slow: 200 after 0.3 s. erroring: 503 once a batch, then 200. refusing: 400. hung: reads the export and
    never answers. dripping: answers, one byte a second. dead: the port is closed, and so is every connection.
    """

    def __init__(self, mode="ok"):
        self.refused = 0
        self._bodies = []
        self._decoded = []
        self._seen_bodies = set()
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._connections = set()
        self._server = None
        self.port = free_port()
        self.mode = "dead"
        self.turn(mode)

    @property
    def endpoint(self):
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.port}"

    def turn(self, mode):
        """Behave as `mode` says from now on; exports that hang are let go."""
        self.mode = mode
        self._changed.set()
        self._changed = threading.Event()
        if mode == "dead":
            self._close()
        elif self._server is None:
            self._server = _Server(("127.0.0.1", self.port), _handler_of(self))
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        self.turn("dead")

    @property
    def spans(self):
        """Every span that was accepted, decoded; the bodies are decoded here, so that taking them costs little."""
        with self._lock:
            bodies, self._bodies = self._bodies, []
            for body in bodies:
                self._decoded.extend(decoded(body))
            return list(self._decoded)

    def respond(self, body):
        """What to answer to an export: a status, or None for none at all."""
        mode, changed = self.mode, self._changed
        if mode in ("hung", "dripping"):
            return None, changed
        if mode == "slow":
            changed.wait(0.3)
        with self._lock:
            if mode == "refusing":
                self.refused += 1
                return 400, changed
            if mode == "erroring" and body not in self._seen_bodies:
                self._seen_bodies.add(body)
                self.refused += 1
                return 503, changed
            self._bodies.append(body)
        return 200, changed

    def _close(self):
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, *_):
        """Clients that leave are what some of the tests are about."""


def _handler_of(receiver):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def setup(self):
            super().setup()
            receiver._connections.add(self.connection)

        def finish(self):
            receiver._connections.discard(self.connection)
            with suppress(OSError):
                super().finish()

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers["content-encoding"] == "gzip":
                body = gzip.decompress(body)
            status, changed = receiver.respond(body)
            if status is None:
                self._never_quite_answer(changed)
                return
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def _never_quite_answer(self, changed):
            self.close_connection = True
            answer = iter(b"HTTP/1.1 200 OK\r\nx-slow: " + b"." * 600)
            while not changed.wait(1.0):
                if receiver.mode == "dripping":
                    self.wfile.write(bytes([next(answer)]))
                    self.wfile.flush()

        def log_message(self, *_):
            pass

    return Handler


def decoded(body):
    """The spans of one export."""
    for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = attributes_of(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield ReceivedSpan(
                    service=resource["service.name"],
                    resource=resource,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    kind=KINDS[span.kind],
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes=attributes_of(span),
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                    events=tuple((event.name, attributes_of(event)) for event in span.events),
                )


def attributes_of(message):
    """Attributes as plain Python values."""
    return {pair.key: value_of(pair.value) for pair in message.attributes}


def value_of(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(each) for each in value.array_value.values]
    return getattr(value, kind)


def until(condition, seconds=10.0, *, every=0.02):
    """Poll until `condition()` is true, and give what it returned; an AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {getattr(condition, '__name__', condition)}"
        time.sleep(every)
