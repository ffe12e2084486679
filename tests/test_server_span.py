"""One SERVER span a request, whatever else observes it.

The matrix runs in fresh processes, since a process takes a global tracer provider, and contrib's semantic conventions,
once. Each goes through every way to observe an app, and serves every kind of request with it.

``python tests/test_server_span.py`` prints the number of combinations, and of those with exactly one SERVER span.
"""

import itertools
import json
import os
import sys
from collections import Counter
from pathlib import Path

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

#: Where the user's own tracer provider is: nowhere, so that native telemetry finds obskit's; the argument of FastAPI and
#: of the instrumentors; the process's, set before obskit's; both.
PROVIDERS = ("none", "argument", "global", "argument_and_global")
#: Who is to make the SERVER spans.
MODES = ("obskit", "contrib", "native")
FRAMEWORKS = ("fastapi", "starlette")
#: What else observes the app's requests. FastAPI's native telemetry does in each of them.
OTHERS = (
    "nothing",
    "contrib FastAPI, instrument_app before init",
    "contrib FastAPI, instrument_app after init",
    "contrib FastAPI, instrument() before the app is made",
    "contrib Starlette, instrument_app before init",
    "contrib Starlette, instrument_app after init",
    "contrib Starlette, instrument() before the app is made",
    "contrib ASGI middleware, added before init",
    "contrib ASGI middleware, added after init",
    "contrib ASGI middleware, around what is served",
    "Starlette's middleware",
)
WIRINGS = ("init(app)", "wrap(app)", "both", "wrap(wrap(app))")
#: Path of a request to the route it has, and the spans that it makes: kind, name, and the name of the span above it
#: ("" for the one in `traceparent`). Plain, mounted, in process by httpx's ASGITransport, and what ends otherwise.
REQUESTS = {
    "/plain/7": [("SERVER", "GET /plain/{id}", "")],
    "/fast/items/7": [("SERVER", "GET /fast/items/{id}", "")],
    "/starlette/items/7": [("SERVER", "GET /starlette/items/{id}", "")],
    "/background": [("SERVER", "GET /background", ""), ("INTERNAL", "work", "GET /background")],
    "/calls": [("SERVER", "GET /calls", ""), ("CLIENT", "GET", "GET /calls"), ("SERVER", "GET /plain/{id}", "GET")],
    "/boom": [("SERVER", "GET /boom", "")],
    "/nowhere": [("SERVER", "GET", "")],
    "/livez": [],
}
#: The scope of the SERVER span, where nothing but the framework and what was chosen is there.
MAKERS = {
    ("obskit", "fastapi"): "obskit",
    ("obskit", "starlette"): "obskit",
    ("contrib", "fastapi"): "opentelemetry.instrumentation.fastapi",
    ("contrib", "starlette"): "opentelemetry.instrumentation.asgi",
    ("native", "fastapi"): "fastapi",
    ("native", "starlette"): "starlette",
}
#: The processes of the matrix: mode, providers, and whether ``opentelemetry-instrument`` starts them.
PROCESSES = [
    *((mode, providers, False) for mode in MODES for providers in PROVIDERS),
    *((mode, "opentelemetry-instrument", True) for mode in MODES),
]
TESTS = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
NOT_SERVERS = "httpx,httpx2,requests,urllib,urllib3,aiohttp-client,sqlite3,sqlalchemy,logging"


# -- the matrix, in the child process -----------------------------------------------------------------------------


def in_memory(provider):
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def sdk_provider():
    from opentelemetry.sdk.trace import TracerProvider

    return in_memory(TracerProvider(shutdown_on_exit=False))


async def work():
    """A background task."""


def make_app(framework, other, own, served):
    import fastapi
    import httpx
    import starlette.applications
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
    below = starlette.applications.Starlette(routes=[Route("/items/{id}", plain)])
    mounts = [Mount("/fast", sub), Mount("/starlette", below)]
    handlers = {"/plain/{id}": plain, "/background": background, "/calls": calls, "/boom": boom}
    if framework == "fastapi":
        app = fastapi.FastAPI(telemetry=telemetry)
        for path, handler in handlers.items():
            app.get(path)(handler)
        app.router.routes += mounts
    else:
        routes = [*(Route(path, handler) for path, handler in handlers.items()), *mounts]
        app = starlette.applications.Starlette(routes=routes)
    if other == "Starlette's middleware":
        app.add_middleware(OpenTelemetryMiddleware, tracer_provider=own)
    return app, {"FastAPI": app if framework == "fastapi" else sub, "Starlette": app}


class Other:
    """What else observes requests, at the moments when it may come."""

    def __init__(self, name, own):
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.instrumentation.starlette import StarletteInstrumentor

        self.what, _, self.when = name.removeprefix("contrib ").partition(", ")
        self.own = own
        self.middleware = OpenTelemetryMiddleware
        instrumentors = {"FastAPI": FastAPIInstrumentor, "Starlette": StarletteInstrumentor}
        self.instrumentor = instrumentors[self.what]() if self.what in instrumentors else None

    def before_the_app(self):
        if self.when == "instrument() before the app is made":
            self.instrumentor.instrument(tracer_provider=self.own)

    def at(self, moment, app, apps):
        if self.when == f"instrument_app {moment}":
            self.instrumentor.instrument_app(apps[self.what], tracer_provider=self.own)
        elif self.when == f"added {moment}":
            app.add_middleware(self.middleware, tracer_provider=self.own)

    def around(self, served):
        around = self.when == "around what is served"
        return self.middleware(served, tracer_provider=self.own) if around else served

    def undo(self, apps):
        if self.when == "instrument() before the app is made":
            self.instrumentor.uninstrument()
        elif self.when.startswith("instrument_app"):
            self.instrumentor.uninstrument_app(apps[self.what])


def serve_all(mode, framework, other, wiring, own, exporters):
    """One wiring, every request: yields its path, the spans that anybody was given, and the lines."""
    other = Other(other, own)
    other.before_the_app()
    served = []
    app, apps = make_app(framework, other.what, own, served)
    other.at("before init", app, apps)
    in_place = wiring in ("init(app)", "both")
    with capture(app if in_place else None, config=obskit.Config(server_spans=mode)) as captured:
        other.at("after init", app, apps)
        inner = app
        for _ in range({"init(app)": 0, "wrap(wrap(app))": 2}.get(wiring, 1)):
            inner = captured.obs.wrap(inner)
        served.append(other.around(inner))
        for path in REQUESTS:
            raw_asgi.get(served[0], path, {"traceparent": TRACEPARENT})
            spans = [span for exporter in exporters for span in exporter.get_finished_spans()] + captured.spans
            yield path, spans, [line for line in captured.lines if "http.route" in line or "url.path" in line]
            captured._exporter.spans.clear()
            captured._writer.lines.clear()
            for exporter in exporters:
                exporter.clear()
    other.undo(apps)


def what_is_wrong(path, spans, lines, mode="obskit"):
    ids = {span.context.span_id: span for span in spans}

    def above(span):  # FastAPI's native telemetry has spans of its own between those that are asked for
        parent = span.parent and span.parent.span_id
        while parent in ids and ids[parent].name.startswith("fastapi."):
            parent = ids[parent].parent.span_id
        return "" if parent == int(PARENT_ID, 16) else ids[parent].name if parent in ids else "?"

    shown = [span for span in spans if not (mode == "native" and span.name.startswith("fastapi."))]
    seen = [(span.kind.name, span.name, above(span)) for span in shown]
    if Counter(seen) != Counter(REQUESTS[path]):
        return f"spans {seen}"
    if any(span.context.trace_id != int(TRACE_ID, 16) for span in spans):
        return "another trace"
    server = [span for span in shown if span.kind.name == "SERVER"]
    for span in server:
        if (span.attributes.get("http.route") or "") != span.name[4:]:
            return f"route {span.attributes.get('http.route')} of {span.name}"
        events = [event.name for event in span.events]
        if events != (["exception"] if path == "/boom" else []):
            return f"events {events}"
    told = [(line["span_id"], line["http.response.status_code"], line["outcome"]) for line in lines]
    facts = ("http.response.status_code", "outcome")
    if sorted(told) != sorted(
        (f"{s.context.span_id:016x}", *(s.attributes.get(fact) for fact in facts)) for s in server
    ):
        return f"lines {told}"
    return None


def run_matrix(mode, providers):
    own, own_exporter = sdk_provider() if "argument" in providers else (None, None)
    globally, global_exporter = None, None
    if "global" in providers:
        globally, global_exporter = sdk_provider()
        trace.set_tracer_provider(globally)
    elif providers == "opentelemetry-instrument":
        globally, global_exporter = in_memory(trace.get_tracer_provider())
    exporters = [exporter for exporter in (own_exporter, global_exporter) if exporter]
    wrong, count = [], 0
    for framework, other, wiring in itertools.product(FRAMEWORKS, OTHERS, WIRINGS):
        for path, spans, lines in serve_all(mode, framework, other, wiring, own, exporters):
            count += 1
            problem = what_is_wrong(path, spans, lines, mode)
            makers = {span.instrumentation_scope.name for span in spans if span.kind.name == "SERVER"}
            if (
                other == "nothing"
                and providers != "opentelemetry-instrument"
                and not makers <= {MAKERS[mode, framework]}
            ):
                problem = f"made by {makers}"
            if problem:
                wrong.append(f"{framework}, {other}, {wiring}, {path}: {problem}")
        if globally and trace.get_tracer_provider() is not globally:
            wrong.append("the user's provider is no longer the global one")
    print(json.dumps({"combinations": count, "wrong": wrong, "contained": _guard.errors}))


def run_process(mode, providers, by_command):
    environ = {}
    command = ()
    if by_command:
        environ = {
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": NOT_SERVERS,
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
        }
        command = (fresh_process.INSTRUMENT,)
    return fresh_process.run(__file__, mode, providers, timeout=100, command=command, **environ)


# -- in pytest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "providers", "by_command"), PROCESSES, ids=[f"{mode}, {providers}" for mode, providers, _ in PROCESSES]
)
def test_one_server_span_a_request(mode, providers, by_command):
    result = run_process(mode, providers, by_command)
    print(f"server_spans={mode}, provider {providers}: {result['combinations']} combinations")
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


OUTER = """
    import json, sys, fastapi, raw_asgi
    from starlette.applications import Starlette
    from starlette.middleware.opentelemetry import OpenTelemetryMiddleware
    from opentelemetry import trace
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as ContribMiddleware
    from obskit.testing import capture
    from test_server_span import TRACEPARENT, make_app, sdk_provider

    provider, exporter = sdk_provider()
    trace.set_tracer_provider(provider)
    served = []
    inner, _ = make_app("{inner}", "nothing", None, served)
    outer = {{
        "fastapi": fastapi.FastAPI,
        "starlette": Starlette,
        "starlette's": Starlette,
        "contrib's": Starlette,
    }}["{outer}"]()
    if "{outer}" == "starlette's":
        outer.add_middleware(OpenTelemetryMiddleware)
    elif "{outer}" == "contrib's":
        outer.add_middleware(ContribMiddleware, exclude_spans=["send", "receive"])
    outer.mount("/v1", inner)
    served.append(outer)
    seen = {{}}
    with capture(inner) as captured:
        for path in ("/v1/plain/7", "/v1/boom", "/v1/calls"):
            raw_asgi.get(outer, path, {{"traceparent": TRACEPARENT}})
            spans = exporter.get_finished_spans() + tuple(captured.spans)
            (line, *_) = [line for line in captured.lines if line.get("url.path") == path]
            ids = [f"{{s.context.span_id:016x}}" for s in spans if s.kind.name == "SERVER"]
            seen[path] = [len(ids), line["span_id"] in ids, line["outcome"]]
            exporter.clear()
    print(json.dumps(seen))
"""


@pytest.mark.parametrize("outer", ["fastapi", "starlette", "starlette's", "contrib's"])
@pytest.mark.parametrize("inner", FRAMEWORKS)
def test_the_span_of_an_app_that_is_not_observed_is_that_of_the_app_mounted_in_it(outer, inner):
    """The outer app's telemetry cannot stand down: it has begun before the request reaches what obskit observes."""
    seen = fresh_process.run(OUTER.format(outer=outer, inner=inner), PYTHONPATH=TESTS)
    # /calls asks the outer app for what it does not have: a request of its own, and INTERNAL to contrib.
    assert seen["/v1/plain/7"] == [1, True, "ok"]
    assert seen["/v1/boom"] == [1, True, "error"]
    assert seen["/v1/calls"] == [2 if outer in ("fastapi", "starlette's") else 1, True, "ok"]


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
    if len(sys.argv) > 1:
        run_matrix(*sys.argv[1:])
    else:
        results = [run_process(*process) for process in PROCESSES]
        combinations = sum(result["combinations"] for result in results)
        wrong = [each for result in results for each in result["wrong"]]
        for each in wrong:
            print(each)
        print(f"{combinations} combinations, {combinations - len(wrong)} with one SERVER span")
