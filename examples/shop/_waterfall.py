"""A trace drawn: a tree of operations, their bars on one time axis, their fields and log lines beneath."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from examples.shop._tree import Node

OMITTED = frozenset(
    {
        *("timestamp", "level", "message", "logger", "trace_id", "span_id", "trace_flags", "parent_span_id"),
        *("event.name", "duration_ms", "time_to_first_byte_ms", "outcome", "sample_rate", "code.function.name"),
        *("deployment.environment.name", "exception.stacktrace", "db.client.errors", "order.id", "user.id"),
    }
)
CONVENTIONAL = ("http.", "url.", "server.", "client.", "user_agent.", "network.", "service.")
NAME_WIDTH = 42
NUMBERS_WIDTH = 20


def waterfall(root: Node, width: int) -> Text:
    """The tree below `root`, drawn for a terminal of `width` columns."""
    end_us = max(node.end_us for node in root.walk())
    span_us = max(end_us - root.start_us, 1.0)
    axis = Axis(root.start_us, span_us, max(width - NAME_WIDTH - NUMBERS_WIDTH, 10))
    header = Text(f"{'trace ' + root.fields.get('trace_id', ''):<{NAME_WIDTH}}", style="dim")
    header.append(f"{'0':<5}{f'{span_us / 1000:.0f} ms':>{axis.width - 5}}{'ms':>10}{'own ms':>10}")
    return Text("\n").join([header, *draw(root, "", "", axis)])


@dataclass(frozen=True)
class Axis:
    """Maps microseconds since the epoch to columns."""

    origin_us: float
    span_us: float
    width: int

    def columns(self, node: Node) -> range:
        """The columns that a node's time takes, one at least."""
        begin = min(round((node.start_us - self.origin_us) / self.span_us * self.width), self.width - 1)
        return range(begin, max(round((node.end_us - self.origin_us) / self.span_us * self.width), begin + 1))

    def bar(self, node: Node) -> tuple[str, str, str]:
        """Space before, the bar, space after; together `width` columns. Thin is where others worked for it."""
        taken, others = self.columns(node), {at for child in node.children for at in self.columns(child)}
        bar = "".join("─" if at in others else "█" for at in taken)
        return " " * taken.start, bar, " " * (self.width - taken.stop)


def draw(node: Node, lead: str, below: str, axis: Axis) -> Iterator[Text]:
    """The lines of a node and of what it caused: `lead` stands before its name, `below` before what follows."""
    failed = node.fields.get("outcome") == "error"
    name = Text(lead, style="dim")
    name.append(node.service, style="bold")
    name.append(f" {node.message}", style="red" if failed else "")
    name.truncate(NAME_WIDTH - 1, overflow="ellipsis", pad=True)
    before, bar, after = axis.bar(node)
    numbers = f"{(node.end_us - node.start_us) / 1000:10.1f}{node.own_ms:10.1f}"
    yield Text.assemble(name, " ", before, (bar, "red" if failed else "cyan"), after, numbers)
    margin = below + ("│  " if node.children else "   ")
    room = NAME_WIDTH + axis.width + NUMBERS_WIDTH - len(margin)
    for text in (*packed(facts(node.fields), room), *map(logged, node.logs)):
        text.truncate(room, overflow="ellipsis")
        yield Text(margin, style="dim") + text
    for child in node.children:
        last = child is node.children[-1]
        yield from draw(child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), axis)


def facts(fields: dict[str, Any]) -> list[str]:
    """What the code said, and after it the roll-up of its queries."""
    told = [name for name in fields if name not in OMITTED and not name.startswith(CONVENTIONAL)]
    told.sort(key=lambda name: name.startswith("db."))
    return [f"{name}={brief(fields[name])}" for name in told]


def packed(words: list[str], room: int) -> Iterator[Text]:
    """Words side by side, on as many lines as they need."""
    line = ""
    for word in words:
        if line and len(line) + 2 + len(word) > room:
            yield Text(line, style="yellow")
            line = ""
        line += ("  " if line else "") + word
    if line:
        yield Text(line, style="yellow")


def logged(line: dict[str, Any]) -> Text:
    told = "  ".join([f"· {line['level']}: {line['message']}", *facts(json.loads(line["fields"]))])
    return Text(told, style="dim red" if line["level"] == "error" else "dim")


def brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
