"""Spans of other instrumentations, without secrets.

An operation's fields are redacted when they are set. What others put into spans of the SDK's is seen here first, in
the exporter's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status

from obskit.export._copied import copied

Redact = Callable[[str, Any], Any]


def redacted(span: ReadableSpan, redact: Redact) -> ReadableSpan:
    """The span itself where nothing in it is a secret, else a copy without.

    Args:
        span: finished; an operation's span is returned as it is.
        redact: maps (name, value) to the value that may leave the process.
    """
    if getattr(span, "facts", None) is not None:
        return span
    attributes = _attributes(span.attributes or {}, redact)
    events = [Event(event.name, _attributes(event.attributes or {}, redact), event.timestamp) for event in span.events]
    links = [Link(link.context, _attributes(link.attributes or {}, redact)) for link in span.links]
    description = span.status.description and redact("status", span.status.description)
    before = [span.attributes, *(event.attributes for event in span.events), *(link.attributes for link in span.links)]
    after = [attributes, *(event.attributes for event in events), *(link.attributes for link in links)]
    if description == span.status.description and [dict(each or {}) for each in before] == after:
        return span
    status = Status(span.status.status_code, description)
    return copied(span, attributes=attributes, events=events, links=links, status=status)


def _attributes(attributes: Mapping[str, Any], redact: Redact) -> dict[str, Any]:
    return {name: _value(name, value, redact) for name, value in attributes.items()}


def _value(name: str, value: Any, redact: Redact) -> Any:
    if isinstance(value, Mapping):
        return {key: _value(f"{name}.{key}", each, redact) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return tuple(_value(name, each, redact) for each in value)
    return redact(name, value)
