"""A scrape at the cap: how late the event loop runs while every metric has as many label sets as it may have.

One process alone, and one of eight workers that are all that full: it asks the others and adds all of them up.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Self

from benchmarks.results import Result
from benchmarks.sizes import Sizes
from benchmarks.workers import Child, Worker

WORKERS = 8
TITLES = {1: "one process alone", WORKERS: f"one of {WORKERS} workers"}
_TICK_SECONDS = 0.001
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def child(_name: str) -> Child:
    """The worker's side: a wired process whose metrics can be filled, and scraped while a loop ticks."""
    import obskit

    obs = obskit.init(service_name="bench", config=obskit.Config(log_mode="off"))
    pipeline = importlib.import_module("obskit._pipeline")._pipeline  # noqa: SLF001  (whose metrics are filled)
    metrics: Any = next(signal for signal in pipeline.signals if signal.name == "metrics")

    def fill() -> dict[str, int]:
        for family in metrics._capped:  # noqa: SLF001
            for number in range(family.limit if family.labels else 0):
                series = family[tuple(f"{label} {number}" for label in family.labels)]
                if hasattr(series, "observe"):
                    for value in metrics._buckets:  # noqa: SLF001
                        series.observe(value, (f"{number + 1:032x}", f"{number + 1:016x}", value, time.time_ns()))
                else:
                    series.add(1)
        counts: dict[str, int] = metrics.series_counts()
        return counts

    def scrape() -> dict[str, float]:
        return asyncio.run(_scraped(obs._life._workers.exposition))  # noqa: SLF001

    return Child({"fill": fill, "scrape": scrape})


async def _scraped(exposition: Any) -> dict[str, float]:
    """The longest lag while nothing happens and while a scrape is rendered, its time, and its size."""
    from obskit._thread import in_thread

    async with _Ticks() as ticks:
        await asyncio.sleep(0.3)
        idle = ticks.longest()
        before = time.perf_counter()
        _, body = await in_thread(exposition, _OPENMETRICS)
        seconds = time.perf_counter() - before
        return {"lag": ticks.longest(), "idle": idle, "seconds": seconds, "bytes": len(body)}


class _Ticks:
    """A task that wants to run every millisecond, and notes how late it does."""

    def __init__(self) -> None:
        self._longest = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    def longest(self) -> float:
        """Seconds of the longest lag since the last call."""
        longest, self._longest = self._longest, 0.0
        return longest

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self._longest = max(self._longest, time.perf_counter() - due)


def measure(sizes: Sizes, folder: Path) -> Result:
    """The lag of the loop for each number of workers, over several scrapes."""
    result = Result(
        f"A scrape at the cap of every metric ({sizes.scrapes} scrapes each; the loop's lag, in ms)",
        ("subject", "lag median", "lag largest", "idle, largest", "scrape, s", "MB"),
    )
    for workers, title in TITLES.items():
        runs = _runs(workers, sizes.scrapes, folder)
        lags = [run["lag"] * 1e3 for run in runs]
        result.rows.append(
            (
                title,
                f"{median(lags):.1f}",
                f"{max(lags):.1f}",
                f"{max(run['idle'] for run in runs) * 1e3:.1f}",
                f"{median(run['seconds'] for run in runs):.2f}",
                f"{runs[-1]['bytes'] / 1e6:.1f}",
            )
        )
        result.figures["lag_ms" if workers == 1 else "workers_lag_ms"] = median(lags)
    return result


def _runs(workers: int, scrapes: int, folder: Path) -> list[dict[str, float]]:
    group = "none" if workers == 1 else f"bench-{os.getpid()}"
    with ExitStack() as running:
        processes = [
            running.enter_context(Worker("scrape", f"{workers}-{number}", folder, {"OBSKIT_WORKER_GROUP": group}))
            for number in range(workers)
        ]
        for process in processes:
            process.ask("fill")
        return [processes[0].ask("scrape") for _ in range(scrapes)]
