"""The steps of the Dockerfile, taken: there is no engine here, so in folders instead of layers, and with this Python."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from composed import ROOT
from image import INSTRUCTIONS, sent, served
from tables import show


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What the build stage makes: its COPY and RUN lines in their order, with /venv and /build elsewhere."""
    root = tmp_path_factory.mktemp("image")
    build, venv = root / "build", root / "venv"
    build.mkdir()
    stage = [name for name, _ in INSTRUCTIONS].index("FROM", 1)
    environ = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(root)}
    environ |= dict(each.split("=") for each in next(rest for name, rest in INSTRUCTIONS if name == "ENV").split())
    del environ["PIP_NO_CACHE_DIR"]  # here the next run is grateful for it
    environ["PIP_CACHE_DIR"] = str(Path("~/.cache/pip").expanduser())
    files = list(sent())
    for name, rest in INSTRUCTIONS[:stage]:
        if name == "COPY":
            sources = rest.split()[:-1]
            for file in files if sources == ["."] else sources:
                (build / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, build / file)
        elif name == "RUN":
            command = re.sub(r"(?<=\s)/venv(?=[/\s]|$)", str(venv), rest)
            run = subprocess.run(
                ["sh", "-ec", command], cwd=build, env=environ, capture_output=True, text=True, timeout=300, check=False
            )
            assert run.returncode == 0, f"{command}\n{run.stdout}{run.stderr}"
    return root


def test_the_dockerfile_makes_an_environment_that_serves(built, tmp_path):
    shutil.copytree(built / "build/examples", built / "app/examples")  # the one COPY of the second stage beside /venv
    assert [rest.split()[-2:] for name, rest in INSTRUCTIONS if name == "COPY"][-1] == ["examples", "examples"]
    packages = next((built / "venv/lib").glob("python*/site-packages"))
    with served("gateway", built / "app", tmp_path, built / "venv/bin") as url:
        assert httpx.get(f"{url}/health").json()["status"] == "ok"
    size = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file()) / 2**20
    names = sorted(path.name.split("-")[0] for path in packages.glob("*.dist-info"))
    show("What the image adds to its base", ("MiB", "packages"), [(round(size, 1), " ".join(names))])
    assert size < 60
    assert not {"duckdb", "pytest", "pip", "rich"} & set(names)
    compiled = {
        path.name for path in packages.glob("*.dist-info") if "direct_url.json" in {f.name for f in path.iterdir()}
    }
    assert {name.split("-")[0] for name in compiled} == {"obskit"}, "all else came as wheels"
