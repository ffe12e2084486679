"""How an exception is written down in a span and in a log line: the same way, redacted and bounded."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from obskit import semconv

_MAX_MESSAGE = 4096
_MAX_STACKTRACE = 16 * 1024
_MAX_FRAMES = 64
#: Set on an exception whose stack trace a line has carried, so that the server's own report of it gives way.
_CARRIED = "_obskit_carried"


def qualified_name(error: BaseException) -> str:
    """An exception's class as `error.type` and `exception.type` write it: module and name, builtins bare."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ in ("builtins", None) else f"{cls.__module__}.{cls.__qualname__}"


def mark_carried(error: BaseException) -> None:
    """Remember, on the exception itself, that a line has carried its stack trace, or that none needs to."""
    vars(error)[_CARRIED] = True


def is_carried(error: BaseException) -> bool:
    """Whether :func:`mark_carried` has been called for `error`."""
    return _CARRIED in vars(error)


class Exceptions:
    """Writes exceptions down.

    Args:
        redact: takes secrets out of a text.
    """

    def __init__(self, redact: Callable[[str], str] = lambda text: text) -> None:
        self._redact = redact

    def describe(self, error: BaseException) -> dict[str, str]:
        """``exception.type``, ``exception.message`` and ``exception.stacktrace`` of `error`, with its causes.

        A stack trace over 16 KiB keeps its end, where the fault is. Never raises, also where ``str(error)`` does.
        """
        try:
            message = str(error)
        except Exception:  # the user's __str__
            message = "<no message: its __str__ raised>"
        try:
            limit = -_MAX_FRAMES  # the innermost frames
            stacktrace = "".join(traceback.format_exception(type(error), error, error.__traceback__, limit=limit))
        except Exception:
            stacktrace = qualified_name(error)
        return {
            semconv.EXCEPTION_TYPE: qualified_name(error),
            semconv.EXCEPTION_MESSAGE: self.message(message),
            semconv.EXCEPTION_STACKTRACE: self._end_of(stacktrace),
        }

    def message(self, text: str) -> str:
        """An exception's text as it may leave the process."""
        return self._redact(text[: 4 * _MAX_MESSAGE])[:_MAX_MESSAGE]

    def _end_of(self, stacktrace: str) -> str:
        """The end of a stack trace, redacted before it is cut: a secret is told by what stands ahead of it."""
        if len(stacktrace) > 4 * _MAX_STACKTRACE:
            stacktrace = stacktrace[-4 * _MAX_STACKTRACE :]
            stacktrace = stacktrace[stacktrace.find("\n") + 1 :]  # the line that the cut went through
            key_end = stacktrace.find("-----END")
            if key_end >= 0 and "-----BEGIN" not in stacktrace[:key_end]:  # and the key
                stacktrace = stacktrace[key_end:]
        safe = self._redact(stacktrace)
        return safe if len(safe) <= _MAX_STACKTRACE else "…" + safe[-_MAX_STACKTRACE:]
