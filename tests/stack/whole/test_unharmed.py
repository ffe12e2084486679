"""What an agent does with garbage and with a full disk: it stays up, says what is wrong, and the shop does not notice."""

import gzip
import json
import os
import resource
import socket
import time
from contextlib import suppress

import pytest
from otlp import INTERNAL, RETRYABLE, posted, span, traces
from tables import show

from receiver import until

pytestmark = pytest.mark.timeout(180)
LENIENT = {"content-type": "application/json"}
SIGNALS = ("traces", "metrics", "logs")
#: How many batches of a signal an agent tries to send at a time.
SENDERS = 10
#: What is posted as spans: body and headers.
GARBAGE = {
    "no protobuf": (os.urandom(4096), {}),
    "no JSON": (b'{"resourceSpans": [', LENIENT),
    "JSON of another kind": (b'{"resourceSpans": 7}', LENIENT),
    "no gzip": (b"\x1f\x8b" + os.urandom(512), {"content-encoding": "gzip"}),
    "100 MB of zeros in gzip": (gzip.compress(bytes(100 << 20), 9), {"content-encoding": "gzip"}),
    "an unknown kind of body": (b"hello", {"content-type": "text/plain"}),
}


def raw(port, data):
    """Bytes on a connection to a port that expects something else."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(data)
        connection.settimeout(2)
        connection.recv(1024)


def spans_of(stack):
    """What the services say of their spans: produced, exported, dropped."""
    return [stack.value(f"sum(obskit_spans_{what}_total)") for what in ("produced", "exported", "dropped")]


def all_accounted_for(stack):
    """Whether every span that was produced has been exported or counted as dropped, twice in a row."""
    seen = []

    def settled():
        produced, exported, dropped = now = spans_of(stack)
        seen.append(now)
        return produced == exported + dropped and seen[-2:-1] == [now]

    return settled


def test_garbage_harms_nobody(stack, traffic):
    dropped, pid, rows = spans_of(stack)[2], stack.agent.process.pid, []
    with stack.customers(6, rate=20) as seen:
        for kind, (body, headers) in GARBAGE.items():
            rows += [(kind, name, posted(stack.agent.endpoint, f"/v1/{name}", body, headers)) for name in SIGNALS]
        for port in (stack.agent.grpc, stack.agent.http):
            for data in (
                os.urandom(65536),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(4096),
                b"GET / HTTP/9.9\r\n\r\n",
            ):
                raw(port, data)
    until(all_accounted_for(stack), 60, every=1)
    show("Garbage posted to the agent", ("body", "as", "status"), [(*row[:2], str(row[2])) for row in rows])
    # Taken is what JSON may leave open; told to try again, a client would send it for ever.
    assert not [row for row in rows if row[2] is None or row[2] >= 500]
    assert all(status != 200 for kind, _, status in rows if not kind.startswith("JSON"))
    assert stack.agent.process.pid == pid
    assert stack.agent.process.poll() is None
    assert all(outcome.isdigit() for outcome in seen), seen
    assert spans_of(stack)[2] == dropped


def post(agent, size):
    """Twenty spans of twice `size` bytes: their ids, and the agent's answer."""
    spans = [span("fill", kind=INTERNAL, note=os.urandom(size).hex()) for _ in range(20)]
    status = posted(agent.endpoint, "/v1/traces", traces({"filler": spans}).SerializeToString(), {})
    return {each.span_id.hex() for each in spans}, status


def occupy(agent):
    """Exports, a batch each, until all senders of the agent wait with one, for nobody is there: the ids of their spans.

    From then on it takes nothing from its queue; what it takes from one that it cannot write to is lost.
    """
    taken = set()
    for _ in range(100):
        ids, status = post(agent, 9000)
        assert status == 200
        taken |= ids
        if agent.metric("otelcol_exporter_in_flight_requests", data_type="traces") == SENDERS:
            return taken
    msg = "the agent still takes from its queue"
    raise AssertionError(msg)


def fill(agent):
    """Spans until the agent takes no more, as one that cannot write does: the ids of those it took, and the last answer."""
    taken = set()
    for _ in range(400):
        ids, status = post(agent, 1500)
        if status != 200:
            return taken, status
        taken |= ids
    return taken, 200


def test_a_full_disk_harms_nobody(stack, traffic):
    """The files of the agent may not grow any more while the gateway is away, as on a disk that is full."""
    agent, before = stack.agent, spans_of(stack)
    stack.gateway.kill()
    taken = occupy(agent) | occupy(agent)  # twice: a batch more, which waits for a sender
    said = agent.log.stat().st_size
    room = max([said + (256 << 10), *(each.stat().st_size for each in (agent.folder / "queue").iterdir())])
    unlimited = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (room, unlimited[1]))
    try:
        with stack.customers(10, rate=20) as seen:
            filled, status = fill(agent)
            taken |= filled
            time.sleep(6)
            counted = {
                name: value for name, _, value in agent.metrics() if value and ("fail" in name or "refuse" in name)
            }
        complaint = next((line for line in agent.log.read_text()[said:].splitlines() if "file too large" in line), "")
        alive = agent.process.poll() is None
    finally:
        resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, unlimited)
        stack.gateway.start()
    until(all_accounted_for(stack), 60, every=1)

    def lost():
        arrived = {each["spanID"] for trace in stack.traces("filler", limit=20_000) for each in trace["spans"]}
        return taken - arrived

    with suppress(AssertionError):
        until(lambda: not lost(), 60, every=1)
    produced, exported, dropped = (now - then for now, then in zip(spans_of(stack), before, strict=True))
    show(
        "The agent's disk is full",
        ("what", "found"),
        [
            ("requests answered", sum(seen.values())),
            ("spans produced, exported, dropped and counted", f"{produced:.0f}, {exported:.0f}, {dropped:.0f}"),
            ("spans that it took, and its answer to the next", f"{len(taken)}, {status}"),
            ("of them lost", len(lost())),
            *((name, f"{value:.0f}") for name, value in counted.items()),
            ("what it says", json.loads(complaint or "{}").get("error", "nothing")),
        ],
    )
    assert alive
    assert all(outcome.isdigit() for outcome in seen), seen
    assert status in RETRYABLE
    assert not lost()
    assert counted
    assert complaint
