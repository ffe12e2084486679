"""`make demo`: start the shop, put load on it, and answer why p99 is high from what the services emitted."""

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from examples.shop._processes import Service, ShopError, running
from examples.shop._runs import RUNS, new_run
from examples.shop.load import drive
from examples.shop.report import console, place, show

EXAMPLE = "SELECT fields->>'payment.provider' AS provider, count(*), max(duration_ms) FROM requests GROUP BY ALL"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.shop.demo", description=__doc__)
    parser.add_argument("--seconds", type=float, default=24, help="how long customers come (24)")
    parser.add_argument("--rate", type=float, default=32, help="their requests a second (32)")
    parser.add_argument("--seed", type=int, default=7, help="who they are and what they buy follows from it (7)")
    parser.add_argument("--keep", action="store_true", help="leave the services running")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder in which runs are kept (var/shop)")
    given = parser.parse_args()
    if not 1 <= given.seconds <= 600 or not 1 <= given.rate <= 1000:
        parser.error("--seconds is from 1 to 600, --rate from 1 to 1000")
    return given


def main() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's `&` would have it ignored
    for number in (signal.SIGTERM, signal.SIGHUP):  # as SIGINT, which a running event loop takes between two steps
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    given, out = arguments(), console()
    try:
        return run(given, out)
    except ShopError as error:
        out.print(Text.assemble(("The demo stopped. ", "bold red"), str(error)))
        return 1
    except KeyboardInterrupt:
        # Where it came in an exec(), as imports of dataclasses are, CPython would end a module that -m runs by SIGINT
        # after all, handled or not: each exec() begins with that forgotten.
        exec("")  # noqa: S102  (of nothing)
        out.print("\nInterrupted; the services are stopped.")
        return 130


def run(given: argparse.Namespace, out: Console) -> int:
    folder = new_run(given.runs.resolve())
    out.print("Starting the shop: gateway → users, orders → inventory, pricing, payments")
    with running(folder, given.seed, out.print, keep=given.keep) as services:
        out.print(", ".join(f"{service.name} :{service.port}" for service in services), style="dim")
        begun = time.monotonic()
        check(load(services[0].url, given, out), services)
        seconds = time.monotonic() - begun
        scrape(services, folder)
        drained(services)
    agreed = show(folder, seconds, out)
    farewell(folder, services if given.keep else [], out)
    return 0 if agreed else 1


def load(url: str, given: argparse.Namespace, out: Console) -> Counter[str]:
    """Run the load with a progress bar; without a terminal, with a line before and after."""
    columns = (TextColumn("Customers"), BarColumn(), TextColumn("{task.fields[seen]}"), TimeRemainingColumn())
    out.print(f"{given.seconds:.0f} s of customers, about {given.rate:.0f} requests a second, seed {given.seed}")
    seen: Counter[str] = Counter()
    begun = time.monotonic()
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task("", total=given.seconds, seen="")

        def answered(outcome: str) -> None:
            seen[outcome] += 1
            progress.update(task, completed=time.monotonic() - begun, seen=tally(seen))

        asyncio.run(drive(url, seed=given.seed, seconds=given.seconds, rate=given.rate, answered=answered))
    out.print(f"They made {seen.total():,} requests: {tally(seen)}")
    return seen


def tally(seen: Counter[str]) -> str:
    kinds: Counter[str] = Counter()
    for outcome, count in seen.items():
        kinds[f"{outcome[0]}xx" if outcome.isdigit() else outcome] += count
    return ", ".join(f"{count:,} x {kind}" for kind, count in sorted(kinds.items()))


def check(seen: Counter[str], services: Sequence[Service]) -> None:
    """Raise a ShopError if there is nothing to report on, or a service has died under the load."""
    for service in services:
        if service.process.poll() is not None:
            raise ShopError(
                f"{service.name} exited with code {service.process.returncode} under load; see {service.errors}."
            )
    if not any(outcome.isdigit() for outcome in seen):
        raise ShopError(f"The gateway answered nothing: {tally(seen) or 'no request was made'}.")


def scrape(services: Sequence[Service], folder: Path) -> None:
    """Keep what each service's /metrics says."""
    with httpx.Client(timeout=5, trust_env=False) as client:
        for service in services:
            try:
                answer = client.get(f"{service.url}/metrics").raise_for_status()
            except httpx.HTTPError as error:
                raise ShopError(f"{service.name} gave no metrics at {service.url}/metrics: {error!r}") from error
            (folder / f"{service.name}.metrics").write_text(answer.text)


def drained(services: Sequence[Service], seconds: float = 2.0) -> None:
    """Wait until the files of lines grow no more: services that are kept running write them from a buffer."""
    deadline, before = time.monotonic() + seconds, -1
    while time.monotonic() < deadline:
        size = sum(service.lines.stat().st_size for service in services)
        if size == before:
            return
        before = size
        time.sleep(0.2)


def farewell(folder: Path, kept: Sequence[Service], out: Console) -> None:
    out.print()
    out.rule("[bold]Look further[/]", align="left", style="cyan")
    out.print(f"\nLines, metrics and databases: {place(folder)}/", soft_wrap=True)
    out.print(f"Every question above in SQL:  {place(folder)}/questions.sql", soft_wrap=True)
    out.print("Questions of your own:")
    out.print(f'  {place(Path(sys.executable))} -m examples.shop.ask "{EXAMPLE}"', soft_wrap=True)
    if kept:
        pids = " ".join(str(service.process.pid) for service in kept)
        out.print(f"The services still run, the gateway at {kept[0].url}. End them:  kill {pids}", soft_wrap=True)


if __name__ == "__main__":
    raise SystemExit(main())
