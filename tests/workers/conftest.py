"""Folders of their own for the groups under test, and servers with workers."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "e2e"))

from obskit.export import _folder, multiprocess


@pytest.fixture
def place(monkeypatch):
    """Where groups of this process have their folders; short, since the path of a socket must be. Who joins leaves."""
    path = Path(tempfile.mkdtemp(prefix="ob"))
    monkeypatch.setattr(_folder, "_PLACES", (path,))
    yield path
    for workers in list(multiprocess._live):
        workers.close()
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def start_service():
    """start_service("module:app") -> Service: one process alone, an app of the end-to-end tests."""
    from processes import Service

    services = []

    def start(*arguments, **given):
        services.append(Service(*arguments, **given))
        return services[-1]

    yield start
    for service in services:
        service.end()


@pytest.fixture(scope="module")
def start_cluster():
    """start_cluster("uvicorn", workers=3) -> Cluster, not yet ready: several start side by side."""
    from cluster import Cluster

    clusters = []

    def start(*arguments, **given):
        clusters.append(Cluster(*arguments, **given))
        return clusters[-1]

    yield start
    for cluster in clusters:
        cluster.end()
    faults = [line for cluster in clusters for line in cluster.output.splitlines() if b"obskit contained" in line]
    assert not faults, f"obskit contained errors of its own: {faults}"
