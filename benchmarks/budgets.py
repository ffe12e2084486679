"""The budgets, and whether the figures of a run meet them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """One line of the budgets.

    Attributes:
        what: in words.
        part, figure: where the figure stands in the results.
        limit: in the figure's unit.
        unit: for printing.
        at_least: whether the figure must reach the limit rather than stay within it.
    """

    what: str
    part: str
    figure: str
    limit: float
    unit: str = ""
    at_least: bool = False

    def row(self, figures: Mapping[str, Mapping[str, float]]) -> tuple[str, str, str, str]:
        """What, the budget, what was measured, and "met", "NOT MET" or "not measured"."""
        sign = ">=" if self.at_least else "<="
        budget = f"{sign} {self.limit:g}{self.unit}"
        value = figures.get(self.part, {}).get(self.figure)
        if value is None:
            return self.what, budget, "-", "not measured"
        met = value >= self.limit if self.at_least else value <= self.limit
        return self.what, budget, f"{value:.3g}{self.unit}", "met" if met else "NOT MET"


#: What obskit may cost.
BUDGETS = (
    Budget("overhead a request, all signals, sampled, exported", "cpu", "overhead_us", 45, " µs"),
    Budget("the same, of the assembled stack's", "cpu", "overhead_of_assembled", 0.15),
    Budget("overhead a request, trace not sampled", "cpu", "unsampled_overhead_us", 25, " µs"),
    Budget("throughput, of the bare app's", "throughput", "of_bare", 0.70, at_least=True),
    Budget("one log line", "log", "line_us", 5, " µs"),
    Budget("import obskit + init()", "startup", "seconds", 0.35, " s"),
    Budget("memory added by them", "startup", "rss_mb", 30, " MB"),
    Budget("event-loop lag of a scrape at the cap", "scrape", "lag_ms", 20, " ms"),
    Budget("the same with eight workers", "scrape", "workers_lag_ms", 20, " ms"),
)
