"""OTLP over gRPC: a real server, the official exporters, and obskit's deadlines around them."""

import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from loopback_collectors import attributes_of
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

import obskit
from obskit import Config, _init

LONG = 20.0


class Server:
    """A collector that takes OTLP over gRPC.

    Attributes:
        answers: codes to refuse the next exports with.
        exports: (metadata, request) of each that was taken.
        hung: set to let go of exports that hang; None: none hangs.
    """

    def __init__(self, credentials=None):
        self.answers = deque()
        self.exports = []
        self.hung = None
        self._server = grpc.server(ThreadPoolExecutor(8))
        for services, messages, name in (
            (trace_service_pb2_grpc, trace_service_pb2, "Trace"),
            (logs_service_pb2_grpc, logs_service_pb2, "Logs"),
            (metrics_service_pb2_grpc, metrics_service_pb2, "Metrics"),
        ):
            answer = getattr(messages, f"Export{name}ServiceResponse")
            base = getattr(services, f"{name}ServiceServicer")
            servicer = type(name, (base,), {"Export": self._export(answer)})()
            getattr(services, f"add_{name}ServiceServicer_to_server")(servicer, self._server)
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def _export(self, answer):
        def export(_self, request, context):
            if self.hung is not None:
                self.hung.wait(LONG)
            if self.answers:
                context.abort(self.answers.popleft(), "not now")
            self.exports.append((dict(context.invocation_metadata()), request))
            return answer()

        return export

    def names(self):
        return [
            span.name
            for _, request in self.exports
            if isinstance(request, trace_service_pb2.ExportTraceServiceRequest)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def records(self):
        return [
            record
            for _, request in self.exports
            if isinstance(request, logs_service_pb2.ExportLogsServiceRequest)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def stop(self):
        if self.hung is not None:
            self.hung.set()
        self._server.stop(0).wait(LONG)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OTEL_", "OBSKIT_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    yield monkeypatch
    if _init._current is not None:
        _init._current.close(1.0)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.stop()


def grpc_config(endpoint, **fields):
    return Config(**{"otlp_endpoint": endpoint, "otlp_protocol": "grpc", "log_mode": "off", **fields})


def dropped(obs, what):
    return {
        sample.labels["reason"]: sample.value
        for family in obs.registry.collect()
        for sample in family.samples
        if sample.name == f"obskit_{what}_dropped_total" and sample.value
    }


def test_metrics_arrive_and_are_pushed_a_last_time(server):
    config = grpc_config(server.endpoint, traces_exporter="none", metrics_exporter=("otlp", "prometheus"))
    with obskit.init(service_name="orders", config=config) as obs:
        with obskit.operation("job"):
            pass
        assert obs.flush(LONG)
        assert obs.registry.get_sample_value("obskit_metric_points_exported_total") > 20
        with obskit.operation("job"):
            pass
    pushes = [request for _, request in server.exports]
    counts = [
        point.count
        for request in pushes
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "obskit.operation_duration"
        for point in metric.histogram.data_points
    ]
    assert counts == [1, 2]


def test_spans_and_log_records_arrive(server):
    config = grpc_config(server.endpoint, logs_exporter="otlp", otlp_headers={"x-tenant": "a"})
    with obskit.init(service_name="orders", config=config) as obs:
        with obskit.operation("job", fields={"n": 1}) as op:
            logging.getLogger("shop").warning("low", extra={"stock": 3})
        assert obs.flush(LONG)
    assert server.names() == ["job"]
    assert {metadata["x-tenant"] for metadata, _ in server.exports} == {"a"}
    records = {record.body.string_value: record for record in server.records()}
    assert attributes_of(records["low"].attributes) == {"stock": 3}
    assert records["low"].trace_id.hex() == records["job ok"].trace_id.hex() == op.trace_id
    assert records["low"].severity_number == 13
    assert records["job ok"].event_name == "operation"


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_the_compression_is_the_one_that_is_configured(server, compression):
    with obskit.init(config=grpc_config(server.endpoint, otlp_compression=compression)) as obs:
        with obskit.operation("job"):
            pass
        assert obs.flush(LONG)
    assert server.names() == ["job"]


def test_headers_of_the_environment_do_not_beat_the_arguments(server, environment):
    environment.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=environment")
    environment.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=environment")
    config = grpc_config(server.endpoint, otlp_headers={}, otlp_traces_headers={})
    with obskit.init(config=config) as obs:
        with obskit.operation("job"):
            pass
        assert obs.flush(LONG)
    [(metadata, _)] = server.exports
    assert "x-tenant" not in metadata


def test_a_file_of_headers_is_read_again(server, tmp_path):
    secret = tmp_path / "headers"
    secret.write_text("x-key=first")
    with obskit.init(config=grpc_config(server.endpoint, otlp_headers_file=str(secret))) as obs:
        for key in ("first", "second and longer"):
            secret.write_text(f"x-key={key}")
            with obskit.operation("job"):
                pass
            assert obs.flush(LONG)
    assert [metadata["x-key"] for metadata, _ in server.exports] == ["first", "second and longer"]


def test_a_collector_that_is_away_for_a_moment_gets_what_waited(server, caplog):
    server.answers.append(grpc.StatusCode.UNAVAILABLE)
    with obskit.init(config=grpc_config(server.endpoint)) as obs:
        with obskit.operation("job"):
            pass
        assert obs.flush(LONG)
        assert dropped(obs, "spans") == {}
    assert server.names() == ["job"]
    assert caplog.records == []


def test_what_is_refused_is_counted_and_the_reason_is_said_once(server, caplog):
    server.answers.extend([grpc.StatusCode.PERMISSION_DENIED] * 2)
    with obskit.init(config=grpc_config(server.endpoint)) as obs:
        for _ in range(2):
            with obskit.operation("job"):
                pass
            assert not obs.flush(LONG)
        assert dropped(obs, "spans") == {"rejected": 2}
    [said] = [record.getMessage() for record in caplog.records if "are being lost" in record.getMessage()]
    assert "PERMISSION_DENIED" in said
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


@pytest.mark.parametrize("how", ["dead", "hung"])
def test_close_keeps_its_deadline_whatever_the_collector_does(server, how):
    if how == "dead":
        server.stop()
    else:
        server.hung = threading.Event()
    obs = obskit.init(config=grpc_config(server.endpoint, logs_exporter="otlp"))
    with obskit.operation("job"):
        pass
    began = time.monotonic()
    assert obs.close(1.0) is False
    assert time.monotonic() - began < 5
    assert dropped(obs, "spans") == {"shutdown": 1}


def test_export_gives_up_at_its_deadline(server):
    server.stop()
    config = grpc_config(server.endpoint, span_export_timeout=1.2, otlp_timeout=0.5)
    with obskit.init(config=config) as obs:
        with obskit.operation("job"):
            pass
        began = time.monotonic()
        assert not obs.flush(LONG)
        assert time.monotonic() - began < 10
        assert dropped(obs, "spans") == {"unreachable": 1}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "client"):
        subprocess.run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key "
            f"-out {name}.pem -days 2 -subj /CN={name} -addext subjectAltName=IP:127.0.0.1".split(),
            cwd=folder, check=True, capture_output=True, timeout=30,
        )  # fmt: skip
    return folder


def test_a_collector_that_asks_for_a_certificate_gets_it(certificates):
    pem = {path.name: path.read_bytes() for path in certificates.iterdir()}
    credentials = grpc.ssl_server_credentials(
        [(pem["server.key"], pem["server.pem"])], pem["client.pem"], require_client_auth=True
    )
    server = Server(credentials)
    try:
        config = grpc_config(
            f"https://127.0.0.1:{server.port}",
            otlp_certificate=str(certificates / "server.pem"),
            otlp_client_certificate=str(certificates / "client.pem"),
            otlp_client_key=str(certificates / "client.key"),
        )
        with obskit.init(config=config) as obs:
            with obskit.operation("job"):
                pass
            assert obs.flush(LONG)
        assert server.names() == ["job"]
    finally:
        server.stop()


def test_a_certificate_that_is_not_there_is_a_wrong_argument():
    with pytest.raises(obskit.exceptions.ConfigError, match=r"otlp_certificate=/no/such\.pem"):
        obskit.init(config=grpc_config("https://127.0.0.1:1", otlp_certificate="/no/such.pem"))


def test_a_process_without_the_package_runs_and_says_what_to_install():
    """In a process of its own, whose imports do not find the package."""
    code = """
        import sys
        from importlib.abc import MetaPathFinder

        class Hidden(MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.startswith("opentelemetry.exporter"):
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Hidden())
        import obskit
        with obskit.init():
            with obskit.operation("job"):
                pass
        assert "grpc" not in sys.modules
    """
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{held.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    warnings = [line for line in done.stdout.splitlines() if '"level":"warning"' in line]
    assert len(warnings) == 1
    assert "opentelemetry-exporter-otlp-proto-grpc" in warnings[0]
    assert "4318" in warnings[0]
