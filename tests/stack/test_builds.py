"""That a module of ours is built by the real Go, with the hashes of its go.sum and no others."""

import subprocess

import builds
import pytest

MAIN = 'package main\n\nvar version string\n\nfunc main() { println("hello", version) }\n'


@pytest.fixture
def hello(tmp_path, monkeypatch):
    monkeypatch.setattr(builds, "MODULES", tmp_path / "modules")
    monkeypatch.setattr(builds, "cache", lambda: tmp_path / "cache")
    folder = tmp_path / "modules" / "hello"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module hello\n\ngo 1.26\n")
    (folder / "main.go").write_text(MAIN)
    return builds.Build("hello", "1.2.3", builds.go_packages, {"hello": "."}, stamp="main.version")


def test_go_builds_it_and_says_its_version(hello):
    built = builds.build(hello) / "hello"
    assert subprocess.run([built], stderr=subprocess.PIPE, check=True).stderr == b"hello 1.2.3\n"
    assert not list(hello.folder.glob("hello"))


def test_what_does_not_compile_is_said_with_its_line(hello):
    (hello.folder / "main.go").write_text(MAIN.replace("println", "printn"))
    with pytest.raises(builds.BackendError, match=r"main\.go:5:15: undefined: printn\nTo use .* set E2E_HELLO"):
        builds.build(hello)
    assert builds.cached(hello) is None


def test_a_module_without_its_hash_is_not_built(hello):
    (hello.folder / "go.mod").write_text("module hello\n\ngo 1.26\n\nrequire golang.org/x/mod v0.38.0\n")
    (hello.folder / "main.go").write_text(MAIN.replace("\n\nvar", '\n\nimport _ "golang.org/x/mod/semver"\n\nvar'))
    with pytest.raises(builds.BackendError, match=r"missing go\.sum entry"):
        builds.build(hello)
