"""Which traces are worth keeping whole: the rules of ``OBSKIT_KEEP``, and the share of the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.trace import SpanContext

from obskit import semconv
from obskit._parse import Kind, string
from obskit._probability import NEVER, probability_in, randomness_of, threshold_of

_ALLOWED: Final = (
    "must be none or a list of errors, slow:TIME, slow:ROUTE=TIME and field:NAME=VALUE, with times such as 500ms or 2s"
)
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s)?", re.ASCII)
_NANOSECONDS: Final = {"ms": 10**6, "s": 10**9, None: 10**9}


@dataclass(frozen=True, slots=True)
class Rules:
    """What keeps a trace.

    Attributes:
        errors: an error does.
        slow_ns: a local root that takes so many nanoseconds does.
        slow_by_name: the same for single routes, or names of operations, in the place of `slow_ns`.
        fields: each of these values of a field does.
    """

    errors: bool = False
    slow_ns: int | None = None
    slow_by_name: Mapping[str, int] = field(default_factory=dict)
    fields: frozenset[tuple[str, str]] = frozenset()

    def is_slow(self, names: tuple[Any, ...], duration_ns: int, *, by_name_only: bool = False) -> bool:
        """Whether what goes by one of `names` took too long; where `by_name_only`, by a threshold of its own."""
        limits = self.slow_by_name
        limit = next((limits[name] for name in names if name in limits), None if by_name_only else self.slow_ns)
        return limit is not None and duration_ns >= limit

    def has_field(self, fields: Mapping[str, Any]) -> bool:
        """Whether one of the fields has a value that keeps."""
        return any(name in fields and _text(fields[name]) == value for name, value in self.fields)


class Keeping:
    """The rules, and the share of what no rule keeps.

    Args:
        keep: the rules as they are configured.
        rate: the share, 0 to 1.
    """

    def __init__(self, keep: tuple[str, ...], rate: float) -> None:
        self.rules = rules_of(keep)
        self.threshold = threshold_of(rate)

    def applied(self, context: SpanContext, *, ruled: bool) -> int:
        """The threshold by which a trace is kept, that of its start included; NEVER where it is not.

        Args:
            context: of a span of the trace.
            ruled: whether a rule keeps it.
        """
        said = probability_in(context.trace_state).threshold or 0
        threshold = said if ruled else max(said, self.threshold)
        return threshold if threshold <= randomness_of(context.trace_id, context.trace_state) else NEVER


def rules_of(keep: tuple[str, ...]) -> Rules:
    """Read the rules.

    Raises:
        ValueError: one of them is none; the message is the end of a sentence.
    """
    slow: dict[str, int] = {}
    fields = set()
    for rule in keep:
        kind, _, what = string(rule, _ALLOWED).partition(":")
        name, equals, value = what.rpartition("=") if kind == "slow" else what.partition("=")
        if kind == "slow" and bool(name) == bool(equals):
            slow[name.strip()] = _nanoseconds(value.strip())
        elif kind == "field" and name.strip() and value.strip():
            fields.add((name.strip(), value.strip()))
        elif rule != "errors":
            raise ValueError(_ALLOWED)
    return Rules("errors" in keep, slow.pop("", None), slow, frozenset(fields))


def _nanoseconds(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(_ALLOWED)
    return round(float(match[1]) * _NANOSECONDS[match[2]])


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(value: object) -> tuple[str, ...]:
    if not isinstance(value, (tuple, list)):
        raise ValueError(_ALLOWED)  # noqa: TRY004  (one exception type for whatever is wrong with a value)
    rules = tuple(dict.fromkeys(string(rule, _ALLOWED).strip() for rule in value))
    rules_of(rules)
    return rules


def _read(text: str) -> tuple[str, ...]:
    return () if text.lower() == "none" else tuple(item for item in map(str.strip, text.split(",")) if item)


#: A list of rules; the empty one is ``none`` in a variable.
KEEP = Kind(_check, _read)


def names_of(name: str, fields: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a span or an operation goes by in rules: its route, then its own name."""
    route = fields.get(semconv.HTTP_ROUTE)
    return (name,) if route is None else (route, name)
