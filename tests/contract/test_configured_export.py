"""The fields of the configuration that decide how spans leave: each seen at a collector, or at the exporter's door."""

import socket
import ssl
import subprocess
import threading
import time

import pytest
from loopback_collectors import receive_request, start_collector

import obskit
from obskit import Config
from obskit.testing import capture

LONG = 20.0


def until(condition):
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def sent_with(collector, **fields):
    """The one request that a collector gets for one operation, where `fields` configure the export."""
    fields = {"otlp_endpoint": f"http://127.0.0.1:{collector.port}", "log_mode": "off", **fields}
    with obskit.init(service_name="s", config=Config(**fields)) as obs:
        with obskit.operation("job"):
            pass
        assert obs.flush(LONG)
    [request] = collector.requests
    return request


# -- what the collector sees ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["", "/", "/base"])
def test_the_endpoint_is_a_base_url(collector, base):
    request = sent_with(collector, otlp_endpoint=f"http://127.0.0.1:{collector.port}{base}")
    assert request.path == f"{base.rstrip('/')}/v1/traces"
    assert request.names == ["job"]


def test_the_endpoint_of_traces_is_used_as_it_is_and_beats_the_base(collector):
    url = f"http://127.0.0.1:{collector.port}/spans/here?tenant=a"
    assert sent_with(collector, otlp_traces_endpoint=url, otlp_endpoint="http://127.0.0.1:1").path == (
        "/spans/here?tenant=a"
    )


def test_headers(collector):
    assert sent_with(collector, otlp_headers={"X-Tenant": "a b"}).headers["x-tenant"] == "a b"


def test_a_file_of_headers(collector, tmp_path):
    secret = tmp_path / "headers"
    secret.write_text("api-key=from%20the%20file")
    headers = sent_with(collector, otlp_headers={"api-key": "given"}, otlp_headers_file=str(secret)).headers
    assert headers["api-key"] == "from the file"


@pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
def test_the_protocol(collector, protocol):
    request = sent_with(collector, otlp_protocol=protocol)
    is_json = protocol == "http/json"
    assert request.headers["content-type"] == ("application/json" if is_json else "application/x-protobuf")
    assert request.body.startswith(b'{"resourceSpans"') == is_json


@pytest.mark.parametrize(("compression", "encoding"), [("gzip", "gzip"), ("none", None)])
def test_the_compression(collector, compression, encoding):
    request = sent_with(collector, otlp_compression=compression)
    assert request.headers.get("content-encoding") == encoding
    assert request.names == ["job"]


def test_an_attempt_takes_no_longer_than_the_timeout(environment):
    """The first connection is never answered; the next one is."""
    served = []

    def serve(listener):
        first, _ = listener.accept()
        second, _ = listener.accept()
        with first, second:
            served.append(receive_request(second))
            second.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with obskit.init(config=Config(log_mode="off", otlp_endpoint=endpoint, otlp_timeout=0.2)) as obs:
            with obskit.operation("job"):
                pass
            assert obs.flush(8.0)
            assert obs._outlets._exports[0].tally.exported == 1
        server.join(LONG)
    assert len(served) == 1


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


def test_a_collector_that_asks_for_a_certificate_gets_it(environment, certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "client.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    collector = start_collector(lambda sock: context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False))
    try:
        request = sent_with(
            collector,
            otlp_traces_endpoint=f"https://127.0.0.1:{collector.port}/v1/traces",
            otlp_certificate=str(certificates / "server.pem"),
            otlp_client_certificate=str(certificates / "client.pem"),
            otlp_client_key=str(certificates / "client.key"),
        )
        assert request.names == ["job"]
    finally:
        collector.server.shutdown()
        collector.server.server_close()


def test_a_certificate_of_nobody_known_is_not_trusted(environment, certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    collector = start_collector(lambda sock: context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False))
    endpoint = f"https://127.0.0.1:{collector.port}"
    obs = obskit.init(config=Config(log_mode="off", otlp_endpoint=endpoint))
    with obskit.operation("job"):
        pass
    obs.close(1.0)
    until(lambda: collector.connections)
    collector.server.shutdown()
    collector.server.server_close()
    assert collector.requests == []
    assert (obs._outlets._exports[0].tally.produced, obs._outlets._exports[0].tally.exported) == (1, 0)


# -- what the exporter is handed ------------------------------------------------------------------------------------


class Door:
    """In the place of the exporter's `export`: what came, and whether it may pass."""

    def __init__(self, captured, *, shut=False):
        self.batches, self.seconds = [], []
        self.arrived, self.may_pass = threading.Event(), threading.Event()
        if not shut:
            self.may_pass.set()
        self._export = captured._exporter.export
        captured._exporter.export = self

    def __call__(self, spans, deadline):
        self.batches.append(len(spans))
        self.seconds.append(deadline - time.monotonic())
        self.arrived.set()
        assert self.may_pass.wait(LONG)
        return self._export(spans, deadline)


def operate(count):
    for _ in range(count):
        with obskit.operation("job"):
            pass


def test_a_queue_that_is_full_drops_and_counts():
    with capture(config=Config(span_queue_size=5, span_batch_size=1, span_schedule_delay=600)) as captured:
        door = Door(captured, shut=True)
        operate(1)
        assert door.arrived.wait(LONG)
        operate(8)
        assert captured.metric("obskit_spans_dropped_total", reason="queue_full") == 3
        assert captured.metric("obskit_spans_produced_total") == 9
        door.may_pass.set()
        assert len(captured.spans) == 6


def test_a_batch_has_at_most_its_size():
    with capture(config=Config(span_batch_size=3, span_schedule_delay=600)) as captured:
        door = Door(captured, shut=True)
        operate(2)
        assert not door.arrived.wait(0.1)
        operate(1)
        assert door.arrived.wait(LONG), "a full batch does not wait"
        operate(4)
        door.may_pass.set()
        assert len(captured.spans) == 7
    assert door.batches == [3, 3, 1]


def test_a_batch_that_is_not_full_waits_for_the_delay():
    with capture(config=Config(span_schedule_delay=0.2)) as captured:
        door = Door(captured)
        began = time.monotonic()
        operate(2)
        assert door.arrived.wait(4), "not after the default of five seconds"
        assert time.monotonic() - began >= 0.2
    assert door.batches == [2]


def test_a_batch_may_take_the_export_timeout():
    with capture(config=Config(span_export_timeout=7)) as captured:
        door = Door(captured)
        operate(1)
        assert captured.obs.flush(LONG)
    assert 5 < door.seconds[0] <= 7
