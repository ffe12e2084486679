"""What the fields of the configuration change in what is emitted, each given to obskit alone."""

import logging

import pytest
import structlog
from opentelemetry import baggage, propagate
from opentelemetry import context as otel_context
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import obskit
import raw_asgi
from obskit import Config
from obskit.testing import capture


async def endpoint(request):
    obskit.annotate({"user.tier": "gold", "password": "hunter2", "pet": "rex"})
    return PlainTextResponse("ok")


def make_app():
    return Starlette(routes=[Route("/orders/{id}", endpoint), Route("/r/{id}/{more}", endpoint)])


# -- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "kept"), [(0, ""), (3, "abc"), (4096, "abcdef")])
def test_strings_keep_so_many_characters(limit, kept):
    with capture(config=Config(attribute_value_length_limit=limit)) as captured:
        with obskit.operation("job"):
            obskit.annotate(text="abcdef")
        assert captured.span("job").attributes["text"] == captured.line("job ok")["text"] == kept


def test_a_metric_keeps_so_many_label_sets_and_one_more():
    with capture(config=Config(series_limit=3)) as captured:
        for number in range(9):
            with obskit.operation(f"job {number}"):
                pass
        name = "obskit_operation_duration_seconds"
        assert captured.metric(f"{name}_count", otel_metric_overflow="true") == 6
        assert captured.metric("obskit_metric_series", metric=name) == 4
        warnings = [line["message"] for line in captured.lines if line["level"] == "warning"]
    assert [name in message for message in warnings] == [True]


# -- metrics --------------------------------------------------------------------------------------------------------


def test_buckets_are_those_that_are_given():
    app = make_app()
    with capture(app, config=Config(duration_buckets=(0.5, 600.0))) as captured:
        raw_asgi.get(app, "/orders/7")
        with obskit.operation("job"):
            pass
        bounds = {
            family.name: [sample.labels["le"] for sample in family.samples if sample.name.endswith("_bucket")]
            for family in captured.obs.registry.collect()
            if family.name in ("http_server_request_duration_seconds", "obskit_operation_duration_seconds")
        }
    assert list(bounds.values()) == [["0.5", "600.0", "+Inf"]] * 2


# -- privacy --------------------------------------------------------------------------------------------------------


def test_names_are_redacted_and_allowed_as_configured():
    app = make_app()
    with capture(app, config=Config(redact=["pet"], redact_allow=["password"])) as captured:
        raw_asgi.get(app, "/orders/7")
        logging.getLogger("x").warning("pet=rex")
        line, span = captured.line("GET /orders/{id} 200"), captured.span("GET /orders/{id}")
        assert captured.line("pet=[REDACTED]")
    for said in (line, span.attributes):
        assert (said["pet"], said["password"]) == ("[REDACTED]", "hunter2")


# -- propagation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("tracecontext", "baggage"),
        ("tracecontext",),
        ("baggage",),
        ("none",),
        ("b3",),
        ("b3multi",),
        ("tracecontext", "b3", "b3multi"),
    ],
)
def test_what_is_written_is_what_the_propagators_write(names):
    wanted = {
        "tracecontext": {"traceparent"},
        "baggage": {"baggage"},
        "b3": {"b3"},
        "b3multi": {"x-b3-traceid", "x-b3-spanid", "x-b3-sampled"},
    }
    with capture(config=Config(propagators=names)), obskit.operation("job"):
        token = otel_context.attach(baggage.set_baggage("a", "1"))
        ours, theirs = {}, {}
        obskit.inject(ours)
        propagate.inject(theirs)  # as other instrumentations do
        otel_context.detach(token)
    assert set(ours) == set(theirs) == set().union(*(wanted.get(name, set()) for name in names))


# -- logs -----------------------------------------------------------------------------------------------------------


class Kept(logging.Handler):
    """A handler of the team's."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def kept():
    handler = Kept()
    logging.root.addHandler(handler)
    yield handler.records
    logging.root.removeHandler(handler)


@pytest.mark.parametrize("mode", ["replace", "stamp", "off"])
def test_the_mode_of_logs(written, kept, mode):
    obs = obskit.init(service_name="s", config=Config(log_mode=mode, log_level="INFO"))
    written(obs)
    kept.clear()
    with obskit.operation("job") as op:
        logging.getLogger("shop").warning("hello")
    lines = [line["message"] for line in written(obs)]
    [record] = [record for record in kept if record.name == "shop"]
    assert lines == (["hello", "job ok"] if mode == "replace" else [])
    assert getattr(record, "trace_id", None) == (op.trace_id if mode == "stamp" else None)
    assert structlog.is_configured() == (mode == "replace")


@pytest.mark.parametrize(("level", "expected"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1)])
def test_the_lowest_level(written, level, expected):
    obs = obskit.init(service_name="s", config=Config(log_level=level))
    written(obs)
    for log in (logging.getLogger("shop"), obskit.get_logger("shop")):
        log.debug("a")
        log.info("b")
        log.warning("c")
    assert [line["message"] for line in written(obs)] == ["a", "b", "c"][-expected:] * 2


@pytest.mark.parametrize(("log_format", "is_json"), [("auto", True), ("json", True), ("console", False)])
def test_the_format_of_lines(environment, capfd, log_format, is_json):
    obs = obskit.init(service_name="s", config=Config(log_format=log_format))
    logging.getLogger("shop").warning("hello")
    assert obs.flush(5.0)
    [line] = [line for line in capfd.readouterr().out.splitlines() if "hello" in line]
    assert line.startswith("{") == is_json
