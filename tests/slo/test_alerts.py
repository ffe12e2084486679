"""The alerts that ship: each is tested both ways, and has what a person needs who is woken by it."""

import json
import re
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "collector-config" / "prometheus"
DASHBOARDS = Path(__file__).parents[2] / "dashboards" / "json"
RULES = [
    rule
    for file in sorted((FOLDER / "rules").glob("*.yaml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
#: Which fire always, for somebody outside who notices when they do not.
ALWAYS = {"Watchdog"}


def cases():
    """What promtool is asked: (alert, whether it is to fire)."""
    for file in sorted((FOLDER / "tests").glob("*.yaml")):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for asked in test["promql_expr_test"]:
                name = re.match(r'ALERTS\{alertname="(\w+)".*alertstate="firing"\}$', asked["expr"])[1]
                yield name, bool(asked["exp_samples"])


def test_names_are_taken_once():
    names = [rule["alert"] for rule in RULES if "alert" in rule]
    assert len(names) == len(set(names)) == 25


@pytest.mark.parametrize("fires", [True, False], ids=["firing", "not firing"])
def test_each_alert_has_a_test(fires):
    assert {name for name, expected in cases() if expected is fires} == set(ALERTS) - (set() if fires else ALWAYS)


@pytest.mark.parametrize("name", ALERTS)
def test_it_says_what_to_do_and_where_to_look(name):
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ({"none"} if name in ALWAYS else {"page", "ticket"})
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}
    page, anchor = notes["runbook_url"].split("#")
    sections = re.findall(r"^## (\w+)$", (FOLDER.parents[1] / page).read_text(), re.MULTILINE)
    assert anchor in {section.lower() for section in sections}
    assert name in sections
    board = re.search(r"/d/([\w-]+)", notes["dashboard_url"])[1]
    assert board in {json.loads(file.read_text())["uid"] for file in DASHBOARDS.glob("*.json")}


def test_each_section_of_the_runbooks_is_of_an_alert():
    assert set(re.findall(r"^## (\w+)$", (FOLDER / "runbooks.md").read_text(), re.MULTILINE)) == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_its_texts_name_labels_that_it_has(name):
    """Of what is summed, only the labels summed by stay: another would be an empty place in the sentence."""
    alert = ALERTS[name]
    named = set(re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])))
    kept = re.findall(r"\bby \(([^)]*)\)", alert["expr"])
    if kept:
        assert all(named <= set(re.split(r",\s*", labels)) - {"le"} for labels in kept), (named, kept)
