"""Runtime: is the process well, does obskit lose anything, and what does it cost?"""

from grafana_foundation_sdk.models import dashboard

from dashboards.generate import frame, panels, promql, series, style, variables
from dashboards.generate.style import COUNT, SECONDS, SHARE
from obskit import semconv

UID = "obskit-runtime"
INSTANCE = 'instance=~"$instance"'
BY_INSTANCE = ("service_name", "instance")
NAMED = "{{service_name}} {{instance}}"
LAG = semconv.METRIC_EVENT_LOOP_LAG
SERVER = semconv.METRIC_HTTP_SERVER_DURATION
SIGNALS = {
    "spans": semconv.METRIC_SPANS,
    "log lines": semconv.METRIC_LOG_LINES,
    "log records": semconv.METRIC_LOG_RECORDS,
    "metric points": semconv.METRIC_POINTS,
}
#: What is left out on purpose is not lost.
LOST = f'{semconv.LABEL_REASON}!~"sampled_out|repeated"'


def built() -> dashboard.Dashboard:
    """The dashboard."""
    instance = variables.of_label(
        "instance", "Instance", "One process, or all", f"{semconv.METRIC_LOG_LINES}_produced_total", "instance"
    )
    return frame.framed(
        UID,
        "Runtime",
        "Is the process well, does obskit lose anything, and what does it cost?",
        variables=[*variables.identity(), instance],
        rows=[("", now()), ("Process", process()), ("What obskit lost", lost()), ("What obskit costs", cost())],
    )


def total(metric: str, *more: str, window: str = "$__range") -> str:
    """The sum of what a counter rose by in a time."""
    return f"sum(increase({promql.select(metric, *more, INSTANCE)}[{window}]))"


def now() -> list[frame.Panel]:
    """The state at a glance."""
    losses = " + ".join(total(f"{metric}_dropped_total", LOST) for metric in SIGNALS.values())
    return [
        panels.number(
            "Lost",
            "Spans, lines, records and metric points that were lost in the time shown.",
            losses,
            unit=COUNT,
            steps=style.ANY_IS_BAD,
            none="no data",
        ),
        panels.number(
            "Internal errors",
            "Errors of obskit's own in the time shown. They never reach the application; each is a bug to report.",
            total(f"{semconv.METRIC_INTERNAL_ERRORS}_total"),
            unit=COUNT,
            steps=style.ANY_IS_BAD,
            none="no data",
        ),
        panels.number(
            "Event loop lag, p99",
            "How late the event loop runs what is due. What blocks it is named on a line of the logger obskit.loop.",
            promql.quantile(0.99, LAG, INSTANCE),
            unit=SECONDS,
            steps={None: style.GREEN, 0.05: style.ORANGE, 0.25: style.RED},
        ),
        panels.number(
            "Restarts",
            "Times that a process began anew in the time shown.",
            f"sum(changes({promql.select(series.PROCESS_START, INSTANCE)}[$__range]))",
            unit=COUNT,
            none="not scraped",
        ),
    ]


def process() -> list[frame.Panel]:
    """What each process uses."""
    files = promql.select(series.PROCESS_FILES, INSTANCE), promql.select(series.PROCESS_FILES_LIMIT, INSTANCE)
    return [
        panels.graph(
            "CPU",
            "Cores in use. One Python process of one thread cannot use more than one.",
            panels.query(promql.rate(series.PROCESS_CPU, INSTANCE, group=BY_INSTANCE), NAMED),
            unit="none",
            width=6,
        ),
        panels.graph(
            "Memory",
            "Resident memory. A line that only rises is a leak.",
            panels.query(f"sum {promql.by(BY_INSTANCE)}({promql.select(series.PROCESS_MEMORY, INSTANCE)})", NAMED),
            unit="bytes",
            width=6,
        ),
        panels.graph(
            "Event loop lag",
            "p99 of how late the event loop ran what was due. While it lags, every request of the process waits.",
            panels.query(promql.quantile(0.99, LAG, INSTANCE, group=BY_INSTANCE), NAMED),
            unit=SECONDS,
            steps={None: style.GREEN, 0.05: style.ORANGE, 0.25: style.RED},
            width=6,
        ),
        panels.graph(
            "Open files",
            "Share of the descriptors that the process may have open. At 1 it accepts no connection any more.",
            panels.query(f"max {promql.by(BY_INSTANCE)}({files[0]} / {files[1]})", NAMED),
            unit=SHARE,
            steps={None: style.GREEN, 0.8: style.RED},
            width=6,
        ),
    ]


def lost() -> list[frame.Panel]:
    """What did not arrive, and what waits."""
    kinds = SIGNALS.items()
    waiting = (
        f"sum({promql.select(f'{metric}_produced_total', INSTANCE)})"
        f" - sum({promql.select(f'{metric}_exported_total', INSTANCE)})"
        f" - sum({promql.select(f'{metric}_dropped_total', INSTANCE)})"
        for metric in SIGNALS.values()
    )
    return [
        panels.graph(
            "Lost by reason",
            "A second. unreachable and rejected: look at the Collector. queue_full: more than the export takes."
            " closed_pipe, io_error: whatever reads standard output.",
            *(
                panels.query(
                    promql.rate(f"{metric}_dropped_total", LOST, INSTANCE, group=(semconv.LABEL_REASON,)),
                    f"{kind}: {{{{reason}}}}",
                )
                for kind, metric in kinds
            ),
            unit="cps",
            width=12,
        ),
        panels.graph(
            "Waiting to leave",
            "Produced, and neither sent nor dropped yet. Spans and records wait 5 s for their batch; a line that rises"
            " ends in queue_full.",
            *(panels.query(expr, kind) for kind, expr in zip(SIGNALS, waiting, strict=True)),
            unit=COUNT,
            width=6,
        ),
        panels.graph(
            "Internal errors by component",
            "Errors of obskit's own, contained, a second.",
            panels.query(
                promql.rate(f"{semconv.METRIC_INTERNAL_ERRORS}_total", INSTANCE, group=(semconv.LABEL_COMPONENT,)),
                "{{component}}",
            ),
            unit="cps",
            width=6,
        ),
    ]


def cost() -> list[frame.Panel]:
    """What a request costs in signals."""
    requests = promql.requests(SERVER, INSTANCE)
    return [
        panels.graph(
            "Signals a request",
            "Spans and lines that a request makes, what is logged besides included.",
            *(
                panels.query(f"{promql.rate(f'{metric}_produced_total', INSTANCE)} / ({requests} > 0)", kind)
                for kind, metric in list(SIGNALS.items())[:2]
            ),
            unit=COUNT,
        ),
        panels.graph(
            "Bytes of logs",
            "Bytes that are written to standard output a second, by service.",
            panels.query(
                promql.rate(f"{semconv.METRIC_LOG_BYTES}_total", INSTANCE, group=("service_name",)),
                "{{service_name}}",
            ),
            unit="Bps",
        ),
        panels.graph(
            "Series by metric",
            "Label sets of a metric in its fullest process. At the limit, 500 unless OBSKIT_SERIES_LIMIT says"
            " otherwise, promoted fields and routes become _other.",
            panels.query(
                f"max by ({semconv.LABEL_METRIC}) ({promql.select(semconv.METRIC_SERIES, INSTANCE)})", "{{metric}}"
            ),
            unit=COUNT,
            steps={None: style.GREEN, 500: style.RED},
        ),
    ]
