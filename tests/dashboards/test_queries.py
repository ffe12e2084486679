"""Every PromQL expression parses, selects by identity, and names series that exist."""

import re
from pathlib import Path

import promql_parser
import pytest
from dashboard_queries import expand, queries

from dashboards.generate import series
from dashboards.generate.promql import IDENTITY

METRICS = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text(encoding="utf-8")
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",), "info": ("",)}
OURS = {
    name + suffix
    for name, kind in re.findall(rf"^\| `(\w+)` \| ({'|'.join(SUFFIXES)}) \|", METRICS, re.MULTILINE)
    for suffix in SUFFIXES[kind]
}
OTHERS = {
    each
    for name, value in vars(series).items()
    if name.isupper()
    for each in (value.values() if isinstance(value, dict) else [value])
}
#: The Collector's service graph has two services on each series: either is the one that is chosen.
IDENTITIES = [IDENTITY] + [
    {side if label == "service_name" else f"{side}_{label}": value for label, value in IDENTITY.items()}
    for side in ("client", "server")
]

PROMQL = [query for query in queries() if query.datasource == "prometheus"]
LOGQL = [query for query in queries() if query.datasource == "loki"]


def name(query):
    return f"{query.dashboard} {query.panel}"


def selectors(expr):
    """The vector selectors of an expression."""
    found = []
    promql_parser.walk(promql_parser.parse(expr), found.append)
    return [node for node in found if isinstance(node, promql_parser.VectorSelector)]


@pytest.mark.parametrize("query", PROMQL, ids=name)
def test_promql_parses_and_names_series_that_exist(query):
    for selector in selectors(query.expanded()):
        assert selector.name in OURS | OTHERS


@pytest.mark.parametrize("query", PROMQL, ids=name)
def test_promql_parses_whatever_is_chosen(query):
    """Grafana joins several values, and escapes them, where a variable stands in a regular expression."""
    chosen = dict.fromkeys(("route", "service"), r"(/orders/\\{order_id\\}|/a\\.b)")
    promql_parser.parse(query.expanded(**chosen))


@pytest.mark.parametrize("query", PROMQL, ids=name)
def test_each_series_is_selected_by_identity(query):
    found = selectors(query.expanded())
    assert found
    if query.kind == "variable":
        return  # each of the first three variables narrows the next
    for selector in found:
        labels = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
        if selector.name.startswith("otelcol_"):  # Collectors are no service
            assert {"job": "otelcol", "instance": ".*"}.items() <= labels.items()
            continue
        expected = [{label: expand(value, query.variables) for label, value in each.items()} for each in IDENTITIES]
        assert any(each.items() <= labels.items() for each in expected), selector


@pytest.mark.parametrize("query", LOGQL, ids=name)
def test_logql_selects_streams_by_identity_and_never_all(query):
    streams = re.findall(r"\{(\w+=~?\"[^{}]*)\}", query.expanded())
    assert streams
    for stream in streams:
        assert set(IDENTITY) <= set(re.findall(r"(\w+)=~", stream))
        assert 'service_name=~".+"' in stream  # Loki refuses a selector that could match nothing


def test_there_are_queries_of_each_kind():
    assert {query.kind for query in queries()} == {"panel", "annotation", "variable"}
    assert PROMQL
    assert LOGQL
