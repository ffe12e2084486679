"""What each piece of an observed request costs, on the serving thread and off it: where work would pay.

A ladder, and single calls: the same requests with one signal more at each step, so that the steps add up to the whole.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import subjects
from benchmarks.log_line import EVENTS
from benchmarks.results import Result
from benchmarks.sizes import Sizes
from benchmarks.subjects import BARE, OBSKIT
from benchmarks.traffic import REQUESTS_A_FLUSH, Driver, traceparent
from benchmarks.workers import Child, Worker

_CALLS = 2000


class _NoSignal:
    """Takes operations and does nothing: what remains is observing."""

    name = "no signal"

    def start(self, op: object) -> None:
        pass

    def finish(self, op: object) -> None:
        pass


def child(name: str) -> Child:
    """The worker's side."""
    subject = subjects.build(name)
    driver = Driver(subject.app)
    driver.cpu_seconds(300, subject.flush, sampled=True)

    def bare(repeats: int) -> tuple[float, float]:
        return _serving(driver, subject.flush, repeats, sampled=True)

    def ladder(repeats: int) -> list[tuple[str, float, float]]:
        pipeline = importlib.import_module("obskit._pipeline")._pipeline  # noqa: SLF001  (its signals are what vary)
        signals = pipeline.signals
        steps = [("+ the operation, and the handler's log line", (_NoSignal(),))]
        steps += [(f"+ {signals[n].name}", signals[: n + 1]) for n in range(len(signals))]
        rows = []
        try:
            for title, some in steps:
                pipeline.signals = some
                rows.append((title, *_serving(driver, subject.flush, repeats, sampled=True)))
            rows.append(("all, not sampled", *_serving(driver, subject.flush, repeats, sampled=False)))
        finally:
            pipeline.signals = signals
        return rows

    def calls(repeats: int) -> list[tuple[str, float]]:
        gc.collect()
        return [(title, _smallest(call, subject.flush, repeats)) for title, call in _calls()]

    return Child({"bare": bare, "ladder": ladder, "calls": calls})


def _serving(driver: Driver, flush: Callable[[], object], repeats: int, *, sampled: bool) -> tuple[float, float]:
    """µs a request on the serving thread, and on all threads with the flush; the smallest of `repeats`."""
    best_thread = best_process = float("inf")
    for _ in range(repeats):
        thread, process = driver.cpu_seconds(REQUESTS_A_FLUSH, flush, sampled=sampled)
        best_thread, best_process = min(best_thread, thread), min(best_process, process)
    return best_thread / REQUESTS_A_FLUSH * 1e6, best_process / REQUESTS_A_FLUSH * 1e6


def _smallest(call: Callable[[], object], flush: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        before = time.thread_time()
        for _ in range(_CALLS):
            call()
        best = min(best, time.thread_time() - before)
        flush()
    return best / _CALLS * 1e6


def _calls() -> Sequence[tuple[str, Callable[[], object]]]:
    from opentelemetry import context, trace

    import obskit
    from obskit.propagation import remote_span_context

    tracer = trace.get_tracer("bench")
    fields = {f"field.{n}": f"value {n}" for n in range(10)}
    parent, here, log = [traceparent(sampled=True)], context.get_current(), obskit.get_logger("bench")

    def empty_span() -> None:
        tracer.start_span("name").end()

    def full_span() -> None:
        tracer.start_span("name", attributes=fields).end()

    def operation() -> None:
        with obskit.operation("name"):
            pass

    return [
        ("context: attach and detach", lambda: context.detach(context.attach(here))),
        ("propagation: read traceparent", lambda: remote_span_context(parent, ())),
        ("SDK: start and end a span", empty_span),
        ("SDK: the same, 10 attributes", full_span),
        ("operation(...): an INTERNAL one, all signals", operation),
        ("annotate: one field, no operation", lambda: obskit.annotate(tier="gold")),
        ("a log line, 2 fields, no trace", lambda: log.info(next(EVENTS), item_id=42, tier="gold")),
    ]


def measure(sizes: Sizes, folder: Path) -> Result:
    """The ladder and the calls; the smallest of many repetitions."""
    with Worker("receiver", "pieces", folder, {}) as receiver:
        environment = subjects.environment(OBSKIT, receiver.ask("port"))
        with Worker("pieces", BARE, folder, environment) as worker:
            steps: list[Any] = [("bare FastAPI", *worker.ask("bare", repeats=sizes.pieces_repeats))]
        with Worker("pieces", OBSKIT, folder, environment) as worker:
            steps += worker.ask("ladder", repeats=sizes.pieces_repeats)
            calls: list[Any] = worker.ask("calls", repeats=sizes.pieces_repeats)
    result = Result(
        f"Pieces of a request, CPU µs (the smallest of {sizes.pieces_repeats})",
        ("piece", "serving thread", "step", "all threads, exported", "step"),
    )
    before = (0.0, 0.0)
    for title, thread, process in steps:
        row = (f"{thread:.1f}", f"{thread - before[0]:+.1f}", f"{process:.1f}", f"{process - before[1]:+.1f}")
        result.rows.append((title, *row))
        before = (thread, process)
    result.rows += [(title, f"{thread:.2f}", "", "", "") for title, thread in calls]
    return result
