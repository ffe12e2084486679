"""What the conftest of tests/stack adds to a run: tables are shown, and what is left running fails it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from receiver import until

CONFTEST = Path(__file__).parents[1] / "stack" / "conftest.py"


@pytest.fixture
def run(tmp_path):
    def run(source):
        shutil.copy(CONFTEST, tmp_path)
        (tmp_path / "test_it.py").write_text(source)
        (tmp_path / "pytest.ini").touch()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout

    return run


def test_what_a_test_prints_is_shown(run):
    code, output = run("def test_table():\n    print('one  1')\n\ndef test_silent():\n    pass\n")
    assert code == 0, output
    assert "\ntest_it.py::test_table\none  1\n" in output
    assert "test_silent" not in output


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_what_is_left_running_is_ended_and_fails_the_run(run, tmp_path):
    # An orphan in a session of its own, as a server's worker may become.
    code, output = run(
        "import subprocess\n"
        "def test_passes():\n"
        "    subprocess.run(['sh', '-c', 'setsid sleep 600 >/dev/null 2>&1 & echo $! > pid'], check=True)\n"
    )
    assert code == 1, output
    pid = (tmp_path / "pid").read_text().strip()
    assert f"ERROR: left running, now killed: {pid} " in output
    until(lambda: not running(pid))


def running(pid):
    """Not so of one that has ended and waits for whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
