"""The ``obskit`` command: its subcommands, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from obskit._version import __version__
from obskit.cli import assets, slo
from obskit.cli.failure import Failure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: those after the command's name; the process's own when None.

    Returns:
        The exit code: 0 when it is done, 1 when it could not be, 2 when what was asked or given is wrong.
    """
    parser = argparse.ArgumentParser(prog="obskit", description="What stands behind a service that obskit observes.")
    parser.add_argument("--version", action="version", version=f"obskit {__version__}")
    subcommands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (assets, slo):
        command.add(subcommands)
    given = parser.parse_args(arguments)
    try:
        given.run(given)
        sys.stdout.flush()
    except Failure as failure:
        print(f"obskit: {failure}", file=sys.stderr)
        return failure.code
    except BrokenPipeError:  # the reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
