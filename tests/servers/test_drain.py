"""SIGTERM held back while readiness is off, where obskit comes before the server; and what helps elsewhere."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from matrix import GRANIAN, GUNICORN, HYPERCORN, UVICORN, json_lines
from processes import messages

from receiver import until

HELD_BACK = {
    "uvicorn": (1, UVICORN),
    "uvicorn without lifespan": (1, UVICORN + " --lifespan off"),
    "uvicorn --workers": (2, UVICORN + " --workers 2"),
    "uvicorn by a script": (1, "-m served {fd}"),
    "gunicorn": (2, GUNICORN + " -w 2"),
    "gunicorn --preload": (2, GUNICORN + " -w 2 --preload"),
}
NOT_HELD_BACK = {
    "granian": GRANIAN,
    "hypercorn": HYPERCORN,
    "hypercorn in one process": HYPERCORN + " -w 0",
}


def not_ready(service):
    return service.get("/readyz")[0] == 503


def what_obskit_says(service, words):
    return [message for message in messages(json_lines(service.output)) if words in message]


@pytest.fixture(scope="module")
def drained(serve):
    """{server: (service, what it answered while it drained, exit code)}, all of them side by side."""
    variables = {"OBSKIT_DRAIN_SECONDS": "6"}
    services = {n: serve(s, workers=workers, variables=variables) for n, (workers, s) in HELD_BACK.items()}

    def drain(name):
        service = services[name]
        (service.ready() if "lifespan" in name else service.all_up()).get("/work/1")
        service.popen.send_signal(signal.SIGTERM)
        until(lambda: not_ready(service))
        answers = {path: service.get(path)[0] for path in ("/work/2", "/livez", "/readyz", "/work/3")}
        return service, answers, service.wait()

    with ThreadPoolExecutor(len(services)) as threads:
        return dict(zip(services, threads.map(drain, services), strict=True))


@pytest.mark.parametrize("name", HELD_BACK)
def test_requests_are_served_while_readiness_is_off(drained, name):
    (service, answers, code), workers = drained[name], HELD_BACK[name][0]
    assert answers == {"/work/2": 200, "/livez": 200, "/readyz": 503, "/work/3": 200}
    assert code == (-signal.SIGTERM if workers == 1 else 0)
    assert what_obskit_says(service, "held back") == ["SIGTERM is held back for 6 s: not ready any more"] * workers


@pytest.fixture(scope="module")
def stubborn(serve):
    """{what is done: a service that would hold SIGTERM back for ten minutes}, started side by side."""
    services = {
        what: serve("uvicorn", variables={"OBSKIT_DRAIN_SECONDS": "600"})
        for what in ("SIGTERM twice", "SIGINT", "SIGTERM and SIGINT")
    }
    return {name: service.ready() for name, service in services.items()}


def test_the_second_sigterm_goes_straight_through(stubborn):
    service = stubborn["SIGTERM twice"]
    service.popen.send_signal(signal.SIGTERM)
    until(lambda: not_ready(service))
    assert service.stop() == -signal.SIGTERM


@pytest.mark.parametrize("what", ["SIGINT", "SIGTERM and SIGINT"])
def test_ctrl_c_is_not_held_back(serve, stubborn, what):
    bare = serve("uvicorn", "bare:app").ready()
    service = stubborn[what]
    if what != "SIGINT":
        service.popen.send_signal(signal.SIGTERM)
        until(lambda: not_ready(service))
    for each in (service, bare):
        each.popen.send_signal(signal.SIGINT)
    assert service.wait() == bare.wait()


# -- where it cannot be held back -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(serve, tmp_path_factory):
    """{server: a service that cannot drain at SIGTERM, though told to}, started side by side."""
    file = str(tmp_path_factory.mktemp("maintenance") / "on")
    variables = {"OBSKIT_DRAIN_SECONDS": "600", "DRAIN_BY": "SIGUSR1", "MAINTENANCE_FILE": file}
    services = {name: serve(server, variables=variables) for name, server in NOT_HELD_BACK.items()}
    return {name: (service.ready(), Path(file)) for name, service in services.items()}


@pytest.mark.parametrize("name", NOT_HELD_BACK)
def test_a_check_that_looks_for_a_file_takes_workers_out_of_rotation(impatient, name):
    service, file = impatient[name]
    file.touch()
    until(lambda: not_ready(service))
    assert service.get("/work/1")[0] == 200
    file.unlink()
    service.ready()


@pytest.mark.parametrize("name", NOT_HELD_BACK)
def test_a_server_that_is_not_held_back_says_so_and_stops_at_once(impatient, name):
    service, _ = impatient[name]
    [pid] = {int(service.get("/work/1")[1]["x-pid"])}
    os.kill(pid, signal.SIGUSR1)
    until(lambda: not_ready(service))
    assert service.get("/work/1")[0] == 200
    assert service.stop() == 0
    [warning] = what_obskit_says(service, "drain_seconds")
    assert warning.startswith("drain_seconds=600 has no effect under this server")
    assert not what_obskit_says(service, "held back")
