"""What a thread is busy with: the code to name, and the operation and route that it serves."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obskit import semconv
from obskit.instrumentation._route import route_template
from obskit.operation import Operation

if TYPE_CHECKING:
    from types import FrameType

_OBSKIT = str(Path(__file__).parents[1]) + os.sep
_STANDARD_LIBRARY = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """The code that a thread is in.

    Attributes:
        function: qualified with its module.
        file, line: where it stands.
        operation: name of the innermost operation below which it runs, if any.
        route: the HTTP route that it serves, if any.
    """

    function: str
    file: str
    line: int
    operation: str | None
    route: str | None


def stack_below(frame: FrameType) -> frozenset[object]:
    """The code that called `frame`'s: seen from a callback of an event loop, what runs the loop."""
    return frozenset(caller.f_code for caller in callers(frame.f_back))


def culprit_of(thread: int, below: Collection[object]) -> Culprit | None:
    """What to name for what a thread does now; None when it does nothing of its own.

    Args:
        thread: its identifier.
        below: code at which its stack ends: that of the event loop itself, see :func:`stack_below`.
    """
    top = sys._current_frames().get(thread)  # noqa: SLF001  (a documented function of CPython)
    frames = list(takewhile(lambda frame: frame.f_code not in below, callers(top)))
    if not frames:
        return None
    frame = _blamed(frames)
    operation, route = _served(frames)
    module = frame.f_globals.get("__name__", "")
    return Culprit(
        function=f"{module}.{frame.f_code.co_qualname}",
        file=frame.f_code.co_filename,
        line=frame.f_lineno or frame.f_code.co_firstlineno,
        operation=operation,
        route=route,
    )


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    """`frame`, and those that called it, from the innermost."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _blamed(frames: Sequence[FrameType]) -> FrameType:
    """The innermost frame of the application; else of an installed library; else of anything."""
    foreign = [frame for frame in frames if not is_plumbing(frame.f_code.co_filename)]
    own = (frame for frame in foreign if not _is_installed(frame.f_code.co_filename))
    return next(own, foreign[0] if foreign else frames[0])


@functools.lru_cache(4096)
def is_plumbing(file: str) -> bool:
    """Whether code of this file is obskit's or the standard library's."""
    if file.startswith((_OBSKIT, "<")):
        return True
    return file.startswith(_STANDARD_LIBRARY) and not _is_installed(file)


@functools.lru_cache(4096)
def is_application(file: str) -> bool:
    """Whether code of this file is neither plumbing nor an installed library's."""
    return not is_plumbing(file) and not _is_installed(file)


def _is_installed(file: str) -> bool:
    return any(part in file for part in _INSTALLED)


def _served(frames: Sequence[FrameType]) -> tuple[str | None, str | None]:
    """Name and route of the operation that the frames run below, from the innermost that tells.

    A framework's frames hold the scope too, which helps where the app runs in a task of its own.
    """
    name = None
    for frame in frames:
        code = frame.f_code
        if "scope" not in code.co_varnames and not code.co_filename.startswith(_OBSKIT):
            continue  # reading locals copies them: only where something can be found
        local = frame.f_locals
        scope = local.get("scope")
        op = scope.get("obskit") if isinstance(scope, Mapping) else local.get("op")
        if isinstance(op, Operation):
            name = name or op.name
            route = op.fields.get(semconv.HTTP_ROUTE) or (_route(scope, local) if scope else None)
            if route:
                return name, str(route)
    return name, None


def _route(scope: Mapping[str, Any], local: Mapping[str, Any]) -> str | None:
    template = route_template(scope, getattr(local.get("self"), "_routed_by", None))
    if template is None and "app_root_path" not in scope:  # below a mount, the path alone would name another route
        template = getattr(scope.get("route"), "path", None)
    return template
