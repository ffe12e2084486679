"""What the handle passes on: to the checks, to `/metrics`, and from a process that comes and goes."""

import asyncio
import contextlib
import json
import logging
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind
from prometheus_client import REGISTRY, Counter
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import fresh_process
import obskit
import raw_asgi
from obskit import Config
from obskit.exceptions import ConfigError
from obskit.testing import capture

METRICS = Path(__file__).parents[2] / "docs/reference/metrics.md"


async def endpoint(request):
    return PlainTextResponse("ok")


def make_app():
    return Starlette(routes=[Route("/orders/{id}", endpoint)])


def body_of(app, path, **headers):
    response = raw_asgi.get(app, path, headers)
    return response.status, response.body.decode()


# -- checks ---------------------------------------------------------------------------------------------------------


def test_check_passes_every_argument_on():
    runs = []
    app = make_app()
    with capture(app) as captured:

        @captured.obs.check("cache", critical=False, failures=2, ttl=0)
        def cache():
            runs.append(1)
            return False

        @captured.obs.check("kept", ttl=600)
        def kept():
            runs.append("kept")

        @captured.obs.check("hangs", critical=False, timeout=0.05, ttl=600)
        async def hangs():
            await asyncio.sleep(60)

        first, second = (json.loads(body_of(app, "/health")[1]) for _ in range(2))
        assert captured.metric("obskit_health_check_status", check="kept") == 1
        assert captured.metric("obskit_health_check_status", check="hangs") == 0
        assert 0.05 <= captured.metric("obskit_health_check_duration_seconds", check="hangs") < 0.9  # the default is 1
    assert first["checks"] == {"cache": "ok", "kept": "ok", "hangs": "timeout"}
    assert second["checks"] == {"cache": "returned False", "kept": "ok", "hangs": "timeout"}
    assert (first["status"], second["status"]) == ("degraded", "degraded")
    assert runs.count("kept") == 1


def test_check_refuses_what_is_wrong_and_a_name_that_is_taken():
    with capture() as captured:
        with pytest.raises(ConfigError, match="timeout"):
            captured.obs.check("a", timeout=0)(lambda: True)
        captured.obs.check("a")(lambda: True)
        with pytest.raises(ConfigError, match="exists already"):
            captured.obs.check("a")(print)
        assert set(asyncio.run(captured.obs.health.run())) == {"a"}


# -- /metrics -------------------------------------------------------------------------------------------------------


def test_metrics_of_ones_own_show_from_both_registries():
    app = make_app()
    elsewhere = Counter("contract_elsewhere", "On the default registry.", registry=REGISTRY)
    try:
        with capture(app) as captured:
            Counter("contract_refunds", "Paid.", registry=captured.obs.registry).inc(3)
            elsewhere.inc(2)
            status, text = body_of(app, "/metrics")
    finally:
        REGISTRY.unregister(elsewhere)
    assert status == 200
    assert "contract_refunds_total 3.0" in text
    assert "contract_elsewhere_total 2.0" in text
    for name in ("process_cpu_seconds_total", "python_info"):
        assert len(re.findall(rf"^{name}\b", text, re.MULTILINE)) == 1


def test_process_metrics_show_also_where_the_default_registry_has_lost_them():
    names = fresh_process.run(
        """
        import json, obskit
        from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, REGISTRY
        for collector in (GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR):
            REGISTRY.unregister(collector)
        obs = obskit.init(config=obskit.Config(log_mode="off"))
        print(json.dumps([family.name for family in obs.registry.collect()]))
        """
    )
    for name in ("process_cpu_seconds", "process_resident_memory_bytes", "python_info", "python_gc_collections"):
        assert names.count(name) == 1


def test_each_reason_is_there_from_the_start(environment):
    table = METRICS.read_text().partition("## Reasons")[2].partition("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", table, re.MULTILINE)
    metrics = {"spans": "obskit_spans", "lines": "obskit_log_lines", "records": "obskit_log_records"}
    metrics["points"] = "obskit_metric_points"
    documented = {what: {name for name, of in rows if of == "all" or what in of.split(", ")} for what in metrics}
    obs = obskit.init(service_name="s", config=Config(otlp_endpoint="http://127.0.0.1:1"))
    samples = [sample for family in obs.registry.collect() for sample in family.samples]
    for what, metric in metrics.items():
        found = {
            sample.labels["reason"]: sample.value for sample in samples if sample.name == f"{metric}_dropped_total"
        }
        assert found == dict.fromkeys(documented[what], 0)
        assert len(found) >= 5


def test_lines_and_their_bytes_are_counted_as_they_are_written(environment, capfd):
    obs = obskit.init(service_name="s")
    for _ in range(5):
        logging.getLogger("shop").warning("hello")
    assert obs.flush(5.0)
    out = capfd.readouterr().out
    get = obs.registry.get_sample_value
    assert get("obskit_log_bytes_total") == len(out.encode())
    assert get("obskit_log_lines_produced_total") == get("obskit_log_lines_exported_total") == out.count("\n") == 6


def test_spans_are_counted_only_where_they_go_somewhere(environment):
    obs = obskit.init(service_name="s", config=Config(log_mode="off"))
    with obskit.operation("job") as op:
        assert op.sampled
    assert obs.registry.get_sample_value("obskit_spans_produced_total") == 0


def test_what_blocks_the_loop_is_measured_and_named():
    app = make_app()

    async def scenario():
        with capture(app) as captured:
            await raw_asgi.request(app, "/orders/7")
            await asyncio.sleep(0.6)
            assert captured.metric("obskit_event_loop_lag_seconds_count") >= 1
            time.sleep(0.6)  # noqa: ASYNC251  (the fault that is to be found)
            await asyncio.sleep(0.4)
            assert captured.metric("obskit_event_loop_lag_seconds_sum") >= 0.2
            [line] = [line for line in captured.lines if line["logger"] == "obskit.loop"]
        assert line["code.file.path"] == __file__
        assert line["code.function.name"].endswith("scenario")
        assert line["code.line.number"] > scenario.__code__.co_firstlineno

    asyncio.run(scenario())


# -- the life of the app --------------------------------------------------------------------------------------------


def test_probes_follow_the_lifespan():
    app = make_app()
    seen = []

    async def probes():
        seen.append([(await raw_asgi.request(app, path)).status for path in ("/livez", "/readyz", "/startupz")])

    async def scenario():
        obs = captured.obs
        assert not obs._endpoints.startup_complete
        await raw_asgi.lifespan(app, probes)
        await probes()

    with capture(app) as captured:
        asyncio.run(scenario())
    assert seen == [[200, 200, 200], [200, 503, 200]]


def test_drain_turns_readiness_off_and_nothing_else():
    app = make_app()
    seen = {}

    async def probes():
        captured.obs.drain()
        for path in ("/livez", "/readyz", "/startupz", "/health", "/orders/1"):
            seen[path] = (await raw_asgi.request(app, path)).status

    with capture(app) as captured:
        asyncio.run(raw_asgi.lifespan(app, probes))
    assert seen == {"/livez": 200, "/readyz": 503, "/startupz": 200, "/health": 200, "/orders/1": 200}


def test_before_startup_ends_probes_say_so():
    seen = {}

    @contextlib.asynccontextmanager
    async def starting(app):
        for path in ("/livez", "/readyz", "/startupz"):
            seen[path] = (await raw_asgi.request(app, path)).status
        yield

    app = Starlette(lifespan=starting)
    with capture(app):
        asyncio.run(raw_asgi.lifespan(app))
    assert seen == {"/livez": 200, "/readyz": 503, "/startupz": 503}


def test_without_a_lifespan_startup_ends_with_the_first_request():
    app = make_app()
    with capture(app):
        assert raw_asgi.get(app, "/readyz").status == 200


# -- operations -----------------------------------------------------------------------------------------------------


def test_what_an_operation_shows():
    with capture() as captured, obskit.operation("outer") as outer:
        with obskit.operation("charge", kind="producer", fields={"n": 1}) as op:
            obskit.annotate(n=2)
            obskit.accumulate("sum", 3)
            assert (op.name, op.kind, op.parent, outer.parent) == ("charge", SpanKind.PRODUCER, outer, None)
            assert (op.fields, op.sampled) == ({"n": 2, "sum": 3}, True)
            assert (op.outcome, op.duration_ms, op.ended) == ("ok", 0, False)
        span = captured.span("charge")
        assert (op.trace_id, op.span_id) == (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
        assert op.ended
        assert op.duration_ms > 0
        with pytest.raises(ZeroDivisionError), obskit.operation("fails") as failing:
            1 / 0  # noqa: B018
        assert failing.outcome == "error"


def test_calls_of_databases_are_added_up():
    with capture() as captured:
        with obskit.operation("job") as job:
            for _ in range(2):
                with obskit.operation("query", kind="client", fields={"db.system.name": "sqlite"}):
                    time.sleep(0.002)
        line = captured.line("job ok")
        queries = [span for span in captured.spans if span.name == "query"]
    assert [span.attributes["db.system.name"] for span in queries] == ["sqlite"] * 2
    total = sum((span.end_time - span.start_time) / 1e6 for span in queries)
    assert line["db.client.duration_ms"] == job.fields["db.client.duration_ms"] == pytest.approx(total, abs=0.01)
    assert (line["db.client.count"], line["db.client.errors"]) == (2, 0)


# -- ends -----------------------------------------------------------------------------------------------------------

SCRIPT = """
    import logging, os, signal, sys, time
    import obskit
    obs = obskit.init(service_name="script", config=obskit.Config(traces_exporter="console"))
    {handler}
    with obskit.operation("job"):
        logging.getLogger("shop").warning("working")
    {then}
    os.kill(os.getpid(), signal.{signal})
    time.sleep(30)
"""


def ended(**parts):
    code = textwrap.dedent(SCRIPT).format(**{"handler": "", "then": "", **parts})
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_sigterm_ends_a_script_as_it_would_without_obskit_and_nothing_is_lost():
    done = ended(signal="SIGTERM")
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")
    assert '"name": "job"' in done.stdout
    assert '"message":"job ok"' in done.stdout


def test_a_script_that_handles_sigterm_loses_nothing():
    done = ended(signal="SIGTERM", handler="signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))")
    assert done.returncode == 0
    assert '"name": "job"' in done.stdout
    assert '"message":"job ok"' in done.stdout


def test_sigkill_takes_no_more_than_the_last_lines():
    done = ended(signal="SIGKILL", then="time.sleep(1)")
    assert done.returncode == -signal.SIGKILL
    assert '"message":"working"' in done.stdout
    assert '"message":"job ok"' in done.stdout
    assert '"name": "job"' not in done.stdout
