"""What compose.yaml runs beside the services: customers without end, and the place where alerts end up."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from examples.shop.load import visits
from ports import free_port

ROOT = Path(__file__).parents[2]
ALERT = {
    "status": "firing",
    "labels": {"alertname": "ErrorBudgetBurn", "severity": "page", "service_name": "gateway"},
    "annotations": {"summary": "checkout loses its budget", "runbook_url": "https://runbooks.example/burn"},
    "startsAt": "2026-11-25T12:00:00.000Z",
}


@pytest.fixture
def alerts():
    """The listener, as compose runs it but for its port: (port, what ends it and returns what it has printed)."""
    port = free_port()
    command = [sys.executable, "-c", f"from examples.shop.alerts import main; main({port}, '127.0.0.1')"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end():
        process.send_signal(signal.SIGTERM)
        return process.communicate(timeout=10)

    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=1)
                break
            time.sleep(0.05)
        yield port, end
    finally:
        if process.poll() is None:
            end()


def post(port, body):
    return httpx.post(f"http://127.0.0.1:{port}/", content=body, timeout=5).status_code


def test_each_alert_is_a_line(alerts):
    port, end = alerts
    resolved = ALERT | {"status": "resolved", "annotations": {}}
    assert post(port, json.dumps({"version": "4", "alerts": [ALERT, resolved]}).encode()) == 200
    out, err = end()
    first, second = out.splitlines()
    assert first == (
        "2026-11-25T12:00:00 FIRING [page] ErrorBudgetBurn: checkout loses its budget https://runbooks.example/burn"
    )
    assert second.startswith("2026-11-25T12:00:00 RESOLVED [page] ErrorBudgetBurn: {")
    assert err == ""


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"alerts": 1}', b'{"alerts": ["x"]}'])
def test_what_is_no_alert_is_refused_and_harms_nothing(alerts, body):
    port, end = alerts
    assert post(port, body) == 400
    assert post(port, json.dumps({"alerts": [ALERT]}).encode()) == 200
    assert len(end()[0].splitlines()) == 1


def test_customers_come_until_the_load_is_ended(alerts):
    port, _ = alerts
    command = [sys.executable, "-m", "examples.shop.load", "--rate=200", "--seconds=1"]
    environ = os.environ | {"SHOP_GATEWAY_URL": f"http://127.0.0.1:{port}"}
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=True)
    outcomes = dict(reversed(each.split(" x ")) for each in run.stdout.strip().split(", "))
    assert {"200", "400"} <= set(outcomes)  # GET and POST, as this server answers them


def test_a_second_run_makes_no_order_of_the_first():
    def orders(first):
        made = visits(7, first)
        return {each.headers["idempotency-key"] for _ in range(50) for each in next(made) if each.method == "POST"}

    assert len(orders(1)) == 50
    assert not orders(1_000_000) & orders(2_000_000)
