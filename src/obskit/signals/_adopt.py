"""Taking over the process's logging, and giving it back.

Each change is written down with what undoes it; a restore undoes them in reverse order, and leaves alone what someone
else has changed since.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final, Literal

from obskit import semconv
from obskit._tally import SAMPLED_OUT
from obskit.operation import Operation
from obskit.signals import _servers
from obskit.signals._beside import Beside, records_only
from obskit.signals._console import Blocks, Console, colours_wanted
from obskit.signals._encoding import Redactor, encode
from obskit.signals._lines import Lines, Records, Writer
from obskit.signals._pipeline import configure_structlog, structlog_is_the_teams
from obskit.signals._profiles import Encode
from obskit.signals._records import LineHandler, sent_by_others
from obskit.signals._stamp import emit_to_team, stamp_records, stamp_structlog
from obskit.signals.logs import Emit, Logs, RequestLog, Share, write_to

LogMode = Literal["replace", "stamp", "off"]
LogFormat = Literal["auto", "json", "console"]

_STANDARD_DESCRIPTORS: Final = (1, 2)
#: Loggers of HTTP clients, which log every request at INFO; the operations say the same.
_CHATTY: Final = ("httpx", "httpcore", "urllib3")


class LogPipeline:
    """What logging of this process has become; see :func:`install_logs`.

    Attributes:
        effective_mode: `replace`, `stamp` or `off`: the mode asked for, unless `reason` says why it is another.
        reason: one clause for a reader of the start-up line; empty where the mode is as asked.
        signal: writes the canonical lines; None where obskit writes no lines.
        console: whether lines are made for a person to read.
    """

    def __init__(
        self, effective_mode: LogMode, reason: str = "", signal: Logs | None = None, *, console: bool = False
    ) -> None:
        self.effective_mode = effective_mode
        self.reason = reason
        self.signal = signal
        self.console = console
        self._beside: Beside | None = None
        self._restored = False
        self._undo = ExitStack()

    def adopt(self) -> None:
        """Take over what has appeared since the last time; called again when a server has set its own logging up."""
        if self._beside is not None and not self._restored:
            self._undo.callback(self._beside.adopt())

    def access_gives_way(self) -> None:
        """Leave the server's access lines out: an app is observed, and its canonical lines say the same."""
        if self._beside is not None:
            self._beside.handler.access_gives_way = True

    def send_beside(self, lines: Lines) -> None:
        """Have log records leave by OTLP beside lines that are not obskit's."""
        self._beside = Beside(lines, (*_servers.ERROR, *_servers.ACCESS))
        LogPipeline.adopt(self)

    def restore(self) -> None:
        """Undo everything; a second call does nothing."""
        self._restored = True
        self._undo.close()


class _Replace(LogPipeline):
    """Every line is obskit's: the stream handlers of root and of the servers have given way to one of ours."""

    def __init__(self, lines: Lines, level: int, signal: Logs, *, has_request_lines: bool, console: bool) -> None:
        super().__init__("replace", signal=signal, console=console)
        self._handler = LineHandler(lines.without_records() if sent_by_others() else lines)
        self._has_request_lines = has_request_lines
        self._undo.callback(lines.say_suppressed)
        self._taken_from: list[list[logging.Handler]] = []
        self._undo.callback(configure_structlog(lines, level))
        self._set_level(logging.root, level)
        for name in _CHATTY:
            if not logging.getLogger(name).level:
                self._set_level(logging.getLogger(name), logging.WARNING)
        _servers.preset_uvicorn(self._undo)
        _servers.follow_hypercorn(self.adopt, self._undo)
        self.adopt()

    def adopt(self) -> None:
        if self._restored:
            return
        self._take_streams(logging.root)
        if self._handler not in logging.root.handlers:
            logging.root.addHandler(self._handler)
            self._undo.callback(logging.root.removeHandler, self._handler)
        self._take_servers()
        if self._handler.access_gives_way:
            self._silence_access()

    def access_gives_way(self) -> None:
        if self._has_request_lines:
            self._handler.access_gives_way = True
            self.adopt()

    def _take_servers(self) -> None:
        loggers = [*_existing(_servers.ERROR), *_existing(_servers.ACCESS)]
        for logger in loggers:
            if self._take_streams(logger):
                self._taken_from.append(logger.handlers)
        for logger in loggers:  # gunicorn's worker gives uvicorn's loggers the very lists that gunicorn's have
            if any(logger.handlers is each for each in self._taken_from):
                self._set(logger, "propagate", value=True)

    def _take_streams(self, logger: logging.Logger) -> bool:
        taken = [(index, handler) for index, handler in enumerate(logger.handlers) if _is_plain_stream(handler)]
        for index, handler in reversed(taken):  # the first is then given back first, and each finds its place
            with suppress(OSError, ValueError):  # its stream is closed, or its reader is gone
                handler.flush()
            logger.removeHandler(handler)
            self._undo.callback(_give_back, logger, index, handler)
        return bool(taken)

    def _silence_access(self) -> None:
        """Spare the server the making of lines that nobody would see."""
        for logger in _existing(_servers.ACCESS):
            if all(each is self._handler for each in _reached(logger)):
                self._set(logger, "propagate", value=False)
                self._set(logger, "disabled", value=True)

    def _set(self, logger: logging.Logger, attribute: str, *, value: bool) -> None:
        before = getattr(logger, attribute)
        if before is value:
            return
        setattr(logger, attribute, value)
        self._undo.callback(lambda: setattr(logger, attribute, before) if getattr(logger, attribute) is value else None)

    def _set_level(self, logger: logging.Logger, level: int) -> None:
        before = logger.level
        logger.setLevel(level)
        self._undo.callback(lambda: logger.setLevel(before) if logger.level == level else None)


class _Stamp(LogPipeline):
    """The team's own pipeline stays; its records and events carry the trace ids."""

    def __init__(self, service: str, reason: str, signal: Logs) -> None:
        super().__init__("stamp", reason, signal)
        self._service = service
        self._undo.callback(stamp_records(service))
        self.adopt()

    def adopt(self) -> None:
        if not self._restored and structlog_is_the_teams():
            self._undo.callback(stamp_structlog(self._service))
        super().adopt()


def install_logs(  # noqa: PLR0913  (one argument for each thing that can be configured)
    writer: Writer,
    redactor: Redactor,
    *,
    mode: LogMode = "replace",
    level: str = "INFO",
    log_format: LogFormat = "auto",
    request_log: RequestLog = "all",
    encoder: Encode = encode,
    share: Share | None = None,
    left_out: Callable[[str], None] = lambda _: None,
    resource: Mapping[str, str],
    records: Records | None = None,
    descriptor: int = 1,
) -> LogPipeline:
    """Make structlog, stdlib logging and the servers' loggers write one kind of line.

    Args:
        writer: where lines go.
        redactor: takes secrets out of them.
        mode: `replace` takes over root's and the servers' stream handlers; `stamp` leaves all handlers and adds trace
            ids to what they format, and is what `replace` becomes where structlog is configured already; `off`
            changes nothing and writes nothing.
        level: name of the lowest level that is written in `replace` mode, any case.
        log_format: `auto` is `console` where `descriptor` is a terminal, else `json`.
        request_log: which operations have a canonical line.
        encoder: turns a line into bytes, where no terminal shows it.
        share: what share of them has; see :class:`obskit.signals.logs.Logs`.
        left_out: told the reason when a line is left out on purpose.
        resource: attributes of the service, by their semantic names.
        records: takes the fields of each line as well, in whatever mode; None where they go nowhere else.
        descriptor: the file descriptor that `writer` writes to.

    Returns:
        The handle, whose ``restore()`` gives everything back.
    """
    if mode in ("off", "stamp") or structlog_is_the_teams():
        beside = None if records is None else records_only(redactor, resource, records)
        return _the_teams(mode, request_log, share, resource, beside)
    terminal = os.isatty(descriptor)
    console = None
    if log_format == "console" or (log_format == "auto" and terminal):
        console = Console(colours=terminal and colours_wanted())
    if console is None:
        lines = Lines(writer, redactor, resource, encoder, records, left_out)
    else:
        lines = Lines(Blocks(writer), redactor, resource, console.line, records, left_out)
    emit = write_to(lines, None if console is None else console.request)
    signal = Logs(
        emit, request_log, keep_calls=console is not None, share=share, left_out=partial(left_out, SAMPLED_OUT)
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    return _Replace(lines, number, signal, has_request_lines=request_log != "off", console=console is not None)


def _the_teams(
    mode: LogMode, request_log: RequestLog, share: Share | None, resource: Mapping[str, str], lines: Lines | None
) -> LogPipeline:
    """The lines are the team's; `lines` are those of which only the records leave."""
    record = None if lines is None else write_to(lines)
    if mode == "off":
        logs = LogPipeline("off", signal=None if record is None else Logs(record, request_log, share=share))
    else:
        reason = "" if mode == "stamp" else "structlog is configured already"
        theirs = sent_by_others() and not structlog_is_the_teams()  # then the team's line is a record already
        emit = emit_to_team if record is None or theirs else _both(emit_to_team, record)
        logs = _Stamp(resource.get(semconv.SERVICE_NAME, ""), reason, Logs(emit, request_log, share=share))
    if lines is not None:
        logs.send_beside(lines)
    return logs


def _both(first: Emit, second: Emit) -> Emit:
    def emit(op: Operation, level: str, message: str) -> None:
        first(op, level, message)
        second(op, level, message)

    return emit


def _is_plain_stream(handler: logging.Handler) -> bool:
    if type(handler) is not logging.StreamHandler:
        return False
    stream = handler.stream
    if any(stream is each for each in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        return True
    try:
        return stream.fileno() in _STANDARD_DESCRIPTORS
    except (AttributeError, OSError, ValueError):  # closed, or no file at all
        return False


def _existing(names: Iterable[str]) -> list[logging.Logger]:
    found = [logging.root.manager.loggerDict.get(name) for name in names]
    return [logger for logger in found if isinstance(logger, logging.Logger)]


def _reached(logger: logging.Logger) -> list[logging.Handler]:
    """The handlers that a record of `logger` comes to, by propagation."""
    reached: list[logging.Handler] = []
    above: logging.Logger | None = logger
    while above is not None:
        reached += above.handlers
        above = above.parent if above.propagate else None
    return reached


def _give_back(logger: logging.Logger, index: int, handler: logging.Handler) -> None:
    if handler not in logger.handlers:
        logger.handlers.insert(index, handler)
