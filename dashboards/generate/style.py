"""Colours, thresholds and sources: what looks alike on all dashboards is decided here."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common, dashboard, units

PROMETHEUS = common.DataSourceRef(type_val="prometheus", uid="prometheus")
LOKI = common.DataSourceRef(type_val="loki", uid="loki")

GREEN, BLUE, ORANGE, RED, PURPLE, GREY = "green", "blue", "orange", "red", "purple", "#8e8e8e"
STATUS = {"2xx": GREEN, "3xx": BLUE, "4xx": ORANGE, "5xx": RED, "no answer": PURPLE}
LEVELS = {"debug": GREY, "info": BLUE, "warning": ORANGE, "warn": ORANGE, "error": RED, "critical": PURPLE}
OUTCOMES = {"ok": GREEN, "error": RED, "cancelled": PURPLE}

PER_SECOND = units.RequestsPerSecond
SHARE = units.PercentUnit
SECONDS = units.Seconds
COUNT = units.Short
TIMES = "suffix:x"

#: Steps of a colour scale: from which value on.
Steps = Mapping[float | None, str]
ERRORS: Steps = {None: GREEN, 0.01: ORANGE, 0.05: RED}
ANY_IS_BAD: Steps = {None: GREEN, 0.000001: RED}
NEUTRAL: Steps = {None: BLUE}


def thresholds(steps: Steps) -> build.ThresholdsConfig:
    """Colours by value."""
    made = [dashboard.Threshold(value=value, color=color) for value, color in steps.items()]
    return build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(made)


def by_name() -> build.FieldColor:
    """A series has the same colour on each panel, because its name chooses it."""
    return build.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME)


def by_threshold() -> build.FieldColor:
    """The value chooses the colour."""
    return build.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS)


def fixed(color: str) -> list[dashboard.DynamicConfigValue]:
    """An override: always this colour."""
    return [dashboard.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})]
