"""The Dockerfile of the shop: its lines, what it is sent, and a service started as it starts one."""

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from fnmatch import fnmatch

from composed import ROOT, as_user, services
from ports import free_port

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


def asked(port):
    """The command of the health check, at another port."""
    check = json.loads(last("HEALTHCHECK").partition("CMD")[2])
    return [each.replace(":8000", f":{port}") for each in check]


@contextmanager
def served(name, folder, scratch, binaries, **environ):
    """A service of the shop, started as the image starts it and healthy as it says, by the image's user.

    `folder` is /app, which that user can read; `scratch` is its own, /tmp; `binaries` is where `python` is.
    """
    if os.geteuid() == 0:
        for parent in scratch.parents[:2]:
            parent.chmod(0o755)
        os.chown(scratch, USER, USER)
    port = str(free_port())
    command = [*json.loads(last("ENTRYPOINT")), services("compose.yaml")[f"shop-{name}"]["command"][0]]
    command = ["127.0.0.1" if each == "0.0.0.0" else port if each == "8000" else each for each in command]
    environ |= services("compose.yaml")[f"shop-{name}"]["environment"] | {
        "PATH": f"{binaries}:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHOP_DATA": str(scratch / "shop"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",  # nobody: a service starts without an agent
        "OBSKIT_SHUTDOWN_SECONDS": "0.5",
    }
    log = scratch / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            as_user(f"{USER}:{USER}", command),
            cwd=folder,
            env=environ,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        deadline, healthy = time.monotonic() + 60, False
        while not healthy and process.poll() is None and time.monotonic() < deadline:
            run = subprocess.run(asked(port), env=environ, capture_output=True, check=False, timeout=20)
            healthy = run.returncode == 0
        assert healthy, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
