"""The one pipeline of log lines: structlog and stdlib logging end in the same :class:`~obskit.signals._lines.Lines`.

structlog's bound loggers hand their event dict to :class:`Renderer`, stdlib loggers their record to
:class:`LineHandler`; both only translate.
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
from obskit.signals._lines import Lines, is_carried

#: structlog's method names that are not levels' names.
_STRUCTLOG_ALIASES: Final = {"exception": "error", "warn": "warning", "fatal": "critical", "msg": "info"}
_STDLIB_LEVELS: Final = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
#: What any record has; what others have beyond it came by `extra`. A formatter adds the last two, uvicorn the third.
_RECORD_ATTRIBUTES: Final = frozenset(logging.makeLogRecord({}).__dict__)
_NOT_EXTRA: Final = _RECORD_ATTRIBUTES | {"asctime", "message", "color_message"}
_ACCESS_LOGGERS: Final = frozenset({"uvicorn.access", "gunicorn.access"})
_ACCESS_ARGUMENTS: Final = 5
_SERVER_ERROR_LOGGERS: Final = frozenset({"uvicorn.error", "gunicorn.error"})


class LineHandler(logging.Handler):
    """Takes the records of stdlib loggers.

    Args:
        lines: where they become lines.

    Attributes:
        access_gives_way: whether the server's access lines are left out, since canonical lines say the same.
    """

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.access_gives_way = False
        self._lines = lines

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter and emit without the handler's lock: the writer has its own, and rendering shares no state."""
        if self.filters and not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as one line; contained, never raises."""
        try:
            self._emit(record)
        except Exception as error:
            contained("logs", error)

    def _emit(self, record: logging.LogRecord) -> None:
        name = record.name
        fields: dict[Any, Any] = {}
        message = interpolated(record.msg, record.args)
        if name in _ACCESS_LOGGERS:
            if self.access_gives_way:
                return
            message, fields = _access(record, message)
        elif record.exc_info and name in _SERVER_ERROR_LOGGERS and is_carried(record.exc_info):
            return
        attributes = record.__dict__
        if len(attributes) != len(_RECORD_ATTRIBUTES):
            fields.update((key, value) for key, value in attributes.items() if key not in _NOT_EXTRA)
        if record.stack_info:
            fields[semconv.CODE_STACKTRACE] = record.stack_info
        level = _STDLIB_LEVELS.get(record.levelno) or text_of(record.levelname).lower()
        self._lines.log(int(record.created * 1e9), level, name, message, fields, record.exc_info)


def interpolated(message: Any, args: Any) -> str:
    """``message % args``; where they do not fit each other, both as they are."""
    text = message if type(message) is str else text_of(message)
    if not args:
        return text
    try:
        return str(text % args)
    except Exception:  # the caller's own mistake; the line shows it
        return f"{text} {text_of(args)}"


def _access(record: logging.LogRecord, message: str) -> tuple[str, dict[Any, Any]]:
    args = record.args
    if not isinstance(args, tuple) or len(args) != _ACCESS_ARGUMENTS:
        return message, {}
    client, method, target, version, status = args
    path = text_of(target).partition("?")[0]
    return f"{method} {path} {status}", {
        semconv.CLIENT_ADDRESS: text_of(client).rpartition(":")[0],
        semconv.HTTP_REQUEST_METHOD: method,
        semconv.URL_PATH: path,
        semconv.NETWORK_PROTOCOL_VERSION: version,
        semconv.HTTP_RESPONSE_STATUS_CODE: status,
    }


# -- structlog ----------------------------------------------------------------------------------------------------

#: One list for every install: bound loggers keep the list that was configured when they were made, so what a close
#: puts in here, and what the next init does, reaches them too.
_PROCESSORS: Final[list[Any]] = []
_stack_renderer = StackInfoRenderer(additional_ignores=[__name__])


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
        return (), {}


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
    _PROCESSORS[:] = [merge_contextvars, Renderer(lines)]
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
    for number, name in _STDLIB_LEVELS.items():
        if number >= level:
            setattr(BoundLogger, name, _method(name))
    for alias, name in _STRUCTLOG_ALIASES.items():
        if alias != "exception":
            setattr(BoundLogger, alias, getattr(BoundLogger, name))


def _method(name: str) -> Callable[..., None]:
    def method(self: Any, event: Any = None, /, *args: Any, **fields: Any) -> None:
        if args:
            event = interpolated(event, args[0] if len(args) == 1 and isinstance(args[0], Mapping) else args)
        try:
            result, kwargs = self._process_event(name, event, fields)
        except DropEvent:
            return
        if result or kwargs:  # not ours: what others' processors leave to do
            getattr(self._logger, name)(*result, **kwargs)

    method.__name__ = name
    return method
