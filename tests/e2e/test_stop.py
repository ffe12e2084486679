"""Nothing that was answered is lost when a process stops, and no receiver can hold it up."""

import os
import re
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from subprocess import TimeoutExpired

import pytest
from processes import messages, parsed, requests_of

from receiver import until

SHUTDOWN_SECONDS = 2.0
#: What the server's own shutdown and a busy machine may add.
MARGIN_SECONDS = 3.0
LOST = "spans not exported"


def exporting_to(receiver, **variables):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **variables}


class Load:
    """Clients that send without a pause, each on its kept connection, until the service is gone."""

    def __init__(self, service, clients=6):
        self.answered = []
        self.service = service
        self._threads = [threading.Thread(target=self._send, args=(number,), daemon=True) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _send(self, client):
        connection = HTTPConnection("127.0.0.1", self.service.port, timeout=20)
        with suppress(OSError, HTTPException):
            for number in range(100_000):
                request_id = f"{client}-{number}"
                connection.request("GET", f"/work/{number}", headers={"x-request-id": request_id})
                response = connection.getresponse()
                if response.status == 200 and response.read() == str(number).encode():
                    self.answered.append(request_id)
        connection.close()

    def ended(self):
        """The ids of the requests whose whole response has come, once all clients have given up."""
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        return set(self.answered)


# -- SIGTERM under load ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "lifespan"), [("ok", "auto"), ("ok", "off"), ("erroring", "auto")])
def test_sigterm_under_load_loses_no_line_and_no_span_of_what_was_answered(
    start_receiver, start_service, mode, lifespan
):
    receiver = start_receiver(mode)
    service = start_service("plain:app", "--lifespan", lifespan, variables=exporting_to(receiver)).ready()
    load = Load(service)
    until(lambda: len(load.answered) >= 300, 20)
    assert service.stop() == -signal.SIGTERM
    answered = load.ended()
    lines = Counter(line["request_id"] for line in requests_of(service.lines))
    spans = Counter(span.attributes["request_id"] for span in receiver.spans)
    assert answered <= set(lines)
    assert answered <= set(spans)
    assert set(spans) == set(lines)
    assert set(lines.values()) == set(spans.values()) == {1}
    assert not [message for message in messages(service.lines) if "lost" in message]
    assert service.errors == ""


def test_sigterm_while_nothing_is_asked_of_a_server_without_lifespan_loses_nothing(start_receiver, start_service):
    receiver = start_receiver()
    service = start_service("plain:app", "--lifespan", "off", variables=exporting_to(receiver)).ready()
    for number in range(20):
        service.get(f"/work/{number}")
    assert service.stop() == -signal.SIGTERM
    assert len(receiver.spans) == len(requests_of(service.lines)) == 20


# -- receivers that would hold the process up ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(start_receiver, start_service):
    """{receiver's mode: (service, exit code, seconds that the stop took)}, all of them stopped side by side."""
    variables = {"OBSKIT_SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS)}
    services = {
        mode: start_service("plain:app", variables=exporting_to(start_receiver(mode), **variables))
        for mode in ("dead", "hung", "dripping")
    }
    for service in services.values():
        service.ready()
        for number in range(30):
            assert service.get(f"/work/{number}", {"x-request-id": str(number)})[0] == 200
    found = {}

    def stop(mode, service):
        began, code = time.monotonic(), None
        with suppress(TimeoutExpired):
            code = service.stop(2 * (SHUTDOWN_SECONDS + MARGIN_SECONDS))
        found[mode] = service, code, time.monotonic() - began

    threads = [threading.Thread(target=stop, args=item) for item in services.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("mode", ["dead", "hung", "dripping"])
def test_no_receiver_holds_up_the_stop(stopped, mode):
    service, code, seconds = stopped[mode]
    assert code == -signal.SIGTERM
    assert seconds < SHUTDOWN_SECONDS + MARGIN_SECONDS
    assert {line["request_id"] for line in requests_of(service.lines)} == {str(number) for number in range(30)}
    assert "Finished server process" in messages(service.lines)[-1]
    assert service.errors == ""


@pytest.mark.parametrize("mode", ["dead", "hung", "dripping"])
def test_spans_that_are_lost_at_the_stop_are_reported(stopped, mode):
    lost = [line for line in stopped[mode][0].lines if LOST in line["message"]]
    assert [line["level"] for line in lost] == ["warning"]
    assert re.search(r"lost if the process ends now: 30\b", lost[0]["message"])
    assert ("ConnectionRefusedError" in lost[0]["message"]) is (mode == "dead")


def test_a_standard_output_that_nobody_reads_does_not_hold_up_the_stop(start_receiver, start_service):
    reading, writing = os.pipe()
    variables = exporting_to(start_receiver("hung"), OBSKIT_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS))
    service = start_service("plain:app", variables=variables, stdout=writing)
    os.close(writing)
    service.ready().get("/chatty?lines=20&size=60000")
    began = time.monotonic()
    assert service.stop() == -signal.SIGTERM
    assert time.monotonic() - began < SHUTDOWN_SECONDS + MARGIN_SECONDS
    os.close(reading)


# -- other ways to run, other ways to end ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "arguments", "number"),
    [
        (None, ["-m", "served", "{fd}"], signal.SIGTERM),
        (None, ["-m", "served", "{fd}"], signal.SIGINT),
        ("bare:app", [], signal.SIGTERM),
        ("bare:app", ["--lifespan", "on"], signal.SIGTERM),
    ],
    ids=["a script with uvicorn.run", "the same, by Ctrl-C", "no framework, no lifespan", "lifespan demanded"],
)
def test_however_it_is_served_nothing_is_lost(start_receiver, start_service, app, arguments, number):
    receiver = start_receiver()
    service = start_service(app, *arguments, variables=exporting_to(receiver)).ready()
    sent = {str(each) for each in range(20)}
    for request_id in sorted(sent):
        assert service.get(f"/work/{request_id}", {"x-request-id": request_id})[0] == 200
    service.popen.send_signal(number)
    assert service.wait() == (-signal.SIGTERM if number == signal.SIGTERM else 0)
    assert {line["request_id"] for line in requests_of(service.lines)} == sent
    assert {span.attributes["request_id"] for span in receiver.spans} == sent
    assert "Finished server process" in messages(service.lines)[-1]
    assert "Traceback" not in service.errors


ENDINGS = {
    "end": (0, "step"),
    "close": (0, "step"),
    "exception": (1, "failing"),
    "sys.exit": (3, "step"),
    "sys.exit in asyncio": (4, "asynchronous"),
    "a thread that goes on": (0, "late"),
    "a context manager": (0, "managed"),
    "os._exit after flush": (5, "step"),
}


@pytest.fixture(scope="module")
def jobs(start_receiver, start_process):
    started = {}
    for ending in ENDINGS:
        receiver = start_receiver()
        started[ending] = receiver, start_process("-m", "job", ending, variables=exporting_to(receiver))
    return started


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_a_script_ends_nothing_is_lost(jobs, ending):
    receiver, process = jobs[ending]
    code, last = ENDINGS[ending]
    assert process.wait(30) == code
    steps = [line for line in process.lines if line["message"] == "step ok"]
    assert [line["number"] for line in steps] == list(range(20))
    spans = {span.span_id: span for span in receiver.spans}
    assert len(spans) == len([line for line in process.lines if "event.name" in line]) >= 20
    assert {spans[line["span_id"]].duration_ms for line in steps} == {line["duration_ms"] for line in steps}
    assert [line["number"] for line in process.lines if line["message"] == "stepping"] == list(range(20))
    assert "the last words" in messages(process.lines)
    assert last in {span.name for span in spans.values()}
    assert ("RuntimeError: no more work" in process.errors) == (ending == "exception")


def test_an_unhandled_exception_fails_its_operation(jobs):
    receiver, process = jobs["exception"]
    process.wait(30)
    [line] = [line for line in process.lines if line["message"] == "failing error"]
    assert (line["level"], line["error.type"], line["exception.message"]) == ("error", "RuntimeError", "no more work")
    [span] = [span for span in receiver.spans if span.failed]
    assert (span.name, span.span_id) == ("failing", line["span_id"])


def test_sigkill_leaves_whole_lines(start_receiver, start_service):
    service = start_service("plain:app", variables=exporting_to(start_receiver())).ready()
    load = Load(service)
    until(lambda: len(load.answered) >= 100, 20)
    service.popen.kill()
    assert service.wait() == -signal.SIGKILL
    load.ended()
    assert len(requests_of(parsed(service.output))) > 0
