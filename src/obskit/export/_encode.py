"""What both encodings share: sorting items under resources and scopes, and reading a span's facts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceState

from obskit._guard import contained

Grouped: TypeAlias = dict[Resource, dict[InstrumentationScope | None, list[bytes]]]

#: SpanFlags of trace.proto: it is known whether the parent's context came from another process, and it did.
HAS_IS_REMOTE = 0x100
IS_REMOTE = 0x200


_INT64 = 1 << 63


class NoAttributeTypeError(TypeError):
    """The value is of a type that OTLP's ``AnyValue`` has not."""

    def __init__(self, value: object) -> None:
        super().__init__(f"{type(value).__qualname__} is no attribute type")


class Emitted(Protocol):
    """What stands under a resource and a scope: a span, a log record."""

    @property
    def resource(self) -> Resource:
        """Who emitted it."""
        ...

    @property
    def instrumentation_scope(self) -> InstrumentationScope | None:
        """By which part of the program."""
        ...


E = TypeVar("E", bound=Emitted)
T = TypeVar("T")

_A_TURN = 20


class Encoded(NamedTuple):
    """A request's body, and how many of its items could not be encoded and are not in it."""

    body: bytes
    dropped: int


def in_turns(items: Iterable[T]) -> Iterator[T]:
    """The items; the event loop's thread gets the interpreter in between, before its switch interval is over."""
    for index, item in enumerate(items):
        if index % _A_TURN == 0:
            time.sleep(0)
        yield item


def group(items: Iterable[E], encode: Callable[[E], bytes]) -> tuple[Grouped, int]:
    """Encode each item and sort it under its resource and scope, in order of their first appearance.

    Returns:
        The encoded items, and for how many `encode` raised.
    """
    grouped: Grouped = {}
    # Hashing a resource serialises it: look it up once an object, not once an item.
    places: dict[tuple[int, int], list[bytes]] = {}
    dropped = 0
    for item in items:
        try:
            encoded = encode(item)
            resource, scope = item.resource, item.instrumentation_scope
            place = places.get((id(resource), id(scope)))
            if place is None:
                place = grouped.setdefault(resource, {}).setdefault(scope, [])
                places[id(resource), id(scope)] = place
            place.append(encoded)
        except Exception as error:
            contained("encode", error)
            dropped += 1
    return grouped, dropped


_private_facts = attrgetter(
    "_context", "_parent", "_name", "_kind._value_", "_start_time", "_end_time",
    "_status._status_code._value_", "_status._description",
    "_attributes._dict", "_attributes.dropped", "_events._dq", "_events.dropped", "_links._dq", "_links.dropped",
)  # fmt: skip
_public_facts = attrgetter(
    "context", "parent", "name", "kind.value", "start_time", "end_time",
    "status.status_code.value", "status.description",
    "attributes", "dropped_attributes", "events", "dropped_events", "links", "dropped_links",
)  # fmt: skip


def facts(span: ReadableSpan) -> tuple[Any, ...]:
    """All that is encoded of a span, from the slots below the SDK's properties, which cost more than the encoding.

    Returns:
        Context, parent, name, kind's number in the SDK, start, end, status code, its description, attributes and how
        many were dropped, events and dropped, links and dropped.
    """
    own: tuple[Any, ...] | None = getattr(span, "facts", None)
    if own is not None:  # an operation's span has them ready
        return own
    try:
        return _private_facts(span)
    except AttributeError:  # not the SDK's own span, or the slots have changed
        return _public_facts(span)


def raw_attributes(holder: Any) -> Mapping[str, Any]:
    """Attributes of an event, link, resource or scope, as the plain dict below the SDK's views where there is one."""
    attributes = getattr(holder, "_attributes", None)
    if attributes is None:
        attributes = holder.attributes or {}
    return getattr(attributes, "_dict", attributes)  # type: ignore[no-any-return]


def flags(context: SpanContext | None) -> int:
    """Span or link flags of a parent's or linked context."""
    return HAS_IS_REMOTE | IS_REMOTE if context is not None and context.is_remote else HAS_IS_REMOTE


def int64(number: int) -> int:
    """The number itself, which ``AnyValue.int_value`` must be able to hold; raises OverflowError otherwise."""
    if not -_INT64 <= number < _INT64:
        msg = "an integer of more than 64 bits"
        raise OverflowError(msg)
    return number


def trace_state_text(trace_state: TraceState) -> str:
    """A tracestate as W3C Trace Context writes it."""
    return ",".join([f"{key}={value}" for key, value in trace_state.items()])
