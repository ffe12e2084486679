"""SIGTERM under load to each server: nothing that was answered is lost, all of its processes end, as they would."""

import os
import signal
import time
from collections import Counter

import pytest
from matrix import HYPERCORN, SERVERS, Load, alive, json_lines
from processes import messages, requests_of

from receiver import until

SHUTDOWN_SECONDS = 5.0
#: What the server's own shutdown and a busy machine may add.
MARGIN_SECONDS = 15.0
HELD_UP = [("gunicorn", "dead"), ("hypercorn -w", "hung"), ("granian", "hung")]


@pytest.fixture(scope="module")
def started(start_receiver, serve):
    """{server: (service, its receiver, the bare app under the same server)}, a few starting side by side."""
    found = {}

    def start(name):
        receiver = start_receiver()
        service = serve(name, variables={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint})
        found[name] = service, receiver, serve(name, "bare:app")

    names = list(SERVERS)
    for name in names[:2]:
        start(name)

    def get(name):
        ahead = names[names.index(name) : names.index(name) + 3]
        for each in ahead:
            if each not in found:
                start(each)
        return found[name]

    return get


@pytest.fixture(scope="module", params=SERVERS)
def stopped(request, started):
    """What is left of a server that was stopped under load: see the attributes."""
    service, receiver, bare = started(request.param)
    service.all_up()
    bare.all_up()
    load = Load(service)
    until(lambda: len(load.answered) >= 400, 30)
    found = Stopped(request.param, service, receiver)
    found.family, found.bare_family = service.family(), bare.family()
    began = time.monotonic()
    found.code = service.stop(30)
    found.seconds = time.monotonic() - began
    found.bare_code = bare.stop(30)
    found.answered = load.ended()
    found.pids = load.pids
    return found


class Stopped:
    """A server that has been stopped.

    Attributes:
        answered: ids of the requests whose whole response has come.
        pids: how many each process answered.
        code, bare_code: exit codes with obskit and without.
        seconds: that the stop took.
        family, bare_family: pids of the descendants before the stop.
    """

    def __init__(self, name, service, receiver):
        self.name = name
        self.service = service
        self.receiver = receiver


def test_sigterm_under_load_loses_nothing_that_was_answered(stopped, record_property):
    lines = Counter(
        line["request_id"] for line in requests_of(json_lines(stopped.service.output)) if "request_id" in line
    )
    spans = Counter(span.attributes["request_id"] for span in stopped.receiver.spans if "request_id" in span.attributes)
    answered = stopped.answered
    lost = len(answered - set(lines)) + len(answered - set(spans))
    row = (stopped.name, stopped.service.workers, len(answered), spans.total(), lines.total(), lost)
    record_property("table", ("SIGTERM under load", ("server", "workers", "answered", "spans", "lines", "lost"), row))
    assert len(answered) >= 400
    assert lost == 0
    assert set(spans) == set(lines)
    assert set(lines.values()) == set(spans.values()) == {1}


def test_it_ends_as_without_obskit(stopped):
    assert stopped.code == stopped.bare_code
    assert stopped.seconds < SHUTDOWN_SECONDS + MARGIN_SECONDS
    until(lambda: not alive(stopped.family | stopped.bare_family))
    assert len(stopped.family) >= stopped.service.workers - 1
    assert len(stopped.family) == len(stopped.bare_family)


def test_nothing_is_printed_that_a_person_must_fix(stopped):
    said = [message for message in messages(json_lines(stopped.service.output)) if "lost" in message]
    assert not said
    assert "Traceback" not in stopped.service.errors
    assert "Traceback" not in stopped.service.output.decode()


@pytest.fixture(scope="module")
def held_up(start_receiver, serve):
    """{(server, receiver's mode): (service, exit code, seconds that the stop took)}: nobody takes what is queued."""
    found = {}
    for name, mode in HELD_UP:
        endpoint = start_receiver(mode).endpoint
        service = serve(name, variables={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OBSKIT_SHUTDOWN_SECONDS": "1"})
        service.all_up()
        for number in range(20):
            assert service.get(f"/work/{number}", {"x-request-id": str(number)})[0] == 200
        family, began = service.family(), time.monotonic()
        code = service.stop(40)
        found[name, mode] = service, code, time.monotonic() - began, family
    return found


@pytest.mark.parametrize(("name", "mode"), HELD_UP)
def test_no_collector_holds_up_the_stop_and_no_line_is_lost(held_up, name, mode):
    service, code, seconds, family = held_up[name, mode]
    assert code == 0
    assert seconds < 1 + MARGIN_SECONDS
    until(lambda: not alive(family))
    assert {line["request_id"] for line in requests_of(json_lines(service.output)) if "request_id" in line} == {
        str(number) for number in range(20)
    }
    assert [message for message in messages(json_lines(service.output)) if "spans not exported" in message]


def test_sigterm_to_a_worker_that_does_not_handle_it(start_receiver, serve):
    """As an operator may send it; the parent sees it die of the signal, and stops the others."""
    receiver = start_receiver()
    service = serve(HYPERCORN, variables={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint})
    bare = serve(HYPERCORN, "bare:app").ready()
    service.ready()
    sent = {str(number) for number in range(20)}
    for number in sorted(sent):
        pid = service.get(f"/work/{number}", {"x-request-id": number})[1]["x-pid"]
    os.kill(int(pid), signal.SIGTERM)
    for bare_pid in bare.family():
        os.kill(bare_pid, signal.SIGTERM)
    assert service.wait() == bare.wait()
    assert {line["request_id"] for line in requests_of(json_lines(service.output)) if "request_id" in line} == sent
    assert {span.attributes["request_id"] for span in receiver.spans if "request_id" in span.attributes} == sent
