"""What holds for every test: obskit contains its own errors, so a contained error fails the test that caused it."""

import os
import sys
from pathlib import Path

import pytest
from tables import show

from obskit import _guard
from receiver import Receiver

# Programs that packages bring (docker-compose, hadolint) stand beside the interpreter, which `make` calls by its path.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def pytest_terminal_summary(terminalreporter):
    """Prints tables: their rows are what tests recorded as the property "table", each with its title and header."""
    tables = {}
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "table":
                title, header, row = value
                tables.setdefault((title, tuple(header)), []).append(row)
    for (title, header), rows in tables.items():
        show(title, header, rows)


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def contained_errors():
    """The errors that obskit contained during the test; a test that expects some empties the list."""
    found: list[tuple[str, Exception]] = []
    seen = lambda component, error: found.append((component, error))  # noqa: E731
    _guard.observers.append(seen)
    yield found
    _guard.observers.remove(seen)
    _guard.forget_rate()
    if found:
        raise AssertionError(f"obskit contained: {found}") from found[0][1]


@pytest.fixture(scope="module")
def start_receiver():
    """start_receiver(mode) -> Receiver of OTLP, closed when the module that started it is done."""
    receivers = []

    def start(mode="ok"):
        receivers.append(Receiver(mode))
        return receivers[-1]

    yield start
    for receiver in receivers:
        receiver.close()
