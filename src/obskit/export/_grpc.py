"""OTLP over gRPC by the official exporters, with the deadlines and the silence of obskit's own.

They retry by themselves, log each attempt, and say no more than that they failed. What they log is overheard instead:
it is the reason that obskit's own warning, once a minute, gives.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

from obskit._otlp import Otlp
from obskit.export._exporter import REJECTED, SHUTDOWN, UNREACHABLE, ExportResult, OtelExporter
from obskit.export._headers import Headers

EXPORTERS: dict[str, Callable[..., OtelExporter]] = {
    "traces": OTLPSpanExporter,
    "metrics": OTLPMetricExporter,
    "logs": OTLPLogExporter,
}
_LOGGER = "opentelemetry.exporter.otlp.proto.grpc.exporter"
#: What is worth another try; the official exporter has given up on it by its own time.
_PASSING = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "CANCELLED", "OUT_OF_RANGE")
_PAUSE_SECONDS = 0.5


class GrpcExporter:
    """One of the official exporters for gRPC.

    Args:
        make: the exporter's class; it is made when there is something to export, since a channel does not survive a
            fork, and anew when the headers have changed.
        otlp: the signal's configuration.
        convert: makes of a batch what the exporter takes.
        count: how many items a batch holds.

    Raises:
        OSError: a certificate or key cannot be read.
    """

    def __init__(
        self,
        make: Callable[..., OtelExporter],
        otlp: Otlp,
        convert: Callable[[Sequence[Any]], Any],
        count: Callable[[Sequence[Any]], int],
    ) -> None:
        self.endpoint = otlp.url.rpartition("@")[2]
        self._make = make
        self._otlp = otlp
        self._convert = convert
        self._count = count
        self._credentials = _credentials(otlp)
        self._headers = Headers(otlp.headers, otlp.headers_file)
        self._overheard = _Overheard()
        self._made_for: tuple[int, dict[str, str]] | None = None
        self._exporter: OtelExporter | None = None
        self._closed = threading.Event()

    def export(self, items: Sequence[Any], deadline: float) -> ExportResult:
        """Export, again and again while the collector is away, until `deadline`."""
        data, size = self._convert(items), self._count(items)
        with self._overheard:
            while not self._closed.is_set():
                if self._current().export(data).name == "SUCCESS":
                    return ExportResult()
                said = self._overheard.said or "the exporter reported a failure"
                if not any(code in said for code in _PASSING):
                    return ExportResult({REJECTED: size}, f"{self.endpoint}: {said}")
                if monotonic() + _PAUSE_SECONDS >= deadline:
                    return ExportResult({UNREACHABLE: size}, f"{self.endpoint}: {said}")
                self._closed.wait(_PAUSE_SECONDS)
        return ExportResult({SHUTDOWN: size}, f"{self.endpoint}: closed")

    def close(self) -> None:
        """End the export in flight, and every later one; from any thread, without waiting."""
        self._closed.set()
        if self._exporter is not None and self._made_for is not None and self._made_for[0] == os.getpid():
            # It may wait for an answer: not in the caller's time.
            threading.Thread(target=self._exporter.shutdown, name="obskit-grpc-close", daemon=True).start()

    def _current(self) -> OtelExporter:
        made_for = (os.getpid(), self._headers.current())
        if self._exporter is None or made_for != self._made_for:
            otlp = self._otlp
            self._exporter = self._make(
                endpoint=otlp.url,
                insecure=self._credentials is None,
                credentials=self._credentials,
                headers=made_for[1] or ",",  # none, but not empty: else it would read the environment
                timeout=otlp.timeout,
                compression=grpc.Compression.Gzip if otlp.compression == "gzip" else grpc.Compression.NoCompression,
            )
            self._made_for = made_for
        return self._exporter


class _Overheard(logging.Filter):
    """While it is entered, takes what the official exporter logs in this thread out of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""
        self._thread = 0

    def __enter__(self) -> None:
        self.said, self._thread = "", threading.get_ident()
        logging.getLogger(_LOGGER).filters.insert(0, self)  # before the one that hides repetitions

    def __exit__(self, *_: object) -> None:
        logging.getLogger(_LOGGER).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep what this thread says, and let the rest pass."""
        if threading.get_ident() != self._thread:
            return True
        self.said = record.getMessage()
        return False


def _credentials(otlp: Otlp) -> grpc.ChannelCredentials | None:
    """None where the endpoint is not https, which is how OTLP over gRPC says that there is no TLS."""
    if not otlp.url.startswith("https:"):
        return None
    certificate, key, client = (
        None if path is None else Path(path).read_bytes()
        for path in (otlp.certificate, otlp.client_key or otlp.client_certificate, otlp.client_certificate)
    )
    if client is None:
        key = None
    return grpc.ssl_channel_credentials(certificate, key, client)
