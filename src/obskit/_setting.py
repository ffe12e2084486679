"""The table behind ``Config``: one :class:`Setting` a field, and how a table is read from an environment."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from obskit._parse_many import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obskit._parse import Kind

T = TypeVar("T")

RESOURCE_ATTRIBUTES = "OTEL_RESOURCE_ATTRIBUTES"

_SHOWN_CHARACTERS = 80


class Problem(NamedTuple):
    """Something wrong with an environment, and the fields whose defaults are used because of it."""

    fields: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What there is to know about one field of ``Config``.

    Attributes:
        default: the value when nothing is given.
        kind: what values it takes.
        variables: where the environment gives it; the first that is set decides. ``NAME[key]`` is one attribute of
            the variable NAME.
        doc: its meaning, a sentence or two for the reference.
        default_doc: the default in words, where the value does not say it.
        blank: whether an empty variable is a value; elsewhere it is as good as unset
            (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#parsing-empty-value).

    """

    default: Any
    kind: Kind
    variables: tuple[str, ...]
    doc: str
    default_doc: str
    blank: bool

    def check(self, value: object) -> Any:
        """Return `value` as it is kept; raises ValueError with what is allowed. None is the default of some."""
        return None if value is None and self.default is None else self.kind.check(value)

    def shown(self, value: object) -> str:
        """Return a short representation without secrets."""
        value = value if value is None else self.kind.mask(value)
        try:
            text = repr(dict(value) if isinstance(value, Mapping) else value)
        except ValueError:  # an int of more digits than Python converts
            text = f"<{type(value).__name__}>"
        return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"

    def default_text(self) -> str:
        """Return the default as the reference and the warnings name it."""
        if self.default_doc:
            return self.default_doc
        if not self.default:
            return "unset"
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


def setting(  # noqa: PLR0913  (the columns of the table)
    default: T,
    kind: Kind,
    variables: str,
    doc: str,
    *,
    default_doc: str = "",
    blank: bool = False,
    hashed: bool = True,
) -> T:
    """Declare a field of a dataclass that carries its :class:`Setting`; `variables` stand between spaces."""
    entry = Setting(default, kind, tuple(variables.split()), doc, default_doc, blank)
    if isinstance(default, Mapping):
        return field(default_factory=lambda: default, hash=False, metadata={"setting": entry})
    return field(default=default, hash=None if hashed else False, metadata={"setting": entry})


def read(settings: Mapping[str, Setting], environ: Mapping[str, str]) -> tuple[dict[str, Any], list[Problem]]:
    """Read what `environ` gives.

    Args:
        settings: the table, by the names of the fields.
        environ: any mapping; what is no text in it is as good as unset.

    Returns:
        The values that are set and right, by field, and one problem for each variable that is wrong. Never raises.

    """
    texts = {n: t.strip() for n, t in environ.items() if isinstance(n, str) and isinstance(t, str)}
    problems = list(_unread(settings, texts))
    texts |= _single_attributes(texts)
    values = {}
    for name, entry in settings.items():
        variable = next((v for v in entry.variables if texts.get(v) or (entry.blank and v in texts)), None)
        if variable is None:
            continue
        try:
            values[name] = entry.check(entry.kind.parse(texts[variable]))
        except ValueError as error:
            ignored = f"{variable}={entry.shown(texts[variable])} is ignored: it {error}"
            problems.append(Problem((name,), f"{ignored}; the default is used: {entry.default_text()}"))
    return values, problems


def _single_attributes(texts: Mapping[str, str]) -> dict[str, str]:
    try:
        attributes = pairs(texts.get(RESOURCE_ATTRIBUTES, ""))
    except ValueError:  # reported where the whole variable is read
        return {}
    return {f"{RESOURCE_ATTRIBUTES}[{key}]": value.strip() for key, value in attributes.items()}


def _unread(settings: Mapping[str, Setting], texts: Mapping[str, str]) -> Iterator[Problem]:
    known = {variable for entry in settings.values() for variable in entry.variables}
    for name, text in sorted(texts.items()):
        if not text or name in known:
            continue
        if name.startswith("OBSKIT_"):
            shown = name[:_SHOWN_CHARACTERS]
            close = difflib.get_close_matches(shown, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield Problem((name,), f"{shown!r} is ignored: obskit has no such variable{hint}")
