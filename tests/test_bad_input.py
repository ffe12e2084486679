"""What strangers may send: bytes of every kind where obskit reads them, and more of everything than it keeps.

Whatever comes, the app answers as it would have without obskit, obskit contains no error (conftest sees to that), each
request is one line and one span that can be written down, no label says what a stranger has said, and memory stays
within its bounds. What is read is what :class:`Inbound` says, so that a new header is covered by itself.
"""

import asyncio
import json
import tracemalloc

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

import obskit
import obskit.testing
from obskit import _init, semconv
from obskit._exception import qualified_name
from obskit._tally import Tally
from obskit.config import Config
from obskit.export._encode_json import encode_json
from obskit.export._encode_protobuf import encode_protobuf
from obskit.export._exporter import ExportResult
from obskit.instrumentation._headers import wanted_headers
from obskit.instrumentation._inbound import Inbound

EVERYTHING = Config(
    propagators=("tracecontext", "b3", "b3multi", "baggage"),
    metric_fields={"user.tier": ("free", "gold")},
    response_trace_header="x-trace-id",
    trust_inbound=("10.0.0.0/8",),
    client_address="truncated",
)
PLAIN = Config(propagators=EVERYTHING.propagators)
READ = sorted(Inbound(EVERYTHING.propagators).wanted)

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
#: Bytes that have broken something somewhere: escapes, ends of lines, what is no UTF-8, what is too long.
NASTY = [
    b"",
    b"\xff\\",
    b"\xff\\u",
    b"\\",
    b"\x00",
    b"a\x00b",
    b"\r\n{}",
    b"\n",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x92\xa9",
    "\u2028".encode(),
    b"\x1b[2J",
    b"%",
    b"%ff%00%0a",
    b'"',
    b"null",
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 400,
    b"t=",
    b"t=1e308",
    b",",
    b"=" * 100,
    b"a=b," * 100,
    b"[::1",
    b":",
    b"a" * 65_536,
    b"\xff" * 65_536,
    b"00-" + TRACE + b"-" + SPAN + b"-01",
    b"00-" + TRACE + b"-" + SPAN + b"-01\x00",
    b"cc-" + TRACE + b"-" + SPAN + b"-01-" + b"x" * 65_536,
    b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00",
    TRACE + b"-" + SPAN + b"-d",
    TRACE,
    SPAN,
    b"d",
]
BYTES = st.sampled_from(NASTY) | st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.sampled_from(READ) | BYTES, BYTES), max_size=30)
#: Text with lone surrogates, controls and whatever else ASGI's str may hold.
TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
PATHS = st.builds(
    str.__add__, st.sampled_from(["/", "/items/", "/items/7", "/fail/", "/in/items/", "/livez", ""]), TEXT
)
METHODS = st.sampled_from(["GET", "POST", "get", "", "G\x00T", "\udcff", "A" * 65_536]) | TEXT
PEERS = st.none() | st.tuples(
    TEXT | st.none() | st.sampled_from(["10.0.0.1", "fe80::1%\udcff", "1" * 65_536]), st.integers(0, 65_535)
)


def scope_of(method="GET", path="/", headers=(), client=("127.0.0.1", 1), kind="http", **more):
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": client,
        "server": ("127.0.0.1", 80),
        **more,
    }


async def answer(app, scope):
    """What the app sends, and the name of what it raises."""
    sent = []
    messages = {
        "http": {"type": "http.request", "body": b"\xff", "more_body": False},
        "websocket": {"type": "websocket.connect"},
    }
    incoming = [{"type": "websocket.disconnect", "code": 1006}, messages[scope["type"]]]

    async def receive():
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    try:
        await app(scope, receive, send)
    except Exception as error:
        return sent, qualified_name(error)
    return sent, ""


def without(sent, name):
    """The messages without a header that obskit was asked to add."""
    return [
        {**message, "headers": [pair for pair in message["headers"] if pair[0] != name]}
        if "headers" in message
        else message
        for message in sent
    ]


async def _item(_request):
    return PlainTextResponse("ok")


async def _fail(request):
    raise ValueError(request.path_params)


async def _socket(websocket):
    await websocket.accept()
    await websocket.close(4000)


def starlette():
    return Starlette(
        routes=[
            Route("/items/{item}", _item, methods=["GET", "POST"]),
            Route("/fail/{item}", _fail),
            WebSocketRoute("/ws/{item}", _socket),
            Mount("/in", Starlette(routes=[Route("/items/{item}", _item)])),
        ]
    )


def fastapi():
    app = FastAPI(openapi_url=None)
    app.add_api_route("/items/{item}", lambda item: {"item": len(item)}, methods=["GET", "POST"])
    app.add_api_route("/fail/{item}", lambda item: 1 / 0)
    app.mount("/in", starlette())
    return app


async def bare(scope, receive, send):
    """Answers by the path, with bytes that a header may not have."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4000})
        return
    headers = [(b"content-type", b"\xff"), (b"x", b"\x00")]
    await send({"type": "http.response.start", "status": 200 + len(scope["path"]) % 400, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


APPS = {"starlette": starlette, "fastapi": fastapi, "bare": lambda: bare}
ROUTES = {"/items/{item}", "/fail/{item}", "/in/items/{item}", "/in/fail/{item}", "/ws/{item}", "/in/ws/{item}", ""}
REQUESTS = st.builds(
    scope_of,
    METHODS,
    PATHS,
    HEADERS,
    PEERS,
    st.just("http"),
    query_string=BYTES,
    scheme=st.sampled_from(["http", "https", "gopher", "\udcff", "s" * 65_536]),
    http_version=st.sampled_from(["1.1", "2", "\udcff"]),
)
CONNECTIONS = st.builds(
    scope_of, st.just("GET"), st.builds("/ws/{}".format, TEXT), HEADERS, PEERS, st.just("websocket")
)


def labels(obs):
    """Every label value of every series that obskit makes of requests, by label."""
    found = {}
    for family in obs.registry.collect():
        if family.name.startswith(("http_", "obskit_websocket", "obskit_stream", "obskit_operation")):
            for sample in family.samples:
                for name, value in sample.labels.items():
                    found.setdefault(name, set()).add(value)
    return found


ALLOWED = {
    "http_request_method": {*semconv.KNOWN_METHODS, "_OTHER"},
    "http_route": ROUTES,
    "http_response_status_code": {*map(str, range(100, 600)), "_other", ""},
    "url_scheme": {"http", "https", "ws", "wss", "_other"},
    "error_type": {"", *map(str, range(500, 600))},
    "user_tier": {""},
    "websocket_close_code": {*map(str, range(1000, 5000)), "_other"},
    "otel_metric_overflow": {"true", ""},
}


#: What only the app decides: what it raises.
LONG = {"exception.stacktrace"}


def check(captured, raised=()):
    """What holds of the signals, whatever has been sent, of an app that raises these by itself."""
    allowed = ALLOWED | {"error_type": ALLOWED["error_type"] | set(raised)}
    raw = captured._writer.lines
    for line in raw:
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        said = json.loads(line)
        assert max(len(value) for name, value in said.items() if type(value) is str and name not in LONG) <= 4096
    spans = captured.spans
    for encode in (encode_json, encode_protobuf):
        assert encode(spans).dropped == 0
    for name, values in labels(captured.obs).items():
        if name != "le":
            assert values <= allowed[name], name
    return [span for span in spans if span.kind is trace.SpanKind.SERVER]


RELAXED = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=150
)


@pytest.mark.parametrize("config", [EVERYTHING, PLAIN], ids=["everything", "plain"])
@pytest.mark.parametrize("make", APPS.values(), ids=APPS)
def test_any_request_is_answered_as_without_obskit_and_told(make, config):
    loop = asyncio.new_event_loop()
    told, raised = [], set()
    with obskit.testing.capture(config=config) as captured:
        observed, unobserved = captured.obs.wrap(make()), make()

        @RELAXED
        @given(scopes=st.lists(REQUESTS | CONNECTIONS, min_size=1, max_size=4))
        def ask(scopes):
            for scope in scopes:
                theirs = loop.run_until_complete(answer(unobserved, dict(scope)))
                sent, error = loop.run_until_complete(answer(observed, dict(scope)))
                if scope["type"] == "websocket" or scope["path"] != "/livez":
                    assert (without(sent, b"x-trace-id"), error) == theirs
                    told.append(scope)
                    raised.add(error)

        ask()
        servers = check(captured, raised)
        lines = [line for line in captured.lines if line["logger"] == "obskit.request"]
    loop.close()
    assert len(servers) == len(lines) == len(told)


@pytest.mark.parametrize("value", NASTY, ids=lambda value: repr(value[:12]))
def test_every_header_that_is_read_may_hold_anything_any_number_of_times(value):
    app = starlette()
    requests = [scope_of(path="/items/1", headers=[(name, value)] * times) for name in READ for times in (1, 2, 100)]
    requests.append(scope_of(path="/items/1", headers=[(name, value) for name in READ] * 50))
    with obskit.testing.capture(app, config=EVERYTHING) as captured:
        for scope in requests:
            sent, error = asyncio.run(answer(app, scope))
            assert (sent[0]["status"], error) == (200, "")
        assert len(check(captured)) == len(requests)


TOO_MUCH = {
    "a thousand headers": [(b"x-%d" % number, b"v") for number in range(1000)],
    "a thousand times the same": [(b"x-request-id", b"v")] * 1000,
    "a thousand tracestates": [(b"traceparent", NASTY[30]), *[(b"tracestate", b"a=%d" % n) for n in range(1000)]],
    "a thousand baggages": [(b"baggage", b"k%d=v" % number) for number in range(1000)],
    "a thousand members of baggage": [(b"baggage", b",".join(b"k%d=v" % number for number in range(1000)))],
    "a thousand hosts": [(b"host", b"h%d" % number) for number in range(1000)],
    "64 KB of each": [(name, b"a" * 65_536) for name in READ],
}


@pytest.mark.parametrize("headers", TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_is_too_much_is_read_within_bounds(headers):
    app = starlette()
    with obskit.testing.capture(app, config=PLAIN) as captured:
        asyncio.run(answer(app, scope_of(path="/items/1", headers=headers)))
        [span] = check(captured)
        [line] = [each for each in captured.lines if each["logger"] == "obskit.request"]
    assert max(len(str(value)) for value in line.values()) <= 1024
    assert max(len(str(value)) for value in span.attributes.values()) <= 1024
    assert len(span.context.trace_state) <= 32


@pytest.mark.parametrize("name", READ, ids=bytes.decode)
def test_how_much_of_a_header_is_read(name):
    found = wanted_headers([(name, b"x" * 100_000)] * 100, Inbound(EVERYTHING.propagators).wanted)
    limit = 8192 if name in (b"tracestate", b"baggage") else 1024
    assert found == {name.decode(): ["x" * limit] * 64}


def test_strangers_make_no_series():
    """Many more of everything than a metric may have, and a known route besides."""
    app = starlette()
    limit = 20
    with obskit.testing.capture(app, config=Config(series_limit=limit)) as captured:
        for number in range(20 * limit):
            headers = [(b"host", b"h%d" % number), (b"user-agent", b"u%d" % number)]
            for scope in (
                scope_of(f"M{number}", f"/no/{number}", headers),
                scope_of("GET", f"/items/{number}", headers),
                scope_of("GET", f"/ws/{number}", headers, kind="websocket"),
            ):
                asyncio.run(answer(app, scope))
        check(captured)
        counts = {sample.labels["metric"]: sample.value for sample in samples(captured.obs, "obskit_metric_series")}
        of_items = [
            s for s in samples(captured.obs, "http_server_request_duration_seconds_count") if s.labels["http_route"]
        ]
    assert counts["http_server_request_duration_seconds"] == 2
    assert counts["http_server_active_requests"] == 2
    assert counts["obskit_websocket_duration_seconds"] == 1
    assert [(sample.labels["http_route"], sample.value) for sample in of_items] == [("/items/{item}", 20 * limit)]


def samples(obs, name):
    return [sample for family in obs.registry.collect() for sample in family.samples if sample.name == name]


# -- memory -----------------------------------------------------------------------------------------------------------


class Nowhere:
    """Takes lines and spans, and keeps none."""

    def __init__(self):
        self.tally = Tally(())
        self.bytes_written = 0

    def write(self, line):
        self.bytes_written += len(line)

    def flush(self, timeout):
        return True

    def write_through(self, *, on=True):
        pass

    def leave_out(self, reason):
        pass

    def export(self, items, deadline):
        return ExportResult()

    def close(self, timeout=0.0):
        return True


def stranger(number, times):
    """A request of which every part that is read is one that no request had before, and `times` as long as need be."""
    mark = b"%08d" % number
    values = dict.fromkeys(READ, mark * times) | {
        b"traceparent": b"00-" + mark * 4 + b"-" + mark * 2 + b"-01",
        b"tracestate": b",".join(b"k%d=%s" % (n, mark * min(times, 25)) for n in range(32)),
        b"baggage": b",".join(b"k%d-%s=%s" % (n, mark, mark * min(times, 10)) for n in range(16)),
        b"b3": mark * 4 + b"-" + mark * 2 + b"-d",
    }
    text = mark.decode() * times
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return scope_of("M" + text, "/items/" + text, list(values.items()), (address, 1))


@pytest.mark.parametrize(("times", "enough"), [(1, 1100), (1000, 300)], ids=["short", "long"])
def test_memory_does_not_grow_by_what_strangers_send(times, enough):
    """What obskit remembers, so as not to find it out again, is bounded in number and in length."""
    nowhere = Nowhere()
    with _init.start(EVERYTHING, None, __file__, {}, writer=nowhere, exporter=nowhere, exclusive=True) as obs:
        app = obs.wrap(starlette())
        loop = asyncio.new_event_loop()

        def serve(first, last):
            for number in range(first, last):
                loop.run_until_complete(answer(app, stranger(number, times)))
            assert obs.flush(5.0)
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            full = serve(0, enough)
            later = serve(enough, 2 * enough)
        finally:
            tracemalloc.stop()
            loop.close()
    assert full < 4_000_000
    assert later < full + 500_000
