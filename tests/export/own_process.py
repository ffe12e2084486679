"""A script of a test, in a process of its own."""

import subprocess
import sys
import textwrap
from pathlib import Path


def run_script(script, *, timeout=60, capture_output=True, **options):
    """Run it to its end; it may import what stands in this folder."""
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)],
        cwd=Path(__file__).parent,
        timeout=timeout,
        check=False,
        capture_output=capture_output,
        **options,
    )
