"""Methods of other libraries, replaced for as long as obskit is wired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def replace(cls: type, name: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    """Put what `make` makes of a class's own method in its place.

    Args:
        cls: the class that defines the method.
        name: the method's.
        make: takes the method and returns what stands for it.

    Returns:
        A function that gives the class its method back, unless someone else has replaced it since.
    """
    original = vars(cls)[name]
    replacement = make(original)
    setattr(cls, name, replacement)

    def restore() -> None:
        if vars(cls).get(name) is replacement:
            setattr(cls, name, original)

    return restore
