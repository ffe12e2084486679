"""The kinds of value that hold many: lists, and the mappings that a variable spells as ``name=value,name=value``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from obskit import semconv
from obskit._parse import TOKEN, Kind, hidden, number_in, real, string

#: Resource attributes that are fields of the configuration, by the name of the field.
IDENTITY = MappingProxyType(
    {
        semconv.SERVICE_NAME: "service_name",
        semconv.SERVICE_VERSION: "service_version",
        semconv.SERVICE_NAMESPACE: "service_namespace",
        semconv.DEPLOYMENT_ENVIRONMENT_NAME: "environment",
        semconv.DEPLOYMENT_ENVIRONMENT: "environment",
    }
)
#: Labels that a promoted field would collide with: obskit's own, a histogram's, and those that name a scrape's target.
TAKEN_LABELS = frozenset(
    {label for name, label in vars(semconv).items() if name.startswith("LABEL_")}
    | {name.replace(".", "_") for name in IDENTITY}
    | {"le", "quantile", "job", "instance"}
)
_LABEL = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"[\w.*-]+|[0-9a-f:.*]*:[0-9a-f.]*[:*][0-9a-f:.*]*")
_MAX_PROMOTED = 16
_MAX_VALUES = 100
_MAX_VALUE_LENGTH = 128
_SHOWN = 40


def _items(text: str) -> tuple[str, ...]:
    return tuple(item for item in map(str.strip, text.split(",")) if item)


def _sequence(value: object, allowed: str) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise ValueError(allowed)  # noqa: TRY004  (one exception type for whatever is wrong with a value)
    return tuple(value)


def _check_buckets(value: object) -> tuple[float, ...]:
    allowed = "must be ascending positive numbers of seconds"
    bounds = tuple(map(real, _sequence(value, allowed)))
    if not bounds or not all(low < high for low, high in zip((0.0, *bounds), bounds, strict=False)):
        raise ValueError(allowed)
    return bounds


BUCKETS = Kind(_check_buckets, lambda text: tuple(number_in(item, float) for item in _items(text)))


def _check_names(value: object) -> tuple[str, ...]:
    allowed = "must be a list of non-empty strings"
    return tuple(string(item, allowed) for item in _sequence(value, allowed))


NAMES = Kind(_check_names, _items)


def _check_hosts(value: object) -> tuple[str, ...]:
    allowed = "must be a list of names or addresses of hosts, without scheme, port and path"
    hosts = tuple(string(item, allowed).lower() for item in _sequence(value, allowed))
    if not all(_HOST.fullmatch(host) for host in hosts):
        raise ValueError(allowed)
    return hosts


#: Patterns of hosts: names, IPv4 and IPv6 addresses, with ``*`` for any characters.
HOSTS = Kind(_check_hosts, _items)


def names_of(*allowed: str, why: str = "") -> Kind:
    """Allow a list of some of `allowed`, each once, or of the single name ``none``."""
    sentence = f"must be none or a list of {', '.join(allowed)}{why}"

    def check(value: object) -> tuple[str, ...]:
        names = _sequence(value, sentence)
        known = len(names) == len(set(map(str, names))) and all(name in allowed for name in names)
        if not names or not (known or names == ("none",)):
            raise ValueError(sentence)
        return names

    return Kind(check, lambda text: _items(text.lower()))


def subset(*allowed: str) -> Kind:
    """Allow a list of some of `allowed`; the empty one is ``none`` in a variable."""

    def check(value: object) -> tuple[str, ...]:
        sentence = f"must be a list of {', '.join(allowed)}; none in the variable, () as argument, for none of them"
        names = _sequence(value, sentence)
        if not all(name in allowed for name in names):
            raise ValueError(sentence)
        return tuple(dict.fromkeys(names))

    return Kind(check, lambda text: () if text.lower() == "none" else _items(text.lower()))


def _check_trust(value: object) -> str | tuple[str, ...]:
    allowed = "must be always, never, or a list of networks such as 10.0.0.0/8"
    given = _trusted_in(value) if isinstance(value, str) else _sequence(value, allowed)
    if isinstance(given, str):
        return given
    try:
        networks = tuple(str(ip_network(string(item, allowed).strip(), strict=False)) for item in given)
    except ValueError:
        raise ValueError(allowed) from None
    if not networks:
        raise ValueError(allowed)
    return networks


def _trusted_in(text: str) -> str | tuple[str, ...]:
    word = text.strip().lower()
    return word if word in {"always", "never"} else _items(text)


#: Whose word is taken: everybody's, nobody's, or that of peers in some networks.
TRUST = Kind(_check_trust, _trusted_in)


def pairs(text: str) -> dict[str, str]:
    """Read ``name=value`` entries between commas, percent-decoded; the last of a repeated name counts.

    Raises:
        ValueError: an entry is no such pair, or does not decode to UTF-8. Then none of them is to be trusted
            (https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable).

    """
    decoded: dict[str, str] = {}
    for position, entry in enumerate(_items(text), start=1):
        name, equals, value = entry.partition("=")
        try:
            decoded[unquote(name.strip(), errors="strict")] = unquote(value.strip(), errors="strict")
        except UnicodeDecodeError:
            equals = ""
        if not equals or not name.strip():
            msg = f"must be name=value, percent-encoded UTF-8, with commas between entries; entry {position} is not"
            raise ValueError(msg) from None
    return decoded


def _mapping(value: object, allowed: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(allowed)  # noqa: TRY004  (one exception type for whatever is wrong with a value)
    return dict(value)


def _check_attributes(value: object) -> Mapping[str, str]:
    allowed = "must map non-empty names to strings"
    given = _mapping(value, allowed).items()
    attributes = {string(k, allowed): "" if v == "" else string(v, allowed) for k, v in given}
    for name in IDENTITY.keys() & attributes.keys():
        msg = f"must not hold {name}: give it as {IDENTITY[name]}"
        raise ValueError(msg)
    return MappingProxyType(attributes)


def _other_attributes(text: str) -> dict[str, str]:
    return {name: value for name, value in pairs(text).items() if name not in IDENTITY}


#: Resource attributes beyond those of IDENTITY.
ATTRIBUTES = Kind(_check_attributes, _other_attributes)


def _check_headers(value: object) -> Mapping[str, str]:
    allowed = "must map names of headers to strings without control characters"
    headers = {}
    for name, content in _mapping(value, allowed).items():
        if not TOKEN.fullmatch(string(name, allowed)) or not isinstance(content, str):
            raise ValueError(allowed)
        if not content.isascii() or (content and not content.isprintable()):
            raise ValueError(allowed)
        headers[name.lower()] = content
    return MappingProxyType(headers)


#: Headers of a request; never shown.
HEADERS = Kind(_check_headers, pairs, hidden)


def _check_promoted(value: object) -> Mapping[str, tuple[str, ...]]:
    allowed = "must map names of fields to lists of allowed values"
    promoted = {string(k, allowed): _allowed_values(k, v) for k, v in _mapping(value, allowed).items()}
    labels = [name.replace(".", "_") for name in promoted]
    for name, label in zip(promoted, labels, strict=True):
        if not _LABEL.fullmatch(label):
            msg = f"must name fields by letters, digits, dots and underscores, unlike {name[:_SHOWN]!r}"
            raise ValueError(msg)
        if label in TAKEN_LABELS or name in semconv.RESERVED_FIELDS or labels.count(label) > 1:
            msg = f"must not name {name[:_SHOWN]!r}, whose label is taken"
            raise ValueError(msg)
    if len(promoted) > _MAX_PROMOTED:
        msg = f"must name at most {_MAX_PROMOTED} fields"
        raise ValueError(msg)
    return MappingProxyType(promoted)


def _allowed_values(name: str, value: object) -> tuple[str, ...]:
    some = f"1 to {_MAX_VALUES} different non-empty values of at most {_MAX_VALUE_LENGTH} characters"
    allowed = f"must give {name[:_SHOWN]!r} {some}"
    values = tuple(string(item, allowed) for item in _sequence(value, allowed))
    fits = 1 <= len(values) <= _MAX_VALUES and max(map(len, values)) <= _MAX_VALUE_LENGTH
    if not fits or len(set(values)) < len(values):
        raise ValueError(allowed)
    return values


def _promoted_in(text: str) -> dict[str, list[str]]:
    entries = (item.partition("=") for item in _items(text))
    return {name.strip(): [item.strip() for item in values.split("|")] for name, _equals, values in entries}


#: Fields that become labels: ``user.tier=free|pro|gold,other=a|b``.
PROMOTED = Kind(_check_promoted, _promoted_in)
