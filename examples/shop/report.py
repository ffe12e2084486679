"""What the services said, read back and shown."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from examples.shop import _questions as q
from examples.shop._answer import Finding, sentence
from examples.shop._exposition import Histogram, Key, histograms
from examples.shop._tables import across_table, add, apart_table, spent_table, table
from examples.shop._tree import tree
from examples.shop._waterfall import waterfall

PLAIN_WIDTH = 100
WIDE = 96
QUANTILES = (0.5, 0.95, 0.99)
ROUTE_LABELS = ("http_request_method", "http_route")
Connection = duckdb.DuckDBPyConnection
Row = dict[str, Any]


def console() -> Console:
    """The terminal at its own width; what is not a terminal, at a hundred columns."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PLAIN_WIDTH)


def show(folder: Path, seconds: float, out: Console) -> bool:
    """Print the three answers from the files of a run.

    Args:
        folder: holds ``<service>.jsonl`` and ``<service>.metrics``.
        seconds: how long the load ran, for rates.
        out: where to.

    Returns:
        Whether the metrics and the lines agreed on everything that both say.
    """
    lines = q.opened(folder)
    out.print(read_note(lines))
    heading(out, "1  How is the shop?", "milliseconds, exact from the JSON lines, ≈ from the histograms of /metrics")
    agreed = red(lines, histograms(folder, ROUTE_LABELS), seconds, out)
    worst = next(iter(q.rows(lines, q.WORST)), None)
    if worst:
        agreed = explain(lines, worst, folder, out) and agreed
    else:
        out.print("\nToo few requests to compare tiers: let customers come for longer, or more of them.")
    (folder / "questions.sql").write_text(q.script(lines))
    return agreed


def explain(lines: Connection, worst: Row, folder: Path, out: Console) -> bool:
    """Show a slow request of the worst tier and endpoint, and why they are slow; returns as :func:`show` does."""
    q.assign(lines, **worst)
    lines.execute(q.SUSPECTS)
    endpoint, tier = f"{worst['method']} {worst['route']}", worst["tier"]
    heading(out, "2  What does a slow request look like?", f"a typical slow {endpoint} of {tier}, in all services")
    one_trace(lines, folder, out)
    heading(out, f"3  Why is the p99 of {endpoint} high for {tier}?")
    agreed = tiers(lines, histograms(folder, (*ROUTE_LABELS, "user_tier")), worst, out)
    why(lines, worst, out)
    return agreed


def place(path: Path) -> Path:
    """A path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def heading(out: Console, question: str, note: str = "") -> None:
    out.print()
    out.rule(Text(question, style="bold"), align="left", style="cyan")
    if note:
        out.print(Text(note, style="dim"))
    out.print()


def read_note(lines: Connection) -> Text:
    total, unreadable = lines.execute("SELECT count(*), count(*) FILTER (NOT readable) FROM lines").fetchone() or (0, 0)
    note = Text(f"Read {total:,} lines", style="dim")
    if unreadable:
        note.append(f"; {unreadable:,} of them are no JSON objects and are left out", style="yellow")
    return note


def red(lines: Connection, metrics: dict[Key, Histogram], seconds: float, out: Console) -> bool:
    """Rate, errors and duration of each route, and in words whether the metrics and the lines agree on them."""
    approximate = out.width >= WIDE
    shown = table("service", "route", "requests", "per s", "5xx", *quantile_columns(approximate), left=2)
    answers = {(row["service"], row["method"], row["route"]): row for row in q.rows(lines, q.RED)}
    apart = []
    for key in sorted({*answers, *metrics}):
        row, histogram = answers.get(key), metrics.get(key, Histogram())
        same = agree(row, histogram)
        if not same:
            apart.append(" ".join(key))
        requests = row["requests"] if row else 0
        count = f"{histogram.count:,}" if histogram.count == requests else f"{histogram.count:,} ≠ {requests:,}"
        share = histogram.errors / max(histogram.count, 1)
        errors = Text(f"{share:.1%}" if share else "-", style="red" if share else "dim")
        cells = (key[0], f"{key[1]} {key[2] or '(no route)'}", count, f"{histogram.count / seconds:.1f}", errors)
        add(shown, *cells, *durations(row, histogram, approximate=approximate))
    out.print(shown)
    out.print(verdict(sum(histogram.count for histogram in metrics.values()), len(answers), apart))
    return not apart


def agree(row: Row | None, histogram: Histogram) -> bool:
    """Whether a route's lines and its histogram say the same."""
    if row is None or (row["requests"], row["errors"]) != (histogram.count, histogram.errors):
        return False
    return all(map(histogram.holds, QUANTILES, row["quantiles"]))


def quantile_columns(approximate: bool) -> Iterable[str]:  # noqa: FBT001  (two kinds of table, not an option)
    for quantile in QUANTILES:
        yield f"p{quantile * 100:.0f}"
        if approximate:
            yield "≈"


def durations(row: Row | None, histogram: Histogram, *, approximate: bool) -> Iterable[Text]:
    for at, quantile in enumerate(QUANTILES):
        yield Text(f"{row['quantiles'][at]:.1f}" if row else "-")
        if approximate:
            yield Text(f"{histogram.quantile_ms(quantile):.0f}" if histogram.count else "-", style="dim")


def verdict(requests: int, routes: int, apart: list[str]) -> Text:
    if apart:
        return Text("\n✗ /metrics and the lines do not agree on: " + ", ".join(apart), style="bold red")
    return Text(
        f"\n✓ /metrics and the lines agree: the same {requests:,} requests and errors in {routes} routes, and each"
        " exact quantile lies in the bucket where the histogram puts it.",
        style="green",
    )


def one_trace(lines: Connection, folder: Path, out: Console) -> None:
    trace_id = q.rows(lines, q.TYPICAL)[0]["trace_id"]
    q.assign(lines, trace_id=trace_id)
    for root in tree(q.rows(lines, q.TRACE)):
        out.print(waterfall(root, out.width))
    out.print(f"\nIts lines:  grep -h {trace_id} {place(folder)}/*.jsonl", soft_wrap=True, markup=False)


def tiers(lines: Connection, metrics: dict[Key, Histogram], worst: Row, out: Console) -> bool:
    """The endpoint's quantiles by tier: the lines' field beside the metric's label."""
    shown = table("tier", "requests", *quantile_columns(approximate=True))
    agreed = True
    for row in q.rows(lines, q.TIERS):
        histogram = metrics.get(("gateway", worst["method"], worst["route"], row["tier"]), Histogram())
        agreed = agreed and histogram.count == row["requests"]
        style = "bold" if row["tier"] == worst["tier"] else ""
        cells = durations(row, histogram, approximate=True)
        add(shown, row["tier"], f"{row['requests']:,}", *cells, style=style)
    out.print(shown)
    if not agreed:
        out.print(Text("✗ the metric's user_tier and the lines' user.tier count different requests", style="bold red"))
    return agreed


def why(lines: Connection, worst: Row, out: Console) -> None:
    """What sets the slow requests apart, where their time goes, and both in a sentence."""
    finding = found(lines, worst)
    out.print(
        f"\n{finding.slow} of {finding.total} {worst['tier']} requests are slow: they took more than"
        f" {worst['threshold_ms']:.0f} ms, longer than 95 of 100 requests of the other tiers. What have they in common"
        " that the rest has not, in any field that any service wrote for their traces, and how much does that tell?\n",
        markup=False,
    )
    out.print(apart_table(finding))
    out.print("\nWhere does their time go? Each service's own time a request, without the calls it waits for:\n")
    out.print(spent_table(finding))
    if finding.across:
        out.print("\nIs that enough to be slow, or does it take the tier too? The endpoint's medians in ms:\n")
        out.print(across_table(finding))
    out.print()
    out.print(Panel(Text(sentence(finding)), title="[bold]Answer[/]", title_align="left", border_style="green"))


def found(lines: Connection, worst: Row) -> Finding:
    lines.execute(q.FACTS)
    slow, total = lines.execute("SELECT count(*) FILTER (slow), count(*) FROM suspects").fetchone() or (0, 0)
    apart = q.rows(lines, q.APART)
    across: list[Row] = []
    for label in [row for row in apart if row["kind"] == "label"][:1]:
        q.assign(lines, label=label["name"], value=label["value"])
        across = q.rows(lines, q.ACROSS_TIERS)
    return Finding(worst, slow, total, apart, q.rows(lines, q.OWN_TIME), across)
