"""stdlib logging's records as lines."""

from __future__ import annotations

import logging
import os
from typing import Any, Final

from obskit import semconv
from obskit._guard import contained
from obskit.signals._encoding import text_of
from obskit.signals._lines import Lines, is_reported

LEVELS: Final = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
#: What any record has: what one has beyond it came by `extra`, or by a factory of the team's.
RECORD_ATTRIBUTES: Final = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__)
#: But for what formatters leave behind, and uvicorn's message for terminals.
_NOT_EXTRA: Final = RECORD_ATTRIBUTES | {"asctime", "message", "color_message"}
_ACCESS_LOGGERS: Final = frozenset({"uvicorn.access", "gunicorn.access"})
_ACCESS_ARGUMENTS: Final = 5
_ERROR_LOGGERS: Final = frozenset({"uvicorn.error", "gunicorn.error", "hypercorn.error", "django.request"})
# Quart's logger has the name of the app, which logs there too.
_QUARTS_REPORT: Final = (f"quart{os.sep}app.py", "log_exception")


class LineHandler(logging.Handler):
    """Takes the records of stdlib loggers.

    Args:
        lines: where they become lines.

    Attributes:
        access_gives_way: whether the server's access lines are left out, and its reports of exceptions that canonical
            lines carry, since those say the same.
    """

    #: Names of a record's attributes that are no fields.
    not_extra = _NOT_EXTRA

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

    def gives_way(self, record: logging.LogRecord) -> bool:
        """Whether a record is the report of an exception whose stack trace stands on a canonical line, or will."""
        return _is_report(record) and is_reported(record.exc_info, beforehand=self.access_gives_way)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as one line; contained, never raises."""
        try:
            self._emit(record)
        except Exception as error:
            contained("logs", error)

    def _emit(self, record: logging.LogRecord) -> None:
        name = record.name
        is_access = name in _ACCESS_LOGGERS
        if is_access and self.access_gives_way:
            return
        if record.exc_info and self.gives_way(record):
            return
        message = interpolated(record.msg, record.args)
        fields: dict[Any, Any] = {}
        if is_access:
            message, fields = _access(record, message)
        attributes = record.__dict__
        if len(attributes) != len(RECORD_ATTRIBUTES):
            fields.update((key, value) for key, value in attributes.items() if key not in self.not_extra)
        if record.stack_info:
            fields[semconv.CODE_STACKTRACE] = record.stack_info
        level = LEVELS.get(record.levelno) or text_of(record.levelname).lower()
        self._lines.log(int(record.created * 1e9), level, name, message, fields, record.exc_info, record.msg)


def _is_report(record: logging.LogRecord) -> bool:
    """Whether a record is what a server or a framework writes of an exception that the app let out."""
    file, function = _QUARTS_REPORT
    return record.name in _ERROR_LOGGERS or (record.funcName == function and record.pathname.endswith(file))


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
