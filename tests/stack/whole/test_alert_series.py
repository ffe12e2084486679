"""The series that alerts ask for, and the labels by which they sum, are those that the programs have: else none would fire."""

import re

import promql_parser
import yaml
from backends import program
from daemon import CONFIG
from tables import show

EXPRESSIONS = [
    rule["expr"]
    for name in ("services", "stack")
    for group in yaml.safe_load((CONFIG / "prometheus" / "rules" / f"{name}.yaml").read_text())["groups"]
    for rule in group["rules"]
]
#: There is none of these before the first loss, or of metrics, which the shop does not push. The Collector's binary has the
#: names without what Prometheus adds.
SELDOM = re.compile(
    r"otelcol_((?:exporter|processor)_\w*(?:_failed_|_too_early)\w*|receiver_refused_metric_points)_total"
)


def of_kind(tree, kind):
    """The nodes of one kind in an expression."""
    found = []
    promql_parser.walk(tree, found.append)
    return [node for node in found if isinstance(node, kind)]


def names(selector):
    """The name that a selector asks for, or those that its regular expression says."""
    named = selector.name or next(each.value for each in selector.matchers.matchers if each.name == "__name__")
    return set(alternatives(named))


def alternatives(pattern):
    """`a_(b|c)_d` as a_b_d and a_c_d."""
    group = re.search(r"\(([^()]*)\)", pattern)
    if group is None:
        yield from pattern.split("|")
        return
    for each in group[1].split("|"):
        yield from alternatives(pattern[: group.start()] + each + pattern[group.end() :])


def asked():
    """What all alerts need: {name: labels that they sum it by}."""
    needed = {}
    for expr in EXPRESSIONS:
        tree = promql_parser.parse(expr)
        for selector in of_kind(tree, promql_parser.VectorSelector):
            for name in names(selector):
                needed.setdefault(name, set())
        for total in of_kind(tree, promql_parser.AggregateExpr):
            for selector in of_kind(total, promql_parser.VectorSelector):
                for name in names(selector):
                    needed[name] |= set(total.modifier.labels) - {"le"}
    return needed


def test_what_alerts_ask_for_exists(stack, traffic):
    binary = program("otelcol").read_bytes()
    rows, wrong = [], []
    for name, labels in sorted(asked().items()):
        series = stack.query(f"count(last_over_time({name}[1h]))")
        if not series and (rare := SELDOM.fullmatch(name)):
            rows.append((name, "none here; the Collector has the name"))
            wrong += [] if rare[1].encode() in binary else [name]
            continue
        without = [label for label in sorted(labels) if not stack.query(f'last_over_time({name}{{{label}!=""}}[1h])')]
        wrong += [name] if not series else [f"{name} has no label {label}" for label in without]
        rows.append((name, f"{series[0][1]:.0f}" if series else "none"))
    show("What alerts ask for", ("name", "series"), rows)
    assert wrong == []
