"""Which processes are workers of one service on one host, without anybody telling.

Workers have a parent in common that started them as workers: ``multiprocessing``'s (uvicorn ``--workers``, hypercorn,
granian) or gunicorn's arbiter. A parent pid alone says nothing: two services that one shell starts share it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Group:
    """A group of workers.

    Attributes:
        name: no other group on the host has it, nor had one of a parent that lives; fit for a file.
        parent: pid of the process that starts the workers; None where they need not have one in common.
        forming: whether this process is that parent, about to fork: it is no worker itself.
    """

    name: str
    parent: int | None = None
    forming: bool = False


def find_group(explicit: str | None, service: str) -> Group | None:
    """The group that this process belongs to; None for a process of its own.

    Args:
        explicit: a name that decides it, and takes in whoever has it too.
        service: the service's name; processes of different services are never one group.
    """
    if explicit is not None:
        return Group(_name("named", None, explicit, service))
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        # The key is random, made by the parent, and handed to each of its children, forked or spawned.
        key = bytes(multiprocessing.current_process().authkey)
        return Group(_name("workers", parent.pid, key.hex(), service), parent.pid)
    arbiter = _gunicorn_arbiter()
    if arbiter is None:
        return None
    name = _name("gunicorn", arbiter, _start_of(arbiter), service)
    return Group(name, arbiter, forming=arbiter == os.getpid())


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def pid_namespace() -> str:
    """Within what a pid means something: containers of one pod share files, and each has its own pid 1."""
    with suppress(OSError):
        return hashlib.sha256(str(Path("/proc/self/ns/pid").readlink()).encode()).hexdigest()[:8]
    return "host"


def _name(kind: str, parent: int | None, *identity: str) -> str:
    digest = hashlib.sha256("\0".join(identity).encode("utf-8", "replace")).hexdigest()[:16]
    return f"{kind}-{pid_namespace()}-{parent or 0}-{digest}"


def _gunicorn_arbiter() -> int | None:
    """The pid of the arbiter that runs this code, itself with ``--preload``, or in a worker that it has forked."""
    arbiter: Any = getattr(sys.modules.get("gunicorn.arbiter"), "Arbiter", None)
    worker: Any = getattr(sys.modules.get("gunicorn.workers.base"), "Worker", None)
    if arbiter is None or worker is None:
        return None
    for caller in _callers():
        if isinstance(caller, worker):
            return int(caller.ppid)
        if isinstance(caller, arbiter):
            return os.getpid()
    return None


def _callers() -> Iterator[object]:
    frame = sys._getframe(1)  # noqa: SLF001  (gunicorn tells its workers in no other way who they are)
    while frame is not None:
        yield frame.f_locals.get("self")
        frame = frame.f_back  # type: ignore[assignment]


def _start_of(pid: int) -> str:
    """When a process began, as the system counts: with its pid it is unique. Empty where the system does not tell."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""
