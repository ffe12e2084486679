"""A finished span with something in it changed, which the SDK's own cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, Status


def copied(  # noqa: PLR0913  (what may be changed)
    span: ReadableSpan,
    *,
    context: SpanContext | None = None,
    attributes: Mapping[str, Any] | None = None,
    events: Sequence[Event] | None = None,
    links: Sequence[Link] | None = None,
    status: Status | None = None,
) -> ReadableSpan:
    """A copy of `span` that has what is given in the place of its own."""
    kept = BoundedAttributes(attributes=span.attributes if attributes is None else attributes)
    kept.dropped = span.dropped_attributes
    return ReadableSpan(
        name=span.name,
        context=context or span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=kept,
        events=span.events if events is None else events,
        links=span.links if links is None else links,
        kind=span.kind,
        status=status or span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
