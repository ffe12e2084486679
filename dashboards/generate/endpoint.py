"""One endpoint by a promoted field: why is p99 high for users in this tier on this endpoint?"""

from grafana_foundation_sdk.builders import loki
from grafana_foundation_sdk.models import dashboard

from dashboards.generate import frame, logql, panels, promql, style, tables, variables
from dashboards.generate.style import PER_SECOND, SECONDS, SHARE
from obskit import semconv

UID = "obskit-endpoint"
SERVER = semconv.METRIC_HTTP_SERVER_DURATION
ROUTE = f'{semconv.LABEL_HTTP_ROUTE}=~"$route"'
METHOD = f'{semconv.LABEL_HTTP_REQUEST_METHOD}=~"$method"'
ENDPOINT = (ROUTE, METHOD)
CHOSEN = (*ENDPOINT, '${field}=~"$value"')
FIELD = ("${field}",)
#: Prometheus writes a bound without a fraction as 1.0.
BOUND = 'le=~"${slow}(|[.]0)"'

EVENTS = logql.requests(*CHOSEN)
SLOW = f"{EVENTS} | seconds > ${{slow}}"
REST = f"{EVENTS} | seconds <= ${{slow}}"


def built() -> dashboard.Dashboard:
    """The dashboard."""
    return frame.framed(
        UID,
        "Endpoint by field",
        "Why is p99 high for users in this tier on this endpoint? A promoted field (user.tier) splits the endpoint's"
        " requests; the wide events of the slow ones say what they have in common.",
        variables=[*variables.identity(), *endpoint(), *field()],
        rows=[("", who()), ("What sets the slow requests apart", why()), ("The slow requests", which())],
    )


def endpoint() -> list[frame.Variable]:
    """Which endpoint."""
    route, method = semconv.LABEL_HTTP_ROUTE, semconv.LABEL_HTTP_REQUEST_METHOD
    return [
        variables.of_label("method", "Method", "http.request.method", f"{SERVER}_count", method),
        variables.of_label("route", "Route", "http.route, the template", f"{SERVER}_count", route),
    ]


def field() -> list[frame.Variable]:
    """Which field splits it, what is slow, and what slow requests are compared by."""
    return [
        variables.choice(
            "field",
            "Promoted field",
            "A field that OBSKIT_METRIC_FIELDS makes a label; type another, dots as underscores",
            {"user_tier": "user_tier"},
            first="user_tier",
        ),
        variables.of_label("value", "Value", "Values of the promoted field", f"{SERVER}_count", "$field"),
        variables.choice(
            "slow",
            "Slow is over",
            "A bound of the histogram's buckets, in seconds",
            {"100 ms": "0.1", "250 ms": "0.25", "500 ms": "0.5", "1 s": "1", "2.5 s": "2.5"},
            first="250 ms",
        ),
        variables.choice(
            "compare",
            "Compare by",
            "Any field of the wide events, promoted or not; type it, dots as underscores",
            {name: name for name in ("user_region", "service_version", "user_agent_original", "error_type")},
            first="user_region",
        ),
    ]


def split(expr: str) -> str:
    """A query that groups by the promoted field, which becomes the label `value`."""
    return promql.as_value(expr, "${field}")


def who() -> list[frame.Panel]:
    """Who is slow."""
    failed, slow = promql.failures(SERVER, *CHOSEN, group=FIELD), promql.slower(SERVER, BOUND, *CHOSEN, group=FIELD)
    p50, p95, p99 = (split(promql.quantile(q, SERVER, *CHOSEN, group=FIELD)) for q in (0.5, 0.95, 0.99))
    return [
        tables.table_of(
            "By $field",
            "The endpoint's requests by value of the promoted field, now. A value that is slower than the others is"
            " the one to look at: choose it above.",
            [
                tables.Column("Requests", split(promql.requests(SERVER, *CHOSEN, group=FIELD)), PER_SECOND),
                tables.Column("Errors", split(failed), SHARE, style.ERRORS),
                tables.Column("Slow", split(slow), SHARE),
                tables.Column("p50", p50, SECONDS),
                tables.Column("p95", p95, SECONDS),
                tables.Column("p99", p99, SECONDS, bar=True),
            ],
            labels={"value": "Value"},
            sort="p99",
            height=6,
        ),
        panels.graph(
            "p99 by $field",
            "Since when, and for whom. A dot is one request at its own duration: it opens the trace.",
            panels.query(p99, "{{value}}", exemplars=True),
            unit=SECONDS,
        ),
        panels.graph(
            "Slow share by $field",
            "Share of requests over the bound chosen above. Unlike p99 it is exact: nothing is interpolated.",
            panels.query(split(slow), "{{value}}"),
            unit=SHARE,
        ),
        panels.graph(
            "Errors by $field",
            "Share of requests that failed: an exception, or a status of 500 and above.",
            panels.query(split(failed), "{{value}}"),
            unit=SHARE,
        ),
    ]


def why() -> list[frame.Panel]:
    """What the slow requests have in common, by their wide events."""
    valued = 'label_format value=`{{ or .${compare} "none" }}`'
    slow = logql.total(f"{SLOW} | {valued}", "weight", "value")
    every = logql.total(f"{EVENTS} | {valued}", "weight", "value")
    longest = f"quantile_over_time(0.99, {EVENTS} | {valued} | unwrap seconds [$__range]) by (value)"
    return [
        panels.bars(
            "Slow share by $compare",
            "Of the requests with this value of the field, the share that was slow. Bars of one length: the field does"
            " not matter, compare by another. Counted from the lines, sampled ones by their weight.",
            panels.lines(f"sort_desc({logql.share(slow, every)})", legend="{{value}}", instant=True),
            unit=SHARE,
        ),
        panels.bars(
            "p99 by $compare",
            "Exact p99 of the lines by the same field.",
            panels.lines(f"sort_desc({longest})", legend="{{value}}", instant=True),
            unit=SECONDS,
        ),
        panels.bars(
            "Where the time goes",
            "Mean milliseconds of slow requests and of the rest: altogether, waiting for other services, waiting for"
            " databases. Calls that run side by side add up to more than the whole.",
            *spent(),
            unit="ms",
            colors={"/^slow/": style.ORANGE, "/^rest/": style.BLUE},
        ),
    ]


def spent() -> list[loki.Dataquery]:
    """Mean milliseconds of slow requests and of the rest, by what they were spent on."""
    spans = {
        "in all": semconv.DURATION_MS,
        "other services": logql.label(semconv.HTTP_CLIENT + semconv.ROLLUP_DURATION_MS),
        "databases": logql.label(semconv.DB_CLIENT + semconv.ROLLUP_DURATION_MS),
    }
    return [
        panels.lines(
            logql.share(logql.total(lines, field), f"sum(count_over_time({lines} [$__range]))"),
            legend=f"{kind}: {name}",
            instant=True,
        )
        for kind, lines in (("slow", SLOW), ("rest", REST))
        for name, field in spans.items()
    ]


def which() -> list[frame.Panel]:
    """The wide events of the slow requests."""
    services, databases = (
        f"{{{{ if .{calls}_count }}}}  {name} {{{{ .{calls}_count }}}}x {{{{ .{calls}_duration_ms }}}} ms{{{{ end }}}}"
        for name, calls in (("services", "http_client"), ("databases", "db_client"))
    )
    fields = "${field}={{ .${field} }}  ${compare}={{ .${compare} }}"
    said = f"{{{{ __line__ }}}}  {{{{ .duration_ms }}}} ms  {fields}{services}{databases}"
    return [
        panels.log_lines(
            "Slow requests",
            "One line a request: it opens into all of its fields, and its trace id into the trace.",
            f"{SLOW} | line_format `{said}`",
            height=12,
        ),
    ]
