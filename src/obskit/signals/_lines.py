"""Log lines: what each holds, in which order, and where it goes."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, format_span_id, format_trace_id, set_span_in_context

from obskit import semconv
from obskit._exception import Exceptions, is_carried
from obskit.operation import _OPERATION_KEY, Operation
from obskit.signals._encoding import MAX_LINE, Redactor, encode, exception_of, readable, text_of
from obskit.signals._repeats import Repeats

#: Names of a line that a log call's own fields cannot take.
LINE_FIELDS: Final = frozenset(
    {
        semconv.TIMESTAMP,
        semconv.LEVEL,
        semconv.MESSAGE,
        semconv.LOGGER,
        semconv.TRACE_ID,
        semconv.SPAN_ID,
        semconv.TRACE_FLAGS,
        semconv.SERVICE_NAME,
        semconv.SERVICE_NAMESPACE,
        semconv.SERVICE_VERSION,
        semconv.SERVICE_INSTANCE_ID,
        semconv.DEPLOYMENT_ENVIRONMENT_NAME,
        semconv.EVENT_NAME,
        semconv.EXCEPTION_TYPE,
        semconv.EXCEPTION_MESSAGE,
        semconv.EXCEPTION_STACKTRACE,
        semconv.TRUNCATED,
    }
)
_RESOURCE_FIELDS: Final = (semconv.SERVICE_NAME, semconv.SERVICE_VERSION, semconv.DEPLOYMENT_ENVIRONMENT_NAME)
#: Where a context holds the current span: reading it there takes half the time of asking for it.
(_SPAN_KEY,) = set_span_in_context(INVALID_SPAN, Context())
_NO_TRACE: Final[dict[str, str]] = {}
_MAX_PLAIN: Final = 1024
_NUMBERS: Final = frozenset({int, float, bool})
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


class Writer(Protocol):
    """Where finished lines go."""

    def write(self, line: bytes) -> None:
        """Take one line, its newline included; never blocks or raises."""
        ...


class Records(Protocol):
    """Where the fields of finished lines go, beside the lines themselves."""

    def __call__(self, ns: int, fields: Mapping[str, Any]) -> None:
        """Take the fields of one line and when it was made; never blocks or raises."""
        ...


class Lines:
    """Builds log lines in the contract's order and writes them.

    Args:
        writer: takes each finished line.
        redactor: takes secrets out of messages, values and stack traces.
        resource: attributes of the service; those that stand on every line are taken.
        render: turns a line's dict into bytes; JSON unless a terminal is to show it.
        records: takes each line's dict as well; None where nobody wants it.
        left_out: told the reason when a line is left out on purpose.
    """

    __slots__ = (
        "_collisions",
        "_plain",
        "_redact",
        "_redact_text",
        "_repeats",
        "_second",
        "_too_many",
        "exceptions",
        "records",
        "render",
        "resource",
        "tick",
        "write",
    )

    def __init__(  # noqa: PLR0913  (what a line passes)
        self,
        writer: Writer,
        redactor: Redactor,
        resource: Mapping[str, str],
        render: Callable[[dict[str, Any]], bytes] = encode,
        records: Records | None = None,
        left_out: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.write = writer.write
        self.exceptions = Exceptions(redactor.text)
        self.resource = {name: resource[name] for name in _RESOURCE_FIELDS if resource.get(name)}
        self.render = render
        self.records = records
        self._redact = redactor.__call__  # bound once: it runs for every field
        self._redact_text = redactor.text
        self._repeats = Repeats(left_out, self.say_suppressed)
        self._too_many = self._repeats.too_many
        self.tick = self._repeats.tick
        self._second: tuple[int | None, str] = (None, "")
        self._collisions: set[str] = set()
        self._plain: set[Any] = set()

    def without_records(self) -> Lines:
        """The same lines, of which no records leave."""
        lines = copy.copy(self)
        lines.records = None
        return lines

    def timestamp(self, ns: int) -> str:
        """Nanoseconds since the epoch as RFC 3339 in UTC, microseconds always six digits."""
        second = ns // 1_000_000_000
        known, prefix = self._second
        if second != known:
            prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._second = (second, prefix)
        return f"{prefix}{ns // 1000 % 1_000_000:06d}Z"

    def log(  # noqa: PLR0913  (runs for every line: keywords cost)
        self,
        ns: int,
        level: str,
        logger: str,
        message: Any,
        fields: Mapping[Any, Any],
        exc_info: Any = None,
        template: str = "",
    ) -> None:
        """Write the line of one log call.

        Args:
            ns: when, nanoseconds since the epoch.
            level: lower-case name.
            logger: the logger's name.
            message: anything; text as a rule.
            fields: what the caller gave, of any types, under any names.
            exc_info: an exception or an ``exc_info`` tuple, or nothing.
            template: the message before its arguments were filled in, where it had some.
        """
        if type(message) is not str or len(message) > MAX_LINE:
            message = text_of(message)[:MAX_LINE]
        ids = trace_fields()
        if self._too_many(ns, level, logger, template or message, ids, exc_info):
            return
        line: dict[str, Any] = {
            semconv.TIMESTAMP: self.timestamp(ns),
            semconv.LEVEL: level,
            semconv.MESSAGE: self._redact_text(message),
            semconv.LOGGER: logger,
            **ids,
            **self.resource,
        }
        plain, redact_text = self._plain, self._redact_text
        for key, value in fields.items():
            kind = type(value) if key in plain else None
            if kind in _NUMBERS:
                line[key] = value
            elif kind is str and len(value) <= MAX_LINE:
                line[key] = redact_text(value)
            else:
                self._add(line, key, value)
        error = exception_of(exc_info)
        if error is not None:
            line.update(self.exceptions.describe(error))
        if self.records is not None:
            self.records(ns, line)
        self.write(self.render(line))

    def say_suppressed(self, ns: int | None = None) -> None:
        """Write how many lines of each kind were left out until `ns`, or until now."""
        for (logger, level, text, _), count in self._repeats.take().items():
            now = time.time_ns() if ns is None else ns
            like = f" like {text!r}" if isinstance(text, str) else ""
            line = {
                semconv.TIMESTAMP: self.timestamp(now),
                semconv.LEVEL: level,
                semconv.MESSAGE: self._redact_text(f"{count} lines{like} were left out within a second"),
                semconv.LOGGER: logger,
                **self.resource,
                semconv.SUPPRESSED: count,
            }
            if self.records is not None:
                self.records(now, line)
            self.write(self.render(line))

    def _add(self, line: dict[str, Any], key: Any, value: Any) -> None:
        name = key if type(key) is str else text_of(key)
        if name in LINE_FIELDS:
            name = self._renamed(name)
        kind = type(value)
        if kind in _SCALARS and (kind is not str or len(value) <= MAX_LINE):
            line[name] = kept = self._redact(name, value)
            if kept is value and name is key and len(self._plain) < _MAX_PLAIN:
                self._plain.add(name)  # neither a name of the line's own nor one of a secret
        else:
            line[name] = readable(name, value, self._redact)

    def _renamed(self, name: str) -> str:
        if name not in self._collisions:
            self._collisions.add(name)
            logging.getLogger("obskit").warning(
                "field %r is a name of the line's own; yours is kept as %r", name, semconv.RESERVED_PREFIX + name
            )
        return semconv.RESERVED_PREFIX + name


def trace_fields() -> dict[str, str]:
    """Trace id, span id and flags of the current span in lower-case hex, by their names; empty outside of any trace."""
    context = otel_context.get_current()
    span: Any = context.get(_SPAN_KEY)
    if span is None:
        return _NO_TRACE
    op: Any = context.get(_OPERATION_KEY)
    if op is not None and span is op.span:
        return ids_of(op)
    ids = span.get_span_context()
    if not ids.is_valid:
        return _NO_TRACE
    return {
        semconv.TRACE_ID: format_trace_id(ids.trace_id),
        semconv.SPAN_ID: format_span_id(ids.span_id),
        semconv.TRACE_FLAGS: f"{ids.trace_flags & 0x03:02x}",  # as the header says them
    }


def ids_of(op: Operation) -> dict[str, str]:
    """What :func:`trace_fields` gives while `op` is current; empty where it has no trace."""
    if not op.trace_id:
        return _NO_TRACE
    return {
        semconv.TRACE_ID: op.trace_id,
        semconv.SPAN_ID: op.span_id,
        semconv.TRACE_FLAGS: op.trace_flags,
    }


def is_reported(exc_info: Any, *, beforehand: bool) -> bool:
    """Whether a canonical line has carried the stack trace of the exception in `exc_info`, or is going to.

    Args:
        exc_info: an exception or an ``exc_info`` tuple.
        beforehand: whether each failed request has such a line. Servers report what an app raised once its request
            has ended, frameworks while they still answer it.
    """
    error = exception_of(exc_info)
    if error is None:
        return False
    if is_carried(error) or not beforehand:
        return is_carried(error)
    op: Any = otel_context.get_current().get(_OPERATION_KEY)
    return op is not None and not op.ended and op.exception is error
