"""The programs behind the services, for tests that run the real ones: found, or built once and kept.

    from backends import program
    program("otelcol")                      # a Path

    python tests/stack/backends.py [names]  # finds or builds them, and prints what is where

A program is taken from the variable E2E_<NAME>, from PATH, or from the cache in ~/.cache/obskit/backends
(XDG_CACHE_HOME moves it). What is in none of them is built into the cache from modules/<build>/.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builds import BackendError, Build, build, cached, collector, go_packages, jars, variable

__all__ = ["BUILDS", "BackendError", "program", "versions"]

ROOT = Path(__file__).parents[2]
VERSION = re.compile(r"\d+\.\d+\.\d+")

# In the order in which they are built: what most tests need comes first. Versions as the images' tags say them.
BUILDS = (
    Build("otelcol", "0.158.0", collector, {"otelcol": "."}, manifest=ROOT / "collector-config/builder.yaml"),
    Build(
        "prometheus",
        "3.14.0",
        go_packages,
        {
            "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
            "promtool": "github.com/prometheus/prometheus/cmd/promtool",
        },
        # Clouds' service discovery doubles the time of the build; targets from files stay.
        flags=("-tags=remove_all_sd",),
        stamp="github.com/prometheus/common/version.Version",
    ),
    Build(
        "alertmanager",
        "0.28.1",
        go_packages,
        {
            "alertmanager": "github.com/prometheus/alertmanager/cmd/alertmanager",
            "amtool": "github.com/prometheus/alertmanager/cmd/amtool",
        },
        stamp="github.com/prometheus/common/version.Version",
    ),
    Build(
        "jaeger",
        "2.13.0",
        go_packages,
        {"jaeger": "github.com/jaegertracing/jaeger/cmd/jaeger"},
        stamp="github.com/jaegertracing/jaeger/internal/version.latestVersion",
    ),
    Build("kafka", "4.1.0", jars, {"kafka": ""}, runs_on="java"),
    Build("kustomize", "5.7.1", go_packages, {"kustomize": "sigs.k8s.io/kustomize/kustomize/v5"}),
    Build(
        "loki",
        "3.7.8",
        go_packages,
        {"loki": "github.com/grafana/loki/v3/cmd/loki"},
        stamp="github.com/grafana/loki/v3/pkg/util/build.Version",
    ),
    Build(
        "otelcol-clickhouse",
        "0.161.0",
        collector,
        {"otelcol-clickhouse": "."},
        manifest=ROOT / "collector-config/builder-clickhouse.yaml",
    ),
)
_BUILD_OF = {name: made for made in BUILDS for name in made.packages}


@dataclass(frozen=True)
class Found:
    """A program, and where it was: "$E2E_OTELCOL", "PATH", "cache" or "built"."""

    path: Path
    where: str


def program(name: str) -> Path:
    """The path of a program (for kafka, a folder of jars), which is built if it is nowhere.

    Raises:
        BackendError: there is none of that name, or it cannot be built; says what to do.
    """
    return _found_or_built(name).path


def versions() -> dict[str, str]:
    """The version of each program that is built, by the program's name."""
    return {name: made.version for name, made in _BUILD_OF.items()}


def _found_or_built(name: str) -> Found:
    if name not in _BUILD_OF:
        msg = f"no program is called {name!r}; there are {', '.join(_BUILD_OF)}"
        raise BackendError(msg)
    runs_on = _BUILD_OF[name].runs_on
    if runs_on and not shutil.which(runs_on):
        msg = f"{name} runs on {runs_on}, which is not on PATH; on Debian: apt-get install default-jre-headless"
        raise BackendError(msg)
    return _given(name) or _on_path(name) or _kept(name) or Found(build(_BUILD_OF[name]) / name, "built")


def _given(name: str) -> Found | None:
    if not (value := os.environ.get(variable(name))):
        return None
    path = Path(value).absolute()
    folder = _BUILD_OF[name].make is jars
    if not (path.is_dir() if folder else path.is_file() and os.access(path, os.X_OK)):
        msg = f"{variable(name)}={value} is not {'a folder of jars' if folder else 'a program that can be run'}"
        raise BackendError(msg)
    return Found(path, f"${variable(name)}")


def _on_path(name: str) -> Found | None:
    path = None if _BUILD_OF[name].make is jars else shutil.which(name)
    return Found(Path(path).absolute(), "PATH") if path else None


def _kept(name: str) -> Found | None:
    entry = cached(_BUILD_OF[name])
    return Found(entry / name, "cache") if entry else None


def _said_version(found: Found, pinned: str) -> str:
    """The pinned version, beside what a program from elsewhere says of itself where that differs."""
    if found.where in ("cache", "built"):
        return pinned
    version = VERSION.search(_says(found.path))
    if version is None:
        return f"unknown, not {pinned}?"
    return pinned if version.group() == pinned else f"{version.group()}, not {pinned}"


def _says(path: Path) -> str:
    if path.is_dir():
        return " ".join(jar.name for jar in path.glob("kafka_*.jar"))
    for argument in ("--version", "version"):
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run([path, argument], capture_output=True, text=True, timeout=20, check=True)
            return done.stdout + done.stderr
    return ""


def _row(name: str, version: str, seconds: str, where: str) -> str:
    return f"{name:<19} {version:<16} {seconds:>8}  {where}"


def _get(name: str) -> BackendError | None:
    """Finds or builds a program and prints its row; gives the error if there is none."""
    version = versions().get(name, "")
    started = time.monotonic()
    error = None
    try:
        found = _found_or_built(name)
        version, where = _said_version(found, version), f"{found.where}  {found.path}"
    except BackendError as raised:
        error, where = raised, "MISSING"
    print(_row(name, version, f"{time.monotonic() - started:.1f}", where), flush=True)
    return error


def _step_aside() -> None:
    """Takes the lowest priority, and a session of its own, by which Linux shares the processor out."""
    os.nice(19)
    with suppress(OSError):  # the leader of a group may not; another system has no such file
        os.setsid()
        Path("/proc/self/autogroup").write_text("19")


def main() -> None:
    parser = argparse.ArgumentParser(description="Find or build the programs that tests/stack runs.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(_BUILD_OF)}; all unless given")
    parser.add_argument("--idle", action="store_true", help="build with what others leave of the processor")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A shell's background jobs start with it ignored, and so would the builders, which clean up on no other signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if arguments.idle:
        _step_aside()
    print(_row("program", "version", "seconds", "found in"), flush=True)
    errors = [error for name in arguments.names or list(_BUILD_OF) if (error := _get(name))]
    if errors:
        sys.exit("\n\n".join(["", *map(str, errors)]))


if __name__ == "__main__":
    main()
