"""Log lines as OTLP's log records (https://opentelemetry.io/docs/specs/otel/logs/data-model/).

A record is the line's own dict, looked at in the exporter's thread: severity, body, trace context and event name out of
their fields, the logger as the scope, all the rest as attributes. Secrets have been taken out when the line was made.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Unpack

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from obskit import semconv
from obskit.export._exporter import Exporter
from obskit.export._queue import Batching, BatchQueue

#: Of a line, what stands in a record's own fields, or on its resource.
_NOT_ATTRIBUTES: Final = frozenset(
    {
        semconv.TIMESTAMP,
        semconv.LEVEL,
        semconv.MESSAGE,
        semconv.LOGGER,
        semconv.TRACE_ID,
        semconv.SPAN_ID,
        semconv.TRACE_FLAGS,
        semconv.EVENT_NAME,
        semconv.SERVICE_NAME,
        semconv.SERVICE_VERSION,
        semconv.DEPLOYMENT_ENVIRONMENT_NAME,
    }
)
#: Bounded where they are written.
_LONG: Final = frozenset({semconv.EXCEPTION_STACKTRACE, semconv.CODE_STACKTRACE})
_MAX_BODY: Final = 16_384
#: https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
_SEVERITIES: Final = {"trace": 1, "debug": 5, "info": 9, "warning": 13, "error": 17, "critical": 21}
_PER_LEVEL: Final = 4

Line = tuple[int, Mapping[str, Any]]
"""A line as it is queued: nanoseconds since the epoch, and its fields; nobody changes them any more."""


class LogRecord(NamedTuple):
    """One record, as it is encoded.

    Attributes:
        time_ns: when it was written, nanoseconds since the epoch.
        severity_number: 1 to 24; 0 where the level is none that is known.
        severity_text: the line's level.
        dropped_attributes: how many it had beyond the limit.
        trace_id, span_id: lower-case hex; empty outside of a trace.
    """

    time_ns: int
    severity_number: int
    severity_text: str
    body: str
    attributes: dict[str, Any]
    dropped_attributes: int
    trace_id: str
    span_id: str
    trace_flags: int
    event_name: str
    resource: Resource
    instrumentation_scope: InstrumentationScope


class LogQueue(BatchQueue[Line]):
    """Batches lines and exports them as log records.

    Args:
        exporter: takes :class:`LogRecord`.
        resource: who emits them.
        max_attributes: attributes that a record keeps.
        max_length: characters that the text of an attribute keeps, stack traces excepted.
        batching: see :class:`obskit.export._queue.Batching`.
    """

    def __init__(
        self,
        exporter: Exporter[LogRecord],
        resource: Resource,
        *,
        max_attributes: int,
        max_length: int,
        **batching: Unpack[Batching],
    ) -> None:
        def record(line: Line) -> LogRecord:
            return record_of(line, resource, max_attributes, max_length)

        super().__init__(exporter, items="log records", component="log_records", prepare=record, **batching)

    def add(self, ns: int, fields: Mapping[str, Any]) -> None:
        """Queue a line. What the export itself has to say is left out: it would never end."""
        thread = self._thread
        if thread is None or thread.ident != threading.get_ident():
            self.put((ns, fields))


def record_of(line: Line, resource: Resource, max_attributes: int, max_length: int) -> LogRecord:
    """The record that a line becomes."""
    ns, fields = line
    names = [name for name in fields if name not in _NOT_ATTRIBUTES]
    attributes = {name: _cut(name, fields[name], max_length) for name in names[:max_attributes]}
    level = str(fields.get(semconv.LEVEL, ""))
    return LogRecord(
        time_ns=ns,
        severity_number=_severity(level),
        severity_text=level,
        body=str(fields.get(semconv.MESSAGE, ""))[:_MAX_BODY],
        attributes=attributes,
        dropped_attributes=len(names) - len(attributes),
        trace_id=fields.get(semconv.TRACE_ID, ""),
        span_id=fields.get(semconv.SPAN_ID, ""),
        trace_flags=int(fields.get(semconv.TRACE_FLAGS, "0"), 16),
        event_name=fields.get(semconv.EVENT_NAME, ""),
        resource=resource,
        instrumentation_scope=_scope(str(fields.get(semconv.LOGGER, ""))),
    )


@functools.lru_cache(maxsize=256)
def _scope(logger: str) -> InstrumentationScope:
    return InstrumentationScope(logger)


@functools.lru_cache(maxsize=64)
def _severity(level: str) -> int:
    known = _SEVERITIES.get(level)
    if known is not None:
        return known
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None or number <= 0:
        return 0
    # Levels between two of logging's take the steps between their severities.
    ten, rest = divmod(min(number, 59), 10)
    return 1 + ten * _PER_LEVEL + min(rest // 3, _PER_LEVEL - 1)


def _cut(name: str, value: Any, limit: int) -> Any:
    if isinstance(value, str) and len(value) > limit and name not in _LONG:
        return value[:limit]
    return value
