"""What a value of the configuration may be: how each is read from a variable, checked, kept and shown.

A :class:`Kind` reads text without judging it, and judges values wherever they come from: an argument and a variable
pass the same check. Each check returns the value as it is kept (immutable) or raises ``ValueError`` with the end of a
sentence that says what is allowed. No such sentence repeats a value, so that none can give a secret away.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

_DAY_SECONDS = 86_400
_INT32 = 2**31 - 1
_LAST_PORT = 65_535

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9\-.:]{0,62}")
_NOT_IN_A_URL = re.compile(r"[\s\x00-\x1f\x7f]")
_USER_INFORMATION = re.compile(r"\A(.*?//)?.*@", re.DOTALL)
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_NOT_IN_A_PATH = re.compile(r"[\s?#\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value.

    Attributes:
        check: any object -> the value as kept; raises ``ValueError`` that says what is allowed.
        parse: the text of a variable -> what `check` takes. Text that it cannot read it may hand on for `check` to
            refuse, or refuse itself.
        mask: the value as it may be shown.

    """

    check: Callable[[Any], Any]
    parse: Callable[[str], Any] = str
    mask: Callable[[Any], object] = lambda value: value


def hidden(_value: object) -> str:
    """Show nothing of a value."""
    return "***"


def string(value: object, allowed: str) -> str:
    """Take `value` as a plain str if it is one that every signal can encode."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(allowed)
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes of the environment that are not UTF-8 arrive as lone surrogates
        msg = "must be valid Unicode"
        raise ValueError(msg) from None
    return str.__str__(value)


def _text(value: object) -> str:
    return string(value, "must be a non-empty string")


TEXT = Kind(_text)
SECRET = Kind(_text, mask=hidden)


def _check_token(value: object) -> str:
    allowed = "must be the name of a header: letters, digits and any of !#$%&'*+-.^_`|~"
    if not TOKEN.fullmatch(string(value, allowed)):
        raise ValueError(allowed)
    return str(value)


#: A field name of HTTP (https://www.rfc-editor.org/rfc/rfc9110#name-tokens).
HEADER_NAME = Kind(_check_token)


def _check_path(value: object) -> str:
    if value == "":
        return ""
    allowed = "must start with / and hold no space, ? or #, or be empty"
    path = string(value, allowed)
    if not path.startswith("/") or _NOT_IN_A_PATH.search(path):
        raise ValueError(allowed)
    return path


PATH = Kind(_check_path)


def _check_project(value: object) -> str:
    allowed = "must be the id of a project: lower-case letters, digits and any of -.:"
    project = string(value, allowed)
    if not _PROJECT.fullmatch(project):
        raise ValueError(allowed)
    return project


#: A project of Google Cloud (https://cloud.google.com/resource-manager/docs/creating-managing-projects).
PROJECT = Kind(_check_project)


def _check_url(value: object) -> str:
    allowed = "must be a URL that starts with http:// or https:// and names a host"
    url = string(value, allowed)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port out of range, brackets that do not match
        raise ValueError(allowed) from None
    if not usable or _NOT_IN_A_URL.search(url):
        raise ValueError(allowed)
    return url


def without_credentials(value: object) -> str:
    """Show a URL, right or wrong, without its user information and its query."""
    if not isinstance(value, str):
        return f"<{type(value).__name__}>"
    return _QUERY.sub("?***", _USER_INFORMATION.sub(r"\1***@", value))


URL = Kind(_check_url, mask=without_credentials)


def _check_switch(value: object) -> bool:
    if not isinstance(value, bool):
        msg = "must be true or false"
        raise ValueError(msg)  # noqa: TRY004  (one exception type for whatever is wrong with a value)
    return value


#: A variable that says the opposite of its field, as OTEL_SDK_DISABLED does.
NEGATED = Kind(_check_switch, lambda text: {"true": False, "false": True}.get(text.lower(), text))


def choice(*allowed: str, case: Callable[[str], str] = str.lower) -> Kind:
    """Allow a few words, which variables may spell in any case."""

    def check(value: object) -> str:
        if value not in allowed:
            raise ValueError("must be one of " + ", ".join(allowed))
        return str(value)

    return Kind(check, case)


def _check_level(value: object) -> str:
    if not isinstance(value, str) or value.upper() not in logging.getLevelNamesMapping():
        msg = "must be a level's name: DEBUG, INFO, WARNING, ERROR or CRITICAL"
        raise ValueError(msg)
    return value.upper()


LEVEL = Kind(_check_level)


def count(minimum: int) -> Kind:
    """Allow whole numbers from `minimum` up."""

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= _INT32:
            msg = f"must be a whole number from {minimum} to {_INT32}"
            raise ValueError(msg)
        return int(value)

    return Kind(check, lambda text: number_in(text, int))


def _check_port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LAST_PORT:
        msg = f"must be a port, from 1 to {_LAST_PORT}"
        raise ValueError(msg)
    return int(value)


PORT = Kind(_check_port, lambda text: number_in(text, int))


def number_in(text: str, convert: Callable[[str], float]) -> float | str:
    """Read the number that `text` is, or hand `text` on for a check to refuse."""
    try:
        return convert(text)
    except ValueError:
        return text


def real(value: object) -> float:
    """Take `value` as a float; NaN, which no comparison lets through, if it is no finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan


def seconds(*, maximum: float = _DAY_SECONDS, zero: bool = False, unit: float = 1.0, unit_note: str = "") -> Kind:
    """Allow durations.

    Args:
        maximum: seconds; keeps waits within what the operating system takes.
        zero: whether 0 is allowed.
        unit: seconds that one in the variable stands for.
        unit_note: what the sentence adds about the unit.

    """

    def check(value: object) -> float:
        number = real(value)
        if not (0.0 < number <= maximum or (zero and number == 0.0)):
            msg = f"must be seconds, {'from' if zero else 'more than'} 0 and at most {maximum:g}{unit_note}"
            raise ValueError(msg)
        return number

    def parse(text: str) -> float | str:
        number = number_in(text, float)
        return number if isinstance(number, str) else number * unit

    return Kind(check, parse)


def _check_ratio(value: object) -> float:
    number = real(value)
    if not 0.0 <= number <= 1.0:
        msg = "must be a number from 0 to 1"
        raise ValueError(msg)
    return number


RATIO = Kind(_check_ratio, lambda text: number_in(text, float))
