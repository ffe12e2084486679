"""Where runs are kept: a folder each below var/shop, the last three."""

import os
import re
import shutil
import time
from pathlib import Path

from examples.shop._processes import ROOT

RUNS = ROOT / "var" / "shop"
KEPT = 3
NAME = re.compile(r"\d{8}-\d{6}-\d+")


def runs(below: Path) -> list[Path]:
    """The folders of earlier runs, oldest first."""
    return sorted(path for path in below.glob("*") if path.is_dir() and NAME.fullmatch(path.name))


def latest(below: Path = RUNS) -> Path | None:
    return next(reversed(runs(below)), None)


def new_run(below: Path = RUNS) -> Path:
    """A fresh folder; of the others only the newest stay."""
    folder = below / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    folder.mkdir(parents=True)
    for old in runs(below)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder
