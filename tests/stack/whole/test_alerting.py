"""The rules that ship, in a running Prometheus: all of them return data, and an injected fault, nothing before, wakes somebody."""

import time
import uuid
from collections import Counter

import httpx
import pytest
import yaml
from daemon import CONFIG
from examples.shop._catalogue import PRODUCTS, SCARCE
from tables import show

from receiver import until

RULES = CONFIG / "prometheus" / "rules"
OBJECTIVE = "checkout-availability"


def recorded():
    """(file, series, what it is recorded for) of each recording rule."""
    for file in sorted(RULES.glob("*.yaml")):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                if "record" in rule:
                    yield file.name, rule["record"], rule.get("labels", {}).get("slo")


def test_every_recording_rule_returns_data(stack, traffic):
    def counts():
        return {rule: len(stack.query(rule[1] + (f'{{slo="{rule[2]}"}}' if rule[2] else ""))) for rule in sorted_rules}

    sorted_rules = sorted(recorded(), key=str)
    with stack.customers(20):
        until(lambda: all(counts().values()), 100, every=1)  # the budget's group runs once a minute
    show(
        "Recording rules",
        ("file", "series", "objective", "series found"),
        [(file, name, slo or "", count) for (file, name, slo), count in counts().items()],
    )
    unhealthy = [
        rule["name"]
        for group in stack.prometheus_api("rules")["groups"]
        for rule in group["rules"]
        if rule["health"] != "ok"
    ]
    assert not unhealthy


def alerts_of(stack, objective):
    return [
        alert
        for alert in stack.webhook.alerts
        if alert["labels"].get("slo") == objective and alert["labels"]["severity"] == "page"
    ]


def firing(stack):
    found = stack.query(f'ALERTS{{slo="{OBJECTIVE}", severity="page", alertstate="firing"}}')
    return found and found[0][0]


def receivers(stack, name):
    """To whom Alertmanager sends the alerts of a name."""
    found = httpx.get(f"{stack.alertmanager.url}/api/v2/alerts", params={"filter": f'alertname="{name}"'}).json()
    return {receiver["name"] for alert in found for receiver in alert["receivers"]}


def client_of(stack):
    """A connection a request: a server closes the one on which its app has raised."""
    return httpx.Client(base_url=stack.url, timeout=10, limits=httpx.Limits(max_keepalive_connections=0))


def checkouts(client, count):
    """The answers to some checkouts of someone new each time, by status."""
    sku = next(sku for sku in PRODUCTS if sku != SCARCE)
    cart = {"items": [{"sku": sku, "quantity": 1}], "payment_method": "card"}
    headers = [{"x-user-id": f"u{number}", "idempotency-key": uuid.uuid4().hex} for number in range(count)]
    return Counter(client.post("/checkout", headers=each, json=cart).status_code for each in headers)


@pytest.mark.timeout(300)
def test_a_fault_wakes_somebody_and_nothing_before(stack, traffic):
    assert not firing(stack)
    assert not alerts_of(stack, OBJECTIVE)
    until(lambda: "heartbeat" in receivers(stack, "Watchdog"), 60, every=1)  # the way of an alert is whole
    begun = time.monotonic()
    seen = Counter()
    with stack.without("payments"), client_of(stack) as client:
        until(lambda: seen.update(checkouts(client, 20)) or firing(stack), 180, every=0.5)
        fired = time.monotonic() - begun
        until(lambda: alerts_of(stack, OBJECTIVE), 60, every=0.5)
        told = time.monotonic() - begun
    assert "Watchdog" not in {alert["labels"]["alertname"] for alert in stack.webhook.alerts}
    alert = alerts_of(stack, OBJECTIVE)[0]
    assert alert["status"] == "firing"
    assert alert["labels"]["alertname"] == "ErrorBudgetBurnsFast"
    assert alert["labels"]["service_name"] == "gateway"
    assert alert["annotations"]["summary"] == f"gateway /checkout misses its objective {OBJECTIVE}"
    assert alert["annotations"]["runbook_url"].endswith("#errorbudgetburnsfast")
    assert "var-service=gateway" in alert["annotations"]["dashboard_url"]
    show(
        "An injected fault: payments is dead",
        ("after", "what"),
        [
            (f"{fired:.0f} s", "the alert fires in Prometheus"),
            (f"{told:.0f} s", "Alertmanager's webhook has it"),
            ("", f"answers meanwhile: {dict(seen)}"),
            ("", alert["annotations"]["description"]),
        ],
    )
