"""Logs by OTLP, as init() wires them: each line is a record too, whoever writes the lines."""

import json
import logging
import socket
import threading
import time

import pytest
import structlog
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import fresh_process
import obskit
import raw_asgi
from obskit import Config

LONG = 20.0


def log_config(collector, **fields):
    return Config(logs_exporter="otlp", otlp_endpoint=f"http://127.0.0.1:{collector.port}", **fields)


@pytest.fixture
def records(collector):
    """records(obs) -> every log record that the collector has got, as plain values."""
    from loopback_collectors import attributes_of

    def read(obs):
        assert obs.flush(LONG)
        return [
            {
                "logger": scope,
                "body": record.body.string_value,
                "severity": (record.severity_number, record.severity_text),
                "trace": (record.trace_id.hex(), record.span_id.hex(), record.flags),
                "event": record.event_name,
                "ns": record.time_unix_nano,
                "service": resource["service.name"],
                **attributes_of(record.attributes),
            }
            for record, scope, resource in collector.records
        ]

    return read


def app_with(work):
    def read_order(request):
        work()
        return PlainTextResponse("ok")

    return Starlette(routes=[Route("/orders/{order_id}", read_order)])


def work():
    logging.getLogger("shop.stdlib").warning("low on %s", "tea", extra={"stock": 3, "password": "hunter2"})
    obskit.get_logger("shop.structlog").info("reading", **{"order.id": 7})
    obskit.annotate({"user.tier": "gold"})


def test_each_line_is_a_record_with_the_same_facts(collector, records, written):
    app = app_with(work)
    with obskit.init(app, service_name="orders", config=log_config(collector)) as obs:
        raw_asgi.get(app, "/orders/7")
        found = {each["body"]: each for each in records(obs)}
        lines = {line["message"]: line for line in written(obs)}
    assert found.keys() == lines.keys()
    severities = {"info": 9, "warning": 13}
    for message, line in lines.items():
        record = found[message]
        assert record["severity"] == (severities[line["level"]], line["level"])
        assert record["logger"] == line["logger"]
        assert record["service"] == line["service.name"] == "orders"
        if message == "GET /orders/{order_id} 200" or line["logger"].startswith("shop"):
            assert record["trace"] == (line["trace_id"], line["span_id"], int(line["trace_flags"], 16))
    request = found["GET /orders/{order_id} 200"]
    assert request["event"] == "http.server.request"
    assert (request["http.route"], request["http.response.status_code"]) == ("/orders/{order_id}", 200)
    assert request["user.tier"] == "gold"
    assert "event.name" not in request
    assert (found["low on tea"]["stock"], found["low on tea"]["password"]) == (3, "[REDACTED]")
    assert found["reading"]["order.id"] == 7
    seconds = [time.time() - each["ns"] / 1e9 for each in found.values()]
    assert all(0 <= each < 60 for each in seconds)


def test_an_exception_is_attributes_of_its_record(collector, records):
    with obskit.init(config=log_config(collector)) as obs:
        try:
            raise ValueError("token=s3cret")
        except ValueError:
            logging.getLogger("shop").exception("failed")
        [failed] = [each for each in records(obs) if each["body"] == "failed"]
    assert failed["severity"] == (17, "error")
    assert failed["exception.type"] == "ValueError"
    assert "s3cret" not in json.dumps(failed)
    assert "Traceback" in failed["exception.stacktrace"]


def test_nothing_is_sent_unless_it_is_asked_for(collector):
    with obskit.init(config=Config(otlp_endpoint=f"http://127.0.0.1:{collector.port}")) as obs:
        logging.getLogger("shop").warning("a line")
        with obskit.operation("job"):
            pass
        assert obs.flush(LONG)
        assert obs.registry.get_sample_value("obskit_log_records_produced_total") == 0
    assert {request.path for request in collector.requests} == {"/v1/traces"}


def test_disabled_nothing_is_sent(collector):
    with obskit.init(config=log_config(collector, enabled=False)) as obs:
        logging.getLogger("shop").warning("a line")
        assert obs.flush(LONG)
    assert collector.requests == []


@pytest.mark.parametrize("mode", ["stamp", "off"])
def test_the_teams_own_pipeline_stays_and_its_records_are_sent(collector, records, capfd, mode):
    app = app_with(work)
    before = logging.root.handlers.copy()
    with obskit.init(app, service_name="orders", config=log_config(collector, log_mode=mode)) as obs:
        raw_asgi.get(app, "/orders/7")
        found = {each["body"]: each for each in records(obs)}
    assert logging.root.handlers == before
    assert found["low on tea"]["stock"] == 3
    assert found["low on tea"]["password"] == "[REDACTED]"
    assert not [name for name in found["low on tea"] if name.startswith("fields.") or name == "trace_id"]
    request = found["GET /orders/{order_id} 200"]
    assert request["event"] == "http.server.request"
    assert request["trace"] == found["low on tea"]["trace"]
    assert request["trace"][2] == 3
    assert b'"message"' not in capfd.readouterr().out.encode()


@pytest.fixture
def team_structlog():
    """team_structlog(to_stdlib) configures structlog as a team does."""

    def configure(ending):
        renderer = structlog.processors.JSONRenderer()
        factory = None
        if ending == "wrapped":
            renderer = structlog.stdlib.ProcessorFormatter.wrap_for_formatter
        if ending != "printed":
            factory = structlog.stdlib.LoggerFactory()
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso"),
                renderer,
            ],
            logger_factory=factory,
        )

    yield configure
    structlog.reset_defaults()


@pytest.mark.parametrize("ending", ["printed", "rendered", "wrapped"])
def test_events_of_a_teams_structlog_are_sent_once(collector, records, team_structlog, ending):
    team_structlog(ending)
    processors = structlog.get_config()["processors"].copy()
    with obskit.init(config=log_config(collector)) as obs:
        structlog.get_logger("shop").warning("low", stock=3)
        with obskit.operation("job"):
            structlog.get_logger("shop").error("inside")
        found = [each for each in records(obs) if each["logger"] != "obskit"]
    assert structlog.get_config()["processors"] == processors
    bodies = [each["body"] for each in found]
    if ending == "rendered":  # a text by the time that it comes to stdlib logging
        bodies = [json.loads(body)["event"] if body.startswith("{") else body for body in bodies]
    assert sorted(bodies) == ["inside", "job ok", "low"]
    low, inside = (each for each, body in zip(found, bodies, strict=True) if body in ("low", "inside"))
    assert low["severity"] == (13, "warning")
    assert inside["trace"][2] == 3
    if ending != "rendered":
        assert low["stock"] == 3


def test_servers_whose_loggers_do_not_propagate_are_heard(collector, records, monkeypatch):
    logger = logging.getLogger("uvicorn")
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", logging.INFO)
    with obskit.init(config=log_config(collector, log_mode="stamp")) as obs:
        logging.getLogger("uvicorn.error").info("Uvicorn running")
        assert [each["body"] for each in records(obs) if each["logger"] == "uvicorn.error"] == ["Uvicorn running"]
    assert logger.handlers == []


def test_a_collector_that_is_gone_costs_its_records_and_no_more_than_the_deadline(environment, capfd):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        lose_to(f"http://127.0.0.1:{held.getsockname()[1]}/v1/logs", capfd)


def lose_to(url, capfd):
    obs = obskit.init(config=Config(logs_exporter="otlp", otlp_logs_endpoint=url))
    for n in range(10):
        logging.getLogger("shop").warning("line %d", n)
    began = time.monotonic()
    assert obs.close(0.5) is False
    assert time.monotonic() - began < 4
    get = obs.registry.get_sample_value
    lost = get("obskit_log_records_dropped_total", {"reason": "shutdown"})
    assert get("obskit_log_records_produced_total") == lost
    assert lost >= 10
    assert f"log records cannot be delivered to {url}" in capfd.readouterr().out


def test_all_ways_out_share_the_time_to_stop(environment):
    """Spans and log records go to a collector that hangs: neither waits for the other."""
    begun = threading.Barrier(3, timeout=LONG)

    def hang(connection):
        with connection:
            connection.recv(65536)
            begun.wait()
            while connection.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            for _ in range(2):
                threading.Thread(target=hang, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        obs = obskit.init(config=Config(logs_exporter="otlp", otlp_endpoint=url, log_schedule_delay=600))
        with obskit.operation("job"):
            pass
        closing = threading.Thread(target=obs.close, args=(3.0,))
        closing.start()
        begun.wait()  # both were asked at once
        closing.join(LONG)
        assert not closing.is_alive()


def test_records_are_shown_on_the_console_when_asked():
    printed = "\n".join(
        fresh_process.output(
            """
            import logging, obskit
            with obskit.init():
                logging.getLogger("shop").warning("a line")
            """,
            OTEL_LOGS_EXPORTER="console",
        )
    )
    assert '"body": "a line"' in printed
    assert '"severity_number": 13' in printed
    assert '"trace_id": "0x00000000000000000000000000000000"' in printed


def test_the_encoder_of_json_is_used_where_it_is_asked_for(collector):
    with obskit.init(config=log_config(collector, otlp_logs_protocol="http/json", otlp_compression="none")) as obs:
        logging.getLogger("shop").warning("a line")
        assert obs.flush(LONG)
    [request] = [request for request in collector.requests if request.path == "/v1/logs"]
    assert request.headers["content-type"] == "application/json"
    of_scope = json.loads(request.body)["resourceLogs"][0]["scopeLogs"]
    assert "a line" in [each["body"]["stringValue"] for scope in of_scope for each in scope["logRecords"]]


def test_batches_are_as_configured(collector):
    config = log_config(collector, log_batch_size=2, log_queue_size=100, log_schedule_delay=600, log_mode="off")
    with obskit.init(config=config) as obs:
        for n in range(5):
            logging.getLogger("shop").warning("line %d", n)
        assert obs.flush(LONG)
    assert [len(request.records) for request in collector.requests] == [2, 2, 1]


def test_what_a_configuration_file_decides_is_not_obskits_to_send(collector, environment, tmp_path, capfd):
    """OTEL_CONFIG_FILE configures providers and exporters: obskit adds none of its own."""
    (tmp_path / "otel.yaml").write_text("file_format: '1.0'\n")
    environment.setenv("OTEL_CONFIG_FILE", str(tmp_path / "otel.yaml"))
    with obskit.init(config=log_config(collector, metrics_exporter=("prometheus", "otlp"))) as obs:
        logging.getLogger("shop").warning("a line")
        assert obs.flush(LONG)
    assert {request.path for request in collector.requests} <= {"/v1/traces"}
    assert obs.registry.get_sample_value("obskit_log_records_produced_total") == 0
    assert obs.registry.get_sample_value("obskit_metric_points_produced_total") == 0
    banner = capfd.readouterr().out.splitlines()[0]
    assert "log records" not in banner
    assert "/v1/metrics" not in banner


@pytest.mark.parametrize("mode", ["replace", "stamp"])
def test_records_that_opentelemetrys_own_handler_sends_are_not_sent_again(collector, records, caplog, mode):
    caplog.set_level("INFO")
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

    theirs = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(theirs))
    with pytest.warns(DeprecationWarning, match="LoggingHandler"):
        handler = LoggingHandler(logging.NOTSET, provider)
    logging.root.addHandler(handler)
    try:
        with obskit.init(config=log_config(collector, log_mode=mode)) as obs:
            logging.getLogger("shop").warning("a line")
            with obskit.operation("job"):
                pass
            mine = [each["body"] for each in records(obs)]
    finally:
        logging.root.removeHandler(handler)
        provider.shutdown()
    assert "a line" not in mine
    sent = [each.log_record.body for each in theirs.get_finished_logs()]
    assert sent.count("a line") == 1
    assert mine.count("job ok") + sent.count("job ok") == 1
