"""What runs of tests/stack have besides: tables are shown, and what is left running fails it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from receiver import until

LEFTOVERS = Path(__file__).parents[1] / "stack" / "leftovers.py"


ORPHAN = (
    "import subprocess\nsubprocess.run(['sh', '-c', 'setsid sleep 600 >/dev/null 2>&1 & echo $! > pid'], check=True)\n"
)


@pytest.fixture
def start(tmp_path):
    def start(source, *options):
        shutil.copy(LEFTOVERS, tmp_path / "conftest.py")
        (tmp_path / "test_it.py").write_text(source)
        (tmp_path / "pytest.ini").touch()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py", *options]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def run(start):
    def run(source, *options):
        process = start(source, *options)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    return run


@pytest.fixture(params=[(), ("--numprocesses", "2")], ids=["one process", "two, as make e2e"])
def options(request):
    return request.param


def test_what_a_test_prints_is_shown(run, options):
    code, output = run("def test_table():\n    print('one  1')\n\ndef test_silent():\n    pass\n", *options)
    assert code == 0, output
    assert "\ntest_it.py::test_table\none  1\n" in output
    assert "test_silent" not in output


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_what_is_left_running_is_ended_and_fails_the_run(run, options, tmp_path):
    # An orphan in a session of its own, as a server's worker may become.
    code, output = run(f"{ORPHAN}\ndef test_passes():\n    pass\n", *options)
    assert code == 1, output
    pid = (tmp_path / "pid").read_text().strip()
    assert f"ERROR: left running, now killed: {pid} " in output
    until(lambda: not running(pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_a_run_that_is_ended_leaves_nothing_running(start, options, tmp_path):
    waits = "import time\n\ndef test_waits():\n    open('waits', 'w').close()\n    time.sleep(60)\n"
    process = start(f"{ORPHAN}\n{waits}", *options)
    until((tmp_path / "waits").exists, 30)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    until(lambda: not running((tmp_path / "pid").read_text().strip()))


def running(pid):
    """Not so of one that has ended and waits for whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
