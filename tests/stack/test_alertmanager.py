"""Of one cause one alert: what Alertmanager holds back, and what it does not, by the file that ships."""

import re
from contextlib import suppress

import httpx
import pytest
import yaml
from daemon import CONFIG

from programs import Alertmanager
from receiver import until
from stack import Webhook

ORDERS = {"service_name": "orders", "service_namespace": "shop", "deployment_environment_name": "test"}
USERS = ORDERS | {"service_name": "users"}
SLO = {"slo": "orders", "http_route": "/orders"}
FAST, SLOW = (
    {"alertname": "ErrorBudgetBurnsFast", "severity": "page"},
    {"alertname": "ErrorBudgetBurnsSlowly", "severity": "ticket"},
)
DOWN = {"alertname": "ServiceDown", "severity": "page"}
CHECK = {"check": "database"}
UNREADY, FAILS = {"alertname": "NotReady", "severity": "page"}, {"alertname": "HealthCheckFails", "severity": "ticket"}
COLLECTOR = {"alertname": "CollectorRefuses", "severity": "ticket", "instance": "gateway"}
CASES = {
    "a service that is gone burns no budget": (DOWN | ORDERS, FAST | ORDERS | SLO, True),
    "another one may": (DOWN | ORDERS, FAST | USERS | SLO, False),
    "a service without a name silences no collector": (DOWN, COLLECTOR, False),
    "a page silences the ticket of its objective": (FAST | ORDERS | SLO, SLOW | ORDERS | SLO, True),
    "but not of another": (FAST | ORDERS | SLO, SLOW | ORDERS | SLO | {"slo": "other"}, False),
    "all instances are more than one": (UNREADY | ORDERS | CHECK, FAILS | ORDERS | CHECK, True),
    "another check is another matter": (UNREADY | ORDERS | CHECK, FAILS | ORDERS | {"check": "cache"}, False),
}  # fmt: skip


@pytest.mark.parametrize(("cause", "symptom", "silenced"), CASES.values(), ids=CASES)
def test_of_one_cause_one_alert(tmp_path, cause, symptom, silenced):
    expected = {cause["alertname"]: "active", symptom["alertname"]: "suppressed" if silenced else "active"}
    alertmanager = Alertmanager(tmp_path, "http://127.0.0.1:9/")
    alertmanager.start()
    try:
        url = f"{alertmanager.url}/api/v2/alerts"
        httpx.post(url, json=[{"labels": labels} for labels in (cause, symptom)]).raise_for_status()
        with suppress(AssertionError):  # a symptom is active until its cause has had its turn
            until(lambda: states(url) == expected, 10, every=0.2)
        assert states(url) == expected
    finally:
        alertmanager.stop()


def test_a_service_outside_hears_the_heartbeat_as_the_readme_gives_it_an_address(tmp_path):
    """What README.md shows takes the place of the receiver that ships, and nobody else hears."""
    readme = (CONFIG / "prometheus" / "README.md").read_text()
    [shown] = re.findall(r'```yaml title="alertmanager.yaml"\n(.*?)```', readme, re.DOTALL)
    [receiver] = yaml.safe_load(shown)["receivers"]
    team, outside = Webhook(), Webhook()
    alertmanager = Alertmanager(tmp_path, team.url)
    config = yaml.safe_load((CONFIG / "prometheus" / "alertmanager.yaml").read_text())
    assert {"name": receiver["name"]} in config["receivers"]
    config["receivers"] = [each for each in config["receivers"] if each["name"] != receiver["name"]] + [receiver]
    (alertmanager.folder / "alertmanager.yaml").unlink()
    (alertmanager.folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    (alertmanager.folder / receiver["webhook_configs"][0]["url_file"]).write_text(outside.url)
    try:
        alertmanager.start()
        watchdog = {"alertname": "Watchdog", "severity": "none"}
        httpx.post(f"{alertmanager.url}/api/v2/alerts", json=[{"labels": watchdog}]).raise_for_status()
        until(lambda: [each["labels"] for each in outside.alerts] == [watchdog], 10, every=0.2)
        assert team.alerts == []
    finally:
        alertmanager.stop()
        team.close()
        outside.close()


def states(url):
    """The state of each alert by its name."""
    return {alert["labels"]["alertname"]: alert["status"]["state"] for alert in httpx.get(url).json()}
