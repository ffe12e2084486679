"""A line's dict as one physical line of JSON, whatever its values are.

The fast path hands the dict to orjson as it is. What JSON cannot hold is turned into something readable, never into
an error and never into silence: NaN becomes ``"NaN"``, a lone surrogate its escape, an object its ``str()``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import numbers
import threading
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, Protocol

import orjson

from obskit import semconv
from obskit._exception import qualified_name

MAX_LINE: Final = 64 * 1024
"""Bytes of a line, its newline included; a longer one is shortened and marked ``truncated``."""

_VALUE_LIMITS: Final = (16_384, 4096, 1024)
_MAX_DEPTH: Final = 8
_MAX_NODES: Final = 2048
_MAX_STR_NESTING: Final = 3
_MAX_DECIMAL_BITS: Final = 4096
_UINT64: Final = 1 << 64
_INT64: Final = 1 << 63
_LAST_RESORT: Final = 64

_nesting = threading.local()


class Redactor(Protocol):
    """What takes secrets out: by the name of a field, and by what a text looks like."""

    def __call__(self, name: str, value: Any) -> Any:
        """The value that may leave the process under `name`."""
        ...

    def text(self, text: str) -> str:
        """The text without credentials."""
        ...


def encode(line: dict[str, Any]) -> bytes:
    """One line of JSON (https://www.rfc-editor.org/rfc/rfc8259), newline included, of at most MAX_LINE bytes."""
    try:
        # Not by OPT_APPEND_NEWLINE: orjson's own bytes stand in a buffer that was made for more, and to keep hundreds
        # of those costs more than all the rest of a line. The copy is as large as it needs to be.
        encoded = orjson.dumps(line) + b"\n"
    except TypeError:
        encoded = _dumps(line)
    else:
        if b"null" in encoded:  # perhaps a NaN, which orjson silently makes null
            encoded = _dumps(line)
    return encoded if len(encoded) <= MAX_LINE else _shortened(line)


def _dumps(line: Mapping[str, Any], **more: Any) -> bytes:
    return orjson.dumps({**readable("", line), **more}, option=orjson.OPT_APPEND_NEWLINE)


def _shortened(line: dict[str, Any]) -> bytes:
    for limit in _VALUE_LIMITS:
        encoded = _dumps({key: _cut(value, limit) for key, value in line.items()}, **{semconv.TRUNCATED: True})
        if len(encoded) <= MAX_LINE:
            return encoded
    head = list(line.items())[:_LAST_RESORT]
    cut = {text_of(key)[:_LAST_RESORT]: _cut(value, _LAST_RESORT) for key, value in head}
    return _dumps(cut, **{semconv.TRUNCATED: True})


def _cut(value: Any, limit: int) -> Any:
    text = _dumps({"": value})[4:-2].decode() if isinstance(value, (list, dict)) else value
    return text[:limit] + "…" if isinstance(text, str) and len(text) > limit else value


def readable(name: str, value: Any, redact: Callable[[str, Any], Any] = lambda _name, value: value) -> Any:
    """A value of any type as one that JSON holds: bounded in depth and size, redacted by the names on its way down.

    Args:
        name: the field's name, which the names of what it contains are joined to with dots.
        value: anything.
        redact: maps (name, value) of each scalar to what may leave the process.
    """
    return _Reader(redact).read(name, value, _MAX_DEPTH)


def _unreadable(value: Any, error: Exception) -> str:
    return f"<unreadable {type(value).__name__}: {type(error).__name__}>"


class _Reader:
    """One walk through a value; `left` bounds it, so that shared or circular structures end."""

    __slots__ = ("_redact", "left")

    def __init__(self, redact: Callable[[str, Any], Any]) -> None:
        self._redact = redact
        self.left = _MAX_NODES

    def read(self, name: str, value: Any, depth: int) -> Any:
        try:
            return self._read(name, value, depth)
        except Exception as error:  # raised by the value's own code: no fault of obskit's, and the line says so
            return _unreadable(value, error)

    def _read(self, name: str, value: Any, depth: int) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        if not isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return scalar(self._redact(name, scalar(value)))
        hidden = self._redact(name, None)  # what holds others is hidden as a whole where its own name is a secret's
        if hidden is not None:
            return hidden
        return self._mapping(name, value, depth) if isinstance(value, Mapping) else self._sequence(name, value, depth)

    def _mapping(self, name: str, value: Mapping[Any, Any], depth: int) -> Any:
        if not depth:
            return "{…}"
        result: dict[str, Any] = {}
        for key, item in value.items():
            if self.left <= 0:
                result["…"] = "…"
                break
            self.left -= 1
            each = clean_text(text_of(key))
            result[each] = self.read(f"{name}.{each}" if name else each, item, depth - 1)
        return result

    def _sequence(self, name: str, value: Any, depth: int) -> Any:
        if not depth:
            return "[…]"
        result: list[Any] = []
        for item in value:
            if self.left <= 0:
                result.append("…")
                break
            self.left -= 1
            result.append(self.read(name, item, depth - 1))
        return result


def scalar(value: Any) -> str | int | float | bool | None:  # noqa: PLR0911  (one return for each kind)
    """A value that holds no others as JSON holds it: numbers stay numbers where they fit, all else becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(str.__str__(value))
    if isinstance(value, numbers.Integral):
        return _integer(int(value))
    if isinstance(value, numbers.Real):
        return _real(float(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return clean_text(bytes(value[:MAX_LINE]).decode("utf-8", "backslashreplace"))
    if isinstance(value, Enum):
        return scalar(value.value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, BaseException):
        return clean_text(f"{qualified_name(value)}: {text_of(value)}")
    return clean_text(text_of(value))


def _integer(value: int) -> int | str:
    if -_INT64 <= value < _UINT64:
        return value
    return str(value) if value.bit_length() <= _MAX_DECIMAL_BITS else hex(value)  # str() of a huge int is refused


def _real(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def clean_text(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, as their escapes; cut where it alone fills a line."""
    text = text[:MAX_LINE]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def text_of(value: Any) -> str:
    """``str(value)``, or what stands for it where that raises or calls itself by logging."""
    if type(value) is str:
        return value
    depth = getattr(_nesting, "depth", 0)
    if depth >= _MAX_STR_NESTING:
        return f"<{type(value).__name__} logs itself>"
    _nesting.depth = depth + 1
    try:
        return str.__str__(str(value))
    except Exception as error:  # the value's own fault, not obskit's: the placeholder reports it
        return _unreadable(value, error)
    finally:
        _nesting.depth = depth


def exception_of(exc_info: Any) -> BaseException | None:
    """The exception that an ``exc_info`` tuple or an exception is; None where there is none."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple) and len(exc_info) == 3:  # noqa: PLR2004  (type, value, traceback)
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return None
