"""sqlite3's shortcuts: ``connection.execute`` makes a cursor of its own, past the one that contrib's proxy observes."""

from __future__ import annotations

import functools
import sqlite3
import sqlite3.dbapi2
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from wrapt import ObjectProxy

from obskit.instrumentation._patch import replace


class _Connection(ObjectProxy[Any]):
    """A connection as contrib's proxy makes it, whose shortcuts go through its cursors."""

    def execute(self, *args: Any) -> Any:
        """As sqlite3's."""
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        """As sqlite3's."""
        return self.cursor().executemany(*args)

    def __enter__(self) -> Any:
        self.__wrapped__.__enter__()
        return self

    def __exit__(self, *args: object) -> Any:
        return self.__wrapped__.__exit__(*args)


def observe() -> Callable[[], None]:
    """Have new connections observe their shortcuts, once contrib's instrumentor is on; returns what undoes it."""
    undo = ExitStack()
    for module in (sqlite3, sqlite3.dbapi2):
        undo.callback(replace(module, "connect", _connecting))
    return undo.close


def _connecting(connect: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(connect)
    def connected(*args: Any, **kwargs: Any) -> Any:
        return _Connection(connect(*args, **kwargs))

    return connected
