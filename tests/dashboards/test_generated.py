"""The committed JSON is what the generator writes, and what Grafana's own types allow."""

import enum
import json
import math
import types
import typing
from pathlib import Path

import pytest
from dashboard_queries import FOLDER, dashboards
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard

from dashboards.generate.__main__ import placed, write

UIDS = {
    "obskit-collector",
    "obskit-dependencies",
    "obskit-endpoint",
    "obskit-health",
    "obskit-runtime",
    "obskit-service",
    "obskit-slo",
}


def test_regenerating_changes_nothing(tmp_path):
    written = {path.name: path.read_text(encoding="utf-8") for path in write(tmp_path)}
    assert written == {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}


def test_uids_are_those_that_links_and_alerts_name():
    assert set(dashboards()) == UIDS
    assert {path.stem for path in FOLDER.iterdir()} == UIDS


@pytest.mark.parametrize("uid", sorted(UIDS))
def test_grafana_s_types_decode_it_and_lose_nothing(uid):
    raw = dashboards()[uid]
    decoded = decode(raw)
    wrong = list(mismatches(decoded, dashboard.Dashboard, uid))
    assert not wrong
    assert json.loads(json.dumps(decoded, cls=JSONEncoder), object_hook=placed) == raw


def test_a_value_of_a_wrong_type_is_found():
    raw = next(iter(dashboards().values()))
    raw["panels"][1]["fieldConfig"]["defaults"]["unit"] = 3
    raw["panels"][0]["gridPos"]["w"] = "6"
    raw["refresh"] = ["30s"]
    decoded = decode(raw)
    assert {where.rpartition(".")[2] for where in mismatches(decoded, dashboard.Dashboard, "")} == {
        "unit",
        "w",
        "refresh",
    }


def decode(raw):
    register_default_plugins()
    decoded = dashboard.Dashboard.from_json(raw)
    for panel in decoded.panels:
        if getattr(panel, "transformations", None):  # the SDK leaves these as it finds them
            panel.transformations = [dashboard.DataTransformerConfig.from_json(each) for each in panel.transformations]
    return decoded


def mismatches(value: object, hint: object, where: str) -> typing.Iterator[str]:
    """Where a decoded value is not of the type that the SDK declares."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        # Of a union, the complaint of the member that fits best: the one that fails deepest.
        yield from max((list(mismatches(value, option, where)) for option in arguments), key=depth)
    elif origin is typing.Literal:
        if value not in arguments:
            yield where
    elif origin is list and isinstance(value, list):
        for at, each in enumerate(value):
            yield from mismatches(each, arguments[0], f"{where}.{at}")
    elif origin is dict and isinstance(value, dict):
        for key, each in value.items():
            yield from mismatches(each, arguments[1], f"{where}.{key}")
    elif not isinstance(value, allowed(origin or hint)):
        yield where
    elif hasattr(type(value), "from_json"):
        hints = typing.get_type_hints(type(value))
        for name, each in vars(value).items():
            yield from mismatches(each, hints[name], f"{where}.{name}")


def depth(found: list[str]) -> float:
    return max((each.count(".") for each in found), default=math.inf)


def allowed(hint: object) -> type | tuple[type, ...]:
    """The classes whose instances a hint takes: JSON does not tell a whole float from an int, nor an enum from its value."""
    if hint is float:
        return (float, int)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return (hint, str, int)
    return object if hint is typing.Any else hint


def test_files_are_written_with_a_line_end_and_sorted_keys():
    for path in FOLDER.iterdir():
        text = path.read_text(encoding="utf-8")
        assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n", Path(path).name
