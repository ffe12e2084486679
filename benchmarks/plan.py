"""What a rate of requests needs of the stack, computed from what was measured; docs/scale.md shows the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

#: Of the requests that are reckoned with: spans of each, over all services, and the services that it passes.
SPANS, SERVICES = 10, 5
#: The share that is sampled, and the share of traces with an error or slow ones, which tail sampling keeps in any case.
SHARE, EXCEPTIONAL = 0.10, 0.03
#: A gateway: its cores, how much of them is used in daily work, what it may hold, and for how long (sampling.yaml).
CORES, USED, MEMORY, TRACES, WAIT = 4, 0.6, 4 << 30, 100_000, 10
#: Processes of services: requests a second that each answers, and the series that each has.
ANSWERED, SERIES = 100, 1000
RATES = (10, 1000, 100_000)
DAY, GB = 86_400, 1e9

COLUMNS = ("requests/s", "spans/s in", "kept/s", "errors kept", "GB a day", "agent cores", "gateways", "series")


@dataclass(frozen=True, slots=True)
class Plan:
    """What `rate` requests a second need, sampled at the head or at the tail."""

    rate: int
    tail: bool
    figures: Mapping[str, float]

    @property
    def spans_in(self) -> float:
        """Spans a second that the agents take."""
        return self.rate * SPANS * (1 if self.tail else SHARE)

    @property
    def kept(self) -> float:
        """Spans a second that reach the backend of traces."""
        return self.rate * SPANS * (EXCEPTIONAL + (1 - EXCEPTIONAL) * SHARE if self.tail else SHARE)

    @property
    def gb_a_day(self) -> float:
        """What is kept, as protobuf."""
        return self.kept * self.figures["span_bytes"] * DAY / GB

    def cores(self, *tiers: str) -> float:
        """The cores that tiers need for what comes in, fully used."""
        return self.spans_in * sum(self.figures[f"{tier}_cpu"] for tier in tiers) / 100_000

    @property
    def gateways(self) -> str:
        """How many; of two tiers, as many as balance + as many as sample."""
        alone = self._needed("gateway")
        if alone <= 1:
            return "1"
        return f"{ceil(self.cores('balancer') / (CORES * USED))} + {ceil(self._needed('sampling'))}"

    def _needed(self, tier: str) -> float:
        """The scarcest of processor, memory and traces that are held, in gateways."""
        held = self.spans_in * WAIT
        return max(
            self.cores(tier) / (CORES * USED),
            held * self.figures["held_bytes"] / MEMORY,
            held / SPANS / TRACES,
        )

    @property
    def series(self) -> int:
        """Of all processes, at least two for each service."""
        return SERVICES * max(2, ceil(self.rate / ANSWERED)) * SERIES

    def row(self) -> tuple[str, ...]:
        """As `COLUMNS` names them."""
        return (
            f"{self.rate:,}, {'tail' if self.tail else 'head'}",
            f"{self.spans_in:,.0f}",
            f"{self.kept:,.0f}",
            "all" if self.tail else f"{SHARE:.0%}",
            f"{self.gb_a_day:,.2f}",
            f"{self.cores('agent'):,.2f}",
            self.gateways,
            f"{self.series:,}",
        )


def rows(figures: Mapping[str, float]) -> list[tuple[str, ...]]:
    """A row for each rate and each way to sample."""
    return [Plan(rate, tail, figures).row() for rate in RATES for tail in (False, True)]


COST_COLUMNS = ("a million requests", "agent CPU s", "gateway CPU s", "two tiers CPU s", "GB kept")


def costs(figures: Mapping[str, float]) -> list[tuple[str, ...]]:
    """What a million requests cost, in resources."""
    plans = [(name, Plan(1_000_000, tail, figures)) for name, tail in (("head", False), ("tail", True))]
    return [
        (
            name,
            *(f"{plan.cores(*tiers):,.0f}" for tiers in (("agent",), ("gateway",), ("balancer", "sampling"))),
            f"{plan.gb_a_day / DAY:,.2f}",
        )
        for name, plan in plans
    ]
