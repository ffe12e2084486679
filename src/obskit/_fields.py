"""What may stand in an operation's fields: bounded, clean values under names that do not collide.

Every signal reads the same dict, so a value is made safe once, when it enters: flattened, truncated, redacted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from obskit.semconv import RESERVED_FIELDS, RESERVED_PREFIX

Value = str | bool | int | float | list[str] | list[bool] | list[int] | list[float]
"""What a field can hold (https://opentelemetry.io/docs/specs/otel/common/#attribute)."""

_SCALARS = (str, bool, int, float)
_INT64 = 1 << 63
_MAX_DEPTH = 8
_MAX_NAME = 255


def text_of(value: object) -> str:
    """``str(value)``, or its type's name where the ``__str__`` of the user's class raises."""
    try:
        return str(value)
    except Exception:  # the user's own, and no reason to lose the fields beside it
        return f"<{type(value).__name__}>"


#: Values of one field that are remembered, and characters of the longest.
_MAX_RECURRING = 1024
_MAX_REMEMBERED = 256
#: What a text may be longer than its limit while secrets are looked for: as long as a private key.
_ROOM_FOR_SECRETS = 4096


class RecurringValues(dict[str, Value]):
    """What strangers' texts become, the commonest remembered: a look-up in the place of cleaning and redacting.

    Args:
        safe: makes a text one that may leave the process.
    """

    __slots__ = ("_safe",)

    def __init__(self, safe: Callable[[str], Value]) -> None:
        super().__init__()
        self._safe = safe

    def __missing__(self, text: str) -> Value:
        value = self._safe(text)
        if len(text) <= _MAX_REMEMBERED:
            if len(self) >= _MAX_RECURRING:
                self.clear()
            self[text] = value
        return value


class FieldPolicy:
    """How fields enter an operation.

    Args:
        redact: maps (name, value) of a clean field to the value that may leave the process.
        max_fields: how many fields an operation may hold; more are dropped and counted.
        max_length: characters a string keeps; the rest is cut.
    """

    __slots__ = ("_collisions", "_room", "max_fields", "max_length", "redact")

    def __init__(
        self,
        redact: Callable[[str, Value], Value] = lambda _name, value: value,
        *,
        max_fields: int = 128,
        max_length: int = 4096,
    ) -> None:
        self.redact = redact
        self.max_fields = max_fields
        self.max_length = max_length
        self._room = 2 * max_length + _ROOM_FOR_SECRETS
        self._collisions: set[str] = set()

    def add(self, fields: dict[str, Value], given: Mapping[str, Any], depth: int = 0, prefix: str = "") -> int:
        """Add what a user gave to `fields`, in place.

        Args:
            fields: the operation's fields.
            given: names to values of any type; None is dropped, mappings are flattened with dots.
            depth: how many mappings deep `given` stands.
            prefix: the dotted name that `given` stands under.

        Returns:
            How many fields did not fit.
        """
        dropped = 0
        for key, value in given.items():
            if value is None:
                continue
            name = prefix + (key if type(key) is str else text_of(key))
            if isinstance(value, Mapping) and depth < _MAX_DEPTH:
                dropped += self.add(fields, value, depth + 1, name + ".")
                continue
            name = self.name_of(name)
            if name not in fields and len(fields) >= self.max_fields:
                dropped += 1
                continue
            fields[name] = self.safe(name, value)
        return dropped

    def name_of(self, name: str) -> str:
        """The name that a user's field `name` has: another where it is one of obskit's, a shorter one if need be."""
        if name in RESERVED_FIELDS:
            return self._renamed(name)
        return name if len(name) <= _MAX_NAME else name[:_MAX_NAME]

    def safe(self, name: str, value: Any) -> Value:
        """A value of any type as it may stand under `name`: clean, redacted, and only then cut to its length.

        A secret that is cut first may no longer be told by its label or its end.
        """
        safe = self.redact(name, self.clean(value))
        if type(safe) is str and len(safe) > self.max_length:
            return safe[: self.max_length]
        if type(safe) is list:
            return [item[: self.max_length] if type(item) is str else item for item in safe]  # type: ignore[return-value]
        return safe

    def clean(self, value: Any) -> Value:  # noqa: PLR0911  (one return a type)
        """A value of any type as one that every signal can carry."""
        kind = type(value)
        if kind is str:
            return value[: self._room] if len(value) > self._room else value  # type: ignore[no-any-return]
        if kind is int:
            return value if -_INT64 <= value < _INT64 else str(value)[: self._room]
        if kind is bool or kind is float:
            return value  # type: ignore[no-any-return]
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._clean_list(list(value)[: self.max_fields])
        if isinstance(value, str):  # a subclass: str(value) of an Enum would be its name, not its value
            return self.clean(str.__str__(value))
        for number in (int, float):
            if isinstance(value, number):
                return self.clean(number(value))
        return self.clean(text_of(value))

    def _clean_list(self, values: list[Any]) -> Value:
        cleaned = [self.clean(item) for item in values if item is not None]
        kinds = {type(item) for item in cleaned}
        if len(kinds) == 1 and kinds <= set(_SCALARS):
            return cleaned  # type: ignore[return-value]
        return [str(item)[: self._room] for item in cleaned]

    def _renamed(self, name: str) -> str:
        if name not in self._collisions:
            self._collisions.add(name)
            logging.getLogger("obskit").warning(
                "field %r is a name of obskit's own; yours is kept as %r", name, RESERVED_PREFIX + name
            )
        return RESERVED_PREFIX + name
