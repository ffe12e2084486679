"""Locks that a forked child finds open: whoever held one at the fork is a thread that the child does not have."""

from __future__ import annotations

import os
import threading
import weakref

_locks: weakref.WeakSet[threading.RLock] = weakref.WeakSet()


def reentrant_lock() -> threading.RLock:
    """A lock for what any thread may call, signal handlers and finalizers in the middle of it."""
    lock = threading.RLock()
    _locks.add(lock)
    return lock


def _open_in_child() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001  (what logging opens its own by)


os.register_at_fork(after_in_child=_open_in_child)  # once a process: it cannot be taken back
