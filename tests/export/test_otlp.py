"""The exporter against real sockets: what is retried, what is dropped, and that no server holds it past its deadline."""

import email.utils
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from base64 import b64encode
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_collectors import (
    drip_body,
    drip_head,
    hang,
    make_span,
    make_spans,
    receive_request,
    reset,
    start_collector,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from obskit import __version__
from obskit.export import otlp
from obskit.export._answer import partial_success
from obskit.export._encodings import SPANS
from obskit.export.otlp import OtlpExporter, retry_after_seconds


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(otlp, "_FIRST_WAIT", 0.02)
    monkeypatch.setattr(otlp, "_LONGEST_WAIT", 0.05)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def exporter_to():
    made = []

    def make(endpoint, **given):
        if isinstance(endpoint, int):
            endpoint = f"http://127.0.0.1:{endpoint}/v1/traces"
        made.append(OtlpExporter(SPANS, endpoint=endpoint, **given))
        return made[-1]

    yield make
    for exporter in made:
        exporter.close()


def export(exporter, spans, seconds=10.0):
    return exporter.export(spans, time.monotonic() + seconds)


def response(rejected, message=""):
    success = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return ExportTraceServiceResponse(partial_success=success).SerializeToString()


# -- what is sent ------------------------------------------------------------------------------------------------


def test_spans_arrive_whole_over_one_kept_connection(collector, exporter_to):
    exporter = exporter_to(collector.endpoint, headers={"X-Tenant": "a"})
    assert export(exporter, make_spans(3)) == ({}, "")
    assert export(exporter, [make_span(4)]) == ({}, "")
    assert collector.names == ["span 1", "span 2", "span 3", "span 4"]
    assert collector.connections == 1
    first = collector.requests[0]
    assert first.path == "/v1/traces"
    assert first.headers["content-type"] == "application/x-protobuf"
    assert first.headers["content-encoding"] == "gzip"
    assert first.headers["user-agent"] == f"OTel-OTLP-Exporter-obskit/{__version__}"
    assert first.headers["x-tenant"] == "a"


def test_without_compression(collector, exporter_to):
    export(exporter_to(collector.endpoint, compression="none"), [make_span()])
    assert "content-encoding" not in collector.requests[0].headers
    assert ExportTraceServiceRequest.FromString(collector.requests[0].raw).resource_spans


def test_json(collector, exporter_to):
    collector.answers.append(
        (200, {"content-type": "application/json"}, b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"no"}}')
    )
    result = export(exporter_to(collector.endpoint, protocol="http/json"), make_spans(2))
    request = collector.requests[0]
    assert request.headers["content-type"] == "application/json"
    sent = json.loads(request.body)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [span["traceId"] for span in sent] == [f"{0xABC:032x}"] * 2
    assert result.dropped == {"rejected": 1}


def test_own_headers_do_not_give_way_to_the_bodys(collector, exporter_to):
    export(exporter_to(collector.endpoint, headers={"Content-Type": "text/plain", "User-Agent": "mine"}), [make_span()])
    assert collector.requests[0].headers["content-type"] == "application/x-protobuf"
    assert collector.requests[0].headers["user-agent"] == "mine"


def test_credentials_in_the_endpoint_become_basic_authentication_and_are_never_shown(dead_port, collector, exporter_to):
    exporter = exporter_to(f"http://me:s3%40cret@127.0.0.1:{collector.port}/v1/traces?tenant=a")
    export(exporter, [make_span()])
    assert collector.requests[0].headers["authorization"] == "Basic " + b64encode(b"me:s3@cret").decode()
    assert collector.requests[0].path == "/v1/traces?tenant=a"
    assert collector.requests[0].headers["host"] == f"127.0.0.1:{collector.port}"
    assert exporter.endpoint == collector.endpoint
    result = export(exporter_to(f"http://me:s3cret@127.0.0.1:{dead_port}/v1/traces"), [make_span()], 0.2)
    assert result.error.startswith(f"http://127.0.0.1:{dead_port}/v1/traces: ConnectionRefusedError")


def test_what_cannot_be_encoded_is_counted_and_the_rest_sent(collector, exporter_to, contained_errors):
    exporter = exporter_to(collector.endpoint)
    bad = make_span()
    bad._context = None
    assert export(exporter, [bad, make_span(2)]) == ({"encode": 1}, "")
    assert collector.names == ["span 2"]
    assert export(exporter, [bad]) == ({"encode": 1}, "")
    assert len(collector.requests) == 1
    contained_errors.clear()


@pytest.mark.parametrize("endpoint", ["localhost:4318", "ftp://a/b", "http://", "http://a:port/", "grpc://a:4317", ""])
def test_what_is_no_http_url_is_refused(endpoint):
    with pytest.raises(ValueError):
        OtlpExporter(SPANS, endpoint=endpoint)


# -- what is retried ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retried(collector, exporter_to, status):
    collector.answers += [(status, {}, b""), (status, {}, b"")]
    assert export(exporter_to(collector.endpoint), [make_span()]) == ({}, "")
    assert collector.names == ["span 1"] * 3


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 408, 413, 422, 500, 501, 505])
def test_not_retried(collector, exporter_to, status):
    collector.answers.append((status, {"location": collector.endpoint}, b"why"))
    result = export(exporter_to(collector.endpoint), make_spans(2))
    assert result == ({"rejected": 2}, f"{collector.endpoint}: HTTP {status}")
    assert len(collector.requests) == 1


@pytest.mark.parametrize("status", [200, 202, 204])
def test_taken(collector, exporter_to, status):
    collector.answers.append((status, {}, b""))
    assert export(exporter_to(collector.endpoint), [make_span()]) == ({}, "")


@pytest.mark.parametrize("asked", ["1", "date"])
def test_retry_after_is_waited_for(collector, exporter_to, asked):
    if asked == "date":  # its resolution is a second
        asked = email.utils.formatdate(time.time() + 2, usegmt=True)
    collector.answers.append((503, {"retry-after": asked}, b""))
    assert export(exporter_to(collector.endpoint), [make_span()]) == ({}, "")
    assert collector.requests[1].at - collector.requests[0].at >= 0.95


def test_retry_after_is_capped_by_the_deadline(collector, exporter_to):
    collector.answers.append((429, {"retry-after": "3600"}, b""))
    started = time.monotonic()
    result = export(exporter_to(collector.endpoint), [make_span()], 0.3)
    assert result == ({"unreachable": 1}, f"{collector.endpoint}: HTTP 429")
    assert 0.25 < time.monotonic() - started < 3
    assert len(collector.requests) == 1


def test_waits_grow_up_to_a_limit_and_vary(monkeypatch):
    monkeypatch.undo()
    runs = [list(islice(otlp._waits(), 8)) for _ in range(50)]
    for waits in runs:
        for wait, limit in zip(waits, [0.5, 1, 2, 4, 4, 4, 4, 4], strict=True):
            assert limit / 2 <= wait <= limit
    assert len({waits[0] for waits in runs}) > 1


def test_a_dead_collector_is_tried_until_the_deadline(dead_port, exporter_to):
    result = export(exporter_to(dead_port), make_spans(2), 0.3)
    assert result.dropped == {"unreachable": 2}
    assert "ConnectionRefusedError" in result.error


def test_a_deadline_that_has_passed_sends_nothing(collector, exporter_to):
    assert export(exporter_to(collector.endpoint), [make_span()], -1).dropped == {"unreachable": 1}
    assert not collector.requests


def test_a_name_that_does_not_resolve_is_unreachable(exporter_to):
    result = export(exporter_to("http://collector.invalid:4318/v1/traces"), [make_span()], 0.2)
    assert result.dropped == {"unreachable": 1}


def test_a_reset_is_retried(raw_server, exporter_to):
    bodies = []

    def talk(connection):
        if len(bodies) < 2:
            bodies.append(1)
            reset(connection)
        else:
            receive_request(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    assert export(exporter_to(raw_server(talk)), [make_span()]) == ({}, "")


def test_a_connection_that_was_closed_while_idle_is_replaced_without_a_wait(raw_server, exporter_to, monkeypatch):
    monkeypatch.setattr(otlp, "_FIRST_WAIT", 60)
    served = []

    def talk(connection):
        receive_request(connection)
        served.append(1)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    exporter = exporter_to(raw_server(talk))
    for _ in range(3):
        assert export(exporter, [make_span()], 5) == ({}, "")
        time.sleep(0.05)
    assert len(served) == 3


@pytest.mark.parametrize(
    "talk", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"]
)
def test_what_is_no_answer_is_retried(raw_server, exporter_to, talk):
    def answer(connection):
        receive_request(connection)
        connection.sendall(talk)

    assert export(exporter_to(raw_server(answer)), [make_span()], 0.3).dropped == {"unreachable": 1}


# -- deadlines ---------------------------------------------------------------------------------------------------


def accept_late(connection):
    time.sleep(5)


def test_a_port_for_grpc_is_told_as_one(raw_server, exporter_to):
    """It greets with the settings of HTTP/2, which are nothing to show to a person."""

    def settings(connection):
        receive_request(connection)  # all of it, or the close would reset the connection
        connection.sendall(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00")

    error = export(exporter_to(raw_server(settings)), [make_span()], 0.3).error
    assert error.endswith(
        "no answer in HTTP/1.1: a port for gRPC, such as 4317, takes OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
    )


@pytest.mark.parametrize("talk", [hang, drip_head, drip_body, accept_late], ids=lambda talk: talk.__name__)
def test_the_deadline_holds_against(raw_server, exporter_to, talk):
    started = time.monotonic()
    result = export(exporter_to(raw_server(talk)), [make_span()], 0.4)
    assert time.monotonic() - started < 2
    assert result.dropped == {"unreachable": 1}
    assert "TimeoutError" in result.error


def test_an_attempt_ends_by_its_timeout_and_the_next_may_succeed(raw_server, exporter_to):
    seen = []

    def talk(connection):
        seen.append(1)
        if len(seen) == 1:
            drip_head(connection)
        receive_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    started = time.monotonic()
    assert export(exporter_to(raw_server(talk), timeout=0.3), [make_span()], 20) == ({}, "")
    assert time.monotonic() - started < 5


def test_a_server_that_does_not_read_cannot_hold_a_large_request(raw_server, exporter_to):
    exporter = exporter_to(raw_server(accept_late), compression="none")
    spans = [make_span(n, attributes={"big": "x" * 4000}) for n in range(1, 4000)]
    started = time.monotonic()
    assert export(exporter, spans, 0.5).dropped == {"unreachable": 3999}
    assert time.monotonic() - started < 3


def test_an_endless_body_is_not_read_and_the_next_request_gets_a_fresh_connection(raw_server, exporter_to):
    accepted = []

    def talk(connection):
        accepted.append(1)
        receive_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n" + b"x" * 200_000)
        hang(connection)

    exporter = exporter_to(raw_server(talk))
    assert export(exporter, [make_span()], 5) == ({}, "")
    assert export(exporter, [make_span()], 5) == ({}, "")
    assert len(accepted) == 2


@pytest.mark.parametrize("talk", [hang, drip_head, drip_body], ids=lambda talk: talk.__name__)
def test_close_ends_an_export_in_another_thread(raw_server, exporter_to, talk):
    talking, results = threading.Event(), []

    def announce(connection):
        talking.set()
        talk(connection)

    exporter = exporter_to(raw_server(announce))
    thread = threading.Thread(target=lambda: results.append(export(exporter, [make_span()], 60)))
    thread.start()
    assert talking.wait(5)
    time.sleep(0.1)
    exporter.close()
    thread.join(5)
    assert results[0].dropped == {"shutdown": 1}


def test_close_ends_a_wait_between_attempts(collector, exporter_to):
    collector.answers.append((503, {"retry-after": "60"}, b""))
    exporter, results = exporter_to(collector.endpoint), []
    thread = threading.Thread(target=lambda: results.append(export(exporter, [make_span()], 60)))
    thread.start()
    while not collector.requests:
        time.sleep(0.01)
    time.sleep(0.1)
    exporter.close()
    thread.join(5)
    assert results[0].dropped == {"shutdown": 1}
    assert export(exporter, [make_span()]).dropped == {"shutdown": 1}


def test_no_descriptor_is_left_open(collector, raw_server, dead_port, exporter_to):
    ports = [collector.port, raw_server(hang), raw_server(reset), raw_server(drip_body), dead_port]
    for port in ports:
        exporter = exporter_to(port)
        export(exporter, [make_span()], 0.2)
        exporter.close()
        assert not connections_to(port)


def connections_to(port):
    """Sockets of this process that are connected to `port`: the clients' ends."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(descriptor.name))) as sock:
            if sock.getpeername()[1:] == (port,):
                found.append(descriptor)
    return found


def test_a_forked_child_leaves_the_parents_connection_alone(collector, exporter_to):
    exporter = exporter_to(collector.endpoint)
    assert export(exporter, [make_span(1)]) == ({}, "")
    child = os.fork()
    if not child:
        before = len(connections_to(collector.port))
        result = export(exporter, [make_span(2)])
        after = len(connections_to(collector.port))
        exporter.close()
        os._exit(not (result == ({}, "") and before == after == 2 and not connections_to(collector.port)))
    assert os.waitpid(child, 0)[1] == 0
    assert export(exporter, [make_span(3)]) == ({}, "")
    assert collector.names == ["span 1", "span 2", "span 3"]
    assert collector.connections == 2


def test_another_process_id_gets_another_connection(collector, exporter_to):
    exporter = exporter_to(collector.endpoint)
    export(exporter, [make_span(1)])
    exporter._pid = 0
    before = exporter._connection
    assert export(exporter, [make_span(2)]) == ({}, "")
    assert exporter._connection is not before
    assert collector.connections == 2
    assert len(connections_to(collector.port)) == 2
    exporter._pid = 0
    exporter.close()
    assert len(connections_to(collector.port)) == 2
    exporter._connection.close()
    assert not connections_to(collector.port)


def test_closed_while_it_connects(collector, exporter_to, monkeypatch):
    exporter = exporter_to(collector.endpoint)
    look_up = socket.getaddrinfo

    def closing(*given, **more):
        exporter.close()
        return look_up(*given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", closing)
    assert export(exporter, [make_span()]).dropped == {"shutdown": 1}
    assert not connections_to(collector.port)
    assert not collector.requests


def test_a_slow_lookup_counts_towards_the_deadline(collector, exporter_to, monkeypatch):
    look_up = socket.getaddrinfo

    def slow(*given, **more):
        time.sleep(0.3)
        return look_up(*given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    result = export(exporter_to(collector.endpoint), [make_span()], 0.2)
    assert result == ({"unreachable": 1}, f"{collector.endpoint}: TimeoutError: the deadline has passed")


def test_the_addresses_of_a_name_share_the_time(collector, exporter_to, monkeypatch):
    """One that never answers leaves time for the next; it is simulated, so that no packet leaves this machine."""
    asked = []
    connect = socket.create_connection

    def slow_first(address, timeout):
        asked.append((address, timeout))
        if len(asked) == 1:
            time.sleep(0.1)
            raise TimeoutError("timed out")
        return connect(address, timeout)

    monkeypatch.setattr(socket, "create_connection", slow_first)
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [(2, 1, 6, "", ("192.0.2.1", 1)), (2, 1, 6, "", ("127.0.0.1", collector.port))],
    )
    assert export(exporter_to("http://collector.invalid/v1/traces"), [make_span()], 2) == ({}, "")
    assert asked[0][1] <= 1.0
    assert 1.0 < asked[1][1] <= 1.9


def test_close_in_a_forked_child_leaves_the_parents_connection_alone(collector, exporter_to):
    exporter = exporter_to(collector.endpoint)
    export(exporter, [make_span(1)])
    child = os.fork()
    if not child:
        exporter.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert export(exporter, [make_span(2)]) == ({}, "")
    assert collector.connections == 1


# -- partial success ---------------------------------------------------------------------------------------------


def test_partial_success_counts_what_was_rejected(collector, exporter_to):
    collector.answers.append((200, {"content-type": "application/x-protobuf"}, response(2, "too\nold")))
    result = export(exporter_to(collector.endpoint), make_spans(5))
    assert result.dropped == {"rejected": 2}
    assert result.error == f"{collector.endpoint}: 2 spans refused: 'too\\nold'"


@pytest.mark.parametrize(("rejected", "counted"), [(0, {}), (-3, {}), (99, {"rejected": 5}), (2**62, {"rejected": 5})])
def test_partial_success_is_not_believed_beyond_what_was_sent(collector, exporter_to, rejected, counted):
    collector.answers.append((200, {}, response(rejected, "m")))
    assert export(exporter_to(collector.endpoint), make_spans(5)).dropped == counted


@given(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(exclude_categories=["Cs"])), st.binary())
def test_partial_success_in_protobuf(rejected, message, unknown):
    body = response(rejected, message) + b"\x12" + bytes([len(unknown) % 128]) + unknown[: len(unknown) % 128]
    expected = (rejected, message) if rejected > 0 else (0, "")
    found = partial_success(body, "application/x-protobuf")
    assert found == expected or len(unknown) >= 128


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (0, "")),
        (b"{}", (0, "")),
        (b'{"partialSuccess":{}}', (0, "")),
        (b'{"partialSuccess":{"rejectedSpans":3}}', (3, "")),
        (b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"m"}}', (3, "m")),
        (b'{"partialSuccess":{"rejectedSpans":"three"}}', (0, "")),
        (b'{"partialSuccess":null}', (0, "")),
        (b'{"partialSuccess":[1]}', (0, "")),
        (b"[1]", (0, "")),
        (b"<html>", (0, "")),
    ],
)
def test_partial_success_in_json(body, expected):
    assert partial_success(body, "application/json; charset=utf-8") == expected


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a\x05\x08",  # cut short
        b"\x0a\x05\x08\x07",  # cut short after what would be a count
        b"\x0b",  # a group
        b"\x0a\x0b" + b"\x08" + b"\xff" * 10,  # a varint without end
        b"\x0a\x01\x08",  # a tag without a value
        b"\x0a",
    ],
)
def test_partial_success_that_cannot_be_read(body):
    assert partial_success(body, "") == (0, "")


def test_partial_success_skips_unknown_fields():
    inner = (
        b"\x19" + b"\x00" * 8 + b"\x25" + b"\x00" * 4 + b"\x08\x07" + b"\x12\x01m" + b"\x08\x02" + b"\x10\x01\x0a\x00"
    )
    assert partial_success(b"\x08\x01" + b"\x0a" + bytes([len(inner)]) + inner, "") == (2, "m")


@given(st.binary() | st.binary().map(lambda b: b'{"partialSuccess":' + b), st.sampled_from(["", "application/json"]))
def test_partial_success_of_anything_never_raises(body, content_type):
    rejected, message = partial_success(body, content_type)
    assert 0 <= rejected < 2**63
    assert isinstance(message, str)


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]?\w{0,4}"))
def test_retry_after_of_anything_never_raises(value):
    seconds = retry_after_seconds(value)
    assert seconds is None or seconds > 0


@pytest.mark.parametrize(
    "value", ["", "0", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 -0000"]
)
def test_retry_after_that_asks_for_no_wait(value):
    assert retry_after_seconds(value) is None


def test_retry_after_in_seconds():
    assert retry_after_seconds("120") == 120
    assert retry_after_seconds("9" * 400) == float("inf")


# -- headers file ------------------------------------------------------------------------------------------------


def test_the_headers_file_is_read_again_when_it_changes(collector, exporter_to, tmp_path, caplog):
    secret = tmp_path / "headers"
    secret.write_text("api-key=one%2C1,X-Tenant=a")
    exporter = exporter_to(collector.endpoint, headers={"api-key": "old", "other": "o"}, headers_file=str(secret))
    export(exporter, [make_span()])
    swapped = tmp_path / "new"
    swapped.write_text("api-key=two\n\nx-tenant = b \n")
    os.utime(swapped, ns=(secret.stat().st_atime_ns, secret.stat().st_mtime_ns))
    swapped.replace(secret)
    export(exporter, [make_span()])
    secret.unlink()
    export(exporter, [make_span()])
    export(exporter, [make_span()])
    found = [(r.headers["api-key"], r.headers["x-tenant"], r.headers["other"]) for r in collector.requests]
    assert found == [("one,1", "a", "o"), ("two", "b", "o"), ("two", "b", "o"), ("two", "b", "o")]
    (record,) = caplog.records
    assert record.getMessage() == f"the OTLP headers file {secret} cannot be read: No such file or directory"


def test_a_headers_file_that_has_not_changed_is_not_read_again(collector, exporter_to, tmp_path):
    secret = tmp_path / "headers"
    secret.write_text("api-key=one")
    exporter = exporter_to(collector.endpoint, headers_file=str(secret))
    export(exporter, [make_span()])
    stat = secret.stat()
    secret.write_text("api-key=two")
    os.utime(secret, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    export(exporter, [make_span()])
    os.utime(secret, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    export(exporter, [make_span()])
    assert [request.headers["api-key"] for request in collector.requests] == ["one", "one", "two"]


def test_malformed_headers_are_left_out_and_their_values_never_logged(collector, exporter_to, tmp_path, caplog):
    secret = tmp_path / "headers"
    secret.write_bytes(b"api-key=k,hunter2,bad name=hunter2,x=hunter2%0d%0aInjected: hunter2,y=%E2%82%AC\xff")
    exporter = exporter_to(collector.endpoint, headers={"a b": "hunter2", "ok": "1"}, headers_file=str(secret))
    assert export(exporter, [make_span()]) == ({}, "")
    assert collector.requests[0].headers["api-key"] == "k"
    assert collector.requests[0].headers["ok"] == "1"
    assert not {"injected", "x", "y", "bad name", "a b"} & set(collector.requests[0].headers)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of the OTLP headers given are not valid HTTP and are not sent",
        f"4 entries of the OTLP headers file {secret} are not key=value and are not sent",
    ]


# -- proxies -----------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(raw_server):
    """A forward and CONNECT proxy; `proxy.heads` are the heads of the requests that it saw."""

    def pump(source, target):
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def talk(connection):
        head, body = receive_request(connection)
        if not head:
            return
        proxy.heads.append(head.decode())
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        authority = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = authority.rpartition(":")
        upstream = socket.create_connection((host, int(port)), timeout=20)
        if method == "CONNECT":
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            upstream.sendall(head + b"\r\n\r\n" + body)
        with upstream:
            back = threading.Thread(target=pump, args=(upstream, connection), daemon=True)
            back.start()
            pump(connection, upstream)
            back.join(10)

    proxy = SimpleNamespace(heads=[], port=raw_server(talk))
    return proxy


def test_http_goes_through_the_proxy(collector, exporter_to, proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://user:pass@127.0.0.1:{proxy.port}")
    exporter = exporter_to(collector.endpoint)
    assert export(exporter, [make_span()]) == ({}, "")
    assert collector.names == ["span 1"]
    assert proxy.heads[0].startswith(f"POST {collector.endpoint} HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{collector.port}\r\n" in proxy.heads[0].lower()
    assert f"proxy-authorization: Basic {b64encode(b'user:pass').decode()}" in proxy.heads[0]


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.1:{port}", "*"])
def test_no_proxy_is_honoured(collector, exporter_to, dead_port, monkeypatch, no_proxy):
    monkeypatch.setenv("ALL_PROXY", f"127.0.0.1:{dead_port}")
    monkeypatch.setenv("NO_PROXY", no_proxy.format(port=collector.port))
    assert export(exporter_to(collector.endpoint), [make_span()]) == ({}, "")


def test_a_proxy_that_never_answers_is_bound_by_the_deadline(raw_server, exporter_to, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{raw_server(drip_head)}")
    started = time.monotonic()
    assert export(exporter_to("https://collector.invalid/v1/traces"), [make_span()], 0.4).dropped == {"unreachable": 1}
    assert time.monotonic() - started < 2


# -- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "client"):
        subprocess.run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key "
            f"-out {name}.pem -days 2 -subj /CN={name} -addext subjectAltName=IP:127.0.0.1,DNS:localhost".split(),
            cwd=folder, check=True, capture_output=True, timeout=30,
        )  # fmt: skip
    return folder


@pytest.fixture
def tls_collector(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "client.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    collector = start_collector(lambda sock: context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False))
    collector.tls_endpoint = f"https://127.0.0.1:{collector.port}/v1/traces"
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def test_certificate_and_client_certificate(tls_collector, exporter_to, certificates):
    exporter = exporter_to(
        tls_collector.tls_endpoint,
        certificate=str(certificates / "server.pem"),
        client_certificate=str(certificates / "client.pem"),
        client_key=str(certificates / "client.key"),
    )
    assert export(exporter, [make_span()]) == ({}, "")
    assert export(exporter, [make_span(2)]) == ({}, "")
    assert tls_collector.names == ["span 1", "span 2"]
    assert tls_collector.connections == 1


def test_https_through_the_proxys_tunnel(tls_collector, exporter_to, certificates, proxy, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass@127.0.0.1:{proxy.port}")
    exporter = exporter_to(
        tls_collector.tls_endpoint, certificate=str(certificates / "server.pem"), headers={"api-key": "secret"}
    )
    assert export(exporter, [make_span()]) == ({}, "")
    assert export(exporter, [make_span(2)]) == ({}, "")
    assert tls_collector.names == ["span 1", "span 2"]
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT 127.0.0.1:{tls_collector.port} HTTP/1.")
    assert "Basic" in head
    assert "secret" not in head


def test_a_certificate_that_is_not_trusted_sends_nothing(tls_collector, exporter_to):
    result = export(exporter_to(tls_collector.tls_endpoint), [make_span()], 0.3)
    assert result.dropped == {"unreachable": 1}
    assert "CERTIFICATE_VERIFY_FAILED" in result.error
    assert not tls_collector.requests


@pytest.mark.parametrize("talk", [hang, accept_late], ids=lambda talk: talk.__name__)
def test_a_handshake_that_never_ends_is_bound_and_can_be_closed(raw_server, talk):
    endpoint = f"https://127.0.0.1:{raw_server(talk)}/v1/traces"
    exporter, results = OtlpExporter(SPANS, endpoint=endpoint), []
    started = time.monotonic()
    assert export(exporter, [make_span()], 0.4).dropped == {"unreachable": 1}
    assert time.monotonic() - started < 2
    thread = threading.Thread(target=lambda: results.append(export(exporter, [make_span()], 60)))
    thread.start()
    time.sleep(0.3)
    exporter.close()
    thread.join(4)
    assert results[0].dropped == {"shutdown": 1}


def test_a_certificate_that_is_not_there_is_an_oserror(tmp_path):
    with pytest.raises(OSError):
        OtlpExporter(SPANS, endpoint="https://localhost/", certificate=str(tmp_path / "none.pem"))
    (tmp_path / "bad.pem").write_text("not a certificate")
    with pytest.raises(OSError):
        OtlpExporter(SPANS, endpoint="https://localhost/", certificate=str(tmp_path / "bad.pem"))
