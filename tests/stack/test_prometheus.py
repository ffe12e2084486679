"""The files of Prometheus and Alertmanager, by their own tools; each alert fires on what it is for, and on nothing like it."""

import subprocess

import pytest
from backends import program
from daemon import CONFIG

from programs import PROMETHEUS_FLAGS

FOLDER = CONFIG / "prometheus"
RULES = sorted(file.name for file in (FOLDER / "rules").glob("*.yaml"))
TESTS = sorted(file.name for file in (FOLDER / "tests").glob("*.yaml"))


def said(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "file", ["collector-config/prometheus/prometheus.yaml", "collector-config/prometheus/README.md", "compose.yaml"]
)
def test_the_flags_of_these_tests_are_those_that_are_told(file):
    text = (CONFIG.parent / file).read_text()
    assert [flag for flag in PROMETHEUS_FLAGS if flag not in text] == []


def test_prometheus_reads_its_configuration():
    assert "SUCCESS" in said(program("promtool"), "check", "config", "--lint=all", FOLDER / "prometheus.yaml")


@pytest.mark.parametrize("name", RULES)
def test_prometheus_reads_the_rules(name):
    assert "SUCCESS" in said(program("promtool"), "check", "rules", "--lint=all", FOLDER / "rules" / name)


@pytest.mark.parametrize("name", TESTS)
def test_alerts_fire_when_they_are_to(name):
    assert "SUCCESS" in said(program("promtool"), "test", "rules", FOLDER / "tests" / name)


def test_alertmanager_reads_its_configuration():
    assert "SUCCESS" in said(program("amtool"), "check-config", FOLDER / "alertmanager.yaml")


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["severity=page", "alertname=ServiceDown"], "team"),
        (["severity=ticket"], "team"),
        ([], "team"),
        (["severity=none", "alertname=Watchdog"], "heartbeat"),
    ],
    ids=["page", "ticket", "neither", "heartbeat"],
)
def test_alerts_are_sent_to(labels, receiver):
    asked = said(
        program("amtool"), "config", "routes", "test", f"--config.file={FOLDER / 'alertmanager.yaml'}", *labels
    )
    assert asked.strip() == receiver
