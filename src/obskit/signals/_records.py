"""stdlib logging's records as lines."""

from __future__ import annotations

import logging
from typing import Any, Final

from obskit import semconv
from obskit._guard import contained
from obskit.signals import _servers
from obskit.signals._encoding import text_of
from obskit.signals._lines import Lines, is_reported

LEVELS: Final = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
#: What any record has: what one has beyond it came by `extra`, or by a factory of the team's.
RECORD_ATTRIBUTES: Final = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__)
#: But for what formatters leave behind, and uvicorn's message for terminals.
_NOT_EXTRA: Final = RECORD_ATTRIBUTES | {"asctime", "message", "color_message"}


def sent_by_others() -> bool:
    """Whether OpenTelemetry's own handler sends stdlib's records, as opentelemetry-instrument can set it up."""
    kinds = [type(handler) for handler in logging.root.handlers]
    return any(kind.__name__ == "LoggingHandler" and kind.__module__.startswith("opentelemetry.") for kind in kinds)


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

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as one line; contained, never raises."""
        try:
            self._emit(record)
        except Exception as error:
            contained("logs", error)

    def _emit(self, record: logging.LogRecord) -> None:
        name = record.name
        is_access = _servers.is_access(name)
        if is_access and self.access_gives_way:
            return
        error = _servers.raised(record)
        if error and is_reported(error, beforehand=self.access_gives_way):
            return
        template = record.msg if type(record.msg) is str else ""
        message = interpolated(record.msg, record.args)
        if error and not record.exc_info:
            message = _servers.without_stacktrace(message)
        fields: dict[Any, Any] = {}
        if is_access:
            message, fields = _servers.access(record, message)
        attributes = record.__dict__
        if len(attributes) != len(RECORD_ATTRIBUTES):
            fields.update((key, value) for key, value in attributes.items() if key not in self.not_extra)
        if record.stack_info:
            fields[semconv.CODE_STACKTRACE] = record.stack_info
        level = LEVELS.get(record.levelno) or text_of(record.levelname).lower()
        self._lines.log(int(record.created * 1e9), level, name, message, fields, record.exc_info or error, template)


def interpolated(message: Any, args: Any) -> str:
    """``message % args``; where they do not fit each other, both as they are."""
    text = message if type(message) is str else text_of(message)
    if not args:
        return text
    try:
        return str(text % args)
    except Exception:  # the caller's own mistake; the line shows it
        return f"{text} {text_of(args)}"
