"""Whose trace context and baggage a service takes over: everybody's, nobody's, or that of peers in some networks."""

import asyncio
import json

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import baggage
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

import obskit
import obskit.testing
import raw_asgi
from obskit._pipeline import Pipeline
from obskit.config import Config
from obskit.instrumentation._inbound import Inbound
from obskit.operation import Operation
from obskit.signals.traces import TracerSpans

#: On a machine that has others to serve.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=1", "baggage": "user.tier=gold"}
OF_B3 = {"b3": f"{TRACE}-{SPAN}-d", "baggage": "user.tier=gold"}
NETWORKS = ("10.0.0.0/8", "fd00::/8", "192.0.2.7")
#: Setting, peer -> whether it is trusted.
PEERS = [
    ("always", ("203.0.113.9", 1), True),
    ("always", None, True),
    ("never", ("10.1.2.3", 1), False),
    ("never", ("127.0.0.1", 1), False),
    ("never", None, False),
    (NETWORKS, ("10.1.2.3", 1), True),
    (NETWORKS, ["10.255.255.255", 1], True),
    (NETWORKS, ("11.0.0.0", 1), False),
    (NETWORKS, ("192.0.2.7", 1), True),
    (NETWORKS, ("192.0.2.8", 1), False),
    (NETWORKS, ("fd12::1", 1), True),
    (NETWORKS, ("fd12::1%eth0", 1), True),
    (NETWORKS, ("fe80::1", 1), False),
    (NETWORKS, ("::ffff:10.1.2.3", 1), True),
    (NETWORKS, ("::ffff:11.1.2.3", 1), False),
    (NETWORKS, None, False),
    (NETWORKS, (None, None), False),
    (NETWORKS, ("", 0), False),
    (NETWORKS, ("/run/app.sock", 0), False),
    (NETWORKS, ("testclient", 1), False),
    (NETWORKS, ("10.1.2.3, 203.0.113.9", 1), False),
    (NETWORKS, ("10.1.2.3" + " " * 10_000, 1), False),
    (("0.0.0.0/0", "::/0"), ("203.0.113.9", 1), True),
    (("0.0.0.0/0", "::/0"), ("unix:", 0), False),
]


@pytest.mark.parametrize(("trust", "peer", "trusted"), PEERS, ids=lambda value: str(value)[:40])
def test_whose_word_is_taken(trust, peer, trusted):
    inbound = Inbound(trust=Config(trust_inbound=trust).trust_inbound)
    headers = {name: [value] for name, value in SENT.items()}
    for _ in range(2):  # once found out, once remembered
        context, remote, links = inbound.caller(headers, peer)
        assert (remote is not None) == trusted
        assert [f"{link.context.trace_id:032x}" for link in links] == [TRACE] * (not trusted)
        assert baggage.get_all(context) == ({"user.tier": "gold"} if trusted else {})


@UNHURRIED
@given(st.text() | st.binary() | st.none() | st.integers() | st.ip_addresses().map(str))
def test_no_peer_raises(host):
    Inbound(trust=NETWORKS).caller({}, (host, 1))


def test_what_is_remembered_of_peers_is_bounded():
    inbound = Inbound(trust=NETWORKS)
    for number in range(3000):
        inbound.caller({}, (f"10.0.{number // 256}.{number % 256}", 1))
        inbound.caller({}, ("x" * 100 + str(number), 1))
    [known] = [cell.cell_contents for cell in inbound._trusts.__closure__ if hasattr(cell.cell_contents, "cache_info")]
    assert known.cache_info().currsize == known.cache_info().maxsize == 1024


# -- in a service -----------------------------------------------------------------------------------------------------


async def _endpoint(_request):
    onward = {}
    obskit.inject(onward)
    return JSONResponse({"baggage": dict(baggage.get_all()), "onward": onward})


async def _socket(websocket):
    await websocket.accept()
    await websocket.close()


def app_of():
    return Starlette(routes=[Route("/", _endpoint), WebSocketRoute("/ws", _socket)])


def of_kind(captured, kind):
    return [span for span in captured.spans if span.kind is kind]


@pytest.mark.parametrize("sent", [SENT, OF_B3], ids=["w3c", "b3"])
@pytest.mark.parametrize("trust", ["never", ("10.0.0.0/8",)], ids=str)
def test_a_strangers_request_begins_a_trace_of_its_own(trust, sent):
    app = app_of()
    config = Config(trust_inbound=trust, propagators=("tracecontext", "b3", "baggage"))
    with obskit.testing.capture(app, config=config) as captured:
        answer = json.loads(raw_asgi.get(app, "/", sent, ("203.0.113.9", 1)).body)
        line, [span] = captured.line("GET / 200"), of_kind(captured, SpanKind.SERVER)
    [link] = span.links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (TRACE, SPAN)
    assert span.parent is None
    assert line["trace_id"] == f"{span.context.trace_id:032x}" != TRACE
    assert answer["baggage"] == {}
    onward = answer["onward"]
    assert onward.keys() == {"traceparent", "b3"}
    assert onward["traceparent"].split("-")[1] == onward["b3"].split("-")[0] == line["trace_id"]
    assert onward["b3"].endswith("-1")  # nor is their wish to debug passed on


@pytest.mark.parametrize(
    "sent",
    [SENT, OF_B3, {"b3": "1"}, {"b3": "0"}, {**SENT, "traceparent": SENT["traceparent"][:-2] + "00"}, {}],
    ids=["sampled", "debug", "1 alone", "0 alone", "not sampled", "nothing"],
)
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_strangers_decision_about_sampling_does_not_count(sent, ratio):
    app = app_of()
    config = Config(
        trust_inbound="never",
        propagators=("tracecontext", "b3"),
        sampler="parentbased_traceidratio",
        sampler_ratio=ratio,
    )
    with obskit.testing.capture(app, config=config) as captured:
        raw_asgi.get(app, "/", sent)
        assert captured.line("GET / 200")["trace_flags"] == ("03" if ratio else "02")


def test_a_connection_is_a_strangers_too():
    app = app_of()
    with obskit.testing.capture(app, config=Config(trust_inbound="never")) as captured:
        with TestClient(app).websocket_connect("/ws", headers={**SENT}):
            pass
        [span] = of_kind(captured, SpanKind.SERVER)
    assert (span.parent, [f"{link.context.trace_id:032x}" for link in span.links]) == (None, [TRACE])


def test_a_stranger_is_one_also_where_the_provider_is_somebody_elses():
    """As spans are started by an SDK that obskit did not set up."""
    context, remote, links = Inbound(trust="never").caller({name: [value] for name, value in SENT.items()}, None)
    op = Operation(
        Pipeline(),
        "http.server.request",
        "GET",
        SpanKind.SERVER,
        fields={},
        context=context,
        remote=remote,
        links=links,
    )
    span = TracerSpans(TracerProvider(shutdown_on_exit=False).get_tracer("theirs")).start(op)
    assert (span.parent, [f"{link.context.trace_id:032x}" for link in span.links]) == (None, [TRACE])


def test_nor_is_a_caller_of_the_same_process_a_parent_where_nobody_is():
    app = app_of()

    async def call():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
            await client.get("/")

    with obskit.testing.capture(app, config=Config(trust_inbound="never")) as captured:
        asyncio.run(call())
        [server], [client] = of_kind(captured, SpanKind.SERVER), of_kind(captured, SpanKind.CLIENT)
    assert server.parent is None
    assert [link.context.span_id for link in server.links] == [client.context.span_id]


def test_request_ids_of_strangers_are_kept():
    app = app_of()
    with obskit.testing.capture(app, config=Config(trust_inbound="never")) as captured:
        raw_asgi.get(app, "/", {**SENT, "x-request-id": "r-1"})
        assert captured.line("GET / 200")["request_id"] == "r-1"


def test_messages_are_read_as_they_are():
    with obskit.testing.capture(config=Config(trust_inbound="never")) as captured:
        with obskit.operation("consume", kind="consumer", parent=obskit.extract(SENT)):
            pass
        assert f"{captured.span('consume').parent.span_id:016x}" == SPAN


class Server(uvicorn.Server):
    def __init__(self, config):
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.up.set()


@pytest.mark.parametrize(("socket", "trusted"), [("tcp", True), ("unix", False)])
def test_peers_as_a_server_reports_them(tmp_path, socket, trusted):
    app, path = app_of(), tmp_path / "s"
    request = "".join(f"{name}: {value}\r\n" for name, value in {"host": "a", "connection": "close", **SENT}.items())

    async def serve():
        where = {"uds": str(path)} if socket == "unix" else {"port": 0}
        server = Server(uvicorn.Config(app, log_config=None, lifespan="off", **where))
        serving = asyncio.create_task(server.serve())
        await server.up.wait()
        name = server.servers[0].sockets[0].getsockname()
        opened = asyncio.open_unix_connection(name) if socket == "unix" else asyncio.open_connection(*name)
        reader, writer = await opened
        writer.write(f"GET / HTTP/1.1\r\n{request}\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        server.should_exit = True
        await serving

    with obskit.testing.capture(app, config=Config(trust_inbound=["127.0.0.0/8"])) as captured:
        asyncio.run(asyncio.wait_for(serve(), 30))
        assert (captured.line("GET / 200")["trace_id"] == TRACE) == trusted
