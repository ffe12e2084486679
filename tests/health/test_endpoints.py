"""The endpoints: what each path answers, in which state, and that a fault inside reaches neither app nor server."""

import asyncio
import contextlib
import json
import threading
import time

import httpx
import pytest
import uvicorn

from obskit.health.checks import Checks
from obskit.health.endpoints import Endpoints

LONG = 30.0
PROBES = ("/livez", "/readyz", "/startupz")


def render(accept):
    return "text/plain; version=0.0.4", f"# accept: {accept}\n".encode()


@pytest.fixture
def checks():
    made = Checks()
    yield made
    made.close()


@pytest.fixture
def endpoints(checks):
    made = Endpoints(checks, render)
    made.started()
    return made


async def call(app, path, method="GET", headers=(), **scope):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app({"type": "http", "method": method, "path": path, "headers": list(headers), **scope}, receive, send)
    start, body = sent
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    return start["status"], dict(start["headers"]), body["body"]


def ask(app, path, method="GET", headers=(), **scope):
    return asyncio.run(asyncio.wait_for(call(app, path, method, headers, **scope), LONG))


def status_and_json(app, path):
    status, headers, body = ask(app, path)
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"content-length"] == str(len(body)).encode()
    return status, json.loads(body)


class TestPaths:
    def test_those_of_the_contract(self, endpoints):
        for path in (*PROBES, "/health", "/metrics"):
            assert endpoints.handles(path)
        for path in ("", "/", "/livez/", "/healthz", "/Metrics"):
            assert not endpoints.handles(path)

    def test_others_by_choice_and_an_empty_one_is_off(self, checks):
        endpoints = Endpoints(checks, render, live_path="/alive", ready_path="", metrics_path="/m")
        assert [p for p in ("", "/livez", "/alive", "/readyz", "/m", "/metrics") if endpoints.handles(p)] == [
            "/alive",
            "/m",
        ]
        assert status_and_json(endpoints, "/alive")[0] == 200

    def test_without_metrics_there_is_no_path_for_them(self, checks):
        assert not Endpoints(checks).handles("/metrics")

    @pytest.mark.parametrize("root", ["/api", "/api/v1"])
    def test_below_the_servers_root_path(self, endpoints, root):
        assert ask(endpoints, f"{root}/livez", root_path=root)[0] == 200
        assert ask(endpoints, "/livez", root_path=root)[0] == 200  # a proxy that strips it

    @pytest.mark.parametrize("path", [*PROBES, "/health", "/metrics"])
    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "gEt", "\x00"])
    def test_other_methods_are_refused(self, endpoints, path, method):
        status, headers, _ = ask(endpoints, path, method)
        assert status == 405
        assert headers[b"allow"] == b"GET, HEAD"

    @pytest.mark.parametrize("path", [*PROBES, "/metrics"])
    def test_head_has_the_headers_of_get_and_no_body(self, endpoints, path):
        got, head = ask(endpoints, path), ask(endpoints, path, "HEAD")
        assert head == (got[0], got[1], b"")
        assert int(head[1][b"content-length"]) == len(got[2]) > 0


class TestLiveness:
    def test_runs_no_check_and_does_not_depend_on_state(self, checks):
        ran = []
        checks.register("c", lambda: ran.append(1) or False)
        endpoints = Endpoints(checks)
        assert status_and_json(endpoints, "/livez") == (200, {"status": "ok"})
        endpoints.stopping()
        assert status_and_json(endpoints, "/livez") == (200, {"status": "ok"})
        assert ran == []


class TestReadiness:
    def test_follows_startup_and_draining(self, checks):
        endpoints = Endpoints(checks)
        assert status_and_json(endpoints, "/readyz") == (503, {"status": "error", "reason": "starting"})
        endpoints.started()
        assert status_and_json(endpoints, "/readyz") == (200, {"status": "ok"})
        endpoints.stopping()
        assert status_and_json(endpoints, "/readyz") == (503, {"status": "error", "reason": "draining"})

    def test_a_drain_before_the_end_of_startup_stays_and_a_new_life_begins_afresh(self, checks):
        endpoints = Endpoints(checks)
        endpoints.stopping()
        endpoints.started()
        assert endpoints.draining
        endpoints.started()
        assert not endpoints.draining
        assert status_and_json(endpoints, "/readyz")[0] == 200

    def test_follows_the_checks_that_affect_it(self, checks, endpoints):
        results = iter([False, True, False])
        checks.register("db", lambda: next(results), affects="ready", ttl=0)
        checks.register("other", lambda: False)
        failing = (503, {"status": "error", "checks": {"db": "returned False"}})
        assert status_and_json(endpoints, "/readyz") == failing
        assert status_and_json(endpoints, "/readyz") == (200, {"status": "ok"})
        assert status_and_json(endpoints, "/readyz") == failing

    def test_a_check_that_never_passed_keeps_it_503_below_its_threshold(self, checks, endpoints):
        results = iter([False, True, False])
        checks.register("db", lambda: next(results), affects="ready", ttl=0, failures=5)
        assert [status_and_json(endpoints, "/readyz")[0] for _ in range(3)] == [503, 200, 200]


class TestStartup:
    def test_waits_for_the_end_of_startup(self, checks):
        endpoints = Endpoints(checks)
        assert status_and_json(endpoints, "/startupz") == (503, {"status": "error", "reason": "starting"})
        endpoints.started()
        assert status_and_json(endpoints, "/startupz") == (200, {"status": "ok"})

    def test_each_check_must_pass_once_and_that_is_remembered(self, checks, endpoints):
        runs = []
        one, two = iter([True, False]), iter([False, True])
        checks.register("one", lambda: runs.append(1) or next(one), affects="startup", ttl=0)
        checks.register("two", lambda: runs.append(2) or next(two), affects="startup", ttl=0)
        assert status_and_json(endpoints, "/startupz") == (
            503,
            {"status": "error", "checks": {"two": "returned False"}},
        )
        assert status_and_json(endpoints, "/startupz") == (200, {"status": "ok"})  # one fails by now
        assert status_and_json(endpoints, "/startupz") == (200, {"status": "ok"})
        assert len(runs) == 4


class TestHealth:
    def test_without_checks(self, endpoints):
        before = time.time_ns() // 1_000_000
        status, body = status_and_json(endpoints, "/health")
        assert status == 200
        assert set(body) == {"status", "uptime", "timestamp", "checks"}
        assert (body["status"], body["checks"]) == ("ok", {})
        assert isinstance(body["timestamp"], int)
        assert before <= body["timestamp"] <= time.time_ns() // 1_000_000

    def test_uptime_is_in_seconds_to_the_millisecond(self, checks):
        now = [100.0]
        endpoints = Endpoints(checks, clock=lambda: now[0])
        now[0] += 12.3456789
        assert status_and_json(endpoints, "/health")[1]["uptime"] == 12.346

    @pytest.mark.parametrize(
        ("optional", "critical", "expected"),
        [
            (True, True, (200, "ok", {"cache": "ok", "db": "ok"})),
            (False, True, (200, "degraded", {"cache": "returned False", "db": "ok"})),
            (True, False, (503, "error", {"cache": "ok", "db": "returned False"})),
            (False, False, (503, "error", {"cache": "returned False", "db": "returned False"})),
        ],
    )
    def test_critical_checks_make_errors_others_degrade(self, checks, endpoints, optional, critical, expected):
        checks.register("cache", lambda: optional, critical=False)
        checks.register("db", lambda: critical)
        status, body = status_and_json(endpoints, "/health")
        assert (status, body["status"], body["checks"]) == expected

    def test_it_does_not_depend_on_startup_and_shows_all_checks(self, checks):
        for affects in ("health", "ready", "startup"):
            checks.register(affects, lambda: True, affects=affects)
        endpoints = Endpoints(checks)
        endpoints.stopping()
        status, body = status_and_json(endpoints, "/health")
        assert (status, body["checks"]) == (200, {"health": "ok", "ready": "ok", "startup": "ok"})

    def test_failures_below_the_threshold_do_not_show(self, checks, endpoints):
        checks.register("db", lambda: False, ttl=0, failures=2)
        bodies = [status_and_json(endpoints, "/health") for _ in range(2)]
        assert [(status, body["checks"]["db"]) for status, body in bodies] == [(200, "ok"), (503, "returned False")]

    def test_texts_of_exceptions_stay_inside(self, checks, endpoints):
        def leaks():
            raise ConnectionError("postgres://admin:hunter2@db")

        checks.register("db", leaks, affects="ready")
        for path in ("/health", "/readyz"):
            _, _, body = ask(endpoints, path)
            assert b"ConnectionError" in body
            assert b"hunter2" not in body

    def test_report_is_the_body(self, checks, endpoints):
        checks.register("db", lambda: True)
        report = asyncio.run(endpoints.report())
        assert (report["status"], report["checks"]) == ("ok", {"db": "ok"})

    def test_a_run_that_left_no_result_is_not_ready(self, checks, endpoints, contained_errors, monkeypatch):
        def broken(*_):
            raise RuntimeError("a fault")

        monkeypatch.setattr(checks, "_settle", broken)
        checks.register("db", lambda: True, affects="ready")
        assert status_and_json(endpoints, "/readyz") == (503, {"status": "error", "checks": {"db": "not run"}})
        contained_errors.clear()


class TestMetrics:
    def test_the_accept_header_reaches_the_renderer(self, endpoints):
        status, headers, body = ask(endpoints, "/metrics", headers=[(b"accept", b"a/b"), (b"Accept", b"\xff/d")])
        assert (status, body) == (200, "# accept: a/b, \xff/d\n".encode())
        assert headers[b"content-type"] == b"text/plain; version=0.0.4"
        assert ask(endpoints, "/metrics")[2] == b"# accept: None\n"

    def test_it_renders_in_a_thread_once_for_all_that_wait(self, checks):
        release, threads = threading.Event(), []

        def slow(accept):
            threads.append(threading.get_ident())
            assert release.wait(LONG)
            return "text/plain", b"x"

        endpoints = Endpoints(checks, slow)

        async def scenario():
            scrapes = [asyncio.create_task(call(endpoints, "/metrics")) for _ in range(3)]
            await asyncio.sleep(0.05)  # the loop goes on meanwhile
            scrapes[0].cancel()
            await asyncio.wait({scrapes[0]})
            release.set()
            answers = await asyncio.gather(*scrapes[1:])
            assert len(threads) == 1
            return [*answers, await call(endpoints, "/metrics")]

        answers = asyncio.run(asyncio.wait_for(scenario(), LONG))
        assert [answer[2] for answer in answers] == [b"x"] * 3
        assert len(threads) == 2  # nothing is kept once it is done
        assert threading.get_ident() not in threads

    def test_a_scrape_on_another_loop_renders_for_itself(self, checks):
        began, release = threading.Semaphore(0), threading.Event()

        def slow(accept):
            began.release()
            assert release.wait(LONG)
            return "text/plain", b"x"

        endpoints = Endpoints(checks, slow)
        bodies = []
        threads = [
            threading.Thread(target=lambda: bodies.append(ask(endpoints, "/metrics")[2]), daemon=True) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
            assert began.acquire(timeout=LONG)
        release.set()
        for thread in threads:
            thread.join(LONG)
        assert bodies == [b"x"] * 2

    def test_a_fault_is_contained_and_answered(self, checks, contained_errors):
        def broken(accept):
            raise RuntimeError("a fault")

        endpoints = Endpoints(checks, broken)
        assert status_and_json(endpoints, "/metrics") == (500, {"status": "error"})
        assert [component for component, _ in contained_errors] == ["health"]
        contained_errors.clear()

    def test_a_fault_that_nobody_waits_for_any_more_is_quiet(self, checks, caplog):
        release = threading.Event()

        def broken(accept):
            release.wait(LONG)
            raise RuntimeError("a fault")

        endpoints = Endpoints(checks, broken)

        async def scenario():
            scrape = asyncio.create_task(call(endpoints, "/metrics"))
            await asyncio.sleep(0.02)
            scrape.cancel()
            await asyncio.wait({scrape})
            render = next(iter(endpoints._answers["/metrics"].__self__._under_way.values()))
            release.set()
            await asyncio.wait({render})
            await asyncio.sleep(0)

        asyncio.run(asyncio.wait_for(scenario(), LONG))
        assert caplog.records == []

    def test_a_loop_that_ends_meanwhile_leaves_nothing(self, checks):
        release = threading.Event()

        def slow(accept):
            release.wait(LONG)
            return "text/plain", b"x"

        endpoints = Endpoints(checks, slow)

        async def leave():
            asyncio.create_task(call(endpoints, "/metrics"))  # noqa: RUF006  (the loop cancels it)
            await asyncio.sleep(0.02)
            threading.Timer(0.05, release.set).start()

        asyncio.run(leave())
        assert ask(endpoints, "/metrics")[2] == b"x"


def test_the_servers_own_failure_passes(endpoints):
    async def scenario():
        async def send(message):
            raise OSError("client gone")

        await endpoints({"type": "http", "method": "GET", "path": "/livez", "headers": []}, None, send)

    with pytest.raises(OSError, match="client gone"):
        asyncio.run(scenario())


@contextlib.contextmanager
def served(app):
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + LONG
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(LONG)


def test_under_a_real_server(checks, endpoints):
    async def db():
        await asyncio.sleep(0)

    checks.register("db", db, affects="ready")
    checks.register("disk", lambda: False, critical=False)
    with served(endpoints) as url, httpx.Client(base_url=url, timeout=LONG) as client:
        assert [client.get(path).status_code for path in PROBES] == [200, 200, 200]
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        head = client.head("/health")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 0
        assert client.post("/readyz", content=b"x" * 100_000).status_code == 405
        assert client.get("/metrics", headers={"accept": "text/plain"}).text == "# accept: text/plain\n"
        endpoints.stopping()
        assert client.get("/readyz").status_code == 503
