"""What servers log themselves: one kind of line, each request once, each exception once, whoever serves."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from matrix import GRANIAN, GUNICORN, HYPERCORN, UVICORN
from processes import requests_of

from receiver import until

#: {server: (its arguments, with its access log switched on; the logger that says that it serves)}
LOGGING = {
    "uvicorn": (UVICORN, "uvicorn.error"),
    "gunicorn": (GUNICORN + " --access-logfile -", "uvicorn.error"),
    "gunicorn --preload": (GUNICORN + " --preload --access-logfile -", "uvicorn.error"),
    "hypercorn": (HYPERCORN + " --access-logfile -", "hypercorn.error"),
    "hypercorn in one process": (HYPERCORN + " -w 0 --access-logfile -", "hypercorn.error"),
    "granian": (GRANIAN + " --access-log", "_granian"),
}
ACCESS = ("uvicorn.access", "gunicorn.access", "hypercorn.access", "granian.access")


@pytest.fixture(scope="module")
def served(serve):
    """{(server, OBSKIT_REQUEST_LOG): a service that has answered, once with an error, and stopped}, two side by side."""
    found = {}
    for name, (server, _) in LOGGING.items():
        pair = {(name, log): serve(server, variables={"OBSKIT_REQUEST_LOG": log}) for log in ("all", "off")}
        for service in pair.values():
            service.ready()
            assert service.get("/work/7?token=hunter2")[0] == 200
            assert service.get("/broken")[0] == 500
        for service in pair.values():
            service.stop(30)
        found |= pair
    return found


def lines_of(service):
    """What a worker writes; granian's parent, which has no app in it, writes to standard output too."""
    return [json.loads(line) for line in service.output.splitlines() if line.startswith(b"{")]


@pytest.mark.parametrize("name", LOGGING)
def test_each_request_has_one_line_and_each_exception_one_stack_trace(served, name):
    service = served[name, "all"]
    lines = lines_of(service)
    assert [line["message"] for line in requests_of(lines)] == ["GET /work/{number} 200", "GET /broken 500"]
    assert [line for line in lines if line["logger"] in ACCESS] == []
    assert ["RuntimeError: the shelf is broken" in line.get("exception.stacktrace", "") for line in lines].count(
        True
    ) == 1
    assert b"Traceback" not in b"".join(each for each in service.output.splitlines() if not each.startswith(b"{"))
    assert "Traceback" not in service.errors
    assert b"GET /work/7" not in service.output
    assert "GET /work/7" not in service.errors


@pytest.mark.parametrize("name", LOGGING)
def test_what_the_server_says_is_a_line_like_any_other(served, name):
    _, logger = LOGGING[name]
    service = served[name, "all"]
    assert logger in {line["logger"] for line in lines_of(service)} or "granian" in name
    rest = (
        service.errors + b"\n".join(each for each in service.output.splitlines() if not each.startswith(b"{")).decode()
    )
    assert "startup complete" not in rest
    assert "Running on" not in rest


@pytest.mark.parametrize("name", LOGGING)
def test_without_request_lines_the_server_reports_for_itself(served, name):
    service = served[name, "off"]
    lines = lines_of(service)
    assert requests_of(lines) == []
    access = [line for line in lines if line["logger"] in ACCESS]
    assert {(line["message"], line["http.response.status_code"], line["client.address"]) for line in access} >= {
        ("GET /work/7 200", 200, "127.0.0.1"),
        ("GET /broken 500", 500, "127.0.0.1"),
    }
    assert "hunter2" not in service.output.decode()
    [report] = [line for line in lines if "the shelf is broken" in line.get("exception.message", "")]
    assert "Traceback" not in report["message"]
    assert report["exception.stacktrace"].endswith("RuntimeError: the shelf is broken\n")


# -- many workers -------------------------------------------------------------------------------------------------------


def at_once(service, paths):
    """What the workers answer to requests that come side by side, and how many of them did."""
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(service.get, paths))
    assert {status for status, _, _ in answers} == {200}
    return [body.decode() for _, _, body in answers], len({headers["x-pid"] for _, headers, _ in answers})


@pytest.mark.parametrize("server", ["uvicorn --workers", "gunicorn --preload"])
def test_long_lines_of_four_workers_stay_whole_on_one_pipe(serve, server):
    service = serve(server).all_up()
    sizes = [20, 6_000, 30_000, 300, 9_000]
    _, workers = at_once(service, [f"/chatty?lines=10&size={sizes[number % 5]}" for number in range(40)])
    service.stop(30)
    assert workers > 1
    chatty = [line for line in lines_of(service) if line["message"] == "chatty"]
    assert len(chatty) == 400
    assert not [each for each in service.output.splitlines() if b"chatty" in each and not each.startswith(b"{")]


def test_forked_workers_do_not_draw_the_same_ids(serve):
    service = serve("gunicorn --preload").all_up()
    drawn, workers = at_once(service, ["/ids"] * 60)
    assert workers > 1
    numbers, traces = zip(*(each.strip('"').split() for each in drawn), strict=True)
    assert len(set(numbers)) == len(set(traces)) == 60


# -- while somebody works on the code -----------------------------------------------------------------------------------


def test_a_reload_gives_a_new_process_that_is_observed(serve, tmp_path):
    module = tmp_path / "orders.py"
    code = "from fastapi import FastAPI\nimport obskit\napp = FastAPI()\nobskit.init(app)\n"
    module.write_text(code + "@app.get('/version')\nasync def one():\n    return 1\n")
    service = serve("uvicorn --reload", "orders:app", folder=tmp_path).all_up()
    assert service.get("/version")[2] == b"1"
    module.write_text(code + "@app.get('/version')\nasync def two():\n    return 22\n")
    until(lambda: answered(service) == b"22", 40)
    assert service.get("/readyz")[0] == 200
    service.stop()
    assert [line["message"] for line in requests_of(lines_of(service))][-1] == "GET /version 200"
    assert service.output.count(b"obskit 0.1.0 observes") == 2
    for word in ("Traceback", "rror", "arning"):
        assert word not in service.errors.replace("WARNING:  StatReload detected changes", "")


def answered(service):
    try:
        return service.get("/version")[2]
    except OSError:
        return b""


def test_a_script_that_serves_itself_runs_its_module_twice_and_init_once(serve):
    service = serve("-m served {fd}").all_up()
    assert service.get("/work/1")[0] == 200
    service.stop()
    assert service.output.count(b"obskit 0.1.0 observes") == 1
    assert [line["message"] for line in requests_of(lines_of(service))] == ["GET /work/{number} 200"]
    assert "Traceback" not in service.errors
