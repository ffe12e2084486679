"""Malformed values of every variable that obskit or OpenTelemetry's SDK reads: the process starts and serves.

The tables are the configuration's own and the SDK's, so that a new row is covered by itself. What is malformed a row's own
kind says, of values that have broken something somewhere.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from opentelemetry import environment_variables as of_the_api
from opentelemetry.sdk import environment_variables as of_the_sdk

import fresh_process
from obskit._config_table import SETTINGS
from obskit.config import Config

VALUES = [
    "nope",
    "-1",
    "nan",
    "1e999",
    "9" * 5000,
    "=",
    ",",
    "/a b?",
    "http://[::1",
    "%ff",
    "\x01",
    "a=b,c",
    "\udcff",  # bytes that are no UTF-8, as Python has them
]
#: Read by the API or the SDK under names that their tables do not have.
ELSEWHERE = {"OTEL_SEMCONV_STABILITY_OPT_IN", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "OTEL_PYTHON_EXCLUDED_URLS"}
OF_OPENTELEMETRY = sorted(
    {name for table in (of_the_api, of_the_sdk) for name in vars(table) if name.startswith("OTEL_")} | ELSEWHERE
)


def environ_of(variable, value):
    """What sets `variable`, which may be one attribute of another."""
    name, _, attribute = variable.partition("[")
    if not attribute:
        return {name: value}
    return {name: f"{attribute.removesuffix(']')}={quote(value, errors='surrogateescape')}"}


def is_wrong(entry, value):
    try:
        entry.check(entry.kind.parse(value.strip()))
    except ValueError:
        return True
    return False


ROWS = [(variable, entry) for entry in SETTINGS.values() for variable in entry.variables]
IDS = [variable for variable, _ in ROWS]
#: Variables of their own, each with the values that are wrong for it.
WRONG = {
    variable: wrong
    for variable, entry in ROWS
    if "[" not in variable and (wrong := [value for value in VALUES if is_wrong(entry, value)])
}


def test_of_each_variable_something_is_wrong():
    """Else it would not be asked for here."""
    assert {variable for variable, _ in ROWS if "[" not in variable} - WRONG.keys() == set()


@pytest.mark.parametrize(("variable", "entry"), ROWS, ids=IDS)
def test_each_value_is_taken_or_is_one_warning(variable, entry):
    for value in VALUES:
        config = Config.from_env(environ_of(variable, value))
        if config.warnings:
            [warning] = config.warnings
            assert variable.partition("[")[0] in warning
            assert config == Config()
        else:
            assert config.given, value
        if "[" not in variable:
            assert bool(config.warnings) == is_wrong(entry, value), value
        for told in config.warnings:
            assert len(told) < 600
            assert told.isprintable() or "\x01" in value, told


def served(environs):
    """What became of a process of its own for each of these."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OBSKIT_", "FASTAPI_"))
    }
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, str(here / "variables_process.py")],
        input=json.dumps(environs),
        capture_output=True,
        text=True,
        timeout=300,
        env={**inherited, "PYTHONPATH": os.pathsep.join([str(here), inherited.get("PYTHONPATH", "")])},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


#: Where one of these is wrong, the import that failed over it is done again without any of them: each has to be alone.
ALONE = ("_LIMIT", "_PROPAGATORS", "_CONTEXT", "_CONFIG")
TOGETHER = 8


def grouped(variables):
    """What can be wrong in one process, without one hiding what another would do."""
    together = [name for name in variables if not any(part in name for part in ALONE)]
    yield from ([name] for name in variables if name not in together)
    yield from (together[start : start + TOGETHER] for start in range(0, len(together), TOGETHER))


FIRST = {entry.variables[0] for entry in SETTINGS.values()} & WRONG.keys()
ONLY_THEIRS = set(OF_OPENTELEMETRY) - WRONG.keys()
#: The second variable of a field is only read where the first is not set.
GROUPS = [
    *grouped(sorted(FIRST | ONLY_THEIRS)),
    *grouped(sorted(WRONG.keys() - FIRST)),
]


@pytest.mark.parametrize("pick", [0, -1], ids=["a word", "no UTF-8"])
def test_whatever_variables_hold_the_process_serves(pick):
    environs = [{name: WRONG.get(name, ["nope", "\udcff"])[pick] for name in group} for group in GROUPS]
    problems = {}
    for environ, told in zip(environs, served(environs), strict=True):
        expected = sorted(environ.keys() - ONLY_THEIRS)
        warned = sorted(name for warning in told.get("warnings", ()) for name in environ if is_about(warning, name))
        fine = {"status": 200, "warnings": told.get("warnings"), "changed": [], "contained": []}
        if told != fine or warned != expected or len(told["warnings"]) != len(expected):
            problems[", ".join(environ)] = told
    assert problems == {}


def is_about(warning, name):
    return warning.startswith((f"{name}=", f"{name} "))


@pytest.mark.parametrize("variable", ["OTEL_PROPAGATORS", "OTEL_SPAN_LINK_COUNT_LIMIT"])
def test_once_obskit_is_imported_nobody_else_fails_over_it(variable):
    code = (
        "import obskit, fastapi, json; obs = obskit.init(fastapi.FastAPI()); print(json.dumps(obs.asked_for.warnings))"
    )
    [warning] = fresh_process.run(code, **{variable: "nope", "OBSKIT_LOGS": "off"})
    assert is_about(warning, variable)


def test_whatever_all_of_them_hold_the_process_serves():
    environs = [{name: values[pick % len(values)] for name, values in WRONG.items()} for pick in range(3)]
    for told in served(environs):
        assert (told.get("status"), told.get("contained"), told.get("changed")) == (200, [], []), told
        warned = {name for warning in told["warnings"] for name in WRONG if is_about(warning, name)}
        assert warned >= FIRST
        assert len(told["warnings"]) == len(warned)


def test_a_wrong_resource_is_told_once_and_in_obskits_own_line():
    assert fresh_process.errors("import obskit; obskit.init().close()", OTEL_RESOURCE_ATTRIBUTES="foo") == []
