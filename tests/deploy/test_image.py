"""The image of the shop: its Dockerfile read by a linter, and its steps taken without an engine, as far as they go."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

import pytest
from composed import ROOT, as_user, services

USER = 10001
TEXT = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = [
    (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1])
    for line in TEXT.replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def last(instruction):
    return [rest for name, rest in INSTRUCTIONS if name == instruction][-1]


def sent():
    """The files that .dockerignore leaves for the build: the last of its lines that matches the path or a parent decides."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    for path in sorted(ROOT.rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if name.partition("/")[0] in (".git", ".venv") or path.is_dir():
            continue
        paths = [name, *(parent.as_posix() for parent in path.relative_to(ROOT).parents)][:-1]
        kept = True
        for rule in rules:
            pattern = rule.removeprefix("!")
            anywhere = pattern.startswith("**/")
            if any(
                fnmatch(each.rpartition("/")[2] if anywhere else each, pattern.removeprefix("**/")) for each in paths
            ):
                kept = rule.startswith("!")
        if kept:
            yield name


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
    if os.geteuid() == 0:
        for parent in tmp_path.parents[:2]:
            parent.chmod(0o755)
        os.chown(tmp_path, USER, USER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [*json.loads(last("ENTRYPOINT")), services("compose.yaml")[f"shop-{name}"]["command"][0]]
    command = ["127.0.0.1" if each == "0.0.0.0" else port if each == "8000" else each for each in command]
    environ = services("compose.yaml")[f"shop-{name}"]["environment"] | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(installed),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHOP_DATA": str(tmp_path / "shop"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",  # nobody: a service starts without an agent
        "OBSKIT_SHUTDOWN_SECONDS": "0.5",
    }
    check = json.loads(last("HEALTHCHECK").partition("CMD")[2])
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            as_user(f"{USER}:{USER}", command), cwd=folder, env=environ, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        healthy = False
        while not healthy and process.poll() is None and time.monotonic() < deadline:
            asked = [each.replace(":8000", f":{port}") for each in check]
            healthy = not subprocess.run(asked, env=environ, capture_output=True, check=False, timeout=20).returncode
        assert healthy, (tmp_path / "log").read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
    assert not list(folder.rglob("*.pyc"))


def test_the_health_check_says_no_where_nothing_serves():
    check = json.loads(last("HEALTHCHECK").partition("CMD")[2])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        asked = [each.replace(":8000", f":{probe.getsockname()[1]}") for each in check]
        assert subprocess.run(asked, capture_output=True, check=False, timeout=20).returncode != 0


def test_the_usage_in_the_file_names_what_is_there():
    usage = next(line for line in TEXT.splitlines() if "docker run" in line)
    module, _, attribute = shlex.split(usage)[-1].partition(":")
    assert (ROOT / Path(*module.split("."))).with_suffix(".py").is_file()
    assert attribute == "app"
