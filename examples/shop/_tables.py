"""Tables of what was found."""

from rich.table import Table
from rich.text import Text

from examples.shop._answer import Finding

CROWDED = 9


def table(*columns: str, left: int = 1) -> Table:
    """An empty table without lines; its first `left` columns are text and may wrap, the others are numbers."""
    made = Table(box=None, pad_edge=False, padding=(0, 2 if len(columns) < CROWDED else 1, 0, 0), header_style="bold")
    for at, column in enumerate(columns):
        made.add_column(Text(column), justify="left" if at < left else "right", no_wrap=at >= left or at == 0)
    return made


def add(to: Table, *cells: str | Text, style: str = "") -> None:
    """Add a row of literal text: what a service wrote is never markup."""
    to.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), style=style)


def apart_table(finding: Finding) -> Table | Text:
    """Fields that set slow requests apart: the share of the slow and of the rest, and how much that tells."""
    shown = table("", "", "in slow", "in rest", "tells", left=2)
    for kind, meaning, count in (("label", "which", 5), ("amount", "how much", 2)):
        for at, row in enumerate([row for row in finding.apart if row["kind"] == kind][:count]):
            shares = (row["slow_has"] / row["slow_n"], row["rest_has"] / row["rest_n"], row["explains"])
            first = Text("" if at else meaning, style="dim")
            style = "bold" if row is finding.label else ""
            add(shown, first, f"{row['name']} {row['condition']}", *(f"{share:.0%}" for share in shares), style=style)
    return shown if shown.row_count else Text("nothing beyond chance", style="yellow")


def spent_table(finding: Finding) -> Table:
    """Mean own time by service, where it grew most first."""
    shown = table("service", "slow ms", "rest ms", "more by", "of it database")
    for at, row in enumerate(finding.spent):
        slow, rest = row["slow_ms"] or 0, row["rest_ms"] or 0
        database = (row["slow_database_ms"] or 0) - (row["rest_database_ms"] or 0)
        numbers = (f"{slow:.1f}", f"{rest:.1f}", f"{slow - rest:+.1f}", f"{database:+.1f}")
        add(shown, row["service"], *numbers, style="" if at else "bold")
    return shown


def across_table(finding: Finding) -> Table:
    """The median of each tier without and with the label that says most."""
    label = finding.label or {"name": "", "condition": ""}
    shown = table("tier", "without", "requests", f"with {label['name']} {label['condition']}", "requests")
    for tier in dict.fromkeys(row["tier"] for row in finding.across):
        cells = {row["with_it"]: row for row in finding.across if row["tier"] == tier}
        numbers = [
            (f"{cells[has]['p50']:.1f}", str(cells[has]["requests"])) if has in cells else ("-", "0")
            for has in (False, True)
        ]
        add(shown, tier, *numbers[0], *numbers[1], style="bold" if tier == finding.worst["tier"] else "")
    return shown
