"""One SERVER span a request, whatever else observes it.

The matrix runs in fresh processes, one for each way in which the user's own tracer provider is set, since a process
takes a global provider once. Each process goes through every wiring, and serves every kind of request with it.
"""

import itertools
import json
import sys
from collections import Counter

import pytest
from fastapi import FastAPI
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.routing import Mount

import fresh_process
import obskit
import raw_asgi
from obskit import _guard
from obskit.testing import capture

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"

#: Where a provider of the user's own is.
PROVIDERS = ("none", "argument", "global", "argument_and_global")
FRAMEWORKS = ("fastapi", "starlette")
#: What else observes the app's requests.
OTHERS = (
    "nothing",
    "contrib instrument_app before init",
    "contrib instrument_app after init",
    "contrib instrument() before the app is made",
    "contrib ASGI middleware",
    "Starlette's middleware",
)
WIRINGS = ("init(app)", "wrap(app)", "both")
#: Path of a request to the route it has, and the spans that it makes: kind, name, and the name of the span above it
#: ("" for the one in `traceparent`).
REQUESTS = {
    "/plain/7": [("SERVER", "GET /plain/{id}", "")],
    "/fast/items/7": [("SERVER", "GET /fast/items/{id}", "")],
    "/starlette/items/7": [("SERVER", "GET /starlette/items/{id}", "")],
    "/background": [("SERVER", "GET /background", ""), ("INTERNAL", "work", "GET /background")],
    "/calls": [("SERVER", "GET /calls", ""), ("CLIENT", "GET", "GET /calls"), ("SERVER", "GET /plain/{id}", "GET")],
    "/boom": [("SERVER", "GET /boom", "")],
    "/nowhere": [("SERVER", "GET", "")],
}


# -- the matrix, in the child process -----------------------------------------------------------------------------


def sdk_provider():
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


async def work():
    """A background task."""


def make_app(framework, other, own, served):
    import fastapi
    import httpx
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as ContribMiddleware
    from starlette.background import BackgroundTask
    from starlette.middleware.opentelemetry import OpenTelemetryMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def plain(request: fastapi.Request):
        return PlainTextResponse("ok")

    async def background(request: fastapi.Request):
        return PlainTextResponse("ok", background=BackgroundTask(work))

    async def calls(request: fastapi.Request):
        transport = httpx.ASGITransport(app=served[0])
        async with httpx.AsyncClient(transport=transport, base_url="http://inner") as client:
            return PlainTextResponse((await client.get("/plain/7")).text)

    async def boom(request: fastapi.Request):
        raise ZeroDivisionError

    telemetry = {"tracer_provider": own} if own else None
    sub = fastapi.FastAPI(telemetry=telemetry)
    sub.get("/items/{id}")(plain)
    mounts = [Mount("/fast", sub), Mount("/starlette", Starlette(routes=[Route("/items/{id}", plain)]))]
    handlers = {"/plain/{id}": plain, "/background": background, "/calls": calls, "/boom": boom}
    if framework == "fastapi":
        app = fastapi.FastAPI(telemetry=telemetry)
        for path, handler in handlers.items():
            app.get(path)(handler)
        app.router.routes += mounts
    else:
        app = Starlette(routes=[*(Route(path, handler) for path, handler in handlers.items()), *mounts])
    if other == "contrib ASGI middleware":
        app.add_middleware(ContribMiddleware, tracer_provider=own)
    elif other == "Starlette's middleware":
        app.add_middleware(OpenTelemetryMiddleware, tracer_provider=own)
    return app, app if framework == "fastapi" else sub


def serve_all(framework, other, wiring, own, exporters):
    """One wiring, every request: yields its path and the spans that anybody was given."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    of_all_apps = FastAPIInstrumentor()
    if other == "contrib instrument() before the app is made":
        of_all_apps.instrument(tracer_provider=own)
    served = []
    app, fast = make_app(framework, other, own, served)
    if other == "contrib instrument_app before init":
        of_all_apps.instrument_app(fast, tracer_provider=own)
    with capture(app if wiring != "wrap(app)" else None) as captured:
        if other == "contrib instrument_app after init":
            of_all_apps.instrument_app(fast, tracer_provider=own)
        served.append(app if wiring == "init(app)" else captured.obs.wrap(app))
        for path in REQUESTS:
            raw_asgi.get(served[0], path, {"traceparent": TRACEPARENT})
            spans = [span for exporter in exporters for span in exporter.get_finished_spans()] + captured.spans
            yield path, spans
            captured._exporter.spans.clear()
            for exporter in exporters:
                exporter.clear()
    if other == "contrib instrument() before the app is made":
        of_all_apps.uninstrument()
    elif other.startswith("contrib instrument_app"):
        of_all_apps.uninstrument_app(fast)


def what_is_wrong(path, spans):
    names = {span.context.span_id: span.name for span in spans} | {int(PARENT_ID, 16): ""}
    seen = [(span.kind.name, span.name, names.get(span.parent and span.parent.span_id, "?")) for span in spans]
    if Counter(seen) != Counter(REQUESTS[path]):
        return f"spans {seen}"
    if any(span.context.trace_id != int(TRACE_ID, 16) for span in spans):
        return "another trace"
    for span in spans:
        if span.kind.name == "SERVER" and (span.attributes.get("http.route") or "") != span.name[4:]:
            return f"route {span.attributes.get('http.route')} of {span.name}"
        events = [event.name for event in span.events]
        if events != (["exception"] if path == "/boom" else []):
            return f"events {events}"
    return None


def run_matrix(providers):
    own, own_exporter = sdk_provider() if "argument" in providers else (None, None)
    globally, global_exporter = sdk_provider() if "global" in providers else (None, None)
    if globally:
        trace.set_tracer_provider(globally)
    exporters = [exporter for exporter in (own_exporter, global_exporter) if exporter]
    wrong, count = [], 0
    for framework, other, wiring in itertools.product(FRAMEWORKS, OTHERS, WIRINGS):
        for path, spans in serve_all(framework, other, wiring, own, exporters):
            count += 1
            problem = what_is_wrong(path, spans)
            if problem:
                wrong.append(f"{framework}, {other}, {wiring}, {path}: {problem}")
        if globally and trace.get_tracer_provider() is not globally:
            wrong.append("the user's provider is no longer the global one")
    print(json.dumps({"combinations": count, "wrong": wrong, "contained": _guard.errors}))


# -- in pytest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("providers", PROVIDERS)
def test_one_server_span_a_request(providers):
    result = fresh_process.run(__file__, providers, timeout=100)
    print(f"provider {providers}: {result['combinations']} combinations")
    assert result["wrong"] == []
    assert result["contained"] == {}
    assert result["combinations"] == len(FRAMEWORKS) * len(OTHERS) * len(WIRINGS) * len(REQUESTS)


@pytest.mark.parametrize(
    ("own_processor", "own_sampler", "in_theirs", "in_obskits"),
    [(True, "ALWAYS_ON", 1, 0), (False, "ALWAYS_ON", 0, 1), (True, "ALWAYS_OFF", 0, 0), (False, "ALWAYS_OFF", 0, 0)],
)
def test_a_provider_of_the_users_own_is_kept(own_processor, own_sampler, in_theirs, in_obskits):
    """Its sampler and limits hold, and obskit's exporter is added only where there is none."""
    result = fresh_process.run(
        f"""
        import json, fastapi, obskit
        from fastapi.testclient import TestClient
        from obskit.testing import capture
        from opentelemetry import trace
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider, sampling
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        theirs = InMemorySpanExporter()
        limits = SpanLimits(max_span_attribute_length=5)
        provider = TracerProvider(sampler=sampling.{own_sampler}, span_limits=limits, shutdown_on_exit=False)
        if {own_processor}:
            provider.add_span_processor(SimpleSpanProcessor(theirs))
        trace.set_tracer_provider(provider)
        app = fastapi.FastAPI()

        @app.get("/orders/{{id}}")
        async def order(id: int):
            obskit.annotate(note="longer than five")

        def serve():
            with capture(app) as captured:
                captured.kept = trace.get_tracer_provider() is provider
                TestClient(app).get("/orders/7")
            return captured

        first, second = serve(), serve()  # what init adds to it, it adds once
        processors = len(provider._active_span_processor._span_processors)
        for exporter in (first._exporter, second._exporter):
            assert [s.kind.name for s in exporter.spans if s.kind.name == "SERVER"] == ["SERVER"] * {in_obskits}
        spans = [s for s in [*theirs.get_finished_spans(), *first._exporter.spans] if s.kind.name == "SERVER"]
        print(json.dumps({{
            "theirs": len([s for s in theirs.get_finished_spans() if s.kind.name == "SERVER"]),
            "notes": [s.attributes["note"] for s in spans],
            "kept": first.kept and second.kept,
            "processors": processors,
            "ids": [first.line("GET /orders/{{id}} 200")["trace_id"] == f"{{s.context.trace_id:032x}}" for s in spans[:1]],
        }}))
        """
    )
    assert result["kept"]
    assert result["theirs"] == 2 * in_theirs
    assert result["processors"] == 1
    assert set(result["notes"]) <= {"longe"}
    assert result["ids"] == [True] * (in_theirs or in_obskits)


def test_contrib_that_comes_after_the_first_app_has_begun():
    """The class that obskit has to patch did not exist when it began; each further app looks again."""
    result = fresh_process.run(
        """
        import asyncio, json, fastapi, obskit
        from fastapi.testclient import TestClient
        from obskit.testing import capture

        async def work(): pass
        def make():
            app = fastapi.FastAPI()
            @app.get("/items/{id}")
            async def item(id: int, tasks: fastapi.BackgroundTasks):
                tasks.add_task(work)
            return app

        with capture(make()) as captured:
            first = make()
            captured.obs.instrument(first)
            TestClient(first).get("/items/1")
            captured.spans; captured._exporter.spans.clear()
            from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
            second = make()
            FastAPIInstrumentor().instrument_app(second)
            captured.obs.instrument(second)
            TestClient(second).get("/items/1")
            seen = sorted((s.kind.name, s.name) for s in captured.spans if s.kind.name != "CLIENT")
        print(json.dumps(seen))
        """
    )
    assert result == [["INTERNAL", "work"], ["SERVER", "GET /items/{id}"]]


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
def test_an_observed_app_mounted_in_one_that_is_not(framework):
    inner, _ = make_app("fastapi", "nothing", None, [])
    outer = framework()
    outer.mount("/v1", inner)
    with capture(inner) as captured:
        assert raw_asgi.get(outer, "/v1/plain/7", {"traceparent": TRACEPARENT}).status == 200
        (span,) = captured.spans
    assert (span.kind.name, span.parent.span_id) == ("SERVER", int(PARENT_ID, 16))
    assert span.attributes["url.path"] == "/v1/plain/7"
    assert span.name == f"GET {span.attributes['http.route']}" == "GET /plain/{id}"


def test_two_observed_apps_in_one_process():
    first, second = FastAPI(), FastAPI()
    first.get("/first")(work)
    second.get("/second")(work)
    with capture(first) as captured:
        captured.obs.instrument(second)
        raw_asgi.get(first, "/first")
        raw_asgi.get(second, "/second")
        assert sorted(span.name for span in captured.spans) == ["GET /first", "GET /second"]


def test_an_observed_app_mounted_in_an_observed_app_is_the_outer_ones_request():
    inner, _ = make_app("fastapi", "nothing", None, [])
    outer = FastAPI()
    outer.mount("/v1", inner)
    with capture(outer) as captured:
        captured.obs.instrument(inner)
        raw_asgi.get(outer, "/v1/plain/7")
        (span,) = captured.spans
    assert span.name == "GET /v1/plain/{id}"


@pytest.mark.parametrize("flags", ["00", "01"])
def test_what_the_caller_has_not_sampled_makes_no_span_and_is_still_one_trace(flags):
    app, _ = make_app("fastapi", "nothing", None, [])
    with capture(app) as captured:
        raw_asgi.get(app, "/plain/7", {"traceparent": TRACEPARENT[:-2] + flags})
        line = captured.line("GET /plain/{id} 200")
        assert (line["trace_id"], line["trace_flags"], len(captured.spans)) == (TRACE_ID, flags, int(flags))


class Recorder:
    """A span processor that notes what it is shown, and writes on spans as the SDK's may."""

    def __init__(self):
        self.started, self.ended = [], []

    def on_start(self, span, parent_context=None):
        parent = span.parent and span.parent.span_id
        self.started.append((span.name, span.kind.name, parent, dict(span.attributes), span.is_recording()))
        span.set_attribute("tenant", "acme")

    def _on_ending(self, span):
        pass

    def on_end(self, span):
        self.ended.append(
            (span.name, dict(span.attributes), span.status.status_code.name, span.end_time > span.start_time)
        )

    def shutdown(self):
        pass

    def force_flush(self, timeout_millis=30000):
        return True


def test_a_span_processor_on_obskits_global_provider_sees_spans_as_the_sdks_do():
    app, _ = make_app("fastapi", "nothing", None, [])
    recorder = Recorder()
    with capture(app) as captured:
        trace.get_tracer_provider().add_span_processor(recorder)
        raw_asgi.get(app, "/plain/7", {"traceparent": TRACEPARENT})
        (span,) = captured.spans
        line = captured.line("GET /plain/{id} 200")
    ((name, kind, parent, early, recording),) = recorder.started
    assert (name, kind, parent, recording) == ("GET", "SERVER", int(PARENT_ID, 16), True)
    assert early["http.request.method"] == "GET"
    assert early["url.path"] == "/plain/7"
    assert recorder.ended == [("GET /plain/{id}", dict(span.attributes), "UNSET", True)]
    assert span.attributes["tenant"] == line["tenant"] == "acme"


def test_spans_of_other_instrumentations_nest_in_the_request_and_in_operations():
    app = FastAPI()

    @app.get("/")
    async def root():
        tracer = trace.get_tracer("a library's")
        with tracer.start_as_current_span("query"), obskit.operation("inner"), tracer.start_as_current_span("deepest"):
            assert trace.get_current_span().is_recording()

    with capture(app) as captured:
        raw_asgi.get(app, "/")
        spans = {span.name: span for span in captured.spans}
    names = {span.context.span_id: name for name, span in spans.items()}
    above = {name: names.get(span.parent and span.parent.span_id) for name, span in spans.items()}
    assert above == {"GET /": None, "query": "GET /", "inner": "query", "deepest": "inner"}


def test_what_others_do_to_the_current_span_shows_in_every_signal():
    app = FastAPI()

    @app.get("/")
    async def root():
        span = trace.get_current_span()
        span.set_attribute("user.tier", "gold")
        span.set_attributes({"cart.size": 3})
        span.add_event("paid", {"amount": 7})
        span.add_link(span.get_span_context(), {"why": "self"})
        span.set_status(trace.StatusCode.OK)
        try:
            raise KeyError("k")
        except KeyError as error:
            span.record_exception(error)
        span.end()  # not theirs to end

    with capture(app) as captured:
        raw_asgi.get(app, "/")
        (span,) = captured.spans
        line = captured.line("GET / 200")
    assert line["user.tier"] == span.attributes["user.tier"] == "gold"
    assert line["cart.size"] == span.attributes["cart.size"] == 3
    assert [event.name for event in span.events] == ["paid", "exception"]
    assert [dict(link.attributes) for link in span.links] == [{"why": "self"}]
    assert span.status.status_code.name == "OK"


if __name__ == "__main__":
    run_matrix(sys.argv[1])
