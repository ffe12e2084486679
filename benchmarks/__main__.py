"""``python -m benchmarks [part …] [--quick] [--json PATH]``; see README.md."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks import log_line, pieces, profiling, report, request_cpu, scrape, stack, startup, throughput
from benchmarks.results import Result
from benchmarks.sizes import FULL, QUICK, TINY

PARTS = {
    "cpu": request_cpu.measure,
    "log": log_line.measure,
    "startup": startup.measure,
    "throughput": throughput.measure,
    "scrape": scrape.measure,
}
#: No figures to compare with peers, but where the time goes, and what the stack behind takes: each runs only when asked
#: for, and alone.
DIRECTIONS = {
    "profile": profiling.sampled,
    "profile sampled": profiling.sampled,
    "profile unsampled": profiling.unsampled,
    "pieces": pieces.measure,
    "stack": stack.measure,
}


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description="obskit against the peers it replaces.")
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="part",
        help=f"{', '.join(PARTS)} (all by default); or, alone: {', '.join(DIRECTIONS)}",
    )
    parser.add_argument("--quick", action="store_const", dest="sizes", const=QUICK, default=FULL, help="about a minute")
    parser.add_argument("--tiny", action="store_const", dest="sizes", const=TINY, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the results there, too")
    arguments = parser.parse_args(argv)
    if " ".join(arguments.parts) in DIRECTIONS:
        arguments.parts = [" ".join(arguments.parts)]
    elif not set(arguments.parts) <= set(PARTS):
        parser.error(f"no such part: {' '.join(arguments.parts)}")
    arguments.parts = arguments.parts or list(PARTS)
    return arguments


def main(argv: Sequence[str]) -> int:
    """Run the parts; 0 unless one of them crashed: a missed budget is a finding, not a failure."""
    arguments = _arguments(argv)
    out, facts = report.console(), report.machine()
    results: dict[str, Result] = {}
    crashed: list[str] = []
    report.print_machine(out, facts)
    with tempfile.TemporaryDirectory(prefix="obskit-bench-") as folder:
        for part in arguments.parts:
            try:
                result = (PARTS | DIRECTIONS)[part](arguments.sizes, Path(folder))
                report.print_result(out, result)
                results[part] = result
            except Exception:
                crashed.append(part)
                out.print(traceback.format_exc(), markup=False)
    if any(part in PARTS for part in arguments.parts):
        report.print_budgets(out, {part: result.figures for part, result in results.items()})
    if arguments.json:
        document = {"machine": facts, "results": {part: result.as_dict() for part, result in results.items()}}
        arguments.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if crashed:
        out.print(f"\ncrashed: {', '.join(crashed)}", style="bold red")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
