"""CPU time of one log line with three fields inside a trace, the writer's thread and the write itself included."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.request_cpu import in_turns
from benchmarks.results import Account, Result
from benchmarks.sizes import Sizes
from benchmarks.subjects import FLUSH_SECONDS, SERVICE_NAME, Counts, counts_of, structlog_logger
from benchmarks.workers import Child, Worker

OBSKIT, STRUCTLOG, STDLIB = "obskit", "structlog", "stdlib"
TITLES = {
    OBSKIT: "obskit.get_logger, buffered",
    STRUCTLOG: "structlog, orjson, a write a line",
    STDLIB: "logging, json.dumps, a write a line",
}
#: What is written before the writer is waited for: less than any bounded buffer holds.
LINES_A_FLUSH = 500
#: So many that none repeats often enough in a second for obskit to leave it out.
EVENTS = itertools.cycle([f"item {number} read" for number in range(1000)])


@dataclass(frozen=True, slots=True)
class _Logging:
    line: Callable[[], object]
    trace: AbstractContextManager[object]
    flush: Callable[[], object] = lambda: None
    #: The logger's own counts; None where each call has written before it returns.
    counts: Callable[[], Counts] | None = None


def _span() -> AbstractContextManager[object]:
    from opentelemetry import trace

    context = trace.SpanContext(1 << 100, 1 << 50, is_remote=False, trace_flags=trace.TraceFlags(1))
    return trace.use_span(trace.NonRecordingSpan(context))


def _obskit() -> _Logging:
    from prometheus_client import generate_latest

    import obskit

    log = obskit.get_logger("shop.items")
    handle = obskit.init(service_name=SERVICE_NAME)
    return _Logging(
        lambda: log.info(next(EVENTS), item_id=42, tier="gold", cached=True),
        obskit.operation("lines"),
        lambda: handle.flush(FLUSH_SECONDS),
        lambda: counts_of(generate_latest(handle.registry).decode(), "obskit_log_lines"),
    )


def _structlog() -> _Logging:
    log = structlog_logger()
    return _Logging(lambda: log.info(next(EVENTS), item_id=42, tier="gold", cached=True), _span())


class _JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        from opentelemetry import trace

        context = trace.get_current_span().get_span_context()
        line = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }
        return json.dumps(line | getattr(record, "fields", {}))


def _stdlib() -> _Logging:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JSONFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    log = logging.getLogger("shop.items")
    return _Logging(
        lambda: log.info(next(EVENTS), extra={"fields": {"item_id": 42, "tier": "gold", "cached": True}}), _span()
    )


def child(name: str) -> Child:
    """The worker's side."""
    setup = {OBSKIT: _obskit, STRUCTLOG: _structlog, STDLIB: _stdlib}[name]()
    setup.trace.__enter__()  # for as long as the process lives: its end would be a line of its own
    calls = 0

    def block(count: int) -> float:
        nonlocal calls
        line, flush, spent = setup.line, setup.flush, 0.0
        for done in range(0, count, LINES_A_FLUSH):
            these = range(min(LINES_A_FLUSH, count - done))
            gc.collect()
            before = time.process_time()
            for _ in these:
                line()
            flush()
            spent += time.process_time() - before
            calls += len(these)
        return spent / count * 1e6

    def account() -> dict[str, int]:
        setup.flush()
        return asdict(Counts(calls, calls, 0) if setup.counts is None else setup.counts())

    block(1000)
    gc.freeze()
    return Child({"block": block, "account": account})


def measure(sizes: Sizes, folder: Path) -> Result:
    """µs of CPU a line for each way of logging."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker("log_line", name, folder, {})) for name in TITLES]
        times = in_turns(workers, sizes.log_rounds, sizes.log_lines)
        accounts = [line_account(worker) for worker in workers]
    medians = {name: median(values) for name, values in times.items()}
    rows: list[tuple[str, ...]] = [
        (title, f"{medians[name]:.2f}", f"{min(times[name]):.2f}", f"{medians[name] / medians[STRUCTLOG]:.2f}")
        for name, title in TITLES.items()
    ]
    return Result(
        f"CPU a log line, to a file (3 fields, inside a trace; {sizes.log_rounds} interleaved blocks of"
        f" {sizes.log_lines})",
        ("subject", "µs median", "µs minimum", "of structlog's"),
        rows,
        {"line_us": medians[OBSKIT]},
        accounts,
    )


def line_account(worker: Worker) -> Account:
    """What the subject says of its lines, beside the complete lines that stand in its file."""
    counts: dict[str, Any] = worker.ask("account")
    for line in worker.log.read_bytes().splitlines()[-100:]:
        json.loads(line)
    return Account(TITLES[worker.subject], "lines", **counts, received=worker.lines())
