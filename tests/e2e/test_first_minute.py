"""What somebody sees who has just added obskit: what init says, and what requests look like in a terminal."""

import re

import pytest
from processes import Terminal, messages, requests_of

from receiver import until

STARTED = "Uvicorn running on"


def run(start_service, paths=(), headers=None, **variables):
    """A service that has served `paths` and has stopped."""
    service = start_service("plain:app", variables=variables).ready()
    for path in paths:
        service.get(path, headers)
    service.metrics = service.scrape()
    service.probes = {path: service.get(path)[0] for path in ("/livez", "/readyz", "/startupz", "/health", "/metrics")}
    service.stop()
    return service


def said_by_obskit(service):
    return [line for line in service.lines if line["logger"] == "obskit"]


# -- what init says -------------------------------------------------------------------------------------------------


def test_one_line_says_what_is_wired_and_where_it_goes(start_receiver, start_service):
    receiver = start_receiver()
    service = run(start_service, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
    assert said_by_obskit(service) == service.lines[:1]
    what, *parts = service.lines[0]["message"].split(" | ")
    assert re.fullmatch(r"obskit \d+\.\d+\.\d+ observes plain", what)
    assert parts == [
        f"traces → {receiver.endpoint}/v1/traces (http/protobuf)",
        "metrics → /metrics",
        "logs → JSON lines on standard output",
        "health → /livez /readyz /startupz /health",
        "clients → httpx",
    ]
    assert service.lines[0]["level"] == "info"
    assert set(service.probes.values()) == {200}
    assert requests_of(service.lines) == receiver.spans == []  # probes and scrapes leave nothing
    assert "http_server_request_duration_seconds_count" not in service.metrics


def test_without_an_endpoint_it_says_what_is_off_and_how_to_switch_it_on(start_service):
    service = run(start_service, ["/work/1"])
    [said] = said_by_obskit(service)
    assert "traces →" not in said["message"]
    assert said["message"].endswith("| off: span export (set OTEL_EXPORTER_OTLP_ENDPOINT to switch it on)")
    [line] = requests_of(service.lines)
    assert re.fullmatch(r"[0-9a-f]{32}", line["trace_id"])
    assert line["http.route"] == "/work/{number}"
    [count] = service.metrics["http_server_request_duration_seconds_count"]
    assert (count.labels["http_route"], count.value) == ("/work/{number}", 1)


WRONG = {
    "OTEL_BSP_SCHEDULE_DELAY": "soon",
    "OTEL_TRACES_SAMPLER": "sometimes",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many",
    "OBSKIT_SERIES_LIMIT": "-3",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon",
}


def test_each_malformed_variable_is_one_warning_and_its_default_is_used(start_receiver, start_service):
    receiver = start_receiver()
    service = run(start_service, ["/work/1"], OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **WRONG)
    warnings = [line["message"] for line in said_by_obskit(service) if line["level"] == "warning"]
    assert sorted(warning.partition(" ")[0] for warning in warnings) == sorted(f"{n}={v!r}" for n, v in WRONG.items())
    assert all("the default is used" in warning for warning in warnings)
    assert len(requests_of(service.lines)) == len(receiver.spans) == 1
    assert service.errors == ""


def test_disabled_keeps_probes_metrics_and_lines_without_traces(start_receiver, start_service):
    receiver = start_receiver()
    traceparent = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    variables = {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    service = run(start_service, ["/work/1", "/broken", "/chatty?lines=2&size=5"], traceparent, **variables)
    assert set(service.probes.values()) == {200}
    [said] = said_by_obskit(service)
    assert "off: traces and RED metrics (OTEL_SDK_DISABLED" in said["message"]
    assert "traces →" not in said["message"]
    assert "target_info" in service.metrics
    assert not [name for name in service.metrics if name.startswith("http_")]
    assert service.metrics["obskit_spans_produced_total"][0].value == 0
    assert receiver.spans == []
    assert not [line for line in service.lines if {"trace_id", "span_id", "trace_flags"} & line.keys()]
    requests = requests_of(service.lines)
    assert messages(requests) == ["GET /work/{number} 200", "GET /broken 500", "GET /chatty 200"]
    assert [line.get("exception.type") for line in requests] == [None, "RuntimeError", None]
    assert messages(service.lines).count("chatty") == 2


# -- on a terminal --------------------------------------------------------------------------------------------------


class Session:
    """A service on a terminal, that has served a few requests and has stopped."""

    def __init__(self, start_service, paths, **variables):
        terminal = Terminal()
        variables = {"TERM": "xterm-256color", "NO_COLOR": "", "TZ": "UTC", **variables}
        service = start_service("plain:app", variables=variables, stdout=terminal.descriptor)
        terminal.watch()
        service.ready()
        for path in paths:
            service.get(path)
        self.code = service.stop()
        until(lambda: any("Finished server process" in line for line in terminal.lines))
        self.errors = service.errors
        self.raw = terminal.raw
        self.lines = terminal.lines
        start = next(number for number, line in enumerate(self.lines) if STARTED in line) + 1
        self.banner = [line for line in self.lines[:start] if not line.endswith(" uvicorn.error")]
        self.served = self.lines[start:-4]


@pytest.fixture(scope="module")
def session(start_service):
    return Session(start_service, ["/work/1", "/calls/2", "/broken", "/nowhere"])


TIME = r"\d\d:\d\d:\d\d\.\d{3}"


def test_on_a_terminal_init_says_it_in_a_block(session):
    told = [re.sub(rf"^{TIME} info +", "", line) for line in session.banner]
    assert re.fullmatch(r"obskit \d+\.\d+\.\d+ observes plain", told[0])
    assert told[1:] == [
        "metrics → /metrics",
        "logs → a terminal",
        "health → /livez /readyz /startupz /health",
        "clients → httpx",
        "off: span export (set OTEL_EXPORTER_OTLP_ENDPOINT to switch it on)",
    ]
    assert session.errors == ""


def test_each_request_is_one_readable_line(session):
    requests = [line for line in session.served if re.match(rf"{TIME} \d{{3}} ", line)]
    told = [re.sub(rf"^{TIME} | \d+\.\d+ms|[0-9a-f]{{8}}$", "", line).strip() for line in requests]
    assert told == [
        "200 GET /work/{number}",
        "200 GET /work/{number}",
        "200 GET /work/{number}",
        "200 GET /calls/{count} user.tier=gold",
        "500 GET /broken error.type=RuntimeError",
        "404 GET /nowhere",
    ]
    assert len({line.split()[-1] for line in requests[1:4]}) == 1  # the calls belong to the trace of who made them
    assert max(map(len, requests)) < 100


def test_the_calls_of_a_request_stand_under_it(session):
    at = next(number for number, line in enumerate(session.served) if " /calls/{count} " in line)
    below = session.served[at + 1 : at + 3]
    assert all(re.fullmatch(r"  └ GET 127\.0\.0\.1:\d+/work/\d 200 \d+\.\d+ms", line) for line in below), below
    assert not session.served[at + 3].startswith("  └")


def test_an_exception_shows_its_stack_trace_once_in_lines_of_its_own(session):
    at = next(number for number, line in enumerate(session.served) if " 500 GET /broken " in line)
    assert session.served[at - 1].split(maxsplit=1)[1].startswith("warning  about to break shelf=3 plain")
    assert session.served[at + 1] == "Traceback (most recent call last):"
    end = session.served.index("RuntimeError: the shelf is broken")
    assert session.served[end - 2].endswith("in broken")
    assert sum("the shelf is broken" in line for line in session.lines) == 1


@pytest.mark.parametrize(
    ("variables", "coloured", "starts"),
    [
        ({}, True, "\x1b[2m"),
        ({"NO_COLOR": "1"}, False, "1"),
        ({"OBSKIT_LOG_FORMAT": "json"}, False, "{"),
    ],
    ids=["a terminal", "NO_COLOR", "JSON asked for"],
)
def test_colours_and_format_are_what_was_asked_for(session, start_service, variables, coloured, starts):
    shown = (session if not variables else Session(start_service, ["/work/1"], **variables)).raw
    assert ("\x1b[" in shown) == coloured
    if starts == "1":
        assert re.match(TIME, shown)
    else:
        assert shown.startswith(starts)
