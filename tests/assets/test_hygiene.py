"""What ships reads one way only, holds no secret and no path of a machine, and says each variable that it takes."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from obskit.cli import assets

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(assets.shipped())
YAMLS = [name for name in SHIPPED if name.endswith((".yaml", ".yml"))]
JSONS = [name for name in SHIPPED if name.endswith(".json")]
CONFIGURATIONS = [name for name in SHIPPED if name.startswith(("collector-config/", "dashboards/", "compose"))]
#: Shapes of keys that services hand out, and a value where a secret goes that is written down instead of asked for.
SECRETS = re.compile(
    r"-----BEGIN|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{30,}|\bxox[bap]-|\bglsa_\w{20,}|\beyJ\w{10,}\.eyJ"
    r"|(?i:password|passwd|secret|api[-_]?key|token)\w*[\"']?: *[\"']?(?!\$|\[|\{|true|false|null|none|\"\")\w"
)
#: ${env:NAME:-default} of the Collector and Jaeger, ${NAME:-default} of Loki and compose.
ENV = re.compile(r"(?<!\$)\$\{(?:env:)?([A-Z]\w*)(:-(?:[^{}]|\{[^{}]*\})*)?\}")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def yaml_problem(text):
    """What is wrong with a file of YAML: a key twice, a tab, anything that is none. compose's tags are passed over."""
    try:
        list(YAML(typ="rt").load_all(text))
    except YAMLError as error:
        return str(error).splitlines()[0]
    return None


def once(pairs):
    """A JSON object whose names are taken once."""
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)
    return dict(pairs)


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_reads_one_way(name):
    assert yaml_problem(text_of(name)) is None


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "a:\n  b: {c: 1, c: 2}\n", "a:\n\tb: 1\n", "a: [1\n"])
def test_yaml_that_reads_two_ways_is_found(text):
    assert yaml_problem(text)


@pytest.mark.parametrize("name", JSONS)
def test_json_reads_one_way(name):
    assert json.loads(text_of(name), object_pairs_hook=once, parse_constant=pytest.fail)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_text_is_clean(name):
    text = text_of(name)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert [line for line in text.split("\n") if line != line.rstrip() or "\t" in line] == []


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_no_secret_ships(name):
    patterns = name == "collector-config/redaction.yaml"  # it names the shapes themselves
    assert [line for line in text_of(name).splitlines() if SECRETS.search(line)] == [] or patterns


@pytest.mark.parametrize(
    "line", ["password: hunter2", 'api_key: "abc"', "  x-honeycomb-team-token: abc", "-----BEGIN PRIVATE KEY-----"]
)
def test_a_secret_is_found(line):
    assert SECRETS.search(line)
    assert not SECRETS.search("password: ${env:CLICKHOUSE_PASSWORD:-}")


@pytest.mark.parametrize("name", ["Dockerfile", *YAMLS])
def test_every_image_has_a_version(name):
    images = re.findall(r"^\s*(?:- )?(?:image: *|FROM )[\"']?(\S+)", text_of(name), re.MULTILINE)
    images = [image for image in images if image not in {"obskit-shop:local", "obskit-shop"}]  # built here
    assert [image for image in images if not re.search(r":v?\d+(\.\d+)+[\w.-]*$", image)] == []


def variables_of(name):
    """What a file takes from its environment, without its comments: (name, default or None)."""
    text = re.sub(r"(^|\s)#.*", "", text_of(name))
    return ENV.findall(text) if name.endswith((".yaml", ".yml")) else []


def test_the_variables_of_the_files_are_those_of_their_readme():
    folder = [name for name in CONFIGURATIONS if name.startswith("collector-config/") and "/k8s/" not in name]
    read = {variable for name in folder for variable, _ in variables_of(name)}
    rows = re.findall(r"^\| (`[A-Z].*?)(?<!\\)\|", text_of("collector-config/README.md"), re.MULTILINE)
    said = [variable for cell in rows for variable in re.findall(r"`([A-Z][A-Z0-9_]+)`", cell)]
    assert len(said) == len(set(said))
    assert set(said) - {"GOMEMLIMIT"} == read  # which Go reads itself


def test_no_file_needs_a_variable():
    """Each has a default, were it an empty one: a variable that is not set is no reason not to start."""
    bare = {name: [v for v, default in variables_of(name) if not default] for name in CONFIGURATIONS}
    assert {name: found for name, found in bare.items() if found} == {}


def test_a_default_says_the_same_everywhere():
    """One name, one meaning; sizes go by role, and so does what a queue may cost."""
    found = {}
    for name in (name for name in CONFIGURATIONS if name.startswith("collector-config/")):
        for variable, default in variables_of(name):
            found.setdefault(variable, set()).add(default)
    assert {variable for variable, defaults in found.items() if len(defaults) > 1} == {
        "HOSTNAME",
        "MEMORY_LIMIT_MIB",
        "MEMORY_SPIKE_MIB",
        "QUEUE_FSYNC",
    }
