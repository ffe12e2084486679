"""A trace drawn: a tree of operations, their bars on one time axis, their fields and log lines beneath."""

import json
from collections.abc import Iterator
from typing import Any

from rich.text import Text

from examples.shop._tree import Node

FRAME = frozenset(
    {"timestamp", "level", "message", "logger", "trace_id", "span_id", "trace_flags", "parent_span_id", "event.name"}
)
OMITTED = FRAME | {
    *("service.name", "service.version", "deployment.environment.name", "duration_ms", "time_to_first_byte_ms"),
    *("http.request.method", "http.route", "http.response.status_code", "outcome", "sample_rate", "operation.name"),
    *("exception.stacktrace", "order.id", "user.id", "code.function.name"),
}
CONVENTIONAL = ("url.", "server.", "client.", "user_agent.", "network.", "http.request.", "http.response.")
NAME_WIDTH = 42
NUMBERS_WIDTH = 20


def waterfall(root: Node, width: int) -> Text:
    """The tree below `root`, drawn for a terminal of `width` columns."""
    end_us = max(node.end_us for node in root.walk())
    span_us = max(end_us - root.start_us, 1.0)
    bar_width = max(width - NAME_WIDTH - NUMBERS_WIDTH, 10)
    header = Text(f"{'trace ' + root.fields.get('trace_id', ''):<{NAME_WIDTH}}", style="dim")
    header.append(
        f"{'0':<{bar_width // 2}}{f'{span_us / 1000:.0f} ms':>{bar_width - bar_width // 2}}{'ms':>10}{'own ms':>10}"
    )
    lines = [header, *draw(root, "", "", width, lambda node: bar(node, root.start_us, span_us, bar_width))]
    return Text("\n").join(lines)


def bar(node: Node, origin_us: float, span_us: float, width: int) -> tuple[str, str, str]:
    """Space before, the bar, space after; together `width` columns."""
    begin = min(round((node.start_us - origin_us) / span_us * width), width - 1)
    end = max(round((node.end_us - origin_us) / span_us * width), begin + 1)
    return " " * begin, "█" * (end - begin), " " * (width - end)


def draw(node: Node, lead: str, below: str, width: int, bar_of: Any) -> Iterator[Text]:
    status = node.fields.get("http.response.status_code")
    failed = node.fields.get("outcome") == "error"
    name = Text(lead, style="dim")
    name.append(node.service, style="bold")
    name.append(f" {node.message}", style="red" if failed else "green" if status else "")
    name.truncate(NAME_WIDTH - 1, overflow="ellipsis", pad=True)
    before, filled, after = bar_of(node)
    milliseconds = (node.end_us - node.start_us) / 1000
    yield Text.assemble(
        name, " ", before, (filled, "red" if failed else "cyan"), after, f"{milliseconds:10.1f}{node.own_ms:10.1f}"
    )
    margin = below + ("│  " if node.children else "   ")
    for text in (facts(node), *map(logged, node.logs)):
        if text:
            line = Text(margin, style="dim") + text
            line.truncate(width - 1, overflow="ellipsis")
            yield line
    for at, child in enumerate(node.children, 1):
        last = at == len(node.children)
        yield from draw(child, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), width, bar_of)


def facts(node: Node) -> Text:
    """What the code said about this operation, and the roll-ups of what it called."""
    shown = {
        name: value for name, value in node.fields.items() if name not in OMITTED and not name.startswith(CONVENTIONAL)
    }
    return Text("  ".join(f"{name}={brief(value)}" for name, value in shown.items()), style="yellow")


def logged(line: dict[str, Any]) -> Text:
    said = json.loads(line["fields"])
    fields = {name: value for name, value in said.items() if name not in OMITTED and not name.startswith(CONVENTIONAL)}
    told = "  ".join(f"{name}={brief(value)}" for name, value in fields.items())
    return Text(
        f"· {line['level']}: {line['message']}  {told}".rstrip(), style="dim red" if line["level"] == "error" else "dim"
    )


def brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
