"""Lines for a terminal: one readable line a request, its outbound calls under it, stack traces in full."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from obskit import semconv
from obskit.operation import Operation
from obskit.signals._encoding import MAX_LINE, readable, text_of
from obskit.signals._lines import Writer

_LEVEL_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}
_STATUS_COLOURS: Final = {2: "32", 3: "36", 4: "33", 5: "31"}
_DIM: Final = "2"
_RED: Final = "31"
_BOLD: Final = "1"
_TRACE_DIGITS: Final = 8
_MAX_VALUE: Final = 1024
_ROOM_FOR_END: Final = 32

#: Control characters (C0 but for the tab, DEL, C1), line separators, and what turns the direction of text: a stranger
#: could move the cursor, hide text or forge lines with them.
_UNSAFE: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NEEDS_QUOTES: Final = re.compile(r'[\s"=]|^$')

#: What the terminal shows elsewhere in the line, or not at all.
_HIDDEN: Final = frozenset(
    {
        semconv.TIMESTAMP,
        semconv.LEVEL,
        semconv.MESSAGE,
        semconv.LOGGER,
        semconv.TRACE_ID,
        semconv.SPAN_ID,
        semconv.TRACE_FLAGS,
        semconv.SERVICE_NAME,
        semconv.SERVICE_VERSION,
        semconv.DEPLOYMENT_ENVIRONMENT_NAME,
        semconv.EXCEPTION_TYPE,
        semconv.EXCEPTION_MESSAGE,
        semconv.EXCEPTION_STACKTRACE,
        semconv.CODE_STACKTRACE,
    }
)
#: What a request's line leaves to the JSON: facts of every request, and what its columns or its calls say already.
_HIDDEN_OF_REQUESTS: Final = _HIDDEN | {
    semconv.EVENT_NAME,
    semconv.HTTP_REQUEST_METHOD,
    semconv.HTTP_ROUTE,
    semconv.HTTP_RESPONSE_STATUS_CODE,
    semconv.HTTP_REQUEST_BODY_SIZE,
    semconv.HTTP_RESPONSE_BODY_SIZE,
    semconv.URL_PATH,
    semconv.URL_SCHEME,
    semconv.SERVER_ADDRESS,
    semconv.SERVER_PORT,
    semconv.CLIENT_ADDRESS,
    semconv.USER_AGENT_ORIGINAL,
    semconv.NETWORK_PROTOCOL_VERSION,
    semconv.DURATION_MS,
    semconv.TIME_TO_FIRST_BYTE_MS,
    semconv.OUTCOME,
    semconv.REQUEST_ID,
    semconv.HTTP_CLIENT + semconv.ROLLUP_COUNT,
    semconv.HTTP_CLIENT + semconv.ROLLUP_DURATION_MS,
    semconv.HTTP_CLIENT + semconv.ROLLUP_ERRORS,
}


#: obskit's own lines say who speaks in their text.
_OWN_LOGGER: Final = "obskit"


def colours_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal may get colours: NO_COLOR (https://no-color.org) and ``TERM=dumb`` say no."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def visible(text: str, *, keep: str = "") -> str:
    """The text with every character that could steer a terminal as its escape, but for those in `keep`."""
    return _UNSAFE.sub(lambda match: match[0] if match[0] in keep else ascii(match[0])[1:-1], text)


class Blocks:
    """Takes what a terminal shows of one event, a line or several, and writes it line by line.

    Args:
        writer: takes single lines.
    """

    def __init__(self, writer: Writer) -> None:
        self._write = writer.write

    def write(self, block: bytes) -> None:
        """Write each line of the block."""
        for line in block.splitlines(keepends=True):
            self._write(line)


class Console:
    """Renders lines for a terminal.

    Args:
        colours: whether to colour them.
    """

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def line(self, line: Mapping[str, Any]) -> bytes:
        """One line: time, level, message, fields, logger, trace; a stack trace follows on lines of its own."""
        level = text_of(line[semconv.LEVEL])
        parts = [
            self._time(line),
            self._paint(f"{visible(level):<8}", _LEVEL_COLOURS.get(level, _BOLD)),
            visible(line[semconv.MESSAGE]),
            *self._fields(line, _HIDDEN),
            "" if line[semconv.LOGGER] == _OWN_LOGGER else self._paint(visible(line[semconv.LOGGER]), _DIM),
            self._trace(line),
        ]
        return self._finished(parts, [], line)

    def request(self, line: Mapping[str, Any], calls: Iterable[Operation]) -> bytes:
        """An operation's line: time, status, method and route, duration, the fields that matter, trace.

        Its outbound calls stand on lines below it.
        """
        status = line.get(semconv.HTTP_RESPONSE_STATUS_CODE, line[semconv.OUTCOME])
        parts = [
            self._time(line),
            self._status(status, failed=line[semconv.LEVEL] == "error"),
            self._paint(visible(self._what(line)), _BOLD),
            self._milliseconds(line[semconv.DURATION_MS]),
            *self._fields(line, _HIDDEN_OF_REQUESTS),
            self._trace(line),
        ]
        return self._finished(parts, [self._call(call) for call in calls], line)

    def _what(self, line: Mapping[str, Any]) -> str:
        method = line.get(semconv.HTTP_REQUEST_METHOD)
        if method is None:
            return text_of(line[semconv.MESSAGE]).removesuffix(f" {line[semconv.OUTCOME]}")
        return f"{method} {line.get(semconv.HTTP_ROUTE) or line.get(semconv.URL_PATH, '')}"

    def _call(self, call: Operation) -> str:
        fields = call.fields
        where = text_of(fields.get(semconv.URL_FULL, "")).partition("?")[0].removeprefix("http://")
        if not where:
            port = fields.get(semconv.SERVER_PORT)
            where = f"{fields.get(semconv.SERVER_ADDRESS, '')}{f':{port}' if port else ''}"
        status = fields.get(semconv.HTTP_RESPONSE_STATUS_CODE, call.error_type or call.outcome)
        what = f"{fields.get(semconv.HTTP_REQUEST_METHOD) or call.name} {where}"
        parts = [self._paint("  └", _DIM), visible(what.rstrip()), self._status(status, failed=call.outcome == "error")]
        return " ".join([*parts, self._milliseconds(call.duration_ms)])

    def _finished(self, parts: list[str], below: list[str], line: Mapping[str, Any]) -> bytes:
        lines = [" ".join(part for part in parts if part), *below]
        lines += [
            self._paint(visible(text_of(line[name]).rstrip(), keep="\n"), _RED)
            for name in (semconv.CODE_STACKTRACE, semconv.EXCEPTION_STACKTRACE)
            if name in line
        ]
        encoded = "\n".join(lines).encode("utf-8", "backslashreplace")
        if len(encoded) >= MAX_LINE:
            kept = encoded[: MAX_LINE - _ROOM_FOR_END].decode("utf-8", "ignore")
            encoded = (kept + ("…\x1b[0m" if self._colours else "…")).encode()
        return encoded + b"\n"

    def _fields(self, line: Mapping[str, Any], hidden: frozenset[str]) -> list[str]:
        return [
            f"{self._paint(visible(text_of(name)), _DIM)}={self._value(name, value)}"
            for name, value in line.items()
            if name not in hidden
        ]

    def _value(self, name: str, value: Any) -> str:
        text = visible(text_of(readable(name, value)))
        if len(text) > _MAX_VALUE:
            text = text[:_MAX_VALUE] + "…"
        if _NEEDS_QUOTES.search(text):
            text = '"' + text.replace('"', '\\"') + '"'
        return self._paint(text, _RED) if name == semconv.ERROR_TYPE else text

    def _time(self, line: Mapping[str, Any]) -> str:
        local = dt.datetime.fromisoformat(line[semconv.TIMESTAMP]).astimezone()
        return self._paint(local.isoformat(timespec="milliseconds")[11:23], _DIM)

    def _trace(self, line: Mapping[str, Any]) -> str:
        return self._paint(line.get(semconv.TRACE_ID, "")[:_TRACE_DIGITS], _DIM)

    def _status(self, status: Any, *, failed: bool) -> str:
        colour = _STATUS_COLOURS.get(status // 100) if isinstance(status, int) else None
        return self._paint(visible(text_of(status)), colour or (_RED if failed else _STATUS_COLOURS[2]))

    def _milliseconds(self, duration: float) -> str:
        return self._paint(f"{duration:.1f}ms", _DIM)

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and text else text
