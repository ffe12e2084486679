"""Logs: an operation as its canonical line, the one wide event of a unit of work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

from opentelemetry.trace import SpanKind

from obskit import semconv
from obskit._exception import mark_carried
from obskit._probability import ALWAYS, NEVER, rate_of
from obskit.operation import Operation
from obskit.signals._lines import Lines, ids_of

RequestLog = Literal["all", "errors", "sampled", "off"]
Share = Callable[[Operation], int]

LOGGER: Final = "obskit.request"
_MAX_CALLS: Final = 20
_SERVER_ERROR: Final = 500
_UPGRADED: Final = 101


class Emit(Protocol):
    """Where a canonical line goes."""

    def __call__(self, op: Operation, level: str, message: str) -> None:
        """Write the line of an operation that has ended."""
        ...


class Logs:
    """The signal that writes one line for each operation that no other of this process stands above.

    Args:
        emit: where lines go.
        request_log: which operations get a line: all of them, those that failed (`errors`), those that failed or
            whose trace is recorded (`sampled`), or none.
        keep_calls: whether outbound calls are kept with the operation above them, for a terminal to show.
        share: by which threshold of the trace's randomness the line of an operation is kept, of `all` or of those
            that are `sampled`; None: each of the former, and those of traces that are recorded.
        left_out: told when it is not kept, of `all`.
    """

    name = "logs"

    def __init__(
        self,
        emit: Emit,
        request_log: RequestLog = "all",
        *,
        keep_calls: bool = False,
        share: Share | None = None,
        left_out: Callable[[], None] = lambda: None,
    ) -> None:
        self._emit = emit
        self._request_log = request_log
        self._keep_calls = keep_calls
        self._share = _recorded if share is None and request_log == "sampled" else share
        self._left_out = left_out

    def start(self, op: Operation) -> None:
        """Nothing: an operation has one line, at its end."""

    def finish(self, op: Operation) -> None:
        """Write the line, if the operation is one that has a line of its own."""
        if op.parent is not None or op.kind is SpanKind.CLIENT:
            if self._keep_calls and op.kind is SpanKind.CLIENT and op.parent is not None:
                _keep(op, op.root)
            return
        level = "error" if _failed(op) else "info"
        wanted = self._request_log
        if wanted == "off" or (wanted == "errors" and level != "error"):
            return
        if self._share is not None and (wanted == "all" or level != "error"):
            threshold = self._share(op)
            if threshold == NEVER:
                if wanted == "all":
                    self._left_out()
                return
            if threshold:
                op.fields[semconv.SAMPLE_RATE] = rate_of(threshold)
        self._emit(op, level, _message(op))


def _recorded(op: Operation) -> int:
    return ALWAYS if op.sampled else NEVER


def _failed(op: Operation) -> bool:
    if op.outcome != "ok":
        return op.outcome == "error"
    status = op.fields.get(semconv.HTTP_RESPONSE_STATUS_CODE)
    return isinstance(status, int) and status >= _SERVER_ERROR


def _message(op: Operation) -> str:
    fields = op.fields
    if op.event == semconv.EVENT_WEBSOCKET:
        status = fields.get(semconv.HTTP_RESPONSE_STATUS_CODE, _UPGRADED)
        return f"{op.name} {op.outcome if status == _UPGRADED else status}"
    if op.event != semconv.EVENT_HTTP_SERVER:
        return f"{op.name} {op.outcome}"
    status = fields.get(semconv.HTTP_RESPONSE_STATUS_CODE, op.outcome)
    route = fields.get(semconv.HTTP_ROUTE)
    method = fields.get(semconv.HTTP_REQUEST_METHOD, "")
    return f"{method} {route} {status}" if route else f"{method} {status}"


def _keep(op: Operation, root: Operation) -> None:
    if root.calls is None:
        root.calls = []
    if len(root.calls) < _MAX_CALLS:
        root.calls.append(op)


def write_to(lines: Lines, show: Callable[[Mapping[str, Any], list[Operation]], bytes] | None = None) -> Emit:
    """An :class:`Emit` that writes canonical lines straight to where all lines go.

    Args:
        lines: the pipeline.
        show: renders the line and the outbound calls below it for a terminal; without it the pipeline renders.
    """

    def emit(op: Operation, level: str, message: str) -> None:
        end_ns = op.start_ns + op.duration_ns
        lines.tick(end_ns)
        line: dict[str, Any] = {
            semconv.TIMESTAMP: lines.timestamp(end_ns),
            semconv.LEVEL: level,
            semconv.MESSAGE: message,
            semconv.LOGGER: LOGGER,
            **ids_of(op),
            **lines.resource,
            **fields_of(op),
        }
        if op.exception is not None and level == "error":
            line.update(op.written or lines.exceptions.describe(op.exception))
            mark_carried(op.exception)
        if lines.records is not None:
            lines.records(end_ns, line)
        lines.write(lines.render(line) if show is None else show(line, op.calls or []))

    return emit


def fields_of(op: Operation) -> dict[str, Any]:
    """All that a canonical line says of `op`, but for its exception."""
    return {
        semconv.EVENT_NAME: op.event,
        **op.fields,
        semconv.DURATION_MS: op.duration_ms,
        semconv.OUTCOME: op.outcome,
    }
