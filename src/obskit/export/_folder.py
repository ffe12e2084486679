"""The folder of a worker group: who is in it, who lives, and what those who ended have left.

Each worker has files of its own, by its id: its cells, what it said last, and one that it holds a lock on for as long
as it lives, so that neither a kill nor a pid that is used again can mislead. What ended workers have counted is folded
into one file, ``departed``, and their files are removed: the folder stays as small as the group. Readers take no
lock: that a worker is part of ``departed`` stands in it, so that none counts twice, whoever folds meanwhile.

A folder whose group has ended is removed by the next worker that starts on the host, whatever its group.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from obskit.export import _cells
from obskit.export._cells import CellFile
from obskit.export._departed import folded_in, write_departed
from obskit.export._group import Group, is_alive, pid_namespace
from obskit.export._merge import Merged, Reading
from obskit.export._snapshot import Family, unpacked

ALIVE, CELLS, SOCKET, OWN, ALL = ".alive", ".cells", ".sock", ".own", ".all"
_DEPARTED, _LEADER = "departed", "leader"
_LOCK = ".lock"
_LOCK_SECONDS = 5.0
_POLL_SECONDS = 0.01
_ABANDONED_SECONDS = 3600.0
#: Ids that ``departed`` remembers, for readers that saw the files before they went.
_REMEMBERED = 256
#: Where folders may be. The temporary directory comes last: its name may be too long for sockets in it.
#: Not ``tempfile.gettempdir()``: that writes to find out, and raises where it cannot, which is no reason not to start.
_PLACES = tuple(map(Path, ("/dev/shm", "/tmp", os.environ.get("TMPDIR") or "/var/tmp")))  # noqa: S108  (folders are 0700)


class Folder:
    """The folder of one group.

    Args:
        group: whose.
        most_series: label sets of a histogram of obskit's that are kept of workers that ended; more are folded into
            the overflow set.

    Raises:
        OSError: there is none, and none can be made that is this user's alone.
    """

    def __init__(self, group: Group, most_series: int) -> None:
        self._base = _base()
        self._group = group
        self._most_series = most_series
        self.path = self._base / group.name
        self._presence: int | None = None
        self._lead: int | None = None
        self.id = ""

    # -- this worker ------------------------------------------------------------------------------------------------

    def join(self) -> CellFile:
        """Become a worker of the group, with a file for its cells."""
        with self._locked():
            self._sweep()
            if self._group.parent is None and self.path.exists() and self._over():
                shutil.rmtree(self.path)  # of an earlier life of a group that has no parent to tell them apart
            self.path.mkdir(mode=0o700, exist_ok=True)
            self._fold()
            self.id = f"{os.getpid()}-{secrets.token_hex(4)}"
            cells = CellFile(self.file(CELLS))
            unlocked = self.path / f".{self.id}"
            self._presence = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._presence, fcntl.LOCK_EX)
            unlocked.rename(self.file(ALIVE))  # under this name it is always locked while its worker lives
            return cells

    def leave(self) -> None:
        """Be no worker any more; what it counted stays with the group, if there is one left."""
        if self._presence is None:
            return
        self.forget()
        with suppress(TimeoutError), self._locked():
            if self._over():
                shutil.rmtree(self.path, ignore_errors=True)
            else:
                self._fold()

    def forget(self) -> None:
        """Hold no lock any more. In a forked child they are the parent's, and must go when the parent goes."""
        for descriptor in (self._presence, self._lead):
            if descriptor is not None:
                os.close(descriptor)
        self._presence = self._lead = None

    def leads(self) -> bool:
        """Whether this is the worker that does what one does for all; once it is, it is for life."""
        if self._lead is None:
            descriptor = os.open(self.path / _LEADER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._lead = descriptor
        return True

    def file(self, suffix: str, worker: str = "") -> Path:
        """A file of this worker's, or of another's."""
        return self.path / f"{worker or self.id}{suffix}"

    def write(self, suffix: str, data: bytes) -> None:
        """Put a file of this worker's in the place of the last one, in one step."""
        _replace(self.file(suffix), data)

    # -- all workers ------------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Those whose files are there, this one first."""
        found = sorted(path.stem for path in self.path.iterdir() if path.suffix == ALIVE)
        return sorted(found, key=lambda worker: worker != self.id)

    def merged(self) -> Merged:
        """All workers as one, those that ended included."""
        readings = [self._reading(worker) for worker in self.ids()]
        # After the files: a worker whose file has gone meanwhile is part of it.
        departed = self._departed()
        folded = folded_in(departed.cells)
        kept = [reading for worker, reading in readings if worker not in folded]
        return Merged([*kept, departed])

    def fold(self) -> None:
        """Fold workers that have ended, unless another process is at it."""
        if any(not _lives(self.file(ALIVE, worker)) for worker in self.ids()):
            with suppress(TimeoutError), self._locked(0.0):
                self._fold()

    def _reading(self, worker: str) -> tuple[str, Reading]:
        alive = worker == self.id or _lives(self.file(ALIVE, worker))
        families = [family for suffix in (OWN, ALL) for family in self._said(worker, suffix)]
        pid = int(worker.partition("-")[0])
        return worker, Reading(pid, alive, _cells.mapped(self.file(CELLS, worker)), families)

    def _departed(self) -> Reading:
        return Reading(0, alive=False, cells=_cells.mapped(self.path / _DEPARTED), families=[])

    def _said(self, worker: str, suffix: str) -> list[Family]:
        with suppress(FileNotFoundError, orjson.JSONDecodeError):
            return unpacked(self.file(suffix, worker).read_bytes())
        return []

    # -- under the lock ---------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
        """One process at a time in all groups of this user; TimeoutError if the other takes longer than `seconds`."""
        descriptor = os.open(self._base / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        msg = "another process holds the workers' lock"
                        raise TimeoutError(msg) from None
                time.sleep(_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _fold(self) -> None:
        every = [self._reading(worker) for worker in self.ids()]
        before = self._departed()
        folded = folded_in(before.cells)
        ended = {worker: reading for worker, reading in every if not reading.alive}
        fresh = [reading for worker, reading in ended.items() if worker not in folded]
        if fresh:
            known = [family for _, reading in every for family in reading.families]
            merged = Merged([before, *fresh], known)
            self._write_departed(merged, [*ended, *(worker for worker in folded if worker not in ended)][:_REMEMBERED])
        self._remove_all_but(worker for worker, reading in every if reading.alive)

    def _remove_all_but(self, workers: Iterable[str]) -> None:
        """Only after the fold: until then a reader counts ended workers from their own files."""
        kept = {*workers, _DEPARTED, _LEADER}
        gone = [path for path in self.path.iterdir() if path.name.lstrip(".").partition(".")[0] not in kept]
        for path in sorted(gone, key=lambda path: path.suffix == ALIVE):  # last, what tells that there is a worker
            path.unlink(missing_ok=True)

    def _write_departed(self, merged: Merged, folded: Sequence[str]) -> None:
        temporary = self.path / f".{_DEPARTED}"
        temporary.unlink(missing_ok=True)
        file = CellFile(temporary)
        try:
            write_departed(file, merged, folded, self._most_series)
        finally:
            file.close()
        temporary.replace(self.path / _DEPARTED)

    def _sweep(self) -> None:
        for folder in self._base.iterdir():
            if folder.is_dir() and folder != self.path and _is_over(folder):
                shutil.rmtree(folder, ignore_errors=True)

    def _over(self) -> bool:
        """Whether nobody is left, nor anybody who would start another."""
        if any(_lives(self.file(ALIVE, worker)) for worker in self.ids()):
            return False
        return self._group.parent is None or not is_alive(self._group.parent)


def _lives(presence: Path) -> bool:
    """Whether the worker that holds a lock on this file does."""
    try:
        descriptor = os.open(presence, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may be asking, too
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_over(folder: Path) -> bool:
    """Whether a group has ended: nobody in it lives, nor the parent that would start another."""
    if any(_lives(path) for path in folder.glob(f"*{ALIVE}")):
        return False
    _, namespace, parent, _ = folder.name.split("-")
    if namespace != pid_namespace():  # of another container: whether its parent lives cannot be seen from here
        return folder.stat().st_mtime < time.time() - _ABANDONED_SECONDS
    return parent == "0" or not is_alive(int(parent))


def _base() -> Path:
    """The folder of all groups of this user: in memory, if there is such a place."""
    trouble = []
    for place in _PLACES:
        folder = place / f"obskit-{os.getuid()}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            status = folder.lstat()
        except OSError as error:
            trouble.append(str(error))
            continue
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
            return folder
        trouble.append(f"{folder} is not this user's alone")
    raise OSError("; ".join(trouble))


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(data)
    temporary.replace(path)
