"""Many workers, one truth: ``/metrics`` of any worker shows the sum over all of them.

What counts is kept in memory that outlives the worker (:mod:`~obskit.export._cells`), everything else the workers tell
each other when one of them is scraped (:mod:`~obskit.export._peers`). A process of its own has no group, and nothing
of this is active.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from obskit._guard import contained
from obskit.export import _cells, _folder, _peers
from obskit.export._cells import CellFile
from obskit.export._folder import Folder
from obskit.export._group import Group, find_group
from obskit.export._peers import Teller
from obskit.export._snapshot import families, packed
from obskit.export._values import SharedValue, has_its_own_files, renew_locks, share
from obskit.export.exposition import collectors, exposition

_CELL_BYTES = 8
#: Times the limit on series of one worker: what is kept of all that ever ended.
_GENERATIONS = 10


@dataclass(slots=True)
class _Member:
    """What a worker has in the group."""

    folder: Folder
    cells: CellFile
    values: dict[bytes, Any]
    teller: Teller | None = None


class Workers:
    """The group of workers that this process is one of, if it is.

    Args:
        registries: whose metrics are summed, in the order in which they show.
        explicit: the group's name; None to find out, ``none`` to be alone.
        service: the service's name.
        series_limit: label sets a metric of one worker.
    """

    def __init__(
        self, registries: Sequence[CollectorRegistry], *, explicit: str | None, service: str, series_limit: int
    ) -> None:
        self._registries = registries
        self._find = functools.partial(find_group, explicit, service)
        self._most_series = series_limit * _GENERATIONS
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._member: _Member | None = None
        self._closed = False
        self._unable = False
        self._restore: Callable[[Iterable[object]], None] | None = None
        self._said: dict[str, bytes] = {}
        self._known: list[object] = []
        self.group: Group | None = None if explicit == "none" else self._find()
        if self.group is not None:
            self._share()
            self._join()
        _live.add(self)
        _follow_forks()

    def keep(self, metric: str, labels: str, bounds: Sequence[float]) -> tuple[Any, Any, Any]:
        """Where the numbers of a histogram's label set are kept: counts, sum, exemplars."""
        buckets = len(bounds) + 1
        try:
            with self._lock:
                member = self._join()
                if member is not None:
                    return member.cells.histogram(_cells.histogram_key(metric, bounds, labels), buckets)
        except Exception as error:
            contained("workers", error)
        return [0] * buckets, [0.0], [None] * buckets

    def exposition(self, accept: str | None) -> tuple[str, bytes]:
        """The metrics of all workers, or of this process if it is alone; milliseconds to a second of work.

        Args:
            accept: the scraper's Accept header.
        """
        member = self._join()
        if member is None:
            return exposition(self._registries, accept)
        folder = member.folder
        try:
            folder.fold()
        except OSError as error:  # there is no room, say: those that ended are counted all the same
            contained("workers", error)
        _peers.ask(folder.file(_folder.SOCKET, worker) for worker in folder.ids())
        merged = folder.merged()
        if has_its_own_files():
            merged.others = MultiProcessCollector(CollectorRegistry()).collect()  # type: ignore[no-untyped-call]
        return exposition(self._registries, accept, merged)

    def begin(self) -> None:
        """A server is about to run in this process: by now it is known whether it is a worker."""
        if self.group is None and self._pid != os.getpid() and not self._closed:
            self._pid = os.getpid()
            self.group = self._find()
            if self.group is not None:
                self._share()
        self._join()

    def leads(self) -> bool:
        """Whether this process is the one that listens for all; a process that is alone always is."""
        member = self._join()
        return member is None or member.folder.leads()

    def tell(self) -> None:
        """Have what only this process knows written down, for when it is no more; half a second at most."""
        if self._member is not None:
            _peers.ask([self._member.folder.file(_folder.SOCKET)])

    def close(self) -> None:
        """Leave the group and give prometheus_client its values back; what was counted stays with the group."""
        self.tell()
        self._closed = True
        with self._lock:
            member, self._member = self._member, None
        if member is not None and member.teller is not None:
            member.teller.stop()  # it would exchange the values again
        if self._restore is not None:
            self._restore(self._collectors())
            self._restore = None
        if member is not None:
            member.cells.close()
            member.folder.leave()

    # -- joining ------------------------------------------------------------------------------------------------

    def _join(self) -> _Member | None:
        """What this process has in the group; None if it is alone, or only about to start workers."""
        if self.group is None or self.group.forming or self._closed or self._unable:
            return self._member
        with self._lock:
            if self._member is None:
                try:
                    self._become_member(self.group)
                except OSError as error:
                    self._unable = True
                    logging.getLogger("obskit").warning(
                        "the workers cannot share their metrics, so each shows its own: %s", error
                    )
            return self._member

    def _become_member(self, group: Group) -> None:
        folder = Folder(group, self._most_series)
        cells = folder.join()
        # From here on there are cells to be had, and what is made now asks for them.
        self._member = _Member(folder, cells, {})
        try:
            self._member.teller = Teller(folder.file(_folder.SOCKET), self._write_down)
        except OSError:
            self._member = None
            cells.close()
            folder.leave()
            raise
        SharedValue.join()

    def _share(self) -> None:
        if not has_its_own_files():
            self._restore = share(self._collectors(), self._value)

    def _value(self, key: bytes) -> Any:
        with self._lock:
            member = self._join()
            if member is None:
                return None
            if key not in member.values:
                member.values[key] = member.cells.append(_cells.VALUE, key, _CELL_BYTES).cast("d")
            return member.values[key]

    def _collectors(self) -> list[Any]:
        return [collector for registry in self._registries for collector in collectors(registry)]

    # -- telling ------------------------------------------------------------------------------------------------

    def _write_down(self, asked: bool) -> None:  # noqa: FBT001  (the only argument, of a callback)
        """Called by the teller's thread."""
        found = self._collectors()
        taken = {one.name for one in found if hasattr(one, "obskit_text")}
        own = [one for one in found if hasattr(one, "obskit_own")]
        others = [one for one in found if not hasattr(one, "obskit_own")]
        self._write(_folder.OWN, packed(families(own, taken)))
        if asked or others != self._known:
            self._known = others
            self._write(_folder.ALL, packed(families(others, taken)))

    def _write(self, suffix: str, data: bytes) -> None:
        member = self._member
        if member is not None and self._said.get(suffix) != data:
            self._said[suffix] = data
            member.folder.write(suffix, data)

    # -- forks --------------------------------------------------------------------------------------------------

    def _after_fork(self) -> None:
        """In the child: a worker of its own, which joins when it first counts, or when it is asked."""
        member, self._member = self._member, None
        self._lock = threading.RLock()
        self._said, self._known, self._unable = {}, [], False
        if member is not None:
            member.folder.forget()
            member.cells.close()
            if member.teller is not None:
                member.teller.forget()
        for registry in self._registries:
            registry._lock = threading.Lock()  # noqa: SLF001  (a thread that is gone may have held it)
        if self.group is not None:
            self.group = replace(self.group, forming=False)
            SharedValue.renew()
            for collector in self._collectors():
                renew_locks(collector)


_live: weakref.WeakSet[Workers] = weakref.WeakSet()


@functools.cache
def _follow_forks() -> None:
    """Once a process: what is registered at fork cannot be taken back."""

    def renew() -> None:
        for workers in list(_live):
            try:
                workers._after_fork()  # noqa: SLF001  (of this module)
            except Exception as error:
                contained("workers", error)

    os.register_at_fork(after_in_child=renew)
