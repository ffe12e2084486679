"""Servers and receivers, ended when the module that started them is done."""

import pytest
from matrix import Served


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
