"""How much each part measures: enough for figures that repeat, a quick look, and next to nothing for the tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Counts of one run.

    Attributes:
        cpu_rounds, cpu_requests: blocks for each subject, and requests in each block.
        log_rounds, log_lines: the same for log lines.
        startup_runs: fresh processes for each subject.
        load_rounds, load_seconds: wrk runs for each subject, and their length.
        scrapes: scrapes for each number of workers.
        stack_batches: thousands of spans for each chain of Collectors.
        stack_scrapes: scrapes of 100,000 series by Prometheus.
        pieces_repeats: repetitions of which a micro-timing takes the smallest.
    """

    cpu_rounds: int
    cpu_requests: int
    log_rounds: int
    log_lines: int
    startup_runs: int
    load_rounds: int
    load_seconds: int
    scrapes: int
    stack_batches: int
    stack_scrapes: int
    pieces_repeats: int


FULL = Sizes(
    cpu_rounds=24,
    cpu_requests=1500,
    log_rounds=20,
    log_lines=5000,
    startup_runs=9,
    load_rounds=5,
    load_seconds=3,
    scrapes=15,
    stack_batches=100,
    stack_scrapes=5,
    pieces_repeats=15,
)
QUICK = Sizes(
    cpu_rounds=6,
    cpu_requests=1000,
    log_rounds=7,
    log_lines=3000,
    startup_runs=2,
    load_rounds=2,
    load_seconds=1,
    scrapes=5,
    stack_batches=50,
    stack_scrapes=3,
    pieces_repeats=5,
)
TINY = Sizes(
    cpu_rounds=2,
    cpu_requests=40,
    log_rounds=2,
    log_lines=40,
    startup_runs=1,
    load_rounds=1,
    load_seconds=1,
    scrapes=1,
    stack_batches=5,
    stack_scrapes=1,
    pieces_repeats=1,
)
