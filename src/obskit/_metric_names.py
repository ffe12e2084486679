"""What metrics are called: OpenTelemetry's names, and Prometheus's, which the translation makes of them.

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/: a backend that takes OTLP translates
by ``UnderscoreEscapingWithSuffixes``, so that a pushed series is called as the scraped one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from obskit import semconv

#: Metrics of the semantic conventions; obskit's own are named by rule.
_CONVENTIONS: Final = {
    semconv.METRIC_HTTP_SERVER_DURATION: ("http.server.request.duration", "s"),
    semconv.METRIC_HTTP_SERVER_ACTIVE: ("http.server.active_requests", "{request}"),
    semconv.METRIC_HTTP_CLIENT_DURATION: ("http.client.request.duration", "s"),
    semconv.METRIC_DB_CLIENT_DURATION: ("db.client.operation.duration", "s"),
}
#: What other instrumentations would make a second time: the series that obskit makes itself.
OWN: Final = frozenset(name for name, _unit in _CONVENTIONS.values())
_OBSKIT: Final = "obskit_"
_UNIT_SUFFIXES: Final = (("_seconds", "s"), ("_bytes", "By"))

_constants = {name: value for name, value in vars(semconv).items() if isinstance(value, str)}
#: The attribute that each label of obskit's own stands for; a label that is not here is its own name.
ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        label: _constants[name.removeprefix("LABEL_")]
        for name, label in _constants.items()
        if name.startswith("LABEL_") and name.removeprefix("LABEL_") in _constants
    }
    | {
        semconv.LABEL_CLOSE_CODE: semconv.WEBSOCKET_CLOSE_CODE,
        semconv.LABEL_OVERFLOW: semconv.LABEL_OVERFLOW.replace("_", "."),
    }
)

_UNITS: Final = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "TiBy": "tebibytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes", "m": "meters",
    "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius", "Hz": "hertz", "1": "",
    "%": "percent",
}  # fmt: skip
_PER_UNITS: Final = {
    "s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year",
}  # fmt: skip


def is_obskits(metric: str) -> bool:
    """Whether a metric by this Prometheus name is one that obskit makes."""
    return metric in _CONVENTIONS or metric.startswith(_OBSKIT)


def otlp_name(metric: str) -> tuple[str, str]:
    """The OpenTelemetry name and unit that become `metric`.

    Args:
        metric: its Prometheus name, without ``_total``.

    Returns:
        The conventions' name where there is one; of obskit's own, ``obskit.`` and the rest without its unit; a user's
        name as it is, which the translation leaves alone.
    """
    if metric in _CONVENTIONS:
        return _CONVENTIONS[metric]
    if not metric.startswith(_OBSKIT):
        return metric, ""
    name = metric.removeprefix(_OBSKIT)
    for suffix, unit in _UNIT_SUFFIXES:
        if name.endswith(suffix):
            return f"obskit.{name.removesuffix(suffix)}", unit
    return f"obskit.{name}", ""


def prometheus_name(name: str, unit: str, *, counter: bool = False, gauge: bool = False) -> str:
    """The Prometheus name of an OpenTelemetry metric; of a counter without its ``_total``.

    Args:
        name: the instrument's.
        unit: the instrument's, of UCUM.
        counter: whether it is a monotonic sum.
        gauge: whether it is a gauge, of which the unit 1 makes a ratio.
    """
    words = re.findall(r"[A-Za-z0-9:]+", name)
    main, _, per = unit.partition("/")
    whole = "" if "{" in main else _suffix(_UNITS.get(main, main))
    if whole and whole not in words:
        words.append(whole)
    each = "" if "{" in per else _suffix(_PER_UNITS.get(per, per))
    if each and each not in words:
        words += ["per", each]
    if counter:
        words = [word for word in words if word != "total"]
    elif gauge and unit == "1":
        words = [*(word for word in words if word != "ratio"), "ratio"]
    text = "_".join(words)
    return f"_{text}" if text[:1].isdigit() else text


def prometheus_label(attribute: str) -> str:
    """The label that an attribute becomes."""
    label = re.sub(r"[^A-Za-z0-9_]", "_", attribute)
    if label[:1].isdigit():
        return f"key_{label}"
    return f"key{label}" if label.startswith("_") and not label.startswith("__") else label


def _suffix(unit: str) -> str:
    return "_".join(re.findall(r"[A-Za-z0-9]+", unit))
