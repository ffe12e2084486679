"""A service keeps answering while the places that its telemetry goes to fail, and counts what it had to drop."""

import os
import signal
import time
from contextlib import suppress

from processes import messages, parsed, requests_of

from receiver import until

EVERY_100_MS = {"OTEL_BSP_SCHEDULE_DELAY": "100"}


def answers(service, count=20):
    for number in range(count):
        assert service.get(f"/work/{number}")[0] == 200


def test_a_standard_output_that_nobody_reads(start_service):
    reading, writing = os.pipe()
    service = start_service("plain:app", stdout=writing)
    os.close(writing)
    service.ready()
    assert service.get("/chatty?lines=160&size=60000")[0] == 200
    answers(service)
    produced, exported, dropped = service.tally("log_lines")
    assert dropped.pop("buffer_full") > 0
    assert not any(dropped.values())
    assert 0 <= exported < produced
    held = read_until_settled(service, reading)
    produced, exported, dropped = service.tally("log_lines")
    assert produced == exported + sum(dropped.values())
    assert len(parsed(held)) == exported
    assert service.get("/work/1", {"x-request-id": "afterwards"})[0] == 200
    service.popen.send_signal(signal.SIGTERM)
    rest = bytearray()
    while chunk := os.read(reading, 65536):
        rest += chunk
    os.close(reading)
    assert service.wait() == -signal.SIGTERM
    assert "afterwards" in {line.get("request_id") for line in requests_of(parsed(bytes(rest)))}


def read_until_settled(service, descriptor):
    """All that comes out of the descriptor until the service has nothing queued any more."""
    os.set_blocking(descriptor, False)
    held, settled = bytearray(), False
    deadline = time.monotonic() + 30
    while not settled and time.monotonic() < deadline:
        produced, exported, dropped = service.tally("log_lines")
        settled = produced == exported + sum(dropped.values())
        with suppress(BlockingIOError):
            while True:
                held += os.read(descriptor, 1 << 20)
    os.set_blocking(descriptor, True)
    return bytes(held)


def test_a_standard_output_whose_reader_has_gone(start_service):
    reading, writing = os.pipe()
    service = start_service("plain:app", stdout=writing)
    os.close(writing)
    service.ready()
    answers(service)
    os.close(reading)
    answers(service)
    until(lambda: service.tally("log_lines")[2]["closed_pipe"] > 0)
    answers(service)
    produced, exported, dropped = service.settled("log_lines")
    assert produced == exported + dropped["closed_pipe"]
    assert service.stop() == -signal.SIGTERM
    assert service.errors == ""


def test_a_disk_that_is_full(start_service):
    full = os.open("/dev/full", os.O_WRONLY)
    service = start_service("plain:app", stdout=full)
    os.close(full)
    service.ready()
    answers(service)
    produced, exported, dropped = service.settled("log_lines")
    assert (exported, dropped["io_error"]) == (0, produced)
    assert produced > 20
    assert service.stop() == -signal.SIGTERM
    assert service.errors == ""


def test_a_collector_that_dies_and_comes_back_gets_every_span(start_receiver, start_service):
    receiver = start_receiver()
    service = start_service("plain:app", variables={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **EVERY_100_MS})
    answers(service.ready(), 10)
    until(lambda: len(receiver.spans) == 10)
    receiver.turn("dead")
    answers(service, 50)
    produced, exported, dropped = service.tally("spans")
    assert (produced, exported, sum(dropped.values())) == (60, 10, 0)
    receiver.turn("ok")
    until(lambda: len(receiver.spans) == 60, 15)
    produced, exported, dropped = service.settled("spans")
    assert (produced, exported, sum(dropped.values())) == (60, 60, 0)
    assert len({span.span_id for span in receiver.spans}) == 60
    service.stop()
    assert {line["span_id"] for line in requests_of(service.lines)} == {span.span_id for span in receiver.spans}


def test_a_collector_that_refuses_is_reported_once_and_so_is_its_recovery(start_receiver, start_service):
    receiver = start_receiver("refusing")
    service = start_service("plain:app", variables={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **EVERY_100_MS})
    answers(service.ready(), 5)
    until(lambda: service.tally("spans")[2]["rejected"] == 5)
    answers(service, 5)
    until(lambda: service.tally("spans")[2]["rejected"] == 10)
    receiver.turn("ok")
    answers(service, 5)
    until(lambda: len(receiver.spans) == 5)
    assert service.settled("spans")[:2] == (15, 5)
    service.stop()
    said = [message for message in messages(service.lines) if message.startswith("spans are ")]
    assert len(said) == 2
    assert said[0].startswith(f"spans are being lost: {receiver.endpoint}/v1/traces: HTTP 400;")
    assert said[1] == "spans are exported again; 10 were dropped in all"


def test_a_collector_that_is_slow_gets_every_span(start_receiver, start_service):
    receiver = start_receiver("slow")
    service = start_service("plain:app", variables={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **EVERY_100_MS})
    service.ready()
    until(lambda: [answers(service, 10), len(receiver.spans) >= 40][-1])
    service.stop()
    assert {line["span_id"] for line in requests_of(service.lines)} == {span.span_id for span in receiver.spans}
