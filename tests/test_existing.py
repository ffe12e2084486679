"""What a service had before obskit keeps working, and says the same: shown with the real thing each time."""

import asyncio
import functools
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path

import httpx
import prometheus_client
import pytest
import structlog
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import fresh_process
import obskit
import raw_asgi
from obskit import Config
from obskit.testing import capture


async def item(request):
    return PlainTextResponse("theirs")


def app_with(*routes):
    app = FastAPI()
    app.router.routes += [Route("/items/{id}", item), *routes]
    return app


# -- a tracer provider --------------------------------------------------------------------------------------------


class Hanging(SpanExporter):
    """Waits for a collector that never answers."""

    def __init__(self):
        self.released = threading.Event()

    def export(self, spans):
        self.released.wait(30)
        return SpanExportResult.FAILURE


class Kept(InMemorySpanExporter):
    """Notes that it was shut down."""

    down = False

    def shutdown(self):
        self.down = True
        super().shutdown()


def test_processors_that_the_user_adds_are_flushed_and_shut_down_by_close():
    first, second = Kept(), Kept()
    with capture() as captured:
        trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(first, schedule_delay_millis=60_000))
        trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(second, schedule_delay_millis=60_000))
        with obskit.operation("flushed"):
            pass
        assert captured.obs.flush(10)
        assert [span.name for span in first.get_finished_spans()] == ["flushed"]
        with obskit.operation("closed"):
            pass
        assert captured.obs.close(10)
    for exporter in (first, second):
        assert [span.name for span in exporter.get_finished_spans()] == ["flushed", "closed"]
        assert exporter.down


@pytest.mark.parametrize("timeout", [0.0, 0.4])
def test_a_processor_that_hangs_keeps_nobody_from_ending_in_time(timeout):
    hanging, other = Hanging(), Kept()
    with capture() as captured:
        provider = trace.get_tracer_provider()
        provider.add_span_processor(BatchSpanProcessor(hanging, schedule_delay_millis=60_000))
        provider.add_span_processor(SimpleSpanProcessor(other))
        with obskit.operation("job"):
            pass
        began = time.monotonic()
        assert captured.obs.flush(timeout) is False
        assert captured.obs.close(timeout) is False
        assert time.monotonic() - began < 2 * timeout + 3
    hanging.released.set()
    assert [span.name for span in other.get_finished_spans()] == ["job"]


def test_a_processor_that_raises_is_obskits_to_contain(contained_errors):
    class Raising(SimpleSpanProcessor):
        def force_flush(self, timeout_millis=30000):
            raise OSError

    with capture() as captured:
        trace.get_tracer_provider().add_span_processor(Raising(Kept()))
        assert captured.obs.flush(5) is False
    assert [component for component, _ in contained_errors] == ["traces", "traces"]
    contained_errors.clear()


def test_processors_are_flushed_when_the_server_shuts_down():
    app, exporter = app_with(), Kept()

    async def during():
        await raw_asgi.request(app, "/items/7")

    with capture(app):
        trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
        asyncio.run(raw_asgi.lifespan(app, during))
        assert [span.name for span in exporter.get_finished_spans()] == ["GET /items/{id}"]


def test_processors_are_flushed_at_exit(tmp_path):
    """Also where no thread can be started any more."""
    lines = fresh_process.output(
        """
        import obskit
        from opentelemetry import trace
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

        obskit.init(config=obskit.Config(log_mode="off"))
        exporter = ConsoleSpanExporter(formatter=lambda span: "left: " + span.name + chr(10))
        trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
        with obskit.operation("job"):
            pass
        """
    )
    assert lines[-1] == "left: job"


@pytest.mark.parametrize("exports", [True, False])
def test_a_provider_that_was_there_is_flushed_and_lives_on(exports):
    result = fresh_process.run(
        f"""
        import json, obskit
        from obskit.testing import capture
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        theirs, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
        if {exports}:
            provider.add_span_processor(BatchSpanProcessor(theirs, schedule_delay_millis=60_000))
        trace.set_tracer_provider(provider)
        with capture() as captured:
            with obskit.operation("during"):
                pass
            flushed = captured.obs.flush(10)
        seen = [span.name for span in theirs.get_finished_spans()]
        with trace.get_tracer("theirs").start_as_current_span("after"):
            pass
        provider.force_flush()
        print(json.dumps({{
            "flushed": flushed, "seen": seen, "then": [span.name for span in theirs.get_finished_spans()],
            "obskit's": [span.name for span in captured._exporter.spans],
        }}))
        """
    )
    assert result["flushed"]
    assert result["seen"] == ["during"] * exports
    assert result["then"] == ["during", "after"] * exports
    assert result["obskit's"] == ["during"] * (not exports)


# -- logging ------------------------------------------------------------------------------------------------------


def test_a_configured_structlog_writes_the_lines_of_requests():
    app, factory = app_with(), structlog.testing.CapturingLoggerFactory()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()], logger_factory=factory
    )
    before = structlog.get_config()["processors"]
    try:
        with capture(app) as captured:
            raw_asgi.get(app, "/items/7")
            (span,) = captured.spans
            assert captured.lines == []
        written = [json.loads(call.args[0]) for call in factory.logger.calls]
        (line,) = [line for line in written if line.get("event.name") == "http.server.request"]
        assert (line["event"], line["level"]) == ("GET /items/{id} 200", "info")
        assert line["trace_id"] == f"{span.context.trace_id:032x}"
        assert structlog.get_config()["processors"] == before
    finally:
        structlog.reset_defaults()


def test_handlers_of_others_go_on(tmp_path, caplog):
    file = logging.FileHandler(tmp_path / "app.log")
    file.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    console = logging.StreamHandler(sys.stderr)
    shop = logging.getLogger("shop")
    logging.root.addHandler(file)
    logging.root.addHandler(console)
    try:
        with capture() as captured:
            shop.warning("low on %s", "pears")
            assert captured.line("low on pears")["level"] == "warning"
            assert console not in logging.root.handlers  # what writes to the terminal gives way
        shop.warning("after")
        assert {file, console} <= {*logging.root.handlers}
    finally:
        logging.root.removeHandler(file)
        logging.root.removeHandler(console)
        file.close()
    assert (tmp_path / "app.log").read_text().splitlines()[-2:] == ["WARNING low on pears", "WARNING after"]
    assert [record.message for record in caplog.records if record.name == "shop"] == ["low on pears", "after"]


# -- paths --------------------------------------------------------------------------------------------------------

THEIRS = {
    "a route": lambda path: app_with(Route(path, item)),
    "a mount": lambda path: app_with(Mount(path, routes=[Route("/", item)])),
    "a Starlette": lambda path: Starlette(routes=[Route(path, item)]),
}


@pytest.mark.parametrize("path", ["/metrics", "/health", "/livez", "/readyz", "/startupz"])
@pytest.mark.parametrize("theirs", THEIRS)
@pytest.mark.parametrize("wraps", [False, True], ids=["in place", "wrapped"])
def test_a_path_of_the_users_own_stays_theirs(path, theirs, wraps):
    app = THEIRS[theirs](path)
    with capture(None if wraps else app) as captured:
        served = captured.obs.wrap(app) if wraps else app
        for _ in range(2):
            response = raw_asgi.get(served, path)
            if response.status == 307:  # the mount's own way to its slash
                response = raw_asgi.get(served, path + "/")
            assert response.body == b"theirs"
        warnings = [line["message"] for line in captured.lines if line["level"] == "warning"]
        variable = f"OBSKIT_{path[1:].removesuffix('z').upper()}_PATH"
        assert warnings == [
            f"the app routes {path} itself: obskit leaves it to the app; set {variable} to another path, or to an empty one"
        ]


def test_metrics_of_the_instrumentator_stay_and_obskits_are_on_another_path():
    app, registry = app_with(), prometheus_client.CollectorRegistry()
    Instrumentator(registry=registry).instrument(app).expose(app)
    with capture(app, config=Config(metrics_path="/internal/metrics")) as captured:
        raw_asgi.get(app, "/items/7")
        theirs = raw_asgi.get(app, "/metrics").body.decode()
        ours = raw_asgi.get(app, "/internal/metrics").body.decode()
        assert [span.name for span in captured.spans] == ["GET /items/{id}", "GET /metrics"]
    assert 'http_requests_total{handler="/items/{id}"' in theirs
    assert "http_server_request_duration_seconds_count{" in ours
    assert "http_requests_total" not in ours


# -- Sentry -------------------------------------------------------------------------------------------------------


SENTRY = """
    import asyncio, json, logging, sys
    import sentry_sdk
    from sentry_sdk.transport import Transport

    envelopes = []

    class Local(Transport):
        def capture_envelope(self, envelope):
            envelopes.extend((item.type, item.payload.json) for item in envelope.items)

    def start():
        sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Local, traces_sample_rate=1.0)

    if {first}:
        start()
    import fastapi, obskit, raw_asgi
    from obskit.testing import capture

    log = logging.getLogger("shop")
    app = fastapi.FastAPI()

    @app.get("/fine/{{id}}")
    async def fine(id: int): return id

    @app.get("/fails/{{id}}")
    async def fails(id: int):
        log.warning("careful")
        log.error("it will fail")
        raise ZeroDivisionError

    trace_id = "0af7651916cd43dd8448eb211c80319c"

    def serve(mode):
        with capture(app, config=obskit.Config(server_spans=mode)) as captured:
            if not sentry_sdk.is_initialized():
                start()
            envelopes.clear()
            for path in ("/fine/7", "/fails/7"):
                raw_asgi.get(app, path, {{"traceparent": "00-" + trace_id + "-b7ad6b7169203331-01"}})
            spans, lines = captured.spans, captured.lines
        sentry_sdk.flush()
        events = [event for kind, event in envelopes if kind == "event"]
        exceptions = [value for event in events for value in event.get("exception", {{}}).get("values", [])]
        return {{
            "server spans": [span.name for span in spans if span.kind.name == "SERVER"],
            "exceptions of the spans": [[e.name for e in s.events] for s in spans if s.kind.name == "SERVER"],
            "lines": [[line["level"], line["message"]] for line in lines if line["logger"] != "obskit"],
            "stack traces": [line["message"] for line in lines if "exception.stacktrace" in line],
            "ours": sorted({{line["trace_id"] for line in lines if "trace_id" in line}}),
            "sentry's messages": [event["logentry"]["message"] for event in events if "logentry" in event],
            "sentry's exceptions": [value["type"] for value in exceptions],
            "breadcrumbs": [crumb["message"] for crumb in events[-1]["breadcrumbs"]["values"]],
            "transactions": [event["transaction"] for kind, event in envelopes if kind == "transaction"],
        }}

    print(json.dumps({{mode: serve(mode) for mode in ("contrib", "native", "obskit")}}))
"""
PATH = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])


@functools.cache
def beside_sentry(*, first):
    return fresh_process.run(SENTRY.format(first=first), PYTHONPATH=PATH)


@pytest.mark.parametrize("mode", ["obskit", "native", "contrib"])
@pytest.mark.parametrize("first", [True, False], ids=["Sentry first", "obskit first"])
def test_sentry_sees_what_it_saw_and_so_does_obskit(first, mode):
    assert beside_sentry(first=first)[mode] == {
        "server spans": ["GET /fine/{id}", "GET /fails/{id}"],
        "exceptions of the spans": [[], ["exception"]],
        "lines": [
            ["info", "GET /fine/{id} 200"],
            ["warning", "careful"],
            ["error", "it will fail"],
            ["error", "GET /fails/{id} 500"],
        ],
        "stack traces": ["GET /fails/{id} 500"],
        "ours": ["0af7651916cd43dd8448eb211c80319c"],
        "sentry's messages": ["it will fail"],
        "sentry's exceptions": ["ZeroDivisionError"],
        "breadcrumbs": ["careful", "it will fail"],
        "transactions": ["/fine/{id}", "/fails/{id}"],
    }


# -- opentelemetry-instrument -------------------------------------------------------------------------------------


def test_calls_and_requests_of_one_process_are_one_trace_under_a_provider_of_others():
    """Nothing of a call in process is lost or told twice where the client goes to the app itself."""
    app = app_with()

    async def call():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://in") as client:
            return await client.get("/items/7")

    with capture(app) as captured:
        asyncio.run(call())
        kinds = sorted(span.kind.name for span in captured.spans)
        assert kinds == ["CLIENT", "SERVER"]
        assert len({span.context.trace_id for span in captured.spans}) == 1
