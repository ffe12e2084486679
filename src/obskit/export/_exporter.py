"""What stands between the queue and an exporter: the batch's fate, and why spans can be lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter as OtelSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

QUEUE_FULL = "queue_full"
ENCODE = "encode"
REJECTED = "rejected"
UNREACHABLE = "unreachable"
SHUTDOWN = "shutdown"
ERROR = "error"
#: Why a span can be dropped: no room in the queue; it cannot be encoded; the collector refused it; the collector could
#: not be reached in time; the process stopped first; the exporter itself raised.
REASONS = (QUEUE_FULL, ENCODE, REJECTED, UNREACHABLE, SHUTDOWN, ERROR)


class ExportResult(NamedTuple):
    """What became of a batch: how many spans were dropped, by reason, and why; the others were exported.

    `error` says in one line what went wrong and where, without credentials; empty when nothing did.
    """

    dropped: Mapping[str, int] = MappingProxyType({})
    error: str = ""


class SpanExporter(Protocol):
    """What sends a batch of spans; called by one thread at a time, but for `close`."""

    def export(self, spans: Sequence[ReadableSpan], deadline: float) -> ExportResult:
        """Send `spans`, or give up, by `deadline` on the clock of ``time.monotonic``."""
        ...

    def close(self) -> None:
        """End an export that runs in another thread, if one does, and free what is held."""
        ...


class SdkExporter:
    """An exporter of the OpenTelemetry SDK, such as its ConsoleSpanExporter, behind :class:`SpanExporter`."""

    def __init__(self, exporter: OtelSpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan], deadline: float) -> ExportResult:  # noqa: ARG002  (the SDK has none)
        """Export; what the SDK calls a failure counts as rejected."""
        if self._exporter.export(spans) is SpanExportResult.SUCCESS:
            return ExportResult()
        return ExportResult({REJECTED: len(spans)}, f"{type(self._exporter).__name__} reported a failure")

    def close(self) -> None:
        """Shut the SDK's exporter down."""
        self._exporter.shutdown()
