"""The image of the shop: its Dockerfile read by a linter, and its steps taken without an engine, as far as they go."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from composed import ROOT, services
from image import INSTRUCTIONS, TEXT, USER, asked, last, sent, served
from ports import free_port


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """What COPY finds."""
    folder = tmp_path_factory.mktemp("context")
    for name in sent():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def installed(context, tmp_path_factory):
    """The package that the build stage installs, built of nothing but what was copied."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(folder), str(context)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint has no package for this machine")
def test_the_linter_has_nothing_to_say():
    run = subprocess.run(["hadolint", "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_it_is_slim_pinned_and_has_no_root():
    bases = [rest.split()[0] for name, rest in INSTRUCTIONS if name == "FROM"]
    assert len(set(bases)) == 1, "the virtual environment is of the build stage's Python"
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases[0])
    assert last("USER") == str(USER)
    assert services("compose.yaml")["shop-users"]["user"].startswith(f"{USER}:")
    assert "apt" not in TEXT, "no compiler, nothing that goes stale"


def test_a_change_of_the_code_installs_no_dependency_anew():
    copied = [rest for name, rest in INSTRUCTIONS if name == "COPY"]
    assert copied[0].split()[:-1] == ["pyproject.toml", "constraints.txt"]


def test_the_dependencies_are_those_of_the_project_at_pinned_versions(context, tmp_path):
    """The line that writes requirements.txt, run."""
    step = next(rest for name, rest in INSTRUCTIONS if name == "RUN" and "requirements.txt" in rest)
    writing = step.partition("&&")[0]
    for file in ("pyproject.toml", "constraints.txt"):
        shutil.copy(context / file, tmp_path)
    subprocess.run(["sh", "-ec", writing], cwd=tmp_path, check=True, timeout=30)
    written = (tmp_path / "requirements.txt").read_text().split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert written == project["dependencies"] + project["optional-dependencies"]["shop"]
    pinned = {
        line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()
    }
    assert {re.split(r"[>=<\[]", each)[0] for each in written} <= pinned


def test_nothing_else_is_sent_to_the_build(context):
    top = {path.name for path in context.iterdir()}
    assert top <= {"LICENSE", "README.md", "collector-config", "compose.yaml", "compose.ha.yaml", "constraints.txt"} | {
        "CHANGELOG.md", "dashboards", "docs", "examples", "pyproject.toml", "src", "Dockerfile", ".dockerignore",
    }  # fmt: skip
    assert not list(context.rglob("__pycache__"))


@pytest.fixture
def folder(context, tmp_path_factory):
    """/app: the examples and nothing else, which the user can read and not write."""
    folder = tmp_path_factory.mktemp("app")
    shutil.copytree(context / "examples", folder / "examples")
    return folder


@pytest.mark.parametrize("name", ["users", "gateway"])
def test_what_is_copied_is_enough_to_serve_without_root(folder, installed, tmp_path, name):
    with served(name, folder, tmp_path, Path(sys.executable).parent, PYTHONPATH=str(installed)):
        pass
    assert not list(folder.rglob("*.pyc"))


def test_the_health_check_says_no_where_nothing_serves():
    assert subprocess.run(asked(free_port()), capture_output=True, check=False, timeout=20).returncode != 0


def test_the_usage_in_the_file_names_what_is_there():
    usage = next(line for line in TEXT.splitlines() if "docker run" in line)
    module, _, attribute = shlex.split(usage)[-1].partition(":")
    assert (ROOT / Path(*module.split("."))).with_suffix(".py").is_file()
    assert attribute == "app"
