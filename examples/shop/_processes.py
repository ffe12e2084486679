"""The services as processes: ports, start, readiness, stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx

from examples.shop._peers import PORTS, variable

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0
STOP_SECONDS = 8.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ShopError(Exception):
    """Something is wrong that the person at the terminal should read as a sentence."""


@dataclass(frozen=True)
class Service:
    """A running service: its JSON lines and its stderr go to files of its own."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    lines: Path
    errors: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back while children are made or ended, then let them through: none is lost track of."""
    held: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    before = [(number, signal.signal(number, hold)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])


def choose_ports(documented: dict[str, int]) -> tuple[dict[str, int], list[str]]:
    """A free port for each service: its documented one, else any; and a note for each that was taken."""
    ports, notes = {}, []
    with_socket = {name: bound(port) or bound(0) for name, port in documented.items()}
    for name, listening in with_socket.items():
        if listening is None:
            raise ShopError("No free port on 127.0.0.1: the system refuses to bind any.")
        ports[name] = listening.getsockname()[1]
        listening.close()
        if ports[name] != documented[name]:
            notes.append(f"port {documented[name]} is in use, {name} takes {ports[name]}")
    return ports, notes


def bound(port: int) -> socket.socket | None:
    """A socket that holds the port until it is closed, or None if something else does."""
    candidate = socket.socket()
    candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        candidate.bind(("127.0.0.1", port))
        candidate.listen(1)
    except OSError:
        candidate.close()
        return None
    return candidate


def environment(ports: dict[str, int], folder: Path, seed: int) -> dict[str, str]:
    """What the services are configured by. An OTLP endpoint of yours is passed on; what else you set is not."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OBSKIT_", "OTEL_")) or name.startswith("OTEL_EXPORTER_OTLP_")
    }
    addresses = {variable(name): f"http://127.0.0.1:{port}" for name, port in ports.items()}
    shop = {"SHOP_DATA": str(folder / "data"), "SHOP_SEED": str(seed), "OBSKIT_LOG_FORMAT": "json"}
    return {**kept, **addresses, **shop, "OBSKIT_METRIC_FIELDS": "user.tier=free|pro|gold"}


def start(name: str, port: int, folder: Path, variables: dict[str, str]) -> Service:
    lines, errors = folder / f"{name}.jsonl", folder / f"{name}.err"
    command = [sys.executable, "-m", "uvicorn", f"examples.shop.{name}:app", "--port", str(port)]
    with lines.open("wb") as stdout, errors.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603  (a fixed command; the session of its own keeps Ctrl-C with us)
            command,
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    return Service(name, port, process, lines, errors)


def wait_until_ready(services: Sequence[Service], seconds: float = START_SECONDS) -> None:
    """Return when each service answers its /readyz with 200; raise a ShopError that names the one that does not."""
    deadline = time.monotonic() + seconds
    with httpx.Client(timeout=1, trust_env=False) as client:
        for service in services:
            while not ready(service, client):
                if service.process.poll() is not None:
                    raise ShopError(
                        f"{service.name} exited with code {service.process.returncode}. {last_words(service)}"
                    )
                if time.monotonic() > deadline:
                    raise ShopError(f"{service.name} was not ready within {seconds:.0f} s. {last_words(service)}")
                time.sleep(0.05)


def ready(service: Service, client: httpx.Client) -> bool:
    try:
        return client.get(f"{service.url}/readyz").is_success
    except httpx.TransportError:
        return False


def last_words(service: Service, count: int = 12) -> str:
    """The end of what a service wrote, as the second half of an error message."""
    for file in (service.errors, service.lines):
        said = file.read_text(errors="replace").splitlines()[-count:]
        if said:
            return "\n".join([f"The end of {file}:", *said])
    return f"It wrote nothing to {service.errors}."


def stop(services: Sequence[Service], seconds: float = STOP_SECONDS) -> list[str]:
    """End the services: SIGTERM, and after the deadline SIGKILL. Returns a sentence for each that had to be killed."""
    with uninterrupted():
        for service in services:
            service.process.terminate()
        deadline = time.monotonic() + seconds
        return [note for service in services if (note := end(service, deadline))]


def end(service: Service, deadline: float) -> str | None:
    try:
        service.process.wait(max(deadline - time.monotonic(), 0.01))
    except subprocess.TimeoutExpired:
        service.process.kill()
        service.process.wait()
        return f"{service.name} (pid {service.process.pid}) did not stop on SIGTERM and was killed"
    return None


@contextmanager
def running(folder: Path, seed: int, say: Callable[[str], None], *, keep: bool = False) -> Iterator[list[Service]]:
    """The six services, ready for requests; ended when the block ends, unless `keep` and it ends well."""
    ports, notes = choose_ports(PORTS)
    for note in notes:
        say(note)
    services: list[Service] = []
    try:
        for name, port in ports.items():
            with uninterrupted():
                services.append(start(name, port, folder, environment(ports, folder, seed)))
        wait_until_ready(services)
        yield services
    except BaseException:
        keep = False
        raise
    finally:
        for note in [] if keep else stop(services):
            say(note)
