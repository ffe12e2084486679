"""A process as a service has it, wired by init() alone: no variable of the caller's decides, and all is closed after."""

import json
import os
import sys
from pathlib import Path

import pytest

from obskit import _init

sys.path.append(str(Path(__file__).parents[1] / "export"))  # its collectors serve here too


@pytest.fixture
def environment(monkeypatch):
    """Without variables of OpenTelemetry or obskit; what is set on it lasts for the test."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "OBSKIT_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    yield monkeypatch
    if _init._current is not None:
        _init._current.close(1.0)


@pytest.fixture
def written(environment, capfd):
    """written(obs) -> the log lines that standard output has got since the last time."""

    def read(obs):
        assert obs.flush(5.0)
        return [json.loads(line) for line in capfd.readouterr().out.splitlines()]

    return read


@pytest.fixture
def collector(environment):
    from loopback_collectors import start_collector

    collector = start_collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()
