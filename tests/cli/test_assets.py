"""``obskit assets``: what it writes, and what a person sees when it cannot."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from obskit.cli import assets
from obskit.cli.main import main

ROOT = Path(__file__).parents[2]


def said(capsys):
    captured = capsys.readouterr()
    return captured.out, captured.err


def written_to(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_everything_that_ships_is_written_byte_for_byte(tmp_path, capsys):
    folder = tmp_path / "new" / "my stack"
    assert main(["assets", "export", str(folder)]) == 0
    files = written_to(folder)
    assert files == {name: file.read_bytes() for name, file in assets.shipped().items()}
    out = said(capsys)[0]
    assert out.startswith(f"{len(files)} files written to {folder}\n")
    assert out.endswith(f"  docker compose --project-directory '{folder}' up\n")
    for name in assets.SHIPPED:
        assert any(file == name or file.startswith(f"{name}/") for file in files), name


def test_nothing_that_a_run_leaves_behind_ships():
    parts = {part for name in assets.shipped() for part in Path(name).parts}
    assert {part for part in parts if part.startswith(".")} <= {".dockerignore"}
    assert not {part for part in parts if part == "__pycache__" or part.endswith((".pyc", "~"))}


def test_pages_lead_to_pages_that_are_written_too():
    """But for those about the project's own tests and benchmarks, which stay with it."""
    names = assets.shipped()
    for name in names:
        if name.endswith(".md"):
            for link in re.findall(r"\]\(([^)\s#]+)", names[name].read_text()):
                if "://" not in link:
                    path = os.path.normpath(Path(name).parent / link)
                    there = any(each == path or each.startswith(f"{path}/") for each in names)
                    assert there or path.startswith(("tests/", "benchmarks/")), (name, link)


def test_list_names_what_export_writes(capsys):
    assert main(["assets", "list"]) == 0
    assert said(capsys)[0].splitlines() == list(assets.shipped())


def test_a_second_export_has_nothing_to_write(tmp_path, capsys):
    assert main(["assets", "export", str(tmp_path)]) == 0
    (tmp_path / "collector-config" / "agent.yaml").unlink()
    (tmp_path / "mine.yaml").write_text("mine")
    said(capsys)
    assert main(["assets", "export", str(tmp_path)]) == 0
    assert said(capsys)[0].startswith(f"1 files written to {tmp_path}\n")
    assert main(["assets", "export", str(tmp_path)]) == 0
    assert said(capsys)[0].startswith(f"{tmp_path} is up to date\n")
    assert (tmp_path / "mine.yaml").read_text() == "mine"


def test_what_a_person_changed_is_kept_unless_forced(tmp_path, capsys):
    changed = tmp_path / "collector-config" / "gateway.yaml"
    changed.parent.mkdir(parents=True)
    changed.write_text("changed")
    assert main(["assets", "export", str(tmp_path)]) == 1
    _, error = said(capsys)
    assert error == (
        f"obskit: {tmp_path} has files that differ from ours; nothing was written. --force writes over them:\n"
        "  collector-config/gateway.yaml\n"
    )
    assert written_to(tmp_path) == {"collector-config/gateway.yaml": b"changed"}
    assert main(["assets", "export", "--force", str(tmp_path)]) == 0
    assert changed.read_bytes() == assets.shipped()["collector-config/gateway.yaml"].read_bytes()


@pytest.mark.parametrize(
    ("in_the_way", "named"),
    [("collector-config", "collector-config"), ("", "")],
    ids=["a file where a folder goes", "a file where the export goes"],
)
def test_a_file_in_the_way_is_named(tmp_path, capsys, in_the_way, named):
    folder = tmp_path / "stack"
    place = folder / in_the_way if in_the_way else folder
    place.parent.mkdir(exist_ok=True)
    place.write_text("mine")
    assert main(["assets", "export", str(folder)]) == 1
    out, error = said(capsys)
    assert not out
    assert error.startswith(f"obskit: cannot write to {folder}: ")
    assert str(folder / named) in error
    assert place.read_text() == "mine"


def test_a_folder_in_the_way_of_a_file_is_not_removed(tmp_path, capsys):
    (tmp_path / "LICENSE").mkdir()
    assert main(["assets", "export", str(tmp_path)]) == 1
    assert "\n  LICENSE\n" in said(capsys)[1]
    assert main(["assets", "export", "--force", str(tmp_path)]) == 1
    assert "cannot write to" in said(capsys)[1]
    assert (tmp_path / "LICENSE").is_dir()


def test_a_full_disk_is_said_and_leaves_no_part_of_a_file():
    """In a process of its own, whose files may not grow beyond 1 KiB: the kernel refuses, as a full disk does."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "from obskit.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, "assets", "export", folder],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith(f"obskit: cannot write to {folder}: File too large"), done.stderr
        files, wanted = written_to(Path(folder)), assets.shipped()
        assert all(data == wanted[name].read_bytes() for name, data in files.items())


def test_a_reader_that_has_seen_enough_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "obskit", "assets", "list"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [[], ["assets"], ["assets", "export"], ["nothing"]], ids=" ".join)
def test_wrong_usage_says_what_is_right(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said(capsys)[1].startswith("usage: obskit")


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert said(capsys)[0].startswith("obskit 0.")
