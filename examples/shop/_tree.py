"""A trace as a tree, rebuilt from nothing but its JSON lines."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Node:
    """One canonical line: an operation of one service, what it logged, and the operations that it caused."""

    service: str
    message: str
    span_id: str
    parent_span_id: str
    start_us: float
    end_us: float
    fields: dict[str, Any]
    logs: list[dict[str, Any]] = field(default_factory=list)
    children: list["Node"] = field(default_factory=list)

    @property
    def own_ms(self) -> float:
        """Time that it did not spend waiting for the services it called, in milliseconds."""
        waited = float(self.fields.get("http.client.duration_ms", 0))
        return max((self.end_us - self.start_us) / 1000 - waited, 0)

    def encloses(self, other: "Node") -> bool:
        return self.start_us <= other.start_us and other.end_us <= self.end_us

    def walk(self) -> Iterator["Node"]:
        yield self
        for child in self.children:
            yield from child.walk()


def tree(lines: Iterable[Mapping[str, Any]]) -> list[Node]:
    """The roots of a trace.

    Args:
        lines: rows of the question TRACE.

    A line may name its parent span. If that has a line too, it is the parent. If it is the client span of a call, which
    has none, the parent is the innermost operation that made calls and encloses the request in time. What is not a
    request was begun by its own service.
    """
    rows = list(lines)
    nodes = sorted((node(row) for row in rows if is_operation(row)), key=lambda node: (node.start_us, -node.end_us))
    by_span = {node.span_id: node for node in nodes}
    roots: list[Node] = []
    for each in nodes:
        find = caller if each.fields.get("event.name") == "http.server.request" else beginner
        parent = by_span.get(each.parent_span_id) or find(each, nodes)
        (parent.children if parent else roots).append(each)
    for row in rows:
        if not is_operation(row):
            home = by_span.get(row["span_id"]) or next((n for n in nodes if n.service == row["service"]), None)
            if home:
                home.logs.append(dict(row))
    return roots


def is_operation(row: Mapping[str, Any]) -> bool:
    return bool(row["event"]) and row["duration_ms"] is not None


def node(row: Mapping[str, Any]) -> Node:
    end_us = float(row["ended_us"])
    start_us = end_us - row["duration_ms"] * 1000
    spans = row["span_id"] or "", row["parent_span_id"] or ""
    return Node(row["service"], row["message"] or "", *spans, start_us, end_us, json.loads(row["fields"]))


def caller(callee: Node, nodes: Iterable[Node]) -> Node | None:
    around = [each for each in nodes if each is not callee and made_calls(each) and each.encloses(callee)]
    return min(around, key=lambda each: each.end_us - each.start_us, default=None)


def beginner(work: Node, nodes: Iterable[Node]) -> Node | None:
    before = [each for each in nodes if each.service == work.service and each.start_us < work.start_us]
    return max(before, key=lambda each: each.start_us, default=None)


def made_calls(each: Node) -> bool:
    return bool(each.fields.get("http.client.count"))
