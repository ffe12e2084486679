"""Service overview: is it well, and if not, since when, on which route, and what do its lines say?"""

from grafana_foundation_sdk.models import dashboard

from dashboards.generate import frame, logql, panels, promql, style, tables, variables
from dashboards.generate.style import COUNT, PER_SECOND, SECONDS, SHARE
from obskit import semconv

UID = "obskit-service"
SERVER = semconv.METRIC_HTTP_SERVER_DURATION
ROUTE = f'{semconv.LABEL_HTTP_ROUTE}=~"$route"'
BY_ROUTE = (semconv.LABEL_HTTP_REQUEST_METHOD, semconv.LABEL_HTTP_ROUTE)
NAMED = "{{http_request_method}} {{http_route}}"
ACTIVE = promql.select(semconv.METRIC_HTTP_SERVER_ACTIVE)
OPERATION = semconv.METRIC_OPERATION_DURATION


def built() -> dashboard.Dashboard:
    """The dashboard."""
    return frame.framed(
        UID,
        "Service overview",
        "Is a service well? Rate, errors and duration by route, and the lines of the same time.",
        variables=[
            *variables.identity(),
            variables.of_label(
                "route", "Route", "http.route, the template", f"{SERVER}_count", semconv.LABEL_HTTP_ROUTE
            ),
            variables.choice(
                "level",
                "Lines",
                "Which lines of logs are listed below",
                {"warnings and errors": "warn.*|error|critical|fatal", "all": ".*"},
                first="warnings and errors",
            ),
        ],
        rows=[("", now()), ("Rate, errors, duration", red()), ("Work that is not HTTP", work()), ("Logs", logs())],
    )


def now() -> list[frame.Panel]:
    """The state at a glance."""
    return [
        panels.number("Requests", "Requests served a second.", promql.requests(SERVER, ROUTE), unit=PER_SECOND),
        panels.number(
            "Errors",
            "Share of requests that failed: an exception, or a status of 500 and above. Refusals (4xx) and clients"
            " that left are no errors.",
            promql.failures(SERVER, ROUTE),
            unit=SHARE,
            steps=style.ERRORS,
        ),
        panels.number(
            "p99",
            "99 of 100 requests are answered within this time. Interpolated within the histogram's bucket.",
            promql.quantile(0.99, SERVER, ROUTE),
            unit=SECONDS,
        ),
        panels.number(
            "In flight",
            "Requests being served now. Rising while the rate does not: something below has become slow.",
            f"sum({ACTIVE})",
            unit=COUNT,
        ),
    ]


def red() -> list[frame.Panel]:
    """Over time, and by route."""
    status = promql.requests(SERVER, ROUTE, group=(semconv.LABEL_HTTP_RESPONSE_STATUS_CODE,))
    classes = f'label_replace({status}, "class", "${{1}}xx", "{semconv.LABEL_HTTP_RESPONSE_STATUS_CODE}", "(.).+")'
    silent = f'label_replace({classes}, "class", "no answer", "class", "")'
    return [
        panels.graph(
            "Requests by status",
            "Requests a second by class of status; 'no answer' where the client left before there was one.",
            panels.query(f"sum by (class) ({silent})", "{{class}}"),
            unit=PER_SECOND,
            colors=style.STATUS,
            stacked=True,
        ),
        panels.graph(
            "Errors by route",
            "Share of a route's requests that failed.",
            panels.query(promql.failures(SERVER, ROUTE, group=BY_ROUTE), NAMED),
            unit=SHARE,
            steps=style.ERRORS,
        ),
        panels.graph(
            "p99 by route",
            "A dot is one request, at its own duration: it opens the trace.",
            panels.query(promql.quantile(0.99, SERVER, ROUTE, group=BY_ROUTE), NAMED, exemplars=True),
            unit=SECONDS,
        ),
        routes(),
    ]


def routes() -> frame.Panel:
    """A row for each route, which opens the endpoint's dashboard."""
    group = (
        (semconv.LABEL_SERVICE_NAME, *BY_ROUTE)
        if hasattr(semconv, "LABEL_SERVICE_NAME")
        else ("service_name", *BY_ROUTE)
    )
    opened = frame.opens(
        "obskit-endpoint",
        service=frame.column("Service"),
        method=frame.column("Method"),
        route=frame.column("Route"),
    )
    return tables.table_of(
        "Routes",
        "Rate, errors and duration now. A route opens its own dashboard: who is slow there, and why.",
        [
            tables.Column("Requests", promql.requests(SERVER, ROUTE, group=group), PER_SECOND),
            tables.Column("Errors", promql.failures(SERVER, ROUTE, group=group), SHARE, style.ERRORS),
            *(
                tables.Column(f"p{q * 100:g}", promql.quantile(q, SERVER, ROUTE, group=group), SECONDS)
                for q in (0.5, 0.95)
            ),
            tables.Column("p99", promql.quantile(0.99, SERVER, ROUTE, group=group), SECONDS, bar=True),
        ],
        labels={"service_name": "Service", BY_ROUTE[0]: "Method", BY_ROUTE[1]: "Route"},
        sort="p99",
        links={"Route": ("Why is it slow, and for whom?", opened)},
    )


def work() -> list[frame.Panel]:
    """Jobs, messages and background tasks; what the code calls is on the dashboard of dependencies."""
    group, ours = (semconv.LABEL_OPERATION_NAME, semconv.LABEL_OUTCOME), f'{semconv.LABEL_OPERATION_KIND}!="client"'
    return [
        panels.graph(
            "Operations",
            "Jobs, messages, background tasks and what the code names with obskit.operation, a second, by outcome.",
            panels.query(promql.requests(OPERATION, ours, group=group), "{{operation_name}} {{outcome}}"),
            unit="ops",
            width=12,
            height=7,
        ),
        panels.graph(
            "p99 of operations",
            "Duration by operation; a dot opens the trace.",
            panels.query(promql.quantile(0.99, OPERATION, ours, group=group[:1]), "{{operation_name}}", exemplars=True),
            unit=SECONDS,
            width=12,
            height=7,
        ),
    ]


def logs() -> list[frame.Panel]:
    """The lines of the same services and the same time."""
    counted = f"sum by (detected_level) (count_over_time({logql.stream()} [$__auto]))"
    return [
        panels.graph(
            "Lines by level",
            "Lines of logs; a rise of warnings often comes before a rise of errors.",
            panels.lines(counted, legend="{{detected_level}}"),
            unit=COUNT,
            width=panels.WIDTH,
            height=5,
            colors=style.LEVELS,
            stacked=True,
            source=style.LOKI,
        ),
        panels.log_lines(
            "Lines",
            "What the services logged in this time. A line opens into its fields; its trace id opens the trace.",
            logql.stream('detected_level=~"$level"'),
        ),
    ]
