"""structlog's part of the one pipeline: its loggers, configured to end in the same lines as all others.

stdlib's part is :mod:`obskit.signals._records`; both only translate for :class:`obskit.signals._lines.Lines`.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

import structlog
from structlog.contextvars import merge_contextvars
from structlog.exceptions import DropEvent
from structlog.processors import StackInfoRenderer

from obskit import semconv
from obskit._guard import contained
from obskit.signals._encoding import text_of
from obskit.signals._lines import Lines
from obskit.signals._records import LEVELS, interpolated

#: structlog's method names that are not levels' names.
_STRUCTLOG_ALIASES: Final = {"exception": "error", "warn": "warning", "fatal": "critical", "msg": "info"}
#: One list for every install: bound loggers keep the list that was configured when they were made, so what a close
#: puts in here, and what the next init does, reaches them too.
_PROCESSORS: Final[list[Any]] = []
_stack_renderer = StackInfoRenderer(additional_ignores=[__name__])
#: Every context variable that structlog has made in this process; where it keeps none, any may exist.
_BOUND_SOMEWHERE: Final[Any] = getattr(structlog.contextvars, "_CONTEXT_VARS", True)
#: What the renderer returns: to structlog, that the wrapped logger is called with nothing.
_WRITTEN: Final[tuple[tuple[()], dict[str, Any]]] = ((), {})


class Renderer:
    """structlog's last processor: writes the event as a line and leaves nothing to the wrapped logger.

    Args:
        lines: where events become lines.
    """

    __slots__ = ("_log",)

    def __init__(self, lines: Lines) -> None:
        self._log = lines.log

    def __call__(
        self, logger: Any, method_name: str, event: MutableMapping[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]]:
        """Write one event dict; contained, never raises."""
        try:
            message = event.pop("event", "")
            exc_info = event.pop("exc_info", None)
            if exc_info and not isinstance(exc_info, (tuple, BaseException)):
                exc_info = sys.exc_info()
            if event.pop("stack_info", False):
                event[semconv.CODE_STACKTRACE] = _stack_renderer(logger, method_name, {"stack_info": True})["stack"]
            level = _STRUCTLOG_ALIASES.get(method_name, method_name)
            self._log(time.time_ns(), level, logger.name, message, event, exc_info)
        except Exception as error:
            contained("logs", error)
        return _WRITTEN


class _Sink:
    """The wrapped logger of structlog's bound loggers: carries the logger's name.

    While obskit's renderer is the last processor there is nothing left to do here. After a close, loggers that were
    bound before find the restored processors, whose output goes to a logger of the restored factory.
    """

    __slots__ = ("name",)

    def __init__(self, name: Any = "root", *_: Any) -> None:
        self.name = text_of(name)

    def info(self, *args: Any, **fields: Any) -> None:
        if args or fields:
            structlog.get_config()["logger_factory"](self.name).info(*args, **fields)

    debug = warning = error = critical = exception = warn = fatal = msg = info


def get_logger(name: str | None = None) -> Any:
    """A structlog logger, named after the calling module where no `name` is given.

    Where the team configured structlog itself, theirs: `name` then goes to their logger factory.
    """
    if name is None:
        if structlog.is_configured() and structlog.get_config()["logger_factory"] is not _Sink:
            return structlog.get_logger()
        name = sys._getframe(1).f_globals.get("__name__", "root")  # noqa: SLF001  (what logging itself does)
    return structlog.get_logger(name)


def _merge_contextvars(logger: Any, method_name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog's, which looks through the whole context for each line, only where anybody has bound a variable."""
    return merge_contextvars(logger, method_name, event) if _BOUND_SOMEWHERE else event


def structlog_is_the_teams() -> bool:
    """Whether someone other than obskit has configured structlog."""
    return structlog.is_configured() and structlog.get_config()["processors"] is not _PROCESSORS


def configure_structlog(lines: Lines, level: int) -> Callable[[], None]:
    """Make structlog's loggers write `lines`.

    Args:
        lines: where events become lines.
        level: the lowest level that is written, one of stdlib logging's.

    Returns:
        What restores the defaults of structlog, except where someone has changed the configuration since.
    """
    _PROCESSORS[:] = [_merge_contextvars, Renderer(lines)]
    _set_level(level)
    ours: dict[str, Any] = {
        "processors": _PROCESSORS,
        "context_class": dict,
        "wrapper_class": BoundLogger,
        "logger_factory": _Sink,
        "cache_logger_on_first_use": True,
    }
    structlog.configure(**ours)

    def undo() -> None:
        theirs = {name: value for name, value in structlog.get_config().items() if value is not ours[name]}
        structlog.reset_defaults()
        _PROCESSORS[:] = structlog.get_config()["processors"]
        _set_level(logging.NOTSET)
        if theirs:
            structlog.configure(**theirs)

    return undo


class BoundLogger(structlog.make_filtering_bound_logger(logging.NOTSET)):  # type: ignore[misc]
    """structlog's filtering logger, whose methods do not raise where a message does not fit its arguments.

    Like the list of processors it is one for every install, since loggers are cached: its methods change with the
    level.
    """


def _set_level(level: int) -> None:
    for name, attribute in vars(structlog.make_filtering_bound_logger(level)).items():
        if not name.startswith("__"):
            setattr(BoundLogger, name, attribute)
    for number, name in LEVELS.items():
        if number >= level:
            setattr(BoundLogger, name, _method(name))
    for alias, name in _STRUCTLOG_ALIASES.items():
        if alias != "exception":
            setattr(BoundLogger, alias, getattr(BoundLogger, name))


def _method(name: str) -> Callable[..., None]:
    def method(self: Any, event: Any = None, /, *args: Any, **fields: Any) -> None:
        if args:
            mapped = len(args) == 1 and args[0] and isinstance(args[0], Mapping)
            event = interpolated(event, args[0] if mapped else args)
        result: Any = {**self._context, **fields}
        if event is not None:
            result["event"] = event
        try:
            for processor in self._processors:
                result = processor(self._logger, name, result)
        except DropEvent:
            return
        if result is not _WRITTEN:
            _hand_over(getattr(self._logger, name), result)

    method.__name__ = name
    return method


def _hand_over(method: Callable[..., Any], result: Any) -> None:
    """Call the wrapped logger as structlog does, with what processors other than ours have left to write."""
    if isinstance(result, tuple):
        method(*result[0], **result[1])
    elif isinstance(result, dict):
        method(**result)
    else:
        method(result)
