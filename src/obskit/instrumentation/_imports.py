"""Being told when a module has been imported."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from obskit._guard import contained


class ImportWatch(MetaPathFinder):
    """Tells of the imports of a few modules, from `start` to `stop`.

    It finds none itself: it asks the other finders, and listens to the loader that they give.

    Args:
        names: the modules' full names.
        imported: called with the name of each that has been executed, in the thread that imports it.
    """

    def __init__(self, names: Collection[str], imported: Callable[[str], None]) -> None:
        self._names = frozenset(names)
        self._imported = imported
        self._asking = threading.local()

    def start(self) -> None:
        """Listen."""
        sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Listen no more."""
        with suppress(ValueError):
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What the other finders find; None for all but the names that are watched."""
        if name not in self._names or getattr(self._asking, "name", None) == name:
            return None
        self._asking.name = name  # a finder of somebody else's that does the same would ask this one again
        try:
            spec = self._found(name, path, target)
        finally:
            self._asking.name = None
        if spec is not None and spec.loader is not None:
            try:
                self._listen(spec.loader, name)
            except Exception as error:
                contained("clients", error)
        return spec

    def _found(self, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(name, path, target)
            if spec is not None:
                return spec
        return None

    def _listen(self, loader: object, name: str) -> None:
        """Have this one loader tell when it has executed the module; afterwards it is as it was."""
        original = loader.exec_module  # type: ignore[attr-defined]

        def exec_module(module: ModuleType) -> None:
            original(module)
            if module.__name__ == name:
                with suppress(AttributeError):
                    del loader.exec_module  # type: ignore[attr-defined]
                self._imported(name)

        loader.exec_module = exec_module  # type: ignore[attr-defined]


def is_ready(name: str) -> bool:
    """Whether the module is imported to its end, under its own name (httpx2 can stand in for httpx)."""
    module = sys.modules.get(name)
    if module is None or module.__name__ != name:
        return False
    return not getattr(module.__spec__, "_initializing", False)
