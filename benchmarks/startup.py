"""What a service pays once: import and set-up time, and memory, each in a process that has done nothing else."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from benchmarks.results import Result
from benchmarks.sizes import Sizes
from benchmarks.workers import Child, Worker

CONTROL, OBSKIT, ASSEMBLED = "control", "obskit", "assembled"
TITLES = {
    CONTROL: "FastAPI alone",
    OBSKIT: "import obskit + init(app)",
    ASSEMBLED: "import + set-up of the assembled stack",
}
#: Where spans would go: an exporter is wired, and nothing is sent while the process lives.
_ENVIRONMENT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def _rss_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def child(name: str) -> Child:
    """The worker's side: FastAPI is imported and the application built before the clock starts."""
    from benchmarks import subjects

    app = subjects.application()

    def start() -> dict[str, float]:
        memory, before, cpu_before = _rss_bytes(), time.perf_counter(), time.process_time()
        if name == OBSKIT:
            subjects.wire_obskit(app)
        elif name == ASSEMBLED:
            subjects.structlog_logger()
            subjects.wire_assembled(app)
        seconds, cpu = time.perf_counter() - before, time.process_time() - cpu_before
        return {"seconds": seconds, "cpu": cpu, "rss": _rss_bytes() - memory, "total": _rss_bytes()}

    return Child({"start": start})


def measure(sizes: Sizes, folder: Path) -> Result:
    """Seconds and bytes for each subject, medians over fresh processes in turns."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in TITLES}
    _once(OBSKIT, folder)  # compiles what is not yet compiled, and warms the page cache
    _once(ASSEMBLED, folder)
    for _ in range(sizes.startup_runs):
        for name, measured in runs.items():
            measured.append(_once(name, folder))
    seconds = {name: median(run["seconds"] for run in measured) for name, measured in runs.items()}
    added = {name: median(run["rss"] for run in measured) / 1e6 for name, measured in runs.items()}
    rows: list[tuple[str, ...]] = [
        (
            title,
            f"{seconds[name] * 1e3:.0f}",
            f"{min(run['seconds'] for run in measured) * 1e3:.0f}",
            f"{median(run['cpu'] for run in measured) * 1e3:.0f}",
            f"{added[name]:.1f}",
            f"{median(run['total'] for run in measured) / 1e6:.1f}",
        )
        for (name, measured), title in zip(runs.items(), TITLES.values(), strict=True)
    ]
    return Result(
        f"Start, FastAPI already imported ({sizes.startup_runs} fresh processes each, in turns)",
        ("subject", "ms median", "ms minimum", "CPU ms", "RSS added, MB", "RSS, MB"),
        rows,
        {"seconds": seconds[OBSKIT], "rss_mb": added[OBSKIT]},
    )


def _once(name: str, folder: Path) -> dict[str, float]:
    with Worker("startup", name, folder, _ENVIRONMENT) as worker:
        answer: dict[str, float] = worker.ask("start")
        return answer
