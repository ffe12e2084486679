"""The admin port: what it serves, for whom, and who listens."""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from cluster import PATH, children, descriptors, value
from ports import free_port
from processes import OPENMETRICS, _samples, parse_openmetrics

from obskit.health import admin as admin_module
from obskit.health.admin import Admin
from receiver import until

SERVED = "http_server_request_duration_seconds_count"


def ask(port, path, *, method="GET", host="127.0.0.1", seconds=15.0):
    """Status, headers in lower case and body."""
    with closing(HTTPConnection(host, port, timeout=seconds)) as connection:
        connection.request(method, path, headers={"accept": OPENMETRICS})
        response = connection.getresponse()
        return response.status, {name.lower(): text for name, text in response.getheaders()}, response.read()


def scrape(port):
    return _samples(parse_openmetrics(ask(port, "/metrics")[2].decode()))


def answers(port):
    with suppress(OSError, HTTPException):
        return ask(port, "/metrics")[0] == 200
    return False


# -- real servers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(start_service):
    port = free_port()
    service = start_service("counted:app", variables={**PATH, "OBSKIT_ADMIN_PORT": str(port)}).ready()
    until(lambda: answers(port), 10)
    return service, port


def test_metrics_and_health_move_and_probes_stay(alone):
    service, port = alone
    assert service.get("/work/1")[0] == 200
    assert value(scrape(port), SERVED, http_route="/work/{number}") >= 1
    status, headers, body = ask(port, "/health")
    assert (status, headers["content-type"], json.loads(body)["checks"]) == (
        200,
        "application/json",
        {"database": "ok"},
    )
    assert {path: service.get(path)[0] for path in ("/metrics", "/health", "/livez", "/readyz", "/startupz")} == {
        **dict.fromkeys(("/metrics", "/health"), 404),
        **dict.fromkeys(("/livez", "/readyz", "/startupz"), 200),
    }
    assert {path: ask(port, path)[0] for path in ("/livez", "/work/1", "/")} == dict.fromkeys(
        ("/livez", "/work/1", "/"), 404
    )
    until(lambda: b"port %d /metrics" % port in service.output, 10)  # a line gathers for a moment


def test_a_scrape_of_it_leaves_no_line_and_no_series(alone):
    service, port = alone

    def lines_until(path):
        """How many there are once that of a request has come, as those of all before it have."""
        service.get(path)
        until(lambda: service.whole_lines[-1].get("url.path") == path, 10)
        return len(service.whole_lines)

    before = lines_until("/work/4711")
    routes = {sample.labels["http_route"] for sample in scrape(port).get(SERVED, ())}
    assert routes <= {"/work/{number}", ""}
    assert lines_until("/work/4712") == before + 1


def test_it_answers_while_the_app_is_blocked(alone):
    service, port = alone
    threading.Thread(target=suppressed, args=(service.get, "/hang"), daemon=True).start()
    until(lambda: ask_loop(service) == b"", 5)
    assert ask(port, "/metrics")[0] == 200


def suppressed(function, *arguments):
    with suppress(OSError, HTTPException):
        function(*arguments, seconds=0.5)


def ask_loop(service):
    try:
        return service.get("/livez", seconds=0.3)[2]
    except OSError:
        return b""


@pytest.mark.parametrize("setup", ["uvicorn", "gunicorn preload"])
def test_one_worker_listens_for_all_and_another_takes_over(start_cluster, setup):
    port = free_port()
    cluster = start_cluster(setup, workers=3, variables={"OBSKIT_ADMIN_PORT": str(port)})
    _, count = cluster.warm()
    until(lambda: answers(port), 10)
    for _ in range(2):
        leader = listening_on(cluster, port)
        assert value(scrape(port), "mine_total") == count
        cluster.kill(leader)
        until(lambda: answers(port), 15)
        assert listening_on(cluster, port) != leader
        assert value(scrape(port), "mine_total") == count
    assert "admin port" not in cluster.output.decode()


def listening_on(cluster, port):
    """The one worker that has the port."""
    inodes = {
        line.split()[9]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    [pid] = [pid for pid in children(cluster.popen.pid) if wanted & set(descriptors(pid))]
    return pid


def test_a_stranger_on_the_port_is_one_warning_and_the_port_is_taken_when_it_goes(start_service):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        service = start_service("counted:app", variables={**PATH, "OBSKIT_ADMIN_PORT": str(port)}).ready()
        until(lambda: warnings(service), 10)
        time.sleep(1.2)  # it has tried again by now
        assert service.get("/work/1")[0] == 200
    until(lambda: answers(port), 10)
    [warning] = warnings(service)
    assert str(port) in warning["message"]


def warnings(service):
    return [line for line in service.whole_lines if line["level"] == "warning"]


# -- the listener by itself -------------------------------------------------------------------------------------------


async def healthy():
    return {"status": "ok", "uptime": 1.0, "timestamp": 1, "checks": {}}


@pytest.fixture
def make_admin():
    made = []

    def make(report=healthy, metrics=lambda _: ("text/plain", b"x 1\n"), may_listen=lambda: True, **given):
        made.append(Admin(0, metrics=metrics, report=report, may_listen=may_listen, **given))
        return made[-1]

    yield make
    for admin in made:
        admin.stop()


@pytest.fixture
def loop():
    """A running loop, in a thread."""
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever)
    thread.start()
    yield running
    running.call_soon_threadsafe(running.stop)
    thread.join()
    running.close()


def started(admin, loop=None):
    admin.start(loop)
    until(lambda: admin.port, 5)
    return admin.port


def test_methods_and_paths(make_admin, loop):
    port = started(make_admin(metrics_path="/m", health_path="/h"), loop)
    assert {path: ask(port, path)[0] for path in ("/m", "/m?a=b", "/h", "/metrics", "/", "")} == {
        **dict.fromkeys(("/m", "/m?a=b", "/h"), 200),
        **dict.fromkeys(("/metrics", "/", ""), 404),
    }
    status, headers, body = ask(port, "/m", method="HEAD")
    assert (status, headers["content-length"], headers["cache-control"], body) == (200, "4", "no-store", b"")
    assert ask(port, "/m", method="POST")[0] == 501


def test_it_is_there_over_ipv4_and_ipv6(make_admin, loop):
    port = started(make_admin(), loop)
    assert ask(port, "/metrics")[0] == 200
    if socket.has_dualstack_ipv6():
        assert ask(port, "/metrics", host="::1")[0] == 200


def test_without_metrics_or_paths_there_are_none(make_admin, loop):
    port = started(make_admin(metrics=None, health_path=""), loop)
    assert [ask(port, path)[0] for path in ("/metrics", "/health", "")] == [404, 404, 404]


def test_checks_run_on_the_apps_loop(make_admin, loop):
    where = []

    async def report():
        where.append(asyncio.get_running_loop())
        return {**await healthy(), "status": "error"}

    assert ask(started(make_admin(report), loop), "/health")[0] == 503
    assert where == [loop]


def test_health_when_the_app_does_not_run_or_its_loop_is_blocked(make_admin, loop, monkeypatch):
    monkeypatch.setattr(admin_module, "_REPORT_SECONDS", 0.2)
    admin = make_admin()
    port = started(admin)
    assert json.loads(ask(port, "/health")[2])["reason"] == "the app is not running"
    admin.start(loop)
    loop.call_soon_threadsafe(time.sleep, 1)
    status, _, body = ask(port, "/health")
    assert (status, json.loads(body)["reason"]) == (503, "the event loop is blocked")
    until(lambda: ask(port, "/health")[0] == 200, 10)


def test_what_fails_is_contained(make_admin, loop, contained_errors):
    def failing(_accept):
        raise ValueError("broken")

    assert ask(started(make_admin(metrics=failing), loop), "/metrics")[0] == 500
    assert [component for component, _ in contained_errors] == ["health"]
    contained_errors.clear()


def test_clients_that_send_nothing_do_not_keep_others_out_nor_grow_in_number(make_admin, loop):
    before = set(threading.enumerate())  # other servers of the tests have threads of the same name
    port = started(make_admin(), loop)
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(admin_module._MOST_CLIENTS - 1)]
    assert ask(port, "/metrics")[0] == 200

    def one_more_fills_it():  # more than one, where the place of an answered client is not free yet when the next comes
        idle.append(socket.create_connection(("127.0.0.1", port)))
        return not answers(port)

    until(one_more_fills_it, 5)
    begun = [thread for thread in threading.enumerate() if thread not in before and "process_request" in thread.name]
    assert len(begun) <= admin_module._MOST_CLIENTS
    for connection in idle:
        connection.close()
    until(lambda: answers(port), 5)


def test_bytes_that_are_no_http_are_no_news(make_admin, loop, capfd):
    port = started(make_admin(), loop)
    for data in (
        b"\xff\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection, suppress(OSError):
            connection.sendall(data)
            connection.recv(1000)
    assert answers(port)
    assert capfd.readouterr() == ("", "")


def test_the_turn_is_waited_for_and_the_port_goes_with_stop(make_admin, loop, monkeypatch):
    monkeypatch.setattr(admin_module, "_RETRY_SECONDS", 0.01)
    turns = iter([False, False, True])
    admin = make_admin(may_listen=lambda: next(turns))
    port = started(admin, loop)
    admin.stop()
    assert not answers(port)
    admin.start(loop)
    assert not answers(port)


def test_a_forked_child_does_not_keep_the_port(make_admin, loop):
    admin = make_admin()
    port = started(admin, loop)
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    admin.stop()
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_port_that_is_taken_is_one_warning_and_other_faults_are_contained(
    make_admin, monkeypatch, caplog, contained_errors
):
    monkeypatch.setattr(admin_module, "_RETRY_SECONDS", 0.01)
    asked = []

    def may_listen():
        asked.append(True)
        if len(asked) == 1:
            raise ValueError("broken")
        return True

    with socket.create_server(("", 0)) as stranger:
        admin = Admin(
            stranger.getsockname()[1], metrics=None, report=healthy, may_listen=may_listen, health_path="/health"
        )
        admin.start(None)
        until(lambda: len(asked) > 4, 5)
        assert admin.port is None
    until(lambda: admin.port, 5)
    admin.stop()
    assert [record.levelname for record in caplog.records if "admin port" in record.message] == ["WARNING"]
    assert [component for component, _ in contained_errors] == ["health"]
    contained_errors.clear()
