"""Bytes as strangers send them, to the servers that people run: W3C's conformance cases, and what is no request at all.

The cases are those of the test suite of the specification (https://github.com/w3c/trace-context/tree/main/test), by the
names that they have there: a request with these headers, and what the service passes on.
"""

import json
import re
import socket
from contextlib import suppress

import pytest
from ports import free_port
from processes import OPENMETRICS, Process, Service, parsed, requests_of

from receiver import until

TRACE, PARENT = "12345678901234567890123456789012", "1234567890123456"
GOOD = f"00-{TRACE}-{PARENT}-01"
NEW, KEPT = "new", "kept"
ALL_OF_KEY = "".join(map(chr, [*range(0x61, 0x7B), *range(0x30, 0x3A)])) + "_-*/"
ALL_OF_VALUE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in ",=")


def parent(header):
    return [("traceparent", header)]


def state(*headers):
    return [*parent(GOOD), *(("tracestate", header) for header in headers)]


#: Name, headers, whether the trace is continued, and with which tracestate.
CASES = [
    ("both_missing", [], NEW, {}),
    ("traceparent_included_tracestate_missing", parent(GOOD), KEPT, {}),
    ("traceparent_duplicated", [*parent(GOOD), *parent(GOOD.replace("01", "02"))], NEW, {}),
    ("traceparent_duplicated, the same", [*parent(GOOD), *parent(GOOD)], NEW, {}),
    ("traceparent_header_name, -", [("trace-parent", GOOD)], NEW, {}),
    ("traceparent_header_name, .", [("trace.parent", GOOD)], NEW, {}),
    ("traceparent_header_name_valid_casing, 1", [("TraceParent", GOOD)], KEPT, {}),
    ("traceparent_header_name_valid_casing, 2", [("TrAcEpArEnT", GOOD)], KEPT, {}),
    ("traceparent_header_name_valid_casing, 3", [("TRACEPARENT", GOOD)], KEPT, {}),
    ("traceparent_version_0x00, 1", parent(GOOD + "."), NEW, {}),
    ("traceparent_version_0x00, 2", parent(GOOD + "-what-the-future-will-be-like"), NEW, {}),
    ("traceparent_version_0xcc, 1", parent("cc" + GOOD[2:]), KEPT, {}),
    ("traceparent_version_0xcc, 2", parent("cc" + GOOD[2:] + "-what-the-future-will-be-like"), KEPT, {}),
    ("traceparent_version_0xcc, 3", parent("cc" + GOOD[2:] + ".what-the-future-will-be-like"), NEW, {}),
    ("traceparent_version_0xff", parent("ff" + GOOD[2:]), NEW, {}),
    ("traceparent_version_illegal_characters, 1", parent(".0" + GOOD[2:]), NEW, {}),
    ("traceparent_version_illegal_characters, 2", parent("0." + GOOD[2:]), NEW, {}),
    ("traceparent_version_too_long, 1", parent("000" + GOOD[2:]), NEW, {}),
    ("traceparent_version_too_long, 2", parent("0000" + GOOD[2:]), NEW, {}),
    ("traceparent_version_too_short", parent("0" + GOOD[2:]), NEW, {}),
    ("traceparent_trace_id_all_zero", parent(f"00-{'0' * 32}-{PARENT}-01"), NEW, {}),
    ("traceparent_trace_id_illegal_characters, 1", parent(f"00-.{TRACE[1:]}-{PARENT}-01"), NEW, {}),
    ("traceparent_trace_id_illegal_characters, 2", parent(f"00-{TRACE[:-1]}.-{PARENT}-01"), NEW, {}),
    ("traceparent_trace_id_illegal_characters, upper case", parent(f"00-{'A' * 32}-{PARENT}-01"), NEW, {}),
    ("traceparent_trace_id_too_long", parent(f"00-{TRACE}3-{PARENT}-01"), NEW, {}),
    ("traceparent_trace_id_too_short", parent(f"00-{TRACE[:-1]}-{PARENT}-01"), NEW, {}),
    ("traceparent_parent_id_all_zero", parent(f"00-{TRACE}-{'0' * 16}-01"), NEW, {}),
    ("traceparent_parent_id_illegal_characters, 1", parent(f"00-{TRACE}-.{PARENT[1:]}-01"), NEW, {}),
    ("traceparent_parent_id_illegal_characters, 2", parent(f"00-{TRACE}-{PARENT[:-1]}.-01"), NEW, {}),
    ("traceparent_parent_id_too_long", parent(f"00-{TRACE}-{PARENT}7-01"), NEW, {}),
    ("traceparent_parent_id_too_short", parent(f"00-{TRACE}-{PARENT[:-1]}-01"), NEW, {}),
    ("traceparent_trace_flags_illegal_characters, 1", parent(GOOD[:-2] + ".0"), NEW, {}),
    ("traceparent_trace_flags_illegal_characters, 2", parent(GOOD[:-2] + "0."), NEW, {}),
    ("traceparent_trace_flags_too_long", parent(GOOD[:-2] + "001"), NEW, {}),
    ("traceparent_trace_flags_too_short", parent(GOOD[:-2] + "1"), NEW, {}),
    ("traceparent_ows_handling, 1", parent(f" {GOOD}"), KEPT, {}),
    ("traceparent_ows_handling, 2", parent(f"\t{GOOD}"), KEPT, {}),
    ("traceparent_ows_handling, 3", parent(f"{GOOD} "), KEPT, {}),
    ("traceparent_ows_handling, 4", parent(f"{GOOD}\t"), KEPT, {}),
    ("traceparent_ows_handling, 5", parent(f"\t {GOOD} \t"), KEPT, {}),
    ("tracestate_included_traceparent_missing", [("tracestate", "foo=1"), ("tracestate", "bar=2")], NEW, {}),
    ("tracestate_included_traceparent_included", state("foo=1,bar=2"), KEPT, {"foo": "1", "bar": "2"}),
    ("tracestate_header_name, -", [*parent(GOOD), ("trace-state", "foo=1")], KEPT, {}),
    ("tracestate_header_name, .", [*parent(GOOD), ("trace.state", "foo=1")], KEPT, {}),
    ("tracestate_header_name_valid_casing, 1", [*parent(GOOD), ("TraceState", "foo=1")], KEPT, {"foo": "1"}),
    ("tracestate_header_name_valid_casing, 2", [*parent(GOOD), ("TRACESTATE", "foo=1")], KEPT, {"foo": "1"}),
    ("tracestate_empty_header, 1", state("foo=1", ""), KEPT, {"foo": "1"}),
    ("tracestate_empty_header, 2", state("", "foo=1"), KEPT, {"foo": "1"}),
    ("tracestate_multiple_headers_different_keys", state("foo=1,bar=2", "rojo=1,congo=2", "baz=3"),
     KEPT, {"foo": "1", "bar": "2", "rojo": "1", "congo": "2", "baz": "3"}),
    ("tracestate_duplicated_keys, 1", state("foo=1,foo=1"), KEPT, {}),
    ("tracestate_duplicated_keys, 2", state("foo=1,foo=2"), KEPT, {}),
    ("tracestate_duplicated_keys, 3", state("foo=1", "foo=1"), KEPT, {}),
    ("tracestate_duplicated_keys, 4", state("foo=1", "foo=2"), KEPT, {}),
    ("tracestate_all_allowed_characters, key", state(f"{ALL_OF_KEY}=1"), KEPT, {ALL_OF_KEY: "1"}),
    ("tracestate_all_allowed_characters, vendor", state(f"{ALL_OF_KEY}@a-z0-9_-*/=1"), KEPT,
     {f"{ALL_OF_KEY}@a-z0-9_-*/": "1"}),
    ("tracestate_all_allowed_characters, value", state(f"foo={ALL_OF_VALUE}"), KEPT, {"foo": ALL_OF_VALUE}),
    ("tracestate_ows_handling, 1", state("foo=1 \t , \t bar=2, \t baz=3"), KEPT, {"foo": "1", "bar": "2", "baz": "3"}),
    ("tracestate_ows_handling, 2", state("foo=1\t \t,\t \tbar=2,\t \tbaz=3"), KEPT, {"foo": "1", "bar": "2", "baz": "3"}),
    ("tracestate_ows_handling, 3", state(" foo=1"), KEPT, {"foo": "1"}),
    ("tracestate_ows_handling, 4", state("\tfoo=1"), KEPT, {"foo": "1"}),
    ("tracestate_ows_handling, 5", state("foo=1 "), KEPT, {"foo": "1"}),
    ("tracestate_ows_handling, 6", state("foo=1\t"), KEPT, {"foo": "1"}),
    ("tracestate_ows_handling, 7", state("\t foo=1 \t"), KEPT, {"foo": "1"}),
    ("tracestate_key_illegal_characters, 1", state("foo =1"), KEPT, {}),
    ("tracestate_key_illegal_characters, 2", state("FOO=1"), KEPT, {}),
    ("tracestate_key_illegal_characters, 3", state("foo.bar=1"), KEPT, {}),
    ("tracestate_key_illegal_vendor_format, 1", state("foo@=1,bar=2"), KEPT, {}),
    ("tracestate_key_illegal_vendor_format, 2", state("@foo=1,bar=2"), KEPT, {}),
    ("tracestate_key_illegal_vendor_format, 3", state("foo@@bar=1,bar=2"), KEPT, {}),
    ("tracestate_key_illegal_vendor_format, 4", state("foo@bar@baz=1,bar=2"), KEPT, {}),
    ("tracestate_member_count_limit, 32", state(",".join(f"bar{n:02d}={n:02d}" for n in range(1, 33))), KEPT,
     {f"bar{n:02d}": f"{n:02d}" for n in range(1, 33)}),
    ("tracestate_member_count_limit, 33", state(",".join(f"bar{n:02d}={n:02d}" for n in range(1, 34))), KEPT, {}),
    ("tracestate_key_length_limit, 256", state("foo=1", "z" * 256 + "=1"), KEPT, {"foo": "1", "z" * 256: "1"}),
    ("tracestate_key_length_limit, 257", state("foo=1", "z" * 257 + "=1"), KEPT, {}),
    ("tracestate_key_length_limit, vendor", state("foo=1", f"{'t' * 241}@{'v' * 14}=1"), KEPT,
     {"foo": "1", f"{'t' * 241}@{'v' * 14}": "1"}),
    ("tracestate_key_length_limit, tenant 242", state("foo=1", f"{'t' * 242}@v=1"), KEPT, {}),
    ("tracestate_key_length_limit, system 15", state("foo=1", f"t@{'v' * 15}=1"), KEPT, {}),
    ("tracestate_value_illegal_characters, 1", state("foo=bar=baz"), KEPT, {}),
    ("tracestate_value_illegal_characters, 2", state("foo=,bar=3"), KEPT, {}),
]  # fmt: skip

GET = b"GET /items/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
VALUES = [
    b"",
    b"\xff\\",
    b"\\xff\\u",
    b"\x00",
    b"a\x00b",
    b"\xc3\x28",
    "\u2028".encode(),
    b"\x1b[2J\x07",
    b"a" * 60_000,
]
READ = (
    b"traceparent",
    b"tracestate",
    b"baggage",
    b"b3",
    b"x-b3-traceid",
    b"x-request-id",
    b"x-request-start",
    b"user-agent",
)
#: What is sent, and the statuses that a server may answer with; None where it may just hang up.
RAW = {
    **{
        f"all headers {value[:8]!r}": b"".join([GET, *(b"%s: %s\r\n" % (name, value) for name in READ), b"\r\n"])
        for value in VALUES
    },
    **{
        f"host {value[:8]!r}": b"GET /items/1 HTTP/1.1\r\nconnection: close\r\nhost: %s\r\n\r\n" % value
        for value in VALUES
    },
    **{
        f"path {path[:12]!r}": b"GET %s HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" % path
        for path in [
            b"/items/\xff\xfe",
            b"/items/%ff%00%0a",
            b"/items/%ed%a0%80",
            b"/items/%",
            b"/items/\xc3\xa9",
            b"//items//1",
            b"/items/../items/1",
            b"/items/" + b"a" * 50_000,
            b"http://evil.example/items/1",
            b"*",
            b"items",
            b"/items/1?" + b"\xff" * 100,
            b"/items/1?" + b"a=b&" * 10_000,
        ]
    },
    **{
        f"method {method[:8]!r}": b"%s /items/1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n" % method
        for method in [b"FOO", b"get", b"G\x00T", b"A" * 10_000, b"\xff", b"PROPFIND", b"CONNECT", b"TRACE"]
    },
    "a thousand headers": GET + b"".join(b"x-%d: v\r\n" % n for n in range(1000)) + b"\r\n",
    "the same header a thousand times": GET + b"x-request-id: v\r\n" * 1000 + b"\r\n",
    "hosts": GET + b"host: b\r\n" * 100 + b"\r\n",
    "no host": b"GET /items/1 HTTP/1.1\r\nconnection: close\r\n\r\n",
    "HTTP/1.0": b"GET /items/1 HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /items/1\r\n\r\n",
    "HTTP/9.9": b"GET /items/1 HTTP/9.9\r\nhost: a\r\n\r\n",
    "a folded header": GET + b"x-request-id: a\r\n b\r\n\r\n",
    "a header without a name": GET + b": v\r\n\r\n",
    "a header without a colon": GET + b"nothing\r\n\r\n",
    "ends of lines in a header": GET + b'x-request-id: a\n{"level": "error"}\r\n\r\n',
    "a length that is none": GET + b"content-length: -1\r\n\r\n",
    "two lengths": GET + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "chunks that are none": GET + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + b"\xff" * 64,
    "noise": bytes(range(256)) * 8,
    "half a request": GET[:20],
    "an upgrade that is none": GET + b"upgrade: websocket\r\nsec-websocket-key: \xff\r\n\r\n",
}


class Granian(Service):
    """It takes no socket that is open already."""

    def __init__(self, *arguments, **given):
        self.port = free_port()
        command = ["-m", "granian", "--interface", "asgi", "--port", str(self.port), "--log-level", "warning"]
        Process.__init__(self, *command, *arguments, **given)


SERVERS = {
    "uvicorn, h11": lambda **given: Service("strangers:app", "--http", "h11", **given),
    "uvicorn, httptools": lambda **given: Service("strangers:app", "--http", "httptools", **given),
    "hypercorn": lambda **given: Service(None, "-m", "hypercorn", "--bind", "fd://{fd}", "strangers:app", **given),
    "granian": lambda **given: Granian("strangers:app", **given),
}
EVERYTHING = {"OTEL_PROPAGATORS": "b3,baggage,tracecontext", "OBSKIT_METRIC_FIELDS": "user.tier=gold"}


@pytest.fixture(scope="module")
def services():
    """Each of the servers, started side by side."""
    running = {name: start(variables=EVERYTHING) for name, start in SERVERS.items()}
    yield {name: service.ready() for name, service in running.items()}
    for service in running.values():
        service.stop()  # not killed: workers would outlive their parents


@pytest.fixture(params=SERVERS)
def service(request, services):
    return services[request.param]


def send(service, request, seconds=10.0):
    """All that comes back for these bytes, on a connection of their own, until one side has had enough."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", service.port), timeout=seconds) as connection, suppress(OSError):
        connection.sendall(request)
        while chunk := connection.recv(65_536):
            received += chunk
    return bytes(received)


def passed_on(service, headers):
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    answer = send(service, f"GET /onward HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return json.loads(re.search(rb"\{.*\}", answer, re.DOTALL)[0])


def test_w3c_conformance(service):
    """All of the suite's cases, one after the other; those that fail, by name."""
    wrong = {}
    for name, headers, trace, tracestate in CASES:
        onward = passed_on(service, headers)
        version, trace_id, span_id, _ = onward["traceparent"].split("-")
        entries = [member.split("=", 1) for member in onward.get("tracestate", "").split(",") if member]
        right = (version, trace_id == TRACE, span_id != PARENT) == ("00", trace == KEPT, True)
        if not right or entries != [[key, value] for key, value in tracestate.items()]:
            wrong[name] = onward
    assert wrong == {}


def test_whatever_bytes_come_the_service_tells_of_its_requests_and_serves_on(service):
    before = service.scrape()
    for request in RAW.values():
        send(service, request, seconds=0.3)
    assert send(service, GET + b"\r\n").startswith(b"HTTP/1.1 200")
    until(lambda: service.tally("log_lines")[0] == service.tally("log_lines")[1])
    after = service.scrape()

    assert {s.labels["component"]: s.value for s in after["obskit_internal_errors_total"] if s.value} == {}
    assert sum(s.value for s in after["obskit_log_lines_dropped_total"]) == 0
    duration = "http_server_request_duration_seconds_count"
    for sample in after[duration]:
        assert sample.labels["http_route"] in {"/items/{item}", "/onward", ""}
        assert sample.labels["http_request_method"] in {"GET", "CONNECT", "TRACE", "_OTHER"}
        assert sample.labels["url_scheme"] == "http"
        assert sample.labels["error_type"] in {"", "500", "h11._util.LocalProtocolError"}
    told = sum(s.value for s in after[duration]) - sum(s.value for s in before.get(duration, ()))
    assert 0 < told <= len(RAW) + 1
    assert sum(s.value for s in after["http_server_active_requests"]) == 0

    lines = service.whole_lines  # each is one line, and JSON, or this raises
    assert len(requests_of(lines)) == sum(s.value for s in after[duration])
    assert max(len(json.dumps(line)) for line in lines) <= 65_536
    assert not [line for line in lines if "obskit" in str(line.get("exception.stacktrace", "")).splitlines()[-2:-1]]
    assert b"obskit contained" not in service.output
    assert service.get("/metrics", {"accept": OPENMETRICS})[0] == 200


def test_the_lines_that_were_written_can_all_be_read(services):
    for service in services.values():
        assert parsed(service.output[: service.output.rfind(b"\n") + 1])
