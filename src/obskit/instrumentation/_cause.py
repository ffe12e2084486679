"""Why an app answers as it does: the exception that it is handling, the fields that it refuses."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from obskit._asgi import SCOPE_KEY

if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType

_MAX_FIELDS = 10
_MAX_PATH = 128
# Where frameworks raise an exception of their own in the place of the one that came when a response had begun.
_WRAPPERS = frozenset({"starlette._exception_handler", "litestar.middleware._internal.exceptions.middleware"})
# By name: which of the libraries that raise them are there is not obskit's to know.
_GONE = frozenset({"ClientDisconnect", "WebSocketDisconnect", "WebSocketDisconnected", "ConnectionClosed"})


def handled_exception(status: int) -> BaseException | None:
    """The exception that an app is handling while it sends the start of a response, where that is the cause of it.

    Frameworks send their error page from within ``except``, and only then let the exception out, if they do.

    Args:
        status: the response's. An exception that was raised to say just this adds nothing to it.
    """
    error = sys.exception()
    if error is None or getattr(error, "status_code", None) == status:
        return None
    trace = error.__traceback__
    return None if trace is not None and _answered_below(trace, status) else error


def _answered_below(trace: TracebackType, status: int) -> bool:
    """Whether it was another app that answered: one that is called while an error of the caller's is handled.

    Args:
        trace: of the error, from the code that handles it to where it was raised.
        status: the answer's.
    """
    handler, below = trace.tb_frame, False
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  (a documented function of CPython)
    while frame is not None and frame is not handler:
        below = below or _is_app(frame, status)
        frame = frame.f_back
    return below and frame is handler and not any(_is_app(inner, None) for inner in _raised_through(trace.tb_next))


def _raised_through(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _is_app(frame: FrameType, status: int | None) -> bool:
    """Whether a frame is of an ASGI app's call for an observed request; a response of that status is none."""
    if "scope" not in _parameters(frame.f_code):
        return False
    local = frame.f_locals
    scope = local["scope"]
    if not isinstance(scope, Mapping) or SCOPE_KEY not in scope:
        return False
    return status is None or getattr(local.get("self"), "status_code", None) != status


def _parameters(code: CodeType) -> tuple[str, ...]:
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def original(error: BaseException) -> BaseException:
    """What was raised, where `error` only stands for it because a response had begun."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    cause = error.__cause__
    if cause is None or trace is None or trace.tb_frame.f_globals.get("__name__") not in _WRAPPERS:
        return error
    while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:  # of the tasks that stream
        cause = cause.exceptions[0]
    return cause


def says_gone(error: BaseException) -> bool:
    """Whether `error` says no more than that the client has left."""
    return isinstance(error, OSError) or type(error).__name__ in _GONE


def invalid_fields(error: BaseException) -> list[str]:
    """The paths of the fields for which FastAPI or Litestar refuses a request, such as ``body.items.0.price``.

    Never their values, nor the messages, which hold them. At most ten, each cut to 128 characters.
    """
    module = type(error).__module__.partition(".")[0]
    errors = getattr(error, "errors", None)
    if module == "fastapi" and callable(errors):
        paths = [_joined(each.get("loc", ())) for each in _mappings(errors())]
    elif module == "litestar":
        paths = [_joined((each.get("source"), each.get("key"))) for each in _mappings(getattr(error, "extra", None))]
    else:
        return []
    return [path[:_MAX_PATH] for path in dict.fromkeys(paths) if path][:_MAX_FIELDS]


def _mappings(errors: Any) -> list[Mapping[str, Any]]:
    listed = errors if isinstance(errors, Sequence) and not isinstance(errors, str) else ()
    return [each for each in listed if isinstance(each, Mapping)]


def _joined(parts: Sequence[Any]) -> str:
    return ".".join(str(getattr(part, "value", part)) for part in parts if part is not None)
