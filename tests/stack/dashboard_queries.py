"""Every query of the committed dashboards, with variables replaced as Grafana replaces them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "dashboards" / "json"
PROVISIONING = FOLDER.parent / "provisioning"
#: A variable in a provisioning file; two dollars are one, to Grafana.
EXPANDED = re.compile(r"\$\$|\$(?:(\w+)|\{(\w+)\})")

#: Grafana's own variables; the windows reach back to the beginning of a run.
BUILT_IN = {"__rate_interval": "10m", "__interval": "5s", "__auto": "10m", "__range": "15m"}
VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})")
LABEL_VALUES = re.compile(r"label_values\((.+), (\$?\w+)\)")


@dataclass(frozen=True)
class Query:
    """One query of a dashboard.

    `kind` is panel, annotation or variable; `expr` is PromQL or LogQL with Grafana's variables in it, of a variable the
    series whose values of `label` are asked for.
    """

    dashboard: str
    panel: str
    kind: str
    datasource: str
    expr: str
    instant: bool = False
    exemplar: bool = False
    label: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)

    def expanded(self, **values: str) -> str:
        """The expression as it is sent, with the variables' first values, or with others."""
        return expand(self.expr, {**BUILT_IN, **self.variables, **values})


def dashboards(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """The committed dashboards by uid."""
    read = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")))
    return {each["uid"]: each for each in read}


def queries(folder: Path = FOLDER) -> list[Query]:
    """The queries of all panels, annotations and template variables."""
    return [query for uid, board in dashboards(folder).items() for query in of_dashboard(uid, board)]


def of_dashboard(uid: str, board: Mapping[str, Any]) -> Iterator[Query]:
    values = first_values(board)
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield Query(
                uid,
                panel["title"],
                "panel",
                target["datasource"]["uid"],
                target["expr"],
                instant=target.get("instant", False) or target.get("queryType") == "instant",
                exemplar=target.get("exemplar", False),
                variables=values,
            )
    for each in board["annotations"]["list"]:
        yield Query(
            uid, each["name"], "annotation", each["datasource"]["uid"], each["target"]["expr"], variables=values
        )
    for each in board["templating"]["list"]:
        if each["type"] == "query":
            series, label = LABEL_VALUES.fullmatch(each["query"]["query"]).groups()
            source = each["datasource"]["uid"]
            yield Query(uid, each["name"], "variable", source, series, label=expand(label, values), variables=values)


def first_values(board: Mapping[str, Any]) -> dict[str, str]:
    """What the variables stand for when the dashboard is opened."""
    return {
        each["name"]: each["allValue"] if each["current"]["value"] == "$__all" else each["current"]["value"]
        for each in board["templating"]["list"]
    }


def expand(expr: str, values: Mapping[str, str]) -> str:
    """An expression with its variables replaced; one that is not known is an error, as it would be in Grafana."""
    return VARIABLE.sub(lambda found: values[found[1] or found[2]] if not _group(found) else found[0], expr)


def _group(found: re.Match[str]) -> bool:
    """Whether it is a group of a regular expression, as in ``label_replace``."""
    return (found[1] or found[2]).isdigit()


def data_sources(**environ: str) -> dict[str, dict[str, Any]]:
    """The provisioned data sources by uid, with variables expanded as Grafana does; one that is not given is an error."""
    expanded = (
        EXPANDED.sub(lambda found: "$" if found[0] == "$$" else environ[found[1] or found[2]], text)
        for text in (path.read_text(encoding="utf-8") for path in sorted(PROVISIONING.glob("datasources/*.yaml")))
    )
    return {each["uid"]: each for text in expanded for each in yaml.safe_load(text)["datasources"]}


def from_span(link: str, tags: Mapping[str, Any], keys: list[Mapping[str, str]], trace_id: str) -> str:
    """The query that a link opens from a span: the labels that its tags give, the time and the trace filled in."""
    labels = ", ".join(f'{key["value"]}="{tags[key["key"]]}"' for key in keys if key["key"] in tags)
    filled = link.replace("${__tags}", labels).replace("${__trace.traceId}", trace_id)
    return expand(filled, BUILT_IN)
