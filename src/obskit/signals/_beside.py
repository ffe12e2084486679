"""Log records for OTLP beside a pipeline that is the team's own: nothing of theirs is touched, and nothing is written.

Records of stdlib loggers come by a handler. Events of a structlog that does not end in stdlib logging come by a
processor; of one that does, they are records.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import ExitStack
from typing import Any, Final

import structlog

from obskit import semconv
from obskit._guard import contained
from obskit.signals._encoding import Redactor, text_of
from obskit.signals._lines import Lines, Records
from obskit.signals._pipeline import structlog_is_the_teams
from obskit.signals._records import LEVELS, LineHandler, sent_by_others
from obskit.signals.logs import LOGGER

#: What the pipeline of the team says of a record that the line says itself.
_STAMPED: Final = frozenset({semconv.TRACE_ID, semconv.SPAN_ID, semconv.TRACE_FLAGS, semconv.SERVICE_NAME})
_SAID: Final = _STAMPED | {semconv.TIMESTAMP, semconv.LEVEL, semconv.LOGGER}
_OF_STRUCTLOG: Final = frozenset({"_logger", "_name", "_record", "_from_structlog"})


class _Nowhere:
    """Takes the lines that nobody is to see."""

    def write(self, line: bytes) -> None:
        pass


def records_only(redactor: Redactor, resource: Mapping[str, str], records: Records) -> Lines:
    """Lines of which only the records leave."""
    return Lines(_Nowhere(), redactor, resource, lambda _line: b"", records)


class RecordHandler(LineHandler):
    """Takes the records of stdlib loggers, canonical lines excepted: those are made from the operation."""

    not_extra = LineHandler.not_extra | _STAMPED | _OF_STRUCTLOG

    def __init__(self, lines: Lines) -> None:
        super().__init__(lines)
        self._log = lines.log

    def _emit(self, record: logging.LogRecord) -> None:
        if record.name == LOGGER:
            return
        if isinstance(record.msg, Mapping) and "event" in record.msg:  # structlog's, for its ProcessorFormatter
            level = LEVELS.get(record.levelno) or text_of(record.levelname).lower()
            _log_event(self._log, int(record.created * 1e9), level, record.name, record.msg, record.exc_info)
        else:
            super()._emit(record)


class RecordProcessor:
    """A structlog processor that takes each event, just before it is rendered, and passes it on as it is."""

    def __init__(self, lines: Lines) -> None:
        self._log = lines.log

    def __call__(self, logger: Any, method: str, event: Any) -> Any:
        """Take one event; contained, never raises."""
        try:
            if isinstance(event, MutableMapping) and semconv.EVENT_NAME not in event:
                name = event.get(semconv.LOGGER) or getattr(logger, "name", "") or ""
                _log_event(self._log, time.time_ns(), method, text_of(name), event, None)
        except Exception as error:
            contained("logs", error)
        return event


def _log_event(  # noqa: PLR0913  (what Lines.log takes)
    log: Callable[..., None], ns: int, level: str, logger: str, event: Mapping[Any, Any], exc_info: Any
) -> None:
    fields = {name: value for name, value in event.items() if name not in _SAID}
    given = fields.pop("exc_info", None)
    if given and not isinstance(given, (tuple, BaseException)):
        given = sys.exc_info()
    message = fields.pop("event", "")
    log(ns, "error" if level == "exception" else level, logger, message, fields, given or exc_info)


class Beside:
    """Has the records of a process leave, whoever writes its lines.

    Args:
        lines: what makes records.
        servers: names of the servers' loggers, whose records do not come to root as a rule.
    """

    def __init__(self, lines: Lines, servers: tuple[str, ...]) -> None:
        self.handler = RecordHandler(lines)
        self._processor = RecordProcessor(lines)
        self._servers = servers

    def adopt(self) -> Callable[[], None]:
        """Take what there is by now; returns what undoes it."""
        undo = ExitStack()
        undo.callback(self._add_to_structlog())
        if sent_by_others():
            return undo.close
        undo.callback(self._add_to(logging.root))
        for name in self._servers:
            logger = logging.root.manager.loggerDict.get(name)
            if isinstance(logger, logging.Logger) and not logger.propagate:
                undo.callback(self._add_to(logger))
        return undo.close

    def _add_to(self, logger: logging.Logger) -> Callable[[], None]:
        if self.handler not in logger.handlers:
            logger.addHandler(self.handler)
        return lambda: logger.removeHandler(self.handler)

    def _add_to_structlog(self) -> Callable[[], None]:
        if not structlog_is_the_teams():
            return lambda: None
        config = structlog.get_config()
        processors: Any = config["processors"]
        to_stdlib = isinstance(config["logger_factory"], structlog.stdlib.LoggerFactory)
        if to_stdlib or not isinstance(processors, list) or self._processor in processors:
            return lambda: None
        processors.insert(max(len(processors) - 1, 0), self._processor)
        return lambda: processors.remove(self._processor) if self._processor in processors else None
