"""The calls that the reference shows are the calls there are, defaults included."""

import inspect
import re
from pathlib import Path

import pytest

import obskit
import obskit.testing
from obskit.operation import Operation

API = Path(__file__).parents[2] / "docs/reference/api.md"
SHOWN = re.findall(r"^\| `([\w.]+\(.*\))` \|", API.read_text(), re.MULTILINE)
#: Shown by what it is for, not parameter by parameter.
IN_WORDS = {"Config(**fields)"}
OWNERS = {
    "Operation": Operation,
    "Obskit": obskit.Obskit,
    "Config": obskit.Config,
    "Captured": obskit.testing.Captured,
}


def resolved(name):
    owner, _, member = name.rpartition(".")
    if owner:
        return inspect.getattr_static(OWNERS[owner], member)
    return getattr(obskit.testing if name == "capture" else obskit, name)


def spelt(function):
    """The parameters of a function, without their types."""
    function = getattr(function, "__func__", function)
    parameters = [
        each.replace(annotation=inspect.Parameter.empty) for each in inspect.signature(function).parameters.values()
    ]
    bound = [each for each in parameters if each.name not in ("self", "cls")]
    return str(inspect.Signature(bound)).replace("'", '"')


@pytest.mark.parametrize("shown", sorted(set(SHOWN) - IN_WORDS))
def test_a_call_is_as_the_reference_shows_it(shown):
    name, _, parameters = shown.partition("(")
    assert spelt(resolved(name)) == f"({parameters}"


def test_calls_are_found():
    assert len(SHOWN) >= 20
    assert set(SHOWN) > IN_WORDS


@pytest.mark.parametrize(
    ("function", "rows"), [(obskit.init, "init"), (obskit.operation.__init__, "operation")], ids=["init", "operation"]
)
def test_each_argument_has_its_row(function, rows):
    shown = re.findall(rf"^\| `{rows}: (\w+)` \|", API.read_text(), re.MULTILINE)
    assert shown == [name for name in inspect.signature(function).parameters if name != "self"]


def test_checks_have_the_defaults_of_the_reference():
    health = API.with_name("health.md").read_text()
    shown = dict(re.findall(r"^\| `(\w+)` \| (`[^`]+`)? ?\|", health.partition("## Checks")[2], re.MULTILINE))
    parameters = inspect.signature(obskit.Obskit.check).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.name != "self"}
    assert shown == {
        name: "" if default is inspect.Parameter.empty else f"`{default!r}`".replace("'", '"')
        for name, default in defaults.items()
    }
