"""The answer in words, made of nothing but what the questions found."""

from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What was found about the slow requests of one tier on one endpoint; the rows are those of the questions."""

    worst: Row
    slow: int
    total: int
    apart: list[Row]
    spent: list[Row]
    across: list[Row]

    @property
    def label(self) -> Row | None:
        """The label that says most about which requests are slow."""
        return next((row for row in self.apart if row["kind"] == "label"), None)

    @property
    def amount(self) -> Row | None:
        """The amount that says most about it, preferably one that the service named itself."""
        amounts = [row for row in self.apart if row["kind"] == "amount"]
        own = [row for row in amounts if " " not in row["name"]]
        return next(iter(own or amounts), None)


def sentence(finding: Finding) -> str:
    """Who is slow, what sets them apart, where the time goes, and whether the label alone is enough."""
    worst = finding.worst
    subject = f"{worst['method']} {worst['route']} is slow for {worst['tier']} users"
    nothing = ", but no field sets the slow requests apart beyond chance: annotate more."
    if finding.label is None:
        return subject + nothing
    parts = [subject + which(finding.label), where(finding), more(finding.amount), enough(finding)]
    return " ".join(part for part in parts if part)


def which(label: Row) -> str:
    return (
        f" when {label['name']} is {label['value']}: {label['slow_has']} of the {label['slow_n']} slow ones have it,"
        f" and {label['rest_has']} of the other {label['rest_n']}."
    )


def where(finding: Finding) -> str:
    if not finding.spent or not finding.slow:
        return ""
    grown = [(row["service"], (row["slow_ms"] or 0) - (row["rest_ms"] or 0)) for row in finding.spent]
    service, by = grown[0]
    share = by / max(sum(max(ms, 0) for _, ms in grown), 1e-9)
    top = finding.spent[0]
    database = ((top["slow_database_ms"] or 0) - (top["rest_database_ms"] or 0)) / max(by, 1e-9)
    waits = ", most of it waiting for its database" if database > 0.5 else ""
    return f"{share:.0%} of the additional time is spent in {service} itself (+{by:.0f} ms a request{waits})."


def more(amount: Row | None) -> str:
    if amount is None:
        return ""
    return (
        f"There, {amount['name']} is {amount['condition'].replace('≥', 'at least')} in {amount['slow_has']} of the"
        f" {amount['slow_n']} slow requests, and in {amount['rest_has']} of the rest."
    )


def enough(finding: Finding) -> str:
    tier = finding.worst["tier"]
    medians: dict[tuple[bool, bool], list[float]] = {}
    for row in finding.across:
        medians.setdefault((row["tier"] == tier, row["with_it"]), []).append(row["p50"])
    if len(medians) < 4:
        return ""
    without, with_it, others = medians[True, False][0], medians[True, True][0], max(medians[False, True])
    numbers = f"with it the median of {tier} is {with_it:.0f} ms, without it {without:.0f} ms, and the other tiers"
    if others < (without + with_it) / 2:
        return f"It takes both: {numbers} stay at {others:.0f} ms with it."
    return f"It is not the tier alone: {numbers} reach {others:.0f} ms with it."
