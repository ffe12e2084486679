"""``obskit assets``: the configuration of the stack behind the services, written out to be used and changed."""

from __future__ import annotations

import argparse
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from obskit.cli.failure import Failure

PACKAGE = Path(__file__).resolve().parents[1]
#: What is shipped, files and folders, named from the root of the project; the wheel carries them in `_assets`.
SHIPPED = (
    ".dockerignore",
    "CHANGELOG.md",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "collector-config",
    "compose.ha.yaml",
    "compose.yaml",
    "constraints.txt",
    "dashboards/README.md",
    "dashboards/json",
    "dashboards/provisioning",
    "docs",
    "examples",
    "pyproject.toml",
)
_NOT_SHIPPED = frozenset({"__pycache__", ".DS_Store"})


def add(subcommands: Any) -> None:
    """Add the command, ``assets list`` and ``assets export DIR``, to those of `subcommands`."""
    text = "The configuration of Collector, Prometheus, Grafana and the rest, as compose and Kubernetes use it."
    actions = subcommands.add_parser("assets", help="configuration of the stack behind the services", description=text)
    actions = actions.add_subparsers(title="actions", required=True, metavar="ACTION")
    actions.add_parser("list", help="name each file").set_defaults(run=_list)
    writing = actions.add_parser("export", help="write them to a folder", description=text)
    writing.add_argument("folder", type=Path, metavar="DIR", help="where to; made if it is not there")
    writing.add_argument("--force", action="store_true", help="write over files that differ")
    writing.set_defaults(run=_export)


def shipped() -> dict[str, Path]:
    """Give each file that ships: its name below the folder of an export, and where it is now.

    obskit's own source is among them: the image of the example shop is built from it, so that ``docker compose up``
    works in the folder.
    """
    carried = PACKAGE / "_assets"
    root = carried if carried.is_dir() else PACKAGE.parents[1]  # an editable install: the project itself
    found = {}
    for name in SHIPPED:
        for file in _files(root / name):
            found[file.relative_to(root).as_posix()] = file
    for file in _files(PACKAGE):
        inside = file.relative_to(PACKAGE)
        if inside.parts[0] != carried.name:
            found[(Path("src") / "obskit" / inside).as_posix()] = file
    return dict(sorted(found.items()))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for entry in path.iterdir():
            if entry.name not in _NOT_SHIPPED:
                yield from _files(entry)
    elif path.exists():
        yield path


def export(folder: Path, *, force: bool = False) -> list[str]:
    """Write what ships to a folder.

    A file that is there already and the same is left alone; each is written whole or not at all.

    Args:
        folder: where to; made, with its parents, if it is not there.
        force: write over files that differ.

    Returns:
        The names of the files written, below `folder`.

    Raises:
        Failure: files that differ are there, all of them named, and nothing has been written; or the folder cannot be
            written to.
    """
    files = shipped()
    try:
        differing = [name for name, file in files.items() if _differs(folder / name, file)]
        if differing and not force:
            names = "".join(f"\n  {name}" for name in differing)
            msg = f"{folder} has files that differ from ours; nothing was written. --force writes over them:{names}"
            raise Failure(msg)
        missing = [name for name in files if name in differing or not (folder / name).exists()]
        for name in missing:
            _write(folder / name, files[name].read_bytes())
    except OSError as error:
        msg = f"cannot write to {folder}: {error.strerror} ({error.filename or folder})"
        raise Failure(msg) from error
    return missing


def _differs(there: Path, file: Path) -> bool:
    return there.exists() and (there.is_dir() or there.read_bytes() != file.read_bytes())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
        temporary = Path(stream.name)
        try:
            stream.write(data)
            stream.flush()
            temporary.chmod(0o644)  # containers read these as users of their own
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def _list(_given: argparse.Namespace) -> None:
    print("\n".join(shipped()))


def _export(given: argparse.Namespace) -> None:
    written = export(given.folder, force=given.force)
    print(f"{len(written)} files written to {given.folder}" if written else f"{given.folder} is up to date")
    print(f"Next: read {given.folder / 'collector-config' / 'README.md'}, or start it all:")
    print(f"  docker compose --project-directory {shlex.quote(str(given.folder))} up")
