"""Where the time of an observed request goes, by cProfile: a direction to look in, not a measure.

cProfile charges Python calls more than C calls, and sees only the thread that serves: encoding and writing happen
elsewhere, and `pieces` times them.
"""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import subjects
from benchmarks.results import Result
from benchmarks.sizes import Sizes
from benchmarks.subjects import OBSKIT
from benchmarks.traffic import REQUESTS_A_FLUSH, Driver
from benchmarks.workers import Child, Worker

_TOP = 25
#: Path fragments to owners, the first that fits.
_OWNERS = ("obskit", "opentelemetry", "structlog", "prometheus_client", "fastapi", "starlette", "pydantic", "asyncio")


def child(name: str) -> Child:
    """The worker's side."""
    is_sampled = name == "sampled"
    subject = subjects.build(OBSKIT)
    driver = Driver(subject.app)
    driver.cpu_seconds(300, subject.flush, sampled=is_sampled)

    def run(count: int) -> dict[str, Any]:
        profiler = cProfile.Profile()
        for done in range(0, count, REQUESTS_A_FLUSH):
            driver.profiled(min(count - done, REQUESTS_A_FLUSH), profiler, sampled=is_sampled)
            subject.flush()
        return _sums(pstats.Stats(profiler), count)

    return Child({"run": run})


def sampled(sizes: Sizes, folder: Path) -> Result:
    """Where the time of a sampled request goes."""
    return _profile("sampled", sizes, folder)


def unsampled(sizes: Sizes, folder: Path) -> Result:
    """Where the time of a request goes whose caller decided not to sample."""
    return _profile("unsampled", sizes, folder)


def _profile(name: str, sizes: Sizes, folder: Path) -> Result:
    with Worker("receiver", f"profile-{name}", folder, {}) as receiver:
        environment = subjects.environment(OBSKIT, receiver.ask("port"))
        with Worker("profiling", name, folder, environment) as worker:
            sums = worker.ask("run", count=sizes.cpu_requests)
    return Result(
        f"obskit, {name}: µs a request under cProfile, by the functions' own time",
        ("function", "own", "with callees", "calls"),
        sums["rows"],
        notes=sums["owners"],
    )


def _sums(stats: pstats.Stats, count: int) -> dict[str, Any]:
    owners: Counter[str] = Counter()
    functions = []
    for (path, number, function), (_, calls, own, total, _) in stats.stats.items():  # type: ignore[attr-defined]
        owners[_owner(path)] += own
        functions.append((own, total, calls, f"{_short(path)}:{number} {function}" if number else function))
    functions.sort(reverse=True)
    scale = 1e6 / count
    return {
        "rows": [
            (where, f"{own * scale:.2f}", f"{total * scale:.2f}", f"{calls / count:.2f}")
            for own, total, calls, where in functions[:_TOP]
        ],
        "owners": [f"{own * scale:7.2f} µs  {owner}" for owner, own in owners.most_common()],
    }


def _owner(path: str) -> str:
    if path == "~":
        return "built in (C functions, whoever called them)"
    return next((owner for owner in _OWNERS if f"/{owner}/" in path), "other Python")


def _short(path: str) -> str:
    markers = ("/site-packages/", "/src/", "/lib/python")
    return next((path.rsplit(marker, 1)[1] for marker in markers if marker in path), path)
