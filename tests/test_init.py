"""init(): what it takes, what it wires, what it refuses, and that the environment cannot break it."""

import asyncio
import json
import logging
import threading

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import fresh_process
import obskit
import raw_asgi
from obskit import Config
from obskit._pipeline import current_pipeline
from obskit.exceptions import ConfigError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No variable of the caller's decides a test; whatever a test wires is closed after it."""
    import os

    for name in list(os.environ):
        if name.startswith(("OTEL_", "OBSKIT_")):
            monkeypatch.delenv(name)
    yield monkeypatch
    close_what_is_wired()


def close_what_is_wired():
    from obskit import _init

    if _init._current is not None:
        _init._current.close(1.0)


async def hello():
    return {"hello": "world"}


def app_with(*paths, **kwargs):
    app = FastAPI(**kwargs)
    for path in paths:
        app.get(path)(hello)
    return app


def lines_of(capfd, obs):
    obs.flush(2.0)
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def metrics_of(obs):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in obs.registry.collect()
        for sample in family.samples
    }


# -- which value counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "config", "arguments", "field", "effective"),
    [
        ({}, {}, {}, "log_level", "INFO"),
        ({"OBSKIT_LOG_LEVEL": "debug"}, {}, {}, "log_level", "DEBUG"),
        ({"OBSKIT_LOG_LEVEL": "debug"}, {"log_level": "error"}, {}, "log_level", "ERROR"),
        ({"OTEL_SERVICE_NAME": "env"}, {}, {}, "service_name", "env"),
        ({"OTEL_SERVICE_NAME": "env"}, {"service_name": "config"}, {}, "service_name", "config"),
        ({}, {"service_name": "config"}, {"service_name": "argument"}, "service_name", "argument"),
        ({"OTEL_SERVICE_NAME": "env"}, {}, {"service_name": "argument"}, "service_name", "argument"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.version=1"}, {}, {"service_version": "2"}, "service_version", "2"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=a"}, {}, {}, "environment", "a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=a"}, {}, {"environment": "b"}, "environment", "b"),
        ({"OTEL_SDK_DISABLED": "true"}, {"enabled": True}, {}, "enabled", True),
    ],
)
def test_arguments_beat_the_config_beats_the_environment(environment, environ, config, arguments, field, effective):
    for name, value in environ.items():
        environment.setenv(name, value)
    with obskit.init(config=Config(**config), **arguments) as obs:
        assert getattr(obs.config, field) == effective


@pytest.mark.parametrize(
    ("app", "name"),
    [
        (FastAPI(title="Orders"), "Orders"),
        (FastAPI(), "unknown_service:python"),
        (Starlette(), "unknown_service:python"),
        (None, "unknown_service:python"),
    ],
)
def test_the_service_is_called_as_the_app_is(app, name):
    with obskit.init(app) as obs:
        assert obs.config.service_name.startswith(name)


@pytest.mark.parametrize(("name", "hint"), [(None, " (set OTEL_SERVICE_NAME to name it)"), ("orders", "")])
def test_init_says_how_to_name_a_service_without_a_name(name, hint, capfd):
    obs = obskit.init(service_name=name)
    (line,) = lines_of(capfd, obs)
    assert line["message"].startswith(f"obskit {obskit.__version__} observes {obs.config.service_name}{hint} | ")


def test_the_version_is_that_of_the_installed_distribution():
    with obskit.init(service_name="pytest") as obs:
        assert obs.config.service_version == pytest.__version__
    with obskit.init(service_name="not installed anywhere") as obs:
        assert obs.config.service_version is None


# -- what is refused ----------------------------------------------------------------------------------------------


def test_wrong_arguments_are_all_named_and_nothing_is_wired():
    handlers = list(logging.root.handlers)
    with pytest.raises(ConfigError) as caught:
        obskit.init(object(), service_name="", environment=3, config={}, checks={"": print, "db": 7})
    problems = "\n".join(caught.value.problems)
    for part in (
        "service_name",
        "environment",
        "config is of type dict",
        "not object",
        "obs.wrap(app)",
        "'db'",
        "name",
    ):
        assert part in problems
    assert len(caught.value.problems) >= 6
    assert current_pipeline().signals == ()
    assert logging.root.handlers == handlers


@pytest.mark.parametrize("app", [object(), lambda scope, receive, send: None, FastAPI])
def test_an_app_that_is_not_starlettes_is_for_wrap(app):
    with pytest.raises(ConfigError, match=r"wrap\(app\)"):
        obskit.init(app)


def test_another_configuration_names_both_places_and_the_differences():
    first = obskit.init(service_name="a")
    with pytest.raises(ConfigError) as caught:
        obskit.init(service_name="b", config=Config(log_level="DEBUG", otlp_headers={"key": "secret"}))
    (problem,) = caught.value.problems
    assert first.place in problem
    assert problem.count(__file__) == 2
    assert "service_name: 'a' != 'b'" in problem
    assert "log_level: 'INFO' != 'DEBUG'" in problem
    assert "secret" not in problem
    assert obskit.init(service_name="a") is first


def test_what_fails_half_way_is_undone(environment):
    before = (list(logging.root.handlers), logging.root.level, current_pipeline().signals)
    config = Config(otlp_endpoint="https://127.0.0.1:1", otlp_certificate="/nowhere/ca.pem")
    with pytest.raises(ConfigError, match=r"/nowhere/ca\.pem"):
        obskit.init(config=config)
    assert (list(logging.root.handlers), logging.root.level, current_pipeline().signals) == before
    obskit.init().close()  # and the process can be wired by whoever does it right


# -- again --------------------------------------------------------------------------------------------------------


def test_the_same_configuration_again_is_the_same_handle_and_observes_the_new_app(capfd):
    first, second = app_with("/first"), app_with("/second")
    obs = obskit.init(first, service_name="s")
    assert obskit.init(second, service_name="s") is obs
    for app, path in ((first, "/first"), (second, "/second")):
        assert raw_asgi.get(app, path).status == 200
    messages = [line["message"] for line in lines_of(capfd, obs)]
    assert messages[1:] == ["GET /first 200", "GET /second 200"]


def test_the_same_app_twice_is_observed_once(capfd):
    app = app_with("/")
    obs = obskit.init(app)
    cls = type(app)
    assert obskit.init(app) is obs
    assert type(app) is cls
    raw_asgi.get(app, "/")
    assert [line["message"] for line in lines_of(capfd, obs)][1:] == ["GET / 200"]


def test_a_module_that_runs_twice_brings_its_checks_twice():
    def database():
        return True

    obs = obskit.init(checks={"db": database})
    assert obskit.init(checks={"db": database}) is obs
    assert set(asyncio.run(obs.health.run())) == {"db"}


def test_after_close_another_configuration_is_welcome():
    first = obskit.init(service_name="a")
    first.close()
    second = obskit.init(service_name="b")
    assert second is not first
    assert second.config.service_name == "b"


def test_many_threads_get_one_handle():
    handles, gate = [], threading.Barrier(8)

    def wire():
        gate.wait(10)
        handles.append(obskit.init(service_name="s"))

    threads = [threading.Thread(target=wire) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(handles) == 8
    assert len({id(handle) for handle in handles}) == 1


def test_apps_that_are_done_are_not_kept():
    """An app factory in a test suite makes one after the other."""
    import gc
    import weakref

    obskit.init(service_name="s")
    gone = []
    for _ in range(3):
        app = app_with("/")
        obskit.init(app, service_name="s")
        gone.append(weakref.ref(app))
    del app
    gc.collect()
    assert [seen() for seen in gone] == [None] * 3


# -- what is wired ------------------------------------------------------------------------------------------------


def test_routes_added_after_init_are_observed(capfd):
    app = FastAPI()
    obs = obskit.init(app)
    app.get("/late/{id}")(hello)
    raw_asgi.get(app, "/late/7")
    assert lines_of(capfd, obs)[-1]["http.route"] == "/late/{id}"


def test_without_an_app_all_but_the_asgi_part_works(capfd):
    obs = obskit.init(service_name="worker")
    with obskit.operation("reindex", fields={"batch": 3}) as op:
        obskit.get_logger("jobs").info("working")
        logging.getLogger("stdlib").warning("still working")
    working, still, done = lines_of(capfd, obs)[-3:]
    assert (done["message"], done["batch"], done["trace_id"]) == ("reindex ok", 3, op.trace_id)
    assert working["trace_id"] == still["trace_id"] == op.trace_id
    assert metrics_of(obs)["obskit_operation_duration_seconds_count", "", "internal", "ok", "reindex"] == 1


def test_checks_are_health_checks():
    app = app_with("/")
    obskit.init(app, checks={"good": lambda: True, "bad": lambda: 1 / 0})
    response = raw_asgi.get(app, "/health")
    assert response.status == 503
    assert json.loads(response.body)["checks"] == {"good": "ok", "bad": "ZeroDivisionError"}


PATHS = ("live_path", "ready_path", "startup_path", "health_path", "metrics_path")


@pytest.mark.parametrize("field", PATHS)
def test_paths_are_as_configured_and_empty_switches_them_off(field):
    default = getattr(Config(), field)
    for value, answered, not_answered in (("/x/elsewhere", "/x/elsewhere", default), ("", None, default)):
        app = app_with("/")
        with obskit.init(app, config=Config(**{field: value})):
            if answered:
                assert raw_asgi.get(app, answered).status == 200
            assert raw_asgi.get(app, not_answered).status == 404


@pytest.mark.parametrize("field", PATHS)
def test_a_path_that_the_app_routes_itself_is_left_to_it_with_one_warning(field, capfd):
    path = getattr(Config(), field)
    app = app_with(path)
    obs = obskit.init(app)
    for _ in range(3):
        assert json.loads(raw_asgi.get(app, path).body) == {"hello": "world"}
    said = [line for line in lines_of(capfd, obs) if line["level"] == "warning"]
    assert [path in line["message"] for line in said] == [True]


def test_a_catch_all_route_does_not_hide_the_probes():
    app = app_with("/{anything:path}")
    obskit.init(app)
    assert raw_asgi.get(app, "/livez").body != b'{"hello":"world"}'


def test_probes_and_scrapes_leave_no_trace(capfd):
    app = app_with("/")
    obs = obskit.init(app)
    lines_of(capfd, obs)
    for field in PATHS:
        raw_asgi.get(app, getattr(obs.config, field))
    assert lines_of(capfd, obs) == []
    assert not [name for name, *_ in metrics_of(obs) if name == "http_server_request_duration_seconds_count"]
    assert metrics_of(obs)[("obskit_spans_produced_total",)] == 0


def test_metrics_exporter_none_leaves_no_metrics_path():
    app = app_with("/")
    obskit.init(app, config=Config(metrics_exporter=("none",)))
    assert raw_asgi.get(app, "/metrics").status == 404
    assert raw_asgi.get(app, "/livez").status == 200


def test_disabled_keeps_probes_metrics_and_lines(environment, capfd):
    environment.setenv("OTEL_SDK_DISABLED", "true")
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    app = app_with("/")
    obs = obskit.init(app)
    assert raw_asgi.get(app, "/").status == 200
    with obskit.operation("job") as op:
        logging.getLogger("mine").warning("a line")
    assert op.trace_id == ""
    banner, *lines = lines_of(capfd, obs)
    assert "off: traces and RED metrics (OTEL_SDK_DISABLED" in banner["message"]
    assert [line["message"] for line in lines] == ["GET / 200", "a line", "job ok"]
    assert not [line for line in lines if "trace_id" in line]
    assert raw_asgi.get(app, "/readyz").status == 200
    exposed = raw_asgi.get(app, "/metrics").body.decode()
    assert "process_cpu_seconds_total" in exposed
    assert "http_server_request_duration_seconds_count" not in exposed
    assert "obskit_spans_produced_total 0.0" in exposed


def test_spans_go_to_the_console_when_asked():
    assert '    "name": "x",' in fresh_process.output(ONE_OPERATION, OTEL_TRACES_EXPORTER="console")


def test_grpc_without_its_exporter_says_what_to_do_and_exports_nothing(capfd, monkeypatch):
    monkeypatch.setattr("obskit.config.grpc_is_installed", lambda: False)
    obs = obskit.init(config=Config(otlp_endpoint="http://127.0.0.1:1", otlp_protocol="grpc"))
    lines = lines_of(capfd, obs)
    assert [("obskit[grpc]" in line["message"], line["level"]) for line in lines] == [(True, "warning"), (True, "info")]
    with obskit.operation("x"):
        pass
    assert metrics_of(obs)[("obskit_spans_produced_total",)] == 0


@pytest.mark.parametrize(("clients", "observed"), [(None, True), (("httpx",), True), ((), False)])
def test_clients_are_those_that_are_configured(clients, observed):
    import httpx

    before = httpx.Client._send_single_request
    with obskit.init(config=Config(clients=clients)):
        assert (httpx.Client._send_single_request is not before) is observed


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {},
            [
                "metrics → /metrics",
                "logs → JSON lines",
                "/livez /readyz",
                "off: span export (set OTEL_EXPORTER_OTLP_END",
            ],
        ),
        (
            {"otlp_endpoint": "http://u:secret@127.0.0.1:1/x"},
            ["traces → http://127.0.0.1:1/x/v1/traces (http/protobuf)"],
        ),
        ({"traces_exporter": "none"}, ["off: span export (traces_exporter is none)"]),
        ({"traces_exporter": "console"}, ["traces → standard output"]),
        ({"metrics_exporter": ("none",)}, ["off: /metrics (metrics_exporter is none)"]),
    ],
)
def test_init_says_what_is_wired_and_what_is_off(config, said, capfd):
    obs = obskit.init(app_with("/"), service_name="s", config=Config(**config))
    (line,) = lines_of(capfd, obs)
    assert line["message"].startswith(f"obskit {obskit.__version__} observes s | ")
    for part in said:
        assert part in line["message"]
    assert "secret" not in line["message"]
    assert "obs.wrap" not in line["message"]


def test_without_an_app_init_says_what_would_serve_its_paths(capfd):
    obs = obskit.init(service_name="s", config=Config(admin_port=9464))
    (line,) = lines_of(capfd, obs)
    parts = line["message"].split(" | ")
    assert "metrics → port 9464 /metrics once obs.wrap(app) is served" in parts
    assert "health → /livez /readyz /startupz port 9464 /health once obs.wrap(app) is served" in parts


@pytest.mark.parametrize(("request_log", "lines"), [("all", 1), ("off", 0), ("errors", 0), ("sampled", 1)])
def test_canonical_lines_are_those_that_are_configured(request_log, lines, capfd):
    app = app_with("/")
    obs = obskit.init(app, config=Config(request_log=request_log))
    raw_asgi.get(app, "/")
    assert [line["message"] for line in lines_of(capfd, obs)][1:] == ["GET / 200"] * lines


def test_starlette_apps_are_observed_too(capfd):
    async def endpoint(request):
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/s/{id}", endpoint)])
    obs = obskit.init(app)
    raw_asgi.get(app, "/s/7")
    assert lines_of(capfd, obs)[-1]["message"] == "GET /s/{id} 200"


# -- the environment cannot break it ------------------------------------------------------------------------------

ONE_OPERATION = """
    import obskit
    from obskit import _guard
    obs = obskit.init()
    with obskit.operation("x") as op:
        pass
    assert op.trace_id and op.sampled, "no span"
    assert not _guard.errors, _guard.errors
    obs.close(1.0)
"""

#: Values over which OpenTelemetry's own modules raise when they are imported or first used.
BREAKS_THE_SDK = {
    "OTEL_PROPAGATORS": "nope",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "x",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "-3",
    "OTEL_BSP_MAX_QUEUE_SIZE": "0",
    "OTEL_TRACES_SAMPLER_ARG": "x",
    "OTEL_PYTHON_TRACER_PROVIDER": "nope",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "x",
}
#: Variables of limits that obskit does not read; there is nothing of its own to warn of.
NOT_OBSKITS = {"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"}


def warnings_of(lines):
    return [json.loads(line)["message"] for line in lines if '"level":"warning"' in line]


@pytest.mark.parametrize("variable", sorted(BREAKS_THE_SDK))
def test_a_value_that_breaks_the_sdk_is_one_warning(variable):
    said = warnings_of(fresh_process.output(ONE_OPERATION, **{variable: BREAKS_THE_SDK[variable]}))
    assert [variable in message for message in said] == ([] if variable in NOT_OBSKITS else [True])


def test_everything_wrong_at_once_is_a_warning_each():
    wrong = BREAKS_THE_SDK | {
        "OTEL_TRACES_SAMPLER": "nope",
        "OTEL_BSP_SCHEDULE_DELAY": "-1",
        "OTEL_BSP_EXPORT_TIMEOUT": "soon",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "99999",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "many",
        "OTEL_SPAN_LINK_COUNT_LIMIT": "1e3",
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "x",
        "OTEL_PYTHON_CONTEXT": "nope",
        "OTEL_PYTHON_ID_GENERATOR": "nope",
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "nope",
        "OTEL_RESOURCE_ATTRIBUTES": "garbage,=,a=%zz",
        "OTEL_SDK_DISABLED": "maybe",
        "OTEL_TRACES_EXPORTER": "nope",
        "OTEL_METRICS_EXPORTER": "nope",
        "OTEL_LOGS_EXPORTER": "nope",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "not a url",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "soon",
        "OTEL_EXPORTER_OTLP_HEADERS": "no-equals",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "zip",
        "OBSKIT_LOG_LEVEL": "loud",
        "OBSKIT_SERIES_LIMIT": "none",
        "OBSKIT_LIVE_PATH": "no slash",
        "OBSKIT_METRIC_FIELDS": "=",
        "OBSKIT_NO_SUCH_VARIABLE": "1",
    }
    read_by_others = NOT_OBSKITS | {
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_PYTHON_CONTEXT",
        "OTEL_PYTHON_ID_GENERATOR",
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
    }
    said = warnings_of(fresh_process.output(ONE_OPERATION, **wrong))
    for variable in wrong.keys() - read_by_others:
        assert [message for message in said if variable in message], variable
    assert len(said) == len(set(said))


@pytest.mark.parametrize("path", ["/nowhere/ca.pem", __file__])
def test_a_certificate_of_the_environment_that_cannot_be_used_is_one_warning(path):
    lines = fresh_process.output(
        ONE_OPERATION, OTEL_EXPORTER_OTLP_ENDPOINT="https://127.0.0.1:1", OTEL_EXPORTER_OTLP_CERTIFICATE=path
    )
    said = [message for message in warnings_of(lines) if "certificate" in message]
    assert len(said) == 1
    assert path in said[0]
    assert "OTEL_EXPORTER_OTLP_" in said[0]


def test_the_same_certificate_by_argument_raises_and_by_variable_warns(environment, capfd):
    with pytest.raises(ConfigError, match="certificate"):
        obskit.init(config=Config(otlp_endpoint="https://127.0.0.1:1", otlp_client_certificate="/nowhere"))
    environment.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/nowhere")
    obs = obskit.init(config=Config(otlp_endpoint="https://127.0.0.1:1"))
    assert [line["level"] for line in lines_of(capfd, obs)] == ["warning", "info"]


def test_variables_are_back_after_an_import_that_hid_them():
    code = 'import json, os, obskit; print(json.dumps(os.environ["OTEL_PROPAGATORS"]))'
    assert fresh_process.run(code, OTEL_PROPAGATORS="nope") == "nope"


def test_import_has_no_side_effects():
    result = fresh_process.run(
        """
        import json, logging, threading, signal
        before = (list(logging.root.handlers), threading.active_count(), signal.getsignal(signal.SIGTERM))
        import obskit
        from opentelemetry import trace
        import structlog
        after = (list(logging.root.handlers), threading.active_count(), signal.getsignal(signal.SIGTERM))
        import sys
        print(json.dumps([before == after, trace._TRACER_PROVIDER is None, structlog.is_configured(),
                          [m for m in ("fastapi", "starlette", "httpx", "uvicorn", "asyncio.runners") if m in sys.modules]]))
        """
    )
    assert result[:3] == [True, True, False]
    assert set(result[3]) <= {"asyncio.runners"}


def test_variables_are_read_at_init_and_not_at_import():
    code = """
        import json, os, obskit
        os.environ["OTEL_SERVICE_NAME"] = "late"
        print(json.dumps(obskit.init(config=obskit.Config(log_mode="off")).config.service_name))
    """
    assert fresh_process.run(code) == "late"


def test_what_a_declarative_configuration_file_configures_is_left_to_it(monkeypatch):
    from opentelemetry import propagate, trace

    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    before = propagate.get_global_textmap(), trace.get_tracer_provider()
    with obskit.init(service_name="declared"):
        assert (propagate.get_global_textmap(), trace.get_tracer_provider()) == before
        with obskit.operation("job") as op:
            assert op.span is not None
