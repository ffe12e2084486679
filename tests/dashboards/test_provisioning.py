"""The data sources have the uids that dashboards name, and their links lead to each other."""

import re
from pathlib import Path

import promql_parser
import yaml
from dashboard_queries import BUILT_IN, FOLDER, PROVISIONING, dashboards, data_sources, from_span

ROOT = Path(__file__).parents[2]
README = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
VARIABLES = dict(re.findall(r"^\| `([A-Z_]+)` \|.*?`([^`]+)`", README, re.MULTILINE))
SOURCES = data_sources(**VARIABLES)
TAGS = {"http.route": "/orders/{order_id}", "http.request.method": "GET", "service.namespace": "shop"}


def referred(value):
    """Every datasourceUid below a value."""
    if isinstance(value, dict):
        yield from (each for key, each in value.items() if key == "datasourceUid")
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from referred(each)


def test_data_sources_have_fixed_uids_that_all_references_name():
    assert set(SOURCES) == {"prometheus", "jaeger", "loki", "alertmanager"}
    assert {name: each["type"] for name, each in SOURCES.items()} == {name: name for name in SOURCES}
    assert {uid for each in SOURCES.values() for uid in referred(each)} == {"prometheus", "jaeger", "loki"}
    assert [uid for uid, each in SOURCES.items() if each.get("isDefault")] == ["prometheus"]


def test_signals_lead_to_each_other():
    prometheus, loki, jaeger = (SOURCES[uid]["jsonData"] for uid in ("prometheus", "loki", "jaeger"))
    assert [(each["name"], each["datasourceUid"]) for each in prometheus["exemplarTraceIdDestinations"]] == [
        ("trace_id", "jaeger")
    ]
    [field] = loki["derivedFields"]
    assert (field["matcherType"], field["matcherRegex"], field["datasourceUid"]) == ("label", "trace_id", "jaeger")
    assert field["url"] == "${__value.raw}"
    assert jaeger["tracesToLogsV2"]["datasourceUid"] == "loki"
    assert jaeger["tracesToMetrics"]["datasourceUid"] == "prometheus"


def test_queries_from_a_span_are_whole():
    jaeger = SOURCES["jaeger"]["jsonData"]
    assert from_span(jaeger["tracesToLogsV2"]["query"], TAGS, [], "abc") == '{service_name=~".+"} | trace_id="abc"'
    links = jaeger["tracesToMetrics"]
    for each in links["queries"]:
        for tags in (TAGS, {}):
            promql_parser.parse(from_span(each["query"], tags, links["tags"], "abc"))
    assert 'http_route="/orders/{order_id}"' in from_span(links["queries"][0]["query"], TAGS, links["tags"], "abc")
    assert BUILT_IN["__rate_interval"] in from_span(links["queries"][0]["query"], TAGS, links["tags"], "abc")


def test_compose_sets_each_variable_to_what_the_readme_says():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    grafana = compose["services"]["grafana"]
    assert VARIABLES.items() <= grafana["environment"].items()
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"] if volume.startswith("./"))
    assert mounts["./dashboards/json"] == VARIABLES["OBSKIT_DASHBOARDS"]
    for folder in PROVISIONING.iterdir():
        mounted = mounts[f"./dashboards/provisioning/{folder.name}"]
        assert mounted == f"/etc/grafana/provisioning/{folder.name}"


def test_the_provider_reads_the_folder_and_nobody_changes_it():
    [provider] = yaml.safe_load((PROVISIONING / "dashboards/obskit.yaml").read_text(encoding="utf-8"))["providers"]
    assert provider["options"]["path"] == "$OBSKIT_DASHBOARDS"
    assert provider["disableDeletion"]
    assert not provider["allowUiUpdates"]
    assert all(not board["editable"] for board in dashboards().values())


def test_the_readme_lists_the_dashboards():
    assert set(re.findall(r"^\| `(obskit-\w+)` \|", README, re.MULTILINE)) == set(dashboards())
