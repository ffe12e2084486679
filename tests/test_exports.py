"""The public surface: what can be imported, what is typed, and what the wheel holds."""

import importlib
import os
import pkgutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import obskit
import obskit.testing
from obskit.cli import assets

ROOT = Path(__file__).parent.parent


def test_the_exported_names():
    assert obskit.__all__ == [
        "Config",
        "Obskit",
        "__version__",
        "accumulate",
        "annotate",
        "current_operation",
        "exceptions",
        "extract",
        "get_logger",
        "init",
        "inject",
        "operation",
    ]
    assert obskit.__all__ == sorted(obskit.__all__)
    assert obskit.testing.__all__ == ["Captured", "capture"]
    for module in (obskit, obskit.testing):
        for name in module.__all__:
            assert getattr(module, name) is not None


def test_the_exceptions():
    own = {
        name
        for name, value in vars(obskit.exceptions).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert own == {"ObskitError", "ConfigError"}


def test_the_handles_surface():
    public = {name for name in vars(obskit.Obskit) if not name.startswith("_")}
    used_by_init = {"closed", "instrument"}
    assert public - used_by_init == {"check", "close", "drain", "flush", "wrap"}


def modules():
    return sorted(module.name for module in pkgutil.walk_packages(obskit.__path__, "obskit."))


@pytest.mark.parametrize("name", modules())
def test_every_module_says_what_it_is_for_and_every_public_name_too(name):
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip()
    for own_name, value in vars(module).items():
        if getattr(value, "__module__", None) == name and not own_name.startswith("_") and callable(value):
            assert (value.__doc__ or "").strip(), own_name


def test_the_version():
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    assert f'"{obskit.__version__}"' in (ROOT / hatch["version"]["path"]).read_text()
    assert importlib.metadata.version("obskit") == obskit.__version__


def built(what, source, target):
    """The name of the wheel or source distribution that hatchling makes of `source` in `target`."""
    code = f"from hatchling import build; print(build.{what}({str(target)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built as an index would have it, without any."""
    target = tmp_path_factory.mktemp("wheel")
    path = target / built("build_wheel", ROOT, target)
    assert path.stat().st_size < 1_500_000
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_package_its_types_and_nothing_else(wheel):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/obskit").rglob("*.py")}
    carried = {f"obskit/_assets/{name}" for name in assets.shipped() if not name.startswith("src/")}
    assert names == sources | {"obskit/py.typed"} | carried


def test_the_installed_wheel_writes_what_the_repository_holds(wheel, tmp_path):
    """Unpacked as an installer does, and run away from the project."""
    site, folder = tmp_path / "site", tmp_path / "stack"
    wheel.extractall(site)  # noqa: S202  (a zip of our own)
    code = "import sys; from obskit.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "assets", "export", folder],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert written == {name: file.read_bytes() for name, file in assets.shipped().items()}
    assert sum(len(data) for data in written.values()) < 5_000_000


def test_what_is_written_makes_the_same_wheel_again(wheel, tmp_path):
    """As the image of the shop does, which is built in the folder."""
    folder = tmp_path / "stack"
    assets.export(folder)
    with zipfile.ZipFile(tmp_path / built("build_wheel", folder, tmp_path)) as again:
        assert sorted(again.namelist()) == sorted(wheel.namelist())


def test_the_source_distribution_has_it_all(tmp_path):
    with tarfile.open(tmp_path / built("build_sdist", ROOT, tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert set(assets.shipped()) <= names
    assert not [name for name in names if name.startswith(("var/", ".venv")) or "__pycache__" in name]


def test_the_wheel_carries_what_the_command_writes():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {name: f"obskit/_assets/{name}" for name in assets.SHIPPED}


def test_the_script(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    assert "[console_scripts]\nobskit = obskit.cli.main:main\n" in wheel.read(name).decode()


def test_the_wheel_says_what_it_needs(wheel):
    (metadata,) = [wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/METADATA")]
    head = metadata.partition("\n\n")[0].splitlines()
    assert f"Version: {obskit.__version__}" in head
    assert "Requires-Python: >=3.11" in head
    needed = [line.split(": ")[1] for line in head if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert [name.split(">=")[0] for name in needed] == [
        "opentelemetry-api", "opentelemetry-sdk", "orjson", "prometheus-client", "structlog",
    ]  # fmt: skip


def test_a_type_checker_agrees_with_the_public_surface(tmp_path):
    """Strictly, with each expectation in the file an `assert_type` and each wrong use an expected error."""
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "--cache-dir", str(tmp_path)]
    checked = subprocess.run(
        [*command, "tests/typing/public_api.py"],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, "MYPYPATH": "src"},
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Success" in checked.stdout
