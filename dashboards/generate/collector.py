"""Collector: does everything that arrives leave again, and which traces does it keep?"""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.models import dashboard

from dashboards.generate import frame, panels, promql, series, style, variables
from dashboards.generate.style import COUNT, SHARE

UID = "obskit-collector"
BY_EXPORTER = ("instance", "exporter")
BY_INSTANCE = ("instance",)
NAMED = "{{instance}} {{exporter}}: {{signal}}"
FULL: style.Steps = {None: style.GREEN, 0.5: style.ORANGE, 0.8: style.RED}


def built() -> dashboard.Dashboard:
    """The dashboard."""
    values = f"label_values({series.COLLECTOR_UPTIME}{{{series.COLLECTORS}}}, instance)"
    return frame.framed(
        UID,
        "Collector",
        "Does everything that the Collectors receive leave again, and which traces do they keep?",
        variables=[variables.from_labels("collector", "Collector", "One instance of a Collector, or all", values)],
        rows=[
            ("", now()),
            ("In and out", through()),
            ("Queues and memory", room()),
            ("Tail sampling", sampling()),
        ],
        marks=False,
    )


def select(metric: str, *more: str) -> str:
    """The chosen Collectors' series: they are no service, and are told apart by instance."""
    chosen = (*more, series.COLLECTORS, 'instance=~"$collector"')
    return f"{metric}{{{', '.join(chosen)}}}"


def rate(metric: str, group: Sequence[str] = (), *more: str) -> str:
    """Per second."""
    return f"sum {promql.by(group)}(rate({select(metric, *more)}[{promql.WINDOW}]))"


def by_signal(counters: Mapping[str, str], group: Sequence[str] = ()) -> str:
    """Spans, records and points a second, as the label `signal`; of those that the Collectors have seen."""
    rates = ((name, rate(metric, group)) for name, metric in counters.items())
    return " or ".join(f'label_replace({expr}, "signal", "{name}", "", "")' for name, expr in rates)


def or_none(part: str, whole: str) -> str:
    """The part, and 0 of what only the whole has: a counter of failures begins with the first of them."""
    return f"({part}) or 0 * ({whole})"


def now() -> list[frame.Panel]:
    """The state at a glance."""
    bad = [rate(metric) for kind in (series.REFUSED, series.ENQUEUE_FAILED) for metric in kind.values()]
    refused = " or ".join(f'label_replace({expr}, "of", "{at}", "", "")' for at, expr in enumerate(bad))
    return [
        panels.number(
            "Refused or lost",
            "Spans, records and points a second that found no room: refused at the door, to be sent again, or lost"
            " because a queue was full.",
            f"sum({refused})",
            unit="cps",
            steps=style.ANY_IS_BAD,
            none="no data",
        ),
        panels.number(
            "Fullest queue",
            "At 1 what comes is lost. A queue fills while its backend is away or too slow.",
            f"max({select(series.QUEUE)} / {select(series.QUEUE_CAPACITY)})",
            unit=SHARE,
            steps=FULL,
            none="no queue",
        ),
        panels.number(
            "Memory",
            "Of the largest Collector. The memory limiter refuses what comes before the limit is reached.",
            f"max({select(series.COLLECTOR_MEMORY)})",
            unit="bytes",
            none="no data",
        ),
        panels.number(
            "Collectors",
            "That Prometheus reaches.",
            f"count({select(series.COLLECTOR_UPTIME)})",
            unit=COUNT,
            none="none",
        ),
    ]


def through() -> list[frame.Panel]:
    """What comes in and goes out."""
    sent = by_signal(series.SENT, BY_EXPORTER)
    return [
        panels.graph(
            "Received",
            "Accepted from senders, a second.",
            panels.query(by_signal(series.ACCEPTED, BY_INSTANCE), "{{instance}}: {{signal}}"),
            unit="cps",
            width=6,
        ),
        panels.graph(
            "Refused",
            "Not accepted, as a rule by the memory limiter. The senders keep it and send it again.",
            panels.query(by_signal(series.REFUSED, BY_INSTANCE), "{{instance}}: {{signal}}"),
            unit="cps",
            width=6,
        ),
        panels.graph(
            "Sent",
            "Delivered by exporter, a second. With tail sampling less leaves for Jaeger than comes in.",
            panels.query(sent, NAMED),
            unit="cps",
            width=6,
        ),
        panels.graph(
            "Failed to send",
            "Given up after all retries, or not taken by a full queue: lost.",
            panels.query(or_none(by_signal(series.SEND_FAILED, BY_EXPORTER), sent), f"{NAMED}, given up"),
            panels.query(or_none(by_signal(series.ENQUEUE_FAILED, BY_EXPORTER), sent), f"{NAMED}, queue full"),
            unit="cps",
            width=6,
        ),
    ]


def room() -> list[frame.Panel]:
    """What the Collectors use."""
    queues = ("instance", "exporter", "data_type")
    filled = f"max {promql.by(queues)}({select(series.QUEUE)} / {select(series.QUEUE_CAPACITY)})"
    return [
        panels.graph(
            "Queues",
            "How full the queue before each exporter is. On disk it survives a restart.",
            panels.query(filled, "{{instance}} {{exporter}}: {{data_type}}"),
            unit=SHARE,
            steps=FULL,
        ),
        panels.graph(
            "Memory by Collector",
            "Resident memory.",
            panels.query(f"max by (instance) ({select(series.COLLECTOR_MEMORY)})", "{{instance}}"),
            unit="bytes",
        ),
        panels.graph(
            "CPU by Collector",
            "Cores in use.",
            panels.query(rate(series.COLLECTOR_CPU, BY_INSTANCE), "{{instance}}"),
            unit="none",
        ),
    ]


def sampling() -> list[frame.Panel]:
    """Which traces are kept, and whether each could be decided about."""
    kept = rate(series.TRACES_BY_POLICY, ("policy",), 'decision="sampled"')
    return [
        panels.graph(
            "Traces decided about",
            "Traces a second, by decision. Metrics from spans count all of them.",
            panels.query(rate(series.TRACES_DECIDED, ("decision",)), "{{decision}}"),
            unit="cps",
            stacked=True,
            colors={"sampled": style.GREEN, "not_sampled": style.GREY, "dropped": style.GREY},
        ),
        panels.graph(
            "Kept by policy",
            "Traces a second that a policy would keep; of those that several would, each counts.",
            panels.query(kept, "{{policy}}"),
            unit="cps",
            colors={"errors": style.RED, "slow": style.ORANGE, "share": style.BLUE},
        ),
        panels.graph(
            "Traces in memory",
            "Traces that wait for their decision, and those that were dropped before it because there were more than"
            " NUM_TRACES: a second, 0 when there is room enough.",
            panels.query(f"sum by (instance) ({select(series.TRACES_IN_MEMORY)})", "{{instance}}: waiting"),
            panels.query(rate(series.TRACES_DROPPED_EARLY, BY_INSTANCE), "{{instance}}: dropped too early"),
            unit=COUNT,
        ),
    ]
