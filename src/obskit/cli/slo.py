"""``obskit slo``: rules of Prometheus from a team's objectives."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from obskit.cli.failure import Failure


def add(subcommands: Any) -> None:
    """Add the command to those of `subcommands`."""
    text = "Write the rules of Prometheus, recordings and burn-rate alerts, that hold a service to its objectives."
    command = subcommands.add_parser("slo", help="rules of Prometheus from objectives", description=text)
    command.add_argument("objectives", type=Path, metavar="SLO_YAML", help="the objectives")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--output", type=Path, metavar="FILE", help="where to; standard output if not given")
    where.add_argument(
        "--check", type=Path, metavar="FILE", help="write nothing; fail if FILE is not what would be written"
    )
    command.set_defaults(run=_run)


def generated(file: Path) -> str:
    """The rules for the objectives in a file.

    Raises:
        Failure: the file cannot be read, or is wrong, every problem named; or the extra is not installed.
    """
    try:
        from obskit.slo import objectives, rules  # noqa: PLC0415  (an extra, which the other commands do without)
    except ImportError as error:
        msg = f"{error.name} is not installed, which this command needs: pip install 'obskit[slo]'"
        raise Failure(msg) from error
    try:
        return rules.text(objectives.parse(file.read_text(encoding="utf-8")))
    except objectives.SloError as error:
        problems = "".join(f"\n  {problem}" for problem in error.problems)
        msg = f"{file} is wrong:{problems}"
        raise Failure(msg, 2) from error
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror}"
        raise Failure(msg, 2) from error
    except UnicodeDecodeError as error:
        msg = f"{file} is no UTF-8: {error.reason} at byte {error.start}"
        raise Failure(msg, 2) from error


def _run(given: argparse.Namespace) -> None:
    text = generated(given.objectives)
    if given.check is not None:
        _check(given.check, text, given.objectives)
    elif given.output is None:
        sys.stdout.write(text)
    else:
        _write(given.output, text)


def _check(file: Path, text: str, objectives: Path) -> None:
    try:
        same = file.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        same = False
    if not same:
        msg = f"{file} is not what {objectives} says; write it anew: obskit slo {objectives} --output {file}"
        raise Failure(msg)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"cannot write {file}: {error.strerror}"
        raise Failure(msg) from error
