"""Servers and receivers, ended when the module that started them is done; the table of what they lost."""

import pytest
from matrix import Served

#: Rows of the table at the end of the run, by the modules that fill them.
TABLE = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[TABLE] = []


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash.get(TABLE, [])
    if rows:
        terminalreporter.write_sep("-", "SIGTERM under load")
        terminalreporter.write_line(f"{'server':24}{'workers':>8}{'answered':>10}{'spans':>8}{'lines':>8}{'lost':>6}")
        for name, *numbers in rows:
            widths = (8, 10, 8, 8, 6)
            terminalreporter.write_line(
                f"{name:24}" + "".join(f"{n:>{w}}" for n, w in zip(numbers, widths, strict=True))
            )


@pytest.fixture(scope="session")
def table(pytestconfig):
    """Rows to print at the end: server, workers, answered, spans, lines, lost."""
    return pytestconfig.stash.setdefault(TABLE, [])


@pytest.fixture(scope="module")
def serve():
    """serve(server, app, ...) -> Served, not yet ready: several start side by side."""
    services = []

    def start(*arguments, **given):
        services.append(Served(*arguments, **given))
        return services[-1]

    yield start
    for service in services:
        service.end_all()
    faults = [line for service in services for line in service.output.splitlines() if b"obskit contained" in line]
    assert not faults, f"obskit contained errors of its own: {faults}"
