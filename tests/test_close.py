"""close(): all that init() touched is as it was, within the deadline; and nothing of obskit reaches the application."""

import asyncio
import copy
import io
import json
import logging
import logging.config
import socket
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import structlog
import uvicorn.config
from fastapi import BackgroundTasks, FastAPI
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.background import BackgroundTask

import fresh_process
import obskit
import raw_asgi
from obskit import Config, _init, propagation
from obskit._pipeline import current_pipeline
from obskit.operation import current_operation
from obskit.signals import _provider
from obskit.testing import capture

OFF = Config(log_mode="off")


@pytest.fixture(autouse=True)
def nothing_wired():
    yield
    if _init._current is not None:
        _init._current.close(0.5)


async def hello(tasks: BackgroundTasks):
    tasks.add_task(after)
    return {"hello": "world"}


async def after():
    """Work after the response."""


def make_app():
    app = FastAPI()
    app.get("/")(hello)
    return app


def logging_state():
    names = (
        "root",
        "uvicorn",
        "uvicorn.error",
        "uvicorn.access",
        "gunicorn.error",
        "httpx",
        "httpcore",
        "urllib3",
        "obskit",
    )
    loggers = [logging.getLogger(None if name == "root" else name) for name in names]
    return [(each.name, each.level, each.propagate, each.disabled, [*map(id, each.handlers)]) for each in loggers]


def touched(app):
    """All that init() and a served request may change, by identity where it has one."""
    for thread in threading.enumerate():  # its work is done, and it is on its way out
        if thread.name == "obskit-work":
            thread.join(5)
    return {
        "class of the app": type(app),
        "httpx": httpx.Client._send_single_request,
        "httpx, async": httpx.AsyncClient._send_single_request,
        "textmap": propagate.get_global_textmap(),
        "propagator": propagation._installed if hasattr(propagation, "_installed") else None,
        "logging": logging_state(),
        "record factory": logging.getLogRecordFactory(),
        "structlog": (
            structlog.is_configured(),
            {k: [*v] if isinstance(v, list) else v for k, v in structlog.get_config().items()},
        ),
        "uvicorn's config": copy.deepcopy(uvicorn.config.LOGGING_CONFIG),
        "background tasks": BackgroundTask.__call__,
        "contrib's middleware": OpenTelemetryMiddleware.__call__,
        "signals": current_pipeline().signals,
        "live provider": _provider._global.live,
        "threads": sorted(t.name for t in threading.enumerate() if t.name.startswith("obskit")),
        "excepthook": sys.excepthook,
    }


@pytest.fixture(autouse=True)
def servers_loggers_are_as_before():
    loggers = [logging.getLogger(name) for name in uvicorn.config.LOGGING_CONFIG["loggers"]]
    before = [(each, each.level, each.propagate, each.disabled, [*each.handlers]) for each in loggers]
    yield
    for logger, *state in before:
        logger.level, logger.propagate, logger.disabled, logger.handlers = state
        logger.manager._clear_cache()


def servers_logging():
    """As `uvicorn` from the command line leaves it."""
    logging.config.dictConfig(copy.deepcopy(uvicorn.config.LOGGING_CONFIG))


@pytest.mark.parametrize("mode", ["replace", "stamp", "off"])
@pytest.mark.parametrize("served", [False, True])
def test_all_that_init_touched_is_as_before(mode, served):
    servers_logging()
    app = make_app()
    before = touched(app)
    obs = obskit.init(app, config=Config(log_mode=mode))
    during = touched(app)
    if served:
        asyncio.run(raw_asgi.lifespan(app, lambda: raw_asgi.request(app, "/")))
        during = touched(app)
        assert during["background tasks"] is not before["background tasks"]
        assert during["contrib's middleware"] is not before["contrib's middleware"]
    for name in ("class of the app", "httpx", "httpx, async", "textmap", "signals", "live provider"):
        assert during[name] is not before[name], name
    if mode == "replace":
        assert during["logging"] != before["logging"]
        assert during["structlog"] != before["structlog"]
        assert during["uvicorn's config"] != before["uvicorn's config"]
    obs.close()
    assert touched(app) == before


def test_handlers_come_back_in_their_order_and_those_of_others_stay():
    stream, other = logging.StreamHandler(sys.stderr), logging.NullHandler()
    handlers = [stream, other, logging.StreamHandler(io.StringIO())]
    for handler in handlers:
        logging.root.addHandler(handler)
    before = list(logging.root.handlers)
    obs = obskit.init()
    try:
        assert stream not in logging.root.handlers
        assert other in logging.root.handlers
        late = logging.NullHandler()
        logging.root.addHandler(late)  # by somebody else, while obskit is there
        obs.close()
        assert [handler for handler in logging.root.handlers if handler is not late] == before
        assert late in logging.root.handlers
    finally:
        for handler in [*handlers, late]:
            logging.root.removeHandler(handler)


def test_what_somebody_else_has_put_over_a_patch_stays():
    app = make_app()
    before = BackgroundTask.__call__
    obs = obskit.init(app, config=OFF)
    raw_asgi.get(app, "/")
    ours = BackgroundTask.__call__

    async def theirs(task):
        await ours(task)

    class Theirs(type(app)):
        """Another library that swaps the class."""

    BackgroundTask.__call__ = theirs
    app.__class__ = Theirs
    textmap = propagate.get_global_textmap()
    try:
        obs.close()
        assert BackgroundTask.__call__ is theirs
        assert type(app) is Theirs
        assert raw_asgi.get(app, "/").status == 200
    finally:
        BackgroundTask.__call__ = before
    assert propagate.get_global_textmap() is not textmap


def test_contribs_middleware_stands_down_for_observed_requests_only():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    observed = make_app()
    others = OpenTelemetryMiddleware(make_app(), tracer_provider=provider)
    observed.add_middleware(OpenTelemetryMiddleware, tracer_provider=provider)
    obs = obskit.init(observed, config=OFF)
    raw_asgi.get(observed, "/")
    assert exporter.get_finished_spans() == ()
    raw_asgi.get(others, "/")
    assert [span.kind.name for span in exporter.get_finished_spans()].count("SERVER") == 1
    before = OpenTelemetryMiddleware.__call__

    async def theirs(self, scope, receive, send):
        await before(self, scope, receive, send)

    OpenTelemetryMiddleware.__call__ = theirs
    try:
        obs.close()
        assert OpenTelemetryMiddleware.__call__ is theirs
        exporter.clear()
        raw_asgi.get(observed, "/")
        assert [span.kind.name for span in exporter.get_finished_spans()].count("SERVER") == 1
    finally:
        OpenTelemetryMiddleware.__call__ = before.__wrapped__


# -- after close --------------------------------------------------------------------------------------------------


def test_wrapped_apps_pass_through_untouched_after_close():
    seen = []

    async def bare(scope, receive, send):
        seen.append((scope, receive, send))

    obs = obskit.init(config=OFF)
    wrapped = obs.wrap(bare)
    obs.close()
    for kind in ("http", "websocket", "something else"):
        scope = {"type": kind, "path": "/", "headers": [(b"traceparent", b"x")], "method": "GET"}
        given = dict(scope), object(), object()
        asyncio.run(wrapped(scope, *given[1:]))
        assert seen.pop() == given
        assert scope == given[0]


def test_every_probe_is_the_apps_again_after_close_of_an_app_observed_in_place():
    app = make_app()
    obs = obskit.init(app, config=OFF)
    assert raw_asgi.get(app, "/livez").status == 200
    obs.close()
    assert raw_asgi.get(app, "/livez").status == 404


def test_what_was_handed_out_is_harmless_after_close(capfd):
    obs = obskit.init(service_name="s")
    logger = obskit.get_logger("kept")
    tracer = trace.get_tracer("kept")
    client = httpx.Client(
        transport=httpx.MockTransport(lambda request: httpx.Response(200, json=dict(request.headers)))
    )
    with obskit.operation("open at close") as op:
        obs.close()
        op.annotate(late=True)
        obskit.accumulate("late", 1)
    capfd.readouterr()
    logger.info("still works, by structlog's own ways")
    with tracer.start_as_current_span("nothing") as span:
        assert not span.is_recording()
    assert "traceparent" not in client.get("http://127.0.0.1/").json()
    with obskit.operation("unobserved") as op:
        assert (op.trace_id, obskit.current_operation()) == ("", op)
    assert obs.flush(0.5)
    assert '"service.name"' not in capfd.readouterr().out


def test_a_request_in_flight_at_close_ends_as_it_would_have():
    app = FastAPI()

    @app.get("/")
    async def closes():
        obs.close()
        return {"closed": True}

    obs = obskit.init(app, config=OFF)
    assert raw_asgi.get(app, "/").body == b'{"closed":true}'
    assert raw_asgi.get(app, "/").status == 200
    assert current_operation().trace_id == ""


def test_lifespan_after_close_begins_nothing():
    app = make_app()
    obs = obskit.init(config=OFF)
    wrapped = obs.wrap(app)
    obs.close()
    before = touched(app)
    asyncio.run(raw_asgi.lifespan(wrapped))
    assert touched(app) == before


def test_the_second_close_does_nothing():
    obs = obskit.init(config=OFF)
    assert obs.close()
    pipeline = current_pipeline()
    assert pipeline is not obs._pipeline
    other = obskit.init(service_name="other", config=OFF)
    assert obs.close()
    assert obs.closed
    assert not other.closed
    assert current_pipeline() is not pipeline


def test_a_close_and_an_init_meanwhile_wait_for_the_first_close(hanging_collector):
    config = Config(log_mode="off", otlp_endpoint=hanging_collector, shutdown_seconds=1.0)
    first = obskit.init(config=config)
    with obskit.operation("doomed"):
        pass
    closing = threading.Thread(target=first.close)
    closing.start()
    while not first.closed:
        time.sleep(0.001)
    assert first.close() is False  # the answer of the one that is under way, and not before it
    closing.join()
    second = obskit.init(service_name="second", config=OFF)
    with second, obskit.operation("job") as op:
        assert op.span is not None
        assert current_pipeline().signals


def test_it_is_a_context_manager_that_hides_nothing():
    with pytest.raises(ZeroDivisionError), obskit.init(config=OFF) as obs:
        1 / 0  # noqa: B018
    assert obs.closed


def test_checks_and_flush_of_the_handle():
    with obskit.init(config=OFF) as obs:

        @obs.check("db", timeout=0.5, ttl=1, critical=False, affects="ready", failures=2)
        def database():
            return True

        assert database()
        assert asyncio.run(obs.health.run())["db"].affects == "ready"
        assert obs.flush(1.0)


# -- the deadline -------------------------------------------------------------------------------------------------


@pytest.fixture
def hanging_collector():
    """Takes connections and never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()


@pytest.mark.parametrize("timeout", [0.0, 0.5])
def test_close_keeps_its_deadline_with_a_collector_that_hangs(hanging_collector, timeout):
    obs = obskit.init(config=Config(log_mode="off", otlp_endpoint=hanging_collector))
    with obskit.operation("lost"):
        pass
    began = time.monotonic()
    assert obs.flush(0.1) is False
    assert obs.close(timeout) is False
    assert time.monotonic() - began < timeout + 3
    tally = obs._outlets._exports[0].tally
    assert (tally.produced, tally.exported, tally.dropped["shutdown"], tally.queued) == (1, 0, 1, 0)


def test_the_default_deadline_is_shutdown_seconds(hanging_collector):
    obs = obskit.init(config=Config(log_mode="off", otlp_endpoint=hanging_collector, shutdown_seconds=0.3))
    with obskit.operation("lost"):
        pass
    began = time.monotonic()
    assert obs.close() is False
    assert 0.1 < time.monotonic() - began < 3


def test_lifespans_end_and_close_share_one_deadline(hanging_collector):
    """What shutdown has waited for the collector, close() no longer has."""
    app = make_app()
    obs = obskit.init(app, config=Config(log_mode="off", otlp_endpoint=hanging_collector, shutdown_seconds=1.0))
    began = time.monotonic()
    asyncio.run(raw_asgi.lifespan(app, lambda: raw_asgi.request(app, "/")))
    obs.close()
    assert time.monotonic() - began < 4
    assert obs._life.seconds_left() == 0.0


# -- obskit's own faults ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["start", "finish"])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_signal_that_fails_breaks_no_request_and_no_other_signal(moment, index, contained_errors, monkeypatch):
    app = make_app()
    with capture(app) as captured:
        signal = captured.obs._pipeline.signals[index]

        def fail(op):
            raise RuntimeError("obskit's own")

        class Failing:
            name = signal.name
            start = fail if moment == "start" else signal.start
            finish = fail if moment == "finish" else signal.finish

        Failing.start, Failing.finish = staticmethod(Failing.start), staticmethod(Failing.finish)
        signals = list(captured.obs._pipeline.signals)
        signals[index] = Failing
        captured.obs._pipeline.signals = tuple(signals)
        assert raw_asgi.get(app, "/").status == 200
        assert {component for component, _ in contained_errors} == {signal.name}
        contained_errors.clear()
        assert captured.metric("obskit_internal_errors_total", component=signal.name) >= 1
        served = captured.metric("http_server_request_duration_seconds_count", http_route="/")
        lines = [line for line in captured.lines if line["message"] == "GET / 200"]
        spans = [span for span in captured.spans if span.name == "GET /"]
    expected = {"traces": len(spans), "metrics": served, "logs": len(lines)}
    for name, count in expected.items():
        if name != signal.name:
            assert count == 1, name


SCOPE = {"type": "http", "path": "/", "method": "GET", "headers": []}


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_is_no_fault_of_obskits_passes(fault):
    """From the app, and where it strikes while obskit's own code runs."""

    async def leaves(scope, receive, send):
        raise fault

    class Struck:
        name = "struck"

        def start(self, op):
            raise fault

    with capture() as captured:
        app = captured.obs.wrap(leaves)
        with pytest.raises(fault):  # stepped by hand: a loop would make something of its own of KeyboardInterrupt
            app(dict(SCOPE), None, None).send(None)
        (line,) = [line for line in captured.lines if line.get("event.name") == "http.server.request"]
        assert (line["outcome"], "error.type" in line) == ("cancelled", False)
        captured.obs._pipeline.signals = (Struck(),)
        with pytest.raises(fault):
            app(dict(SCOPE), None, None).send(None)


def test_a_loop_that_is_not_asyncios_is_served_as_well():
    """Stepped by hand, as by a loop that asyncio does not know: everything but the loop's own lag works."""
    app = make_app()
    with capture(app) as captured:
        before = BackgroundTask.__call__
        captured.obs._life.begin()
        assert BackgroundTask.__call__ is not before
        with pytest.raises(StopIteration):
            captured.obs._life.stopped().send(None)


def test_a_restore_that_fails_does_not_stop_the_others(contained_errors):
    obs = obskit.init(config=OFF)
    before = httpx.Client._send_single_request
    obs.undo.callback(lambda: 1 / 0)
    obs.close()
    assert httpx.Client._send_single_request is not before
    assert [component for component, _ in contained_errors] == ["close"]
    contained_errors.clear()


def test_an_abandoned_handle_keeps_no_app_from_being_freed():
    """In a process of its own: what other tests have frozen or cached is not asked about."""
    left = fresh_process.run(
        f"""
        import gc, json, sys, weakref
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import raw_asgi, obskit
        from fastapi import FastAPI

        async def hello(): return {{}}

        def life():
            app = FastAPI()
            app.get("/")(hello)
            obs = obskit.init(app, config=obskit.Config(log_mode="off"))
            raw_asgi.get(app, "/")
            obs.close()
            return weakref.ref(app), obs

        lives = [life() for _ in range(5)]
        gc.collect()
        print(json.dumps([app() is None for app, _ in lives]))
        """
    )
    assert left == [True] * 5


def test_close_at_exit_sends_what_is_queued():
    """A script that ends without a word."""
    lines = fresh_process.output(
        """
        import obskit
        obskit.init(config=obskit.Config(traces_exporter="console"))
        with obskit.operation("last"):
            pass
        """
    )
    assert '    "name": "last",' in lines
    assert [line for line in lines if '"message":"last ok"' in line and json.loads(line)["outcome"] == "ok"]


def test_a_child_of_multiprocessing_leaves_nothing_behind_when_it_ends():
    """Forked, it ends by ``os._exit``, right after its work."""
    lines = fresh_process.output(
        """
        import logging, multiprocessing
        import obskit

        obskit.init(service_name="parent")

        def work(number):
            with obskit.operation(f"job {number}"):
                logging.getLogger("work").info("at it")

        children = [multiprocessing.get_context("fork").Process(target=work, args=(number,)) for number in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        """,
    )
    messages = sorted(json.loads(line)["message"] for line in lines)
    assert messages[:4] == ["at it", "at it", "job 0 ok", "job 1 ok"]
