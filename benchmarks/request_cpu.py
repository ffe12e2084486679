"""CPU time of one request, in process: no server, no client, all threads counted, export included.

Each subject runs blocks of requests in a process of its own, in turns, so that what the machine does besides falls
on all of them alike. A block ends when its spans have left the process.
"""

from __future__ import annotations

import gc
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks import subjects
from benchmarks.results import Account, Result
from benchmarks.sizes import Sizes
from benchmarks.subjects import ASSEMBLED, ASSEMBLED_LEAN, BARE, OBSKIT, TITLES, Counts
from benchmarks.traffic import Driver
from benchmarks.workers import Child, Worker

#: The same service as OBSKIT, whose callers have decided not to sample.
OBSKIT_UNSAMPLED = "obskit-unsampled"
SUBJECTS = (BARE, OBSKIT, OBSKIT_UNSAMPLED, ASSEMBLED, ASSEMBLED_LEAN)
_TITLES = TITLES | {OBSKIT: "obskit, sampled", OBSKIT_UNSAMPLED: "obskit, not sampled"}


def child(name: str) -> Child:
    """The worker's side."""
    sampled = name != OBSKIT_UNSAMPLED
    subject = subjects.build(OBSKIT if name == OBSKIT_UNSAMPLED else name)
    driver = Driver(subject.app)
    driver.cpu_seconds(300, subject.flush, sampled=sampled)
    gc.collect()
    gc.freeze()

    def block(count: int) -> float:
        _, process = driver.cpu_seconds(count, subject.flush, sampled=sampled)
        return process / count * 1e6

    def account() -> dict[str, dict[str, int]]:
        subject.flush()
        exposition = driver.get("/metrics")
        subject.flush()  # the scrape is a request too: assembled stacks trace it
        written = Counts() if name == BARE else Counts(driver.requests, driver.requests)
        lines = subject.lines(exposition) if subject.lines else written
        return {"spans": asdict(subject.spans(exposition)), "lines": asdict(lines)}

    return Child({"block": block, "account": account})


def measure(sizes: Sizes, folder: Path) -> Result:
    """µs of CPU a request for each subject, and what each adds to the bare application."""
    with ExitStack() as stack:
        receiver = stack.enter_context(Worker("receiver", "request_cpu", folder, {}))
        port = receiver.ask("port")
        workers = [
            stack.enter_context(Worker("request_cpu", name, folder, subjects.environment(name, port)))
            for name in SUBJECTS
        ]
        times = in_turns(workers, sizes.cpu_rounds, sizes.cpu_requests)
        accounts = [account for worker in workers for account in _accounts(worker, receiver)]
    return _result(times, accounts, sizes)


def in_turns(workers: list[Worker], rounds: int, count: int) -> dict[str, list[float]]:
    """µs an item of each block by subject. Every other round runs backwards, so that no subject always follows the
    same one."""
    times: dict[str, list[float]] = {worker.subject: [] for worker in workers}
    for turn in range(rounds):
        for worker in workers if turn % 2 == 0 else reversed(workers):
            times[worker.subject].append(worker.ask("block", count=count))
    return times


def _accounts(worker: Worker, receiver: Worker) -> list[Account]:
    title, counts = _TITLES[worker.subject], worker.ask("account")
    received: int = receiver.ask("count", subject=worker.subject)["spans"]
    return [
        Account(title, "spans", **counts["spans"], received=received),
        Account(title, "lines", **counts["lines"], received=worker.lines()),
    ]


def _result(times: dict[str, list[float]], accounts: list[Account], sizes: Sizes) -> Result:
    medians = {name: median(values) for name, values in times.items()}
    minima = {name: min(values) for name, values in times.items()}
    over = {name: value - medians[BARE] for name, value in medians.items()}
    result = Result(
        f"CPU a request, in process (FastAPI, one log line, OTLP export included; {sizes.cpu_rounds} interleaved"
        f" blocks of {sizes.cpu_requests})",
        ("subject", "µs median", "µs minimum", "over bare", "over bare (minima)", "of assembled's", "of lean's"),
        accounts=accounts,
    )
    for name in SUBJECTS:
        cells = ("-",) * 4
        if name != BARE:
            cells = (
                f"{over[name]:.1f}",
                f"{minima[name] - minima[BARE]:.1f}",
                f"{over[name] / over[ASSEMBLED]:.3f}",
                f"{over[name] / over[ASSEMBLED_LEAN]:.3f}",
            )
        result.rows.append((_TITLES[name], f"{medians[name]:.1f}", f"{minima[name]:.1f}", *cells))
    result.figures = {
        "overhead_us": over[OBSKIT],
        "overhead_of_assembled": over[OBSKIT] / over[ASSEMBLED],
        "overhead_of_lean": over[OBSKIT] / over[ASSEMBLED_LEAN],
        "unsampled_overhead_us": over[OBSKIT_UNSAMPLED],
    }
    return result
