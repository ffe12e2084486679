"""Receivers and processes, ended by pid when the module that started them is done."""

import pytest
from processes import Process, Service


@pytest.fixture(scope="module")
def start_service():
    """start_service("module:app", variables=...) -> Service, not yet ready: several start side by side."""
    yield from _starter(Service)


@pytest.fixture(scope="module")
def start_process():
    """start_process("-c", "...", variables=...) -> Process."""
    yield from _starter(Process)


def _starter(kind):
    processes = []

    def start(*arguments, **given):
        processes.append(kind(*arguments, **given))
        return processes[-1]

    yield start
    for process in processes:
        process.end()
    faults = [line for process in processes for line in process.output.splitlines() if b"obskit contained" in line]
    assert not faults, f"obskit contained errors of its own: {faults}"
