"""A loopback OTLP receiver in a process of its own: its CPU is nobody's, and it counts what really arrived.

Bodies are kept as they came and decoded only when the count is asked for, after the timed work.
"""

from __future__ import annotations

import gzip
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.workers import Child

_bodies: defaultdict[str, list[tuple[bytes, str]]] = defaultdict(list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        subject = self.path.strip("/").split("/")[0]
        _bodies[subject].append((self.rfile.read(length), self.headers.get("content-encoding", "")))
        # One segment for the whole answer: an empty body, which decodes as "all accepted".
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")

    def log_message(self, *_: Any) -> None:
        """Nothing: the receiver's stderr is for faults."""


def _count(subject: str) -> dict[str, int]:
    """Requests, bytes on the wire and spans that arrived under ``/<subject>/v1/traces``."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans = 0
    for body, encoding in _bodies[subject]:
        request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if encoding == "gzip" else body)
        spans += sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
    return {"requests": len(_bodies[subject]), "bytes": sum(len(body) for body, _ in _bodies[subject]), "spans": spans}


def child(_subject: str) -> Child:
    """The worker's side: serves on a free port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return Child({"port": lambda: server.server_address[1], "count": _count}, stop=stop)
