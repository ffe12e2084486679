"""SLO: how much of the error budget is left, and how fast is it burning?"""

from grafana_foundation_sdk.models import dashboard

from dashboards.generate import frame, panels, promql, series, style, tables, variables
from dashboards.generate.style import COUNT, SHARE

UID = "obskit-slo"
SLO = 'slo=~"$slo"'
OBJECTIVE = ("slo", "service_name", "http_route")
NAMED = "{{service_name}} {{slo}} {{http_route}}"
#: Windows of the burn-rate alerts, and the rate from which on they fire: 1 is a budget used up exactly at its end.
BURNS = {"5m": 14.4, "1h": 14.4, "6h": 6, "1d": 3, "3d": 1}
LEFT = {None: style.RED, 0: style.ORANGE, 0.25: style.GREEN}


def built() -> dashboard.Dashboard:
    """The dashboard."""
    chosen = variables.of_label("slo", "Objective", "Name of the objective", series.SLO_OBJECTIVE, "slo")
    return frame.framed(
        UID,
        "SLO",
        "How much of the error budget is left, and how fast is it burning?",
        variables=[*variables.identity(series.SLO_OBJECTIVE), chosen],
        rows=[("", now()), ("Budget and burn", burning())],
        window="now-24h",
    )


def of(metric: str) -> str:
    """A recorded series of each objective."""
    return f"max {promql.by(OBJECTIVE)}({promql.select(metric, SLO)})"


def burn(window: str) -> str:
    """How many times faster than allowed the budget is used up."""
    return f"{of(series.SLO_ERRORS[window])} / {of(series.SLO_BUDGET)}"


def now() -> list[frame.Panel]:
    """A row for each objective."""
    opened = frame.opens("obskit-service", service=frame.column("Service"), route=frame.column("Route"))
    firing = promql.select(series.ALERTS, 'alertstate="firing"', 'slo=~".+"', SLO)
    return [
        panels.number(
            "Objectives",
            "Objectives that are measured.",
            f"count({promql.select(series.SLO_OBJECTIVE, SLO)})",
            unit=COUNT,
            none="none",
        ),
        panels.number(
            "Least budget left",
            "Of the objective that is worst off. Below 0 it is missed.",
            f"min({promql.select(series.SLO_LEFT, SLO)})",
            unit=SHARE,
            steps=LEFT,
        ),
        panels.number(
            "Fastest burn in an hour",
            "At 1 the budget is used up exactly at the end of its time; from 14.4 on someone is paged.",
            f"max({burn('1h')})",
            unit=style.TIMES,
            steps={None: style.GREEN, 1: style.ORANGE, 14.4: style.RED},
        ),
        panels.number(
            "Alerts firing",
            "Alerts of these objectives that fire now.",
            f"count({firing}) or 0 * count({promql.select(series.SLO_OBJECTIVE, SLO)})",
            unit=COUNT,
            steps=style.ANY_IS_BAD,
            none="none",
        ),
        tables.table_of(
            "Objectives now",
            "Budget left of each objective, and how fast it burns over each window: times faster than allowed. A"
            " service opens its overview.",
            [
                tables.Column("Objective", of(series.SLO_OBJECTIVE), SHARE),
                *(
                    tables.Column(f"Burn {window}", burn(window), style.TIMES, {None: style.GREEN, limit: style.RED})
                    for window, limit in BURNS.items()
                ),
                tables.Column("Budget left", of(series.SLO_LEFT), SHARE, LEFT, bar=True),
            ],
            labels={"service_name": "Service", "slo": "SLO", "http_route": "Route"},
            sort="Burn 1h",
            links={"Service": ("Service overview", opened)},
        ),
    ]


def burning() -> list[frame.Panel]:
    """Over time."""
    return [
        panels.graph(
            "Budget left",
            "Share of the error budget that is left at each time. A step down is an incident, a slope a trend.",
            panels.query(of(series.SLO_LEFT), NAMED),
            unit=SHARE,
            width=12,
            least=None,
            most=1,
        ),
        panels.graph(
            "Burn rate over an hour",
            "Times faster than allowed. From 14.4 on, over five minutes as well, someone is paged.",
            panels.query(burn("1h"), NAMED),
            unit=style.TIMES,
            steps={None: style.GREEN, 1: style.ORANGE, 14.4: style.RED},
            width=12,
        ),
    ]
