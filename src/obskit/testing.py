"""Capture what obskit emits, for tests of services.

::

    def test_orders(client):
        with obskit.testing.capture(app) as captured:
            client.get("/orders/7")
        assert captured.line("GET /orders/{order_id} 200")["user.tier"] == "gold"

Nothing leaves the process, and everything is restored afterwards.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson
from opentelemetry.sdk.trace import ReadableSpan

from obskit import _init
from obskit._handle import Obskit
from obskit._tally import REPEATED, SAMPLED_OUT, Tally
from obskit.config import Config
from obskit.export._exporter import ExportResult

__all__ = ["Captured", "capture"]


class Captured:
    """What has been emitted so far.

    Attributes:
        obs: the handle.
    """

    def __init__(self, writer: _MemoryWriter, exporter: _MemoryExporter) -> None:
        self.obs: Obskit
        self._writer = writer
        self._exporter = exporter

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log lines, parsed, oldest first."""
        return [orjson.loads(line) for line in list(self._writer.lines)]

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, oldest first."""
        self.obs.flush(5.0)
        return list(self._exporter.spans)

    def line(self, message: str) -> dict[str, Any]:
        """The one line with this message.

        Raises:
            LookupError: there is none, or more than one; it shows which there are.
        """
        line: dict[str, Any] = _only(
            [line for line in self.lines if line["message"] == message], message, self._messages()
        )
        return line

    def span(self, name: str) -> ReadableSpan:
        """The one span with this name.

        Raises:
            LookupError: there is none, or more than one; it shows which there are.
        """
        spans = self.spans
        span: ReadableSpan = _only([span for span in spans if span.name == name], name, [span.name for span in spans])
        return span

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample, such as ``metric("http_server_request_duration_seconds_count", http_route="/")``.

        Labels that are not given may have any value; the values of all samples that match are added up.
        """
        return sum(
            sample.value
            for family in self.obs.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def _messages(self) -> list[str]:
        return [str(line["message"]) for line in self.lines]


def _only(found: list[Any], wanted: str, there: list[str]) -> Any:
    if len(found) != 1:
        msg = f"{len(found)} of {wanted!r}; there are: {there}"
        raise LookupError(msg)
    return found[0]


@contextmanager
def capture(
    app: Any = None,
    *,
    config: Config | None = None,
    checks: Mapping[str, Callable[[], object]] | None = None,
) -> Iterator[Captured]:
    """Wire obskit for the duration of the block, with memory in the place of the outside world.

    Args:
        app: an app to observe in place, as for :func:`obskit.init`; other apps by ``captured.obs.wrap``.
        config: as for :func:`obskit.init`, but the environment is not read; lines are JSON whatever it says.
        checks: as for :func:`obskit.init`.

    Raises:
        ConfigError: obskit is wired already, or an argument is wrong.
    """
    writer, exporter = _MemoryWriter(), _MemoryExporter()
    captured = Captured(writer, exporter)
    asked = config or Config()
    wanted = replace(
        asked,
        log_format="json",
        service_name=asked.service_name or "test",
        logs_exporter="none",
        metrics_exporter=tuple(name for name in asked.metrics_exporter if name == "prometheus") or ("none",),
        worker_group="none",
        admin_port=None,
    )
    caller = sys._getframe(2)  # noqa: SLF001  (contextmanager stands between)
    place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
    captured.obs = _init.start(wanted, app, place, checks or {}, writer=writer, exporter=exporter, exclusive=True)
    with captured.obs:
        yield captured


class _MemoryWriter:
    """Keeps lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.tally = Tally((SAMPLED_OUT, REPEATED))
        self.bytes_written = 0
        self._lock = threading.Lock()

    def write(self, line: bytes) -> None:
        with self._lock:
            self.lines.append(line)
            self.tally.produced += 1
            self.tally.exported += 1
            self.bytes_written += len(line)

    def leave_out(self, reason: str) -> None:
        with self._lock:
            self.tally.produced += 1
            self.tally.dropped[reason] += 1

    def flush(self, timeout: float) -> bool:  # noqa: ARG002  (the writer's interface)
        return True

    def close(self, timeout: float) -> bool:  # noqa: ARG002
        return True

    def write_through(self, *, on: bool = True) -> None:
        pass


class _MemoryExporter:
    """Keeps spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan], deadline: float) -> ExportResult:  # noqa: ARG002  (the interface)
        self.spans += spans
        return ExportResult()

    def close(self) -> None:
        pass
