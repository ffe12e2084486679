"""What stands between a queue and an exporter: the batch's fate, and why items can be lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

T_contra = TypeVar("T_contra", contravariant=True)

QUEUE_FULL = "queue_full"
ENCODE = "encode"
REJECTED = "rejected"
UNREACHABLE = "unreachable"
SHUTDOWN = "shutdown"
ERROR = "error"
#: Why an item can be dropped: no room in the queue; it cannot be encoded; the collector refused it; the collector could
#: not be reached in time; the process stopped first; the exporter itself raised.
REASONS = (QUEUE_FULL, ENCODE, REJECTED, UNREACHABLE, SHUTDOWN, ERROR)


class ExportResult(NamedTuple):
    """What became of a batch: how many items were dropped, by reason, and why; the others were exported.

    `error` says in one line what went wrong and where, without credentials; empty when nothing did.
    """

    dropped: Mapping[str, int] = MappingProxyType({})
    error: str = ""


class Exporter(Protocol[T_contra]):
    """What sends a batch of spans or log records; called by one thread at a time, but for `close`."""

    def export(self, items: Sequence[T_contra], deadline: float, /) -> ExportResult:
        """Send `items`, or give up, by `deadline` on the clock of ``time.monotonic``."""
        ...

    def close(self) -> None:
        """End an export that runs in another thread, if one does, and free what is held."""
        ...


class OtelExporter(Protocol):
    """What the exporters of the OpenTelemetry SDK have in common."""

    def export(self, batch: Any, /) -> Enum:
        """Export; a member called SUCCESS says that it went well."""
        ...

    def shutdown(self) -> None:
        """Export no more."""
        ...


class SdkExporter:
    """An exporter of the OpenTelemetry SDK, such as its ConsoleSpanExporter, behind :class:`Exporter`.

    Args:
        exporter: the SDK's.
        convert: makes of a batch what the SDK's exporter takes.
        count: how many items a batch holds.
    """

    def __init__(
        self,
        exporter: OtelExporter,
        convert: Callable[[Sequence[Any]], Any] = list,
        count: Callable[[Sequence[Any]], int] = len,
    ) -> None:
        self._exporter = exporter
        self._convert = convert
        self._count = count

    def export(self, items: Sequence[Any], deadline: float) -> ExportResult:  # noqa: ARG002  (the SDK has none)
        """Export; what the SDK calls a failure counts as rejected."""
        if self._exporter.export(self._convert(items)).name == "SUCCESS":
            return ExportResult()
        return ExportResult({REJECTED: self._count(items)}, f"{type(self._exporter).__name__} reported a failure")

    def close(self) -> None:
        """Shut the SDK's exporter down."""
        self._exporter.shutdown()


class Both:
    """Two exporters of the same items; what became of them is the first one's to say."""

    def __init__(self, first: Exporter[Any], second: Exporter[Any]) -> None:
        self._first = first
        self._second = second

    def export(self, items: Sequence[Any], deadline: float) -> ExportResult:
        """Export by both."""
        self._second.export(items, deadline)
        return self._first.export(items, deadline)

    def close(self) -> None:
        """Close both."""
        self._first.close()
        self._second.close()
