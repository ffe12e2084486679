"""What is printed: the machine, a table for each part, the accounts, the budgets."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.budgets import BUDGETS, Budget
from benchmarks.results import Result

_PEERS = (
    "fastapi",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-fastapi",
    "prometheus-fastapi-instrumentator",
    "structlog",
    "uvicorn",
)
_PLAIN_COLUMNS = 160
#: Load for each core above which other work gets in the way.
_QUIET_LOAD = 0.5


def console() -> Console:
    """Standard output; plain, and as wide as the tables need, where it is no terminal."""
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=_PLAIN_COLUMNS, no_color=True)


def machine() -> dict[str, Any]:
    """What the absolute figures depend on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in _PEERS},
    }


def print_machine(out: Console, facts: Mapping[str, Any]) -> None:
    """One paragraph; a busy machine is said to be one."""
    versions, load, cores = facts["versions"], facts["load"], facts["cores"]
    out.print(f"{facts['python']}, {cores} cores, load {load}, {facts['platform']}")
    out.print(", ".join(f"{name} {number}" for name, number in versions.items()), soft_wrap=True)
    if load > cores * _QUIET_LOAD:
        out.print("This machine is busy: ratios hold, absolute figures are too high.", style="bold yellow")


def print_table(out: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table whose first column is text and whose others are figures."""
    style = box.SIMPLE_HEAD if out.is_terminal else box.ASCII2
    table = Table(box=style)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=number > 0)
    for row in rows:
        table.add_row(*row)
    out.print()
    out.print(title, style="bold", soft_wrap=True)
    out.print(table)


def print_result(out: Console, result: Result) -> None:
    """One part: its table, what became of all it produced, its notes, further tables."""
    print_table(out, result.title, result.columns, result.rows)
    for account in result.accounts:
        out.print(f"  {account}", style=None if account.verdict == "ok" else "bold red")
    for note in result.notes:
        out.print(f"  {note}", style="yellow")
    for table in result.tables:
        print_table(out, *table)


def print_budgets(out: Console, figures: Mapping[str, Mapping[str, float]]) -> None:
    """The budgets, beside what was measured."""
    print_table(out, "Budgets", ("what", "budget", "measured", ""), [_budget_row(each, figures) for each in BUDGETS])


def _budget_row(budget: Budget, figures: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    *cells, verdict = budget.row(figures)
    colour = {"met": "green", "NOT MET": "bold red"}.get(verdict, "yellow")
    return (*cells, f"[{colour}]{verdict}[/]")
