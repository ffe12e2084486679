"""Methods of other libraries, replaced for as long as obskit is wired."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any


def replace(cls: type | ModuleType, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """Put what `make` makes of a class's own method in its place.

    Args:
        cls: the class that defines the method, or the module that defines the function.
        name: the method's.
        make: takes the method and returns what stands for it.

    Returns:
        A function that gives the class its method back, unless someone else has replaced it since.
    """
    original = vars(cls)[name]
    replacement = make(getattr(cls, name))  # by the class: wrapt's wrappers, contrib's, are to be bound
    setattr(cls, name, replacement)

    def restore() -> None:
        if vars(cls).get(name) is replacement:
            setattr(cls, name, original)

    return restore
