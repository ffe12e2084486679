"""Every panel says what it answers, in a unit, from a source that is provisioned; every link leads somewhere."""

import re
from collections import Counter
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from dashboard_queries import FOLDER, VARIABLE, dashboards

PROVISIONING = FOLDER.parent / "provisioning"
BOARDS = dashboards()
PANELS = [
    pytest.param(uid, panel, id=f"{uid} {panel['title']}")
    for uid, board in BOARDS.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]
GRAFANA_S = {"__rate_interval", "__range", "__auto", "__url_time_range", "__interval"}


def provisioned():
    files = sorted(PROVISIONING.glob("datasources/*.yaml"))
    return [each for path in files for each in yaml.safe_load(path.read_text(encoding="utf-8"))["datasources"]]


def variables(board):
    return {each["name"] for each in board["templating"]["list"]}


@pytest.mark.parametrize(("uid", "panel"), PANELS)
def test_a_panel_says_what_it_answers(uid, panel):
    assert panel["title"][0].isupper() or panel["title"][0] == "p"
    assert len(panel["title"]) <= 50
    assert panel["description"].endswith(".")
    if panel["type"] != "logs":
        assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@pytest.mark.parametrize(("uid", "panel"), PANELS)
def test_a_panel_s_queries_have_ids_and_one_source(uid, panel):
    assert panel["datasource"]["uid"] in {each["uid"] for each in provisioned()}
    refs = [target["refId"] for target in panel["targets"]]
    assert len(refs) == len(set(refs))
    assert all(refs)
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {panel["datasource"]["uid"]}


@pytest.mark.parametrize(("uid", "panel"), PANELS)
def test_a_table_s_columns_are_named(uid, panel):
    if panel["type"] != "table":
        return
    renamed = next(each for each in panel["transformations"] if each["id"] == "organize")["options"]["renameByName"]
    names = [f"Value #{target['refId']}" for target in panel["targets"]]
    assert set(names if len(names) > 1 else ["Value"]) <= set(renamed)
    shown = {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]}
    assert shown <= set(renamed.values())
    for target in panel["targets"]:
        grouped = re.search(r"by \(([^)]*)\)", target["expr"])[1].replace("le, ", "").split(", ")
        assert set(grouped) <= set(renamed), grouped


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_do_not_overlap_nor_leave_the_grid(uid):
    cells = Counter(
        (x, y)
        for panel in BOARDS[uid]["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24
    assert {x for x, _ in cells} == set(range(24))


@pytest.mark.parametrize("uid", BOARDS)
def test_rows_of_panels_fill_the_width(uid):
    by_line = Counter()
    for panel in BOARDS[uid]["panels"]:
        by_line[panel["gridPos"]["y"]] += panel["gridPos"]["w"]
    assert set(by_line.values()) == {24}


@pytest.mark.parametrize("uid", BOARDS)
def test_ids_are_unique_and_titles_too(uid):
    board = BOARDS[uid]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in board["panels"]]
    assert len(titles) == len(set(titles))
    assert board["tags"] == ["obskit"]
    assert board["description"]


@pytest.mark.parametrize("uid", BOARDS)
def test_variables_work_without_a_single_series(uid):
    for each in BOARDS[uid]["templating"]["list"]:
        assert each["description"], each["name"]
        if each["type"] == "query":
            assert each["includeAll"]
            assert each["current"]["value"] == "$__all"
            assert re.compile(each["allValue"]).pattern in {".*", ".+"}
            assert each["datasource"]["uid"] == "prometheus"
        else:
            assert each["current"]["value"] in {option["value"] for option in each["options"]}


@pytest.mark.parametrize("uid", BOARDS)
def test_only_variables_that_exist_are_used(uid):
    board = BOARDS[uid]
    known = variables(board) | GRAFANA_S | {"__data"}
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    queries += [each["target"]["expr"] for each in board["annotations"]["list"]]
    queries += [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    used = {found[1] or found[2] for query in queries for found in VARIABLE.finditer(query)}
    assert {name for name in used if not name.isdigit()} <= known
    unused = variables(board) - used
    assert not unused


def links():
    for uid, board in BOARDS.items():
        for panel in board["panels"]:
            overrides = panel.get("fieldConfig", {}).get("overrides", ())
            properties = [prop for each in overrides for prop in each["properties"] if prop["id"] == "links"]
            for link in [link for prop in properties for link in prop["value"]]:
                yield uid, panel, link["url"]


def test_links_lead_to_dashboards_and_set_variables_that_they_have():
    found = list(links())
    assert found
    for uid, panel, url in found:
        path = urlsplit(url).path
        assert path.startswith("/d/"), url
        target = path.removeprefix("/d/")
        assert target in BOARDS, url
        query = urlsplit(url).query
        set_there = {name.removeprefix("var-") for name, _ in parse_qsl(query) if name.startswith("var-")}
        passed_on = set(re.findall(r"\$\{(\w+):queryparam\}", query))
        assert set_there | passed_on <= variables(BOARDS[target]), url
        assert passed_on <= variables(BOARDS[uid]), url
        assert {"environment", "namespace", "service"} <= set_there | passed_on, url
        assert "${__url_time_range}" in query
        columns = next(each for each in panel["transformations"] if each["id"] == "organize")
        for column in re.findall(r"__data\.fields\.(\w+):percentencode", query):
            assert column in columns["options"]["renameByName"].values(), url


def test_alerts_lead_to_dashboards_and_set_variables_that_they_have():
    rules = FOLDER.parents[1] / "collector-config/prometheus/rules"
    groups = [group for path in rules.glob("*.yaml") for group in yaml.safe_load(path.read_text("utf-8"))["groups"]]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert alerts
    for alert in alerts:
        url = urlsplit(alert["annotations"]["dashboard_url"])
        board = BOARDS[url.path.removeprefix("/d/")]
        assert {name.removeprefix("var-") for name, _ in parse_qsl(url.query)} <= variables(board), alert["alert"]


@pytest.mark.parametrize("uid", BOARDS)
def test_each_dashboard_lists_the_others_and_keeps_what_was_chosen(uid):
    link = BOARDS[uid]["links"][0]
    assert link["tags"] == ["obskit"]
    assert link["includeVars"]
    assert link["keepTime"]
    assert "placement" not in link  # above the panels, not in a menu
