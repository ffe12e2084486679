"""Trace ids for a pipeline that is the team's own: on each stdlib record and in each structlog event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from opentelemetry import context as otel_context

from obskit import semconv
from obskit._guard import contained
from obskit.operation import Operation
from obskit.signals._lines import trace_fields
from obskit.signals._pipeline import structlog_is_the_teams
from obskit.signals._records import RECORD_ATTRIBUTES
from obskit.signals.logs import LOGGER, fields_of

_LEVELS: Final = {"info": logging.INFO, "error": logging.ERROR}
#: Names that a record or a structlog call has for itself: a field of that name would be refused, or be taken for it.
_TAKEN: Final = RECORD_ATTRIBUTES | {"message", "asctime", "event", "level", "exc_info"}


def _stamp(service: str) -> dict[str, str]:
    return {**trace_fields(), semconv.SERVICE_NAME: service} if service else trace_fields()


class StampedRecord(logging.LogRecord):
    """A record that knows the trace it belongs to.

    The ids enter its attributes when the message is made, which every formatter does first, and not before: a call
    that gives ``extra={"trace_id": ...}`` itself is refused by logging where a fresh record has that attribute.
    """

    __slots__ = ("stamp",)
    stamp: dict[str, str]

    def getMessage(self) -> str:  # noqa: N802  (logging's name)
        """The message; the ids now stand among the attributes, unless the caller has set them."""
        _set(self, self.stamp)
        return super().getMessage()

    def __getattr__(self, name: str) -> str:
        if name != "stamp" and name in self.stamp:
            return self.stamp[name]
        msg = f"{type(self).__name__!r} object has no attribute {name!r}"
        raise AttributeError(msg)


def _set(record: logging.LogRecord, stamp: Mapping[str, str]) -> None:
    for name, value in stamp.items():
        record.__dict__.setdefault(name, value)


def stamp_records(service: str) -> Callable[[], None]:
    """Make stdlib loggers' records carry the trace ids and the service's name; returns what undoes it."""
    before = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        if before is logging.LogRecord:
            record = StampedRecord(*args, **kwargs)
            record.stamp = _stamp(service)
            return record
        theirs: logging.LogRecord = before(*args, **kwargs)
        _set(theirs, _stamp(service))
        return theirs

    logging.setLogRecordFactory(factory)

    def undo() -> None:
        if logging.getLogRecordFactory() is factory:  # else someone has wrapped it, and their wrapper stays
            logging.setLogRecordFactory(before)

    return undo


class _StampProcessor:
    """A structlog processor that adds the ids, unless the event has them."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: Any, _method: str, event: Any) -> Any:
        try:
            for name, value in _stamp(self._service).items():
                event.setdefault(name, value)
        except Exception as error:
            contained("logs", error)
        return event


def stamp_structlog(service: str) -> Callable[[], None]:
    """Add the ids to the events of a structlog that the team configured, just before they are rendered.

    Does nothing where they are added already. Returns what undoes it.
    """
    processors: Any = structlog.get_config()["processors"]
    if any(isinstance(each, _StampProcessor) for each in processors):
        return lambda: None
    processor = _StampProcessor(service)
    if isinstance(processors, list):  # in place: loggers that are bound already hold this very list
        processors.insert(max(len(processors) - 1, 0), processor)
        return lambda: processors.remove(processor) if processor in processors else None
    stamped = [*processors[:-1], processor, *processors[-1:]]
    structlog.configure(processors=stamped)
    return lambda: structlog.configure(processors=processors)


def emit_to_team(op: Operation, level: str, message: str) -> None:
    """Hand a canonical line to the team's own pipeline: their structlog, else the stdlib logger ``obskit.request``."""
    given = {semconv.RESERVED_PREFIX + name if name in _TAKEN else name: value for name, value in fields_of(op).items()}
    error = op.exception if level == "error" else None
    token = otel_context.attach(op.context)  # so that the line is stamped with the operation's own ids
    try:
        if structlog_is_the_teams():
            structlog.get_logger(LOGGER).bind(**given).log(_LEVELS[level], message, exc_info=error)
        else:
            _log(_LEVELS[level], message, given, error)
    finally:
        otel_context.detach(token)


def _log(level: int, message: str, fields: dict[str, Any], error: BaseException | None) -> None:
    logger = logging.getLogger(LOGGER)
    if not logger.isEnabledFor(level):
        return
    exc_info = None if error is None else (type(error), error, error.__traceback__)
    record = logger.makeRecord(LOGGER, level, __file__, 0, message, (), exc_info)
    for name, value in fields.items():  # not by `extra`, which raises for a name that the team's factory has set
        record.__dict__.setdefault(name, value)
    logger.handle(record)
