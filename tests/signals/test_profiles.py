"""A line's names as vendors' pipelines know them: whole lines, by what a request, a log call and an exception hold."""

import logging

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import obskit
import obskit.testing
from obskit import semconv
from obskit.config import Config
from obskit.redaction import Redactor
from obskit.signals._adopt import install_logs
from obskit.signals._encoding import encode
from obskit.signals._lines import Lines
from obskit.signals._profiles import encoder

#: On a machine that has others to serve.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PROFILES = ("otel", "datadog", "gcp", "ecs")
TRACE, SPAN = "4ac38d7ad5c97e9a4b8be3f1f1bca0b8", "0c8b5dc4fd2d8ed3"
COMMON = {
    "timestamp": "2026-11-23T11:20:38.334220Z",
    "level": "error",
    "message": "GET /orders/{id} 503",
    "logger": "obskit.request",
    "trace_id": TRACE,
    "span_id": SPAN,
    "trace_flags": "01",
    "service.name": "orders",
    "service.version": "1.4.2",
    "deployment.environment.name": "production",
}
EXCEPTION = {"exception.type": "shop.Busy", "exception.message": "no", "exception.stacktrace": "Traceback …"}
REQUEST = {
    **COMMON,
    "event.name": "http.server.request",
    "http.request.method": "GET",
    "url.path": "/orders/7",
    "url.scheme": "https",
    "network.protocol.version": "1.1",
    "server.address": "shop.example",
    "client.address": "203.0.113.7",
    "user_agent.original": "curl",
    "request_id": "r-1",
    "user.tier": "gold",
    "http.route": "/orders/{id}",
    "http.request.body.size": 3,
    "http.response.status_code": 503,
    "http.response.body.size": 4,
    "error.type": "shop.Busy",
    "duration_ms": 12.5,
    "outcome": "error",
    **EXCEPTION,
}
DATADOG = {
    "timestamp": "2026-11-23T11:20:38.334220Z",
    "status": "error",
    "message": "GET /orders/{id} 503",
    "logger.name": "obskit.request",
    "dd.trace_id": "5443695202889670840",
    "dd.span_id": "903919250860510931",
    "trace_flags": "01",
    "service": "orders",
    "version": "1.4.2",
    "env": "production",
}
GCP = {
    "time": "2026-11-23T11:20:38.334220Z",
    "severity": "ERROR",
    "message": "GET /orders/{id} 503",
    "logger": "obskit.request",
    "logging.googleapis.com/trace": f"projects/shop-prod/traces/{TRACE}",
    "logging.googleapis.com/spanId": SPAN,
    "logging.googleapis.com/trace_sampled": True,
    "service.name": "orders",
    "service.version": "1.4.2",
    "deployment.environment.name": "production",
}
ECS = {
    "@timestamp": "2026-11-23T11:20:38.334220Z",
    "log.level": "error",
    "message": "GET /orders/{id} 503",
    "log.logger": "obskit.request",
    "trace.id": TRACE,
    "span.id": SPAN,
    "trace_flags": "01",
    "service.name": "orders",
    "service.version": "1.4.2",
    "service.environment": "production",
}
#: Profile, line -> the same as the vendor has it.
LINES = {
    "otel, a request": ("otel", REQUEST, REQUEST),
    "datadog, a request": (
        "datadog",
        REQUEST,
        {
            **DATADOG,
            "event.name": "http.server.request",
            "http.method": "GET",
            "http.url_details.path": "/orders/7",
            "http.url_details.scheme": "https",
            "http.version": "1.1",
            "http.url_details.host": "shop.example",
            "network.client.ip": "203.0.113.7",
            "http.useragent": "curl",
            "http.request_id": "r-1",
            "user.tier": "gold",
            "http.route": "/orders/{id}",
            "network.bytes_read": 3,
            "http.status_code": 503,
            "network.bytes_written": 4,
            "error.type": "shop.Busy",
            "duration": 12_500_000,
            "outcome": "error",
            "error.kind": "shop.Busy",
            "error.message": "no",
            "error.stack": "Traceback …",
        },
    ),
    "gcp, a request": (
        "gcp",
        REQUEST,
        {
            **GCP,
            "event.name": "http.server.request",
            "request_id": "r-1",
            "user.tier": "gold",
            "http.route": "/orders/{id}",
            "error.type": "shop.Busy",
            "duration_ms": 12.5,
            "outcome": "error",
            "exception.type": "shop.Busy",
            "exception.message": "no",
            "stack_trace": "Traceback …",
            "httpRequest": {
                "requestMethod": "GET",
                "status": 503,
                "requestSize": "3",
                "responseSize": "4",
                "userAgent": "curl",
                "remoteIp": "203.0.113.7",
                "protocol": "HTTP/1.1",
                "requestUrl": "https://shop.example/orders/7",
                "latency": "0.012500s",
            },
        },
    ),
    "ecs, a request": (
        "ecs",
        REQUEST,
        {
            **ECS,
            "event.action": "http.server.request",
            "http.request.method": "GET",
            "url.path": "/orders/7",
            "url.scheme": "https",
            "http.version": "1.1",
            "server.address": "shop.example",
            "client.address": "203.0.113.7",
            "user_agent.original": "curl",
            "http.request.id": "r-1",
            "user.tier": "gold",
            "http.route": "/orders/{id}",
            "http.request.body.bytes": 3,
            "http.response.status_code": 503,
            "http.response.body.bytes": 4,
            "error.type": "shop.Busy",
            "event.duration": 12_500_000,
            "event.outcome": "failure",
            "error.message": "no",
            "error.stack_trace": "Traceback …",
            "ecs.version": "9.3.0",
        },
    ),
    "gcp, no request": (
        "gcp",
        {
            "level": "info",
            "event.name": "websocket",
            "http.request.method": "GET",
            "url.path": "/ws",
            "duration_ms": 1.0,
        },
        {
            "severity": "INFO",
            "event.name": "websocket",
            "http.request.method": "GET",
            "url.path": "/ws",
            "duration_ms": 1.0,
        },
    ),
    "gcp, a request of which little is known": (
        "gcp",
        {"level": "info", "event.name": "http.server.request", "url.path": "/x", "duration_ms": 1.0},
        {
            "severity": "INFO",
            "event.name": "http.server.request",
            "duration_ms": 1.0,
            "httpRequest": {"requestUrl": "/x", "latency": "0.001000s"},
        },
    ),
    "gcp, a request to an IPv6 host": (
        "gcp",
        {
            "level": "info",
            "event.name": "http.server.request",
            "url.scheme": "http",
            "server.address": "::1",
            "url.path": "/",
            "duration_ms": 1,
        },
        {
            "severity": "INFO",
            "event.name": "http.server.request",
            "duration_ms": 1,
            "httpRequest": {"requestUrl": "http://[::1]/", "latency": "0.001000s"},
        },
    ),
    "gcp, not sampled": (
        "gcp",
        {"level": "success", "trace_flags": "02"},
        {"severity": "DEFAULT", "logging.googleapis.com/trace_sampled": False},
    ),
    "ecs, cancelled": (
        "ecs",
        {"level": "info", "outcome": "cancelled"},
        {"log.level": "info", "event.outcome": "unknown", "ecs.version": "9.3.0"},
    ),
    "ecs, ok": (
        "ecs",
        {"level": "info", "outcome": "ok"},
        {"log.level": "info", "event.outcome": "success", "ecs.version": "9.3.0"},
    ),
    "datadog, a trace of 64 bits": (
        "datadog",
        {"trace_id": "0" * 15 + "1" + "f" * 16},
        {"dd.trace_id": str(2**64 - 1)},
    ),
    "datadog, values that are none of the vendor's": (
        "datadog",
        {"duration_ms": "long", "outcome": ["ok"]},
        {"duration_ms": "long", "outcome": ["ok"]},
    ),
    "ecs, values that are none of the vendor's": (
        "ecs",
        {"duration_ms": 1e303, "outcome": ["ok"]},
        {"duration_ms": 1e303, "outcome": ["ok"], "ecs.version": "9.3.0"},
    ),
    "ecs, a field of the user's that is empty": (
        "ecs",
        {"trace_id": TRACE, "trace.id": None},
        {"trace.id": TRACE, "fields.trace.id": None, "ecs.version": "9.3.0"},
    ),
    "ecs, whole milliseconds": ("ecs", {"duration_ms": 3}, {"event.duration": 3_000_000, "ecs.version": "9.3.0"}),
}


@pytest.mark.parametrize(("profile", "line", "theirs"), LINES.values(), ids=LINES)
def test_a_line_by_its_profile(profile, line, theirs):
    """Each name, each value, and their order: what one reads first stays first."""
    before = dict(line)
    assert list(orjson.loads(encoder(profile, "shop-prod")(line)).items()) == list(theirs.items())
    assert line == before


@pytest.mark.parametrize(("project", "trace"), [(None, TRACE), ("shop-prod", f"projects/shop-prod/traces/{TRACE}")])
def test_the_project_of_a_trace(project, trace):
    assert orjson.loads(encoder("gcp", project)({"trace_id": TRACE})) == {"logging.googleapis.com/trace": trace}


def test_the_default_profile_costs_nothing():
    assert encoder("otel") is encode


# -- fields of the users' ---------------------------------------------------------------------------------------------

#: Every name that a profile gives and obskit does not: a field of that name gives way.
TAKEN = [
    *(("datadog", name) for name in LINES["datadog, a request"][2].keys() - REQUEST.keys()),
    *(("gcp", name) for name in LINES["gcp, a request"][2].keys() - REQUEST.keys()),
    *(("ecs", name) for name in LINES["ecs, a request"][2].keys() - REQUEST.keys()),
]


@pytest.mark.parametrize(("profile", "name"), sorted(TAKEN))
def test_a_field_with_a_name_of_the_profiles_gives_way(profile, name, caplog):
    with obskit.testing.capture(config=Config(log_profile=profile, gcp_project="shop-prod")) as captured:
        for _ in range(2):
            with obskit.operation("job", fields={name: "mine"}):
                logging.getLogger("shop").warning("said", extra={name: "mine"})
        lines = [line for line in captured.lines if line["message"] in ("said", "job ok")]
        assert captured.spans[0].attributes[name] == "mine"
    assert [line["fields." + name] for line in lines] == ["mine"] * 4
    assert "mine" not in {line.get(name) for line in lines}
    told = [record for record in caplog.records if repr("fields." + name) in record.getMessage()]
    assert [record.levelname for record in told] == ["WARNING"]


@pytest.mark.parametrize("profile", PROFILES)
def test_names_of_other_profiles_are_free(profile):
    mine = {name for theirs, name in TAKEN if theirs != profile} - {name for theirs, name in TAKEN if theirs == profile}
    with obskit.testing.capture(config=Config(log_profile=profile)) as captured:
        logging.getLogger("shop").warning("said", extra=dict.fromkeys(mine, "mine"))
        line = captured.line("said")
    assert {name for name in mine if line.get(name) == "mine"} == mine


NAMES = st.sampled_from(sorted({*REQUEST, *(name for _, name in TAKEN), "a", "fields.status"})) | st.text(max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


class Memory:
    def __init__(self):
        self.lines = []

    def write(self, line):
        self.lines.append(line)


@pytest.mark.parametrize("profile", PROFILES)
@UNHURRIED
@given(fields=st.dictionaries(NAMES, VALUES, max_size=8), level=st.sampled_from(["info", "", "LEVEL 5"]))
def test_no_field_breaks_or_loses_a_line(profile, fields, level):
    memory = Memory()
    with obskit.testing.capture(), obskit.operation("job") as op:
        Lines(memory, Redactor(), {"service.name": "s"}, encoder(profile)).log(1, level, "shop", "said", fields)
    [line] = memory.lines
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    read = orjson.loads(line)
    assert read["message"] == "said"
    named = {"otel": "trace_id", "ecs": "trace.id", "gcp": "logging.googleapis.com/trace"}
    assert profile == "datadog" or read[named[profile]] == op.trace_id


# -- in a service -----------------------------------------------------------------------------------------------------


async def _fail(_request):
    msg = "no"
    raise ValueError(msg)


APP = [Route("/ok", lambda _request: PlainTextResponse("ok")), Route("/fail", _fail, methods=["POST"])]


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_told_is_what_otel_tells(profile):
    """The lines of one service, whatever their names: as the encoder makes them of the lines of `otel`."""
    app = Starlette(routes=APP)
    with obskit.testing.capture(app, config=Config(log_profile=profile, gcp_project="p")) as captured:
        client = TestClient(app, raise_server_exceptions=False)
        client.get("/ok")
        client.post("/fail", content=b"abc")
        ok, failed = captured.line("GET /ok 200"), captured.line("POST /fail 500")
        spans = {span.attributes["url.path"]: span for span in captured.spans}
    own = {"otel": "duration_ms", "datadog": "duration", "gcp": "duration_ms", "ecs": "event.duration"}[profile]
    unit = 1 if own == "duration_ms" else 1_000_000
    for line, path in ((ok, "/ok"), (failed, "/fail")):
        span = spans[path]
        assert line[own] / unit == pytest.approx((span.end_time - span.start_time) / 1e6, abs=0.001)
    stack = {"otel": "exception.stacktrace", "datadog": "error.stack", "gcp": "stack_trace", "ecs": "error.stack_trace"}
    assert "ValueError: no" in failed[stack[profile]]
    status = {"otel": "level", "datadog": "status", "gcp": "severity", "ecs": "log.level"}[profile]
    assert [ok[status].lower(), failed[status].lower()] == ["info", "error"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_terminal_knows_no_profile(log_format):
    """What a person reads is the same; what a pipeline reads is the profile's."""
    memory = Memory()
    logs = install_logs(memory, Redactor(), log_format=log_format, encoder=encoder("ecs"), resource={})
    try:
        logging.getLogger("shop").warning("said")
    finally:
        logs.restore()
    assert (b"log.level" in memory.lines[-1]) == (log_format == "json")


def test_lines_that_are_too_long_are_cut_under_any_name():
    line = {semconv.LEVEL: "info", semconv.MESSAGE: "m", "a": "x" * 100_000}
    read = orjson.loads(encoder("ecs")(line))
    assert (read["truncated"], read["log.level"], len(read["a"])) == (True, "info", 16_385)
