"""Taking over the process's logging, and giving it back exactly."""

import copy
import http.client
import io
import json
import logging
import logging.config
import os
import queue
import re
import subprocess
import sys
import textwrap
import threading

import pytest
import structlog
import uvicorn.config
from opentelemetry.trace import SpanKind

from obskit import semconv
from obskit._exception import mark_carried
from obskit._pipeline import Pipeline
from obskit.operation import Operation
from obskit.redaction import Redactor
from obskit.signals._adopt import install_logs
from obskit.signals._pipeline import get_logger
from obskit.signals._records import LineHandler

TOUCHED = (
    "",
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "gunicorn.error",
    "gunicorn.access",
    "httpx",
    "httpcore",
    "urllib3",
)


class Memory:
    def __init__(self):
        self.raw: list[bytes] = []

    def write(self, line):
        self.raw.append(line)

    @property
    def lines(self):
        return [json.loads(line) for line in self.raw]


def loggers():
    return {name: logging.getLogger(name) for name in TOUCHED}


def state():
    return {
        "loggers": {
            name: (list(logger.handlers), id(logger.handlers), logger.level, logger.propagate, logger.disabled)
            for name, logger in loggers().items()
        },
        "structlog": (structlog.is_configured(), structlog.get_config()),
        "factory": logging.getLogRecordFactory(),
        "uvicorn": copy.deepcopy(uvicorn.config.LOGGING_CONFIG),
    }


@pytest.fixture(autouse=True)
def given_back():
    """Whatever a test does to the loggers is undone, so that tests of restoring do not hide each other's faults."""
    before = [(each, list(each.handlers), each.level, each.propagate, each.disabled) for each in loggers().values()]
    yield
    for logger, handlers, level, propagate, disabled in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture
def install(memory):
    installed = []

    def install(**options):
        options = {"log_format": "json", "resource": {"service.name": "orders"}, **options}
        installed.append(install_logs(memory, Redactor(), **options))
        return installed[-1]

    yield install
    for each in reversed(installed):
        each.restore()


def ours():
    return [each for each in logging.root.handlers if isinstance(each, LineHandler)]


def run_uvicorns_dict_config():
    logging.config.dictConfig(uvicorn.config.LOGGING_CONFIG)


def configure_like_gunicorn():
    logger = logging.getLogger("gunicorn.error")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(sys.stderr))
    logger.setLevel(logging.INFO)
    return logger


@pytest.mark.parametrize("mode", ["replace", "stamp", "off"])
@pytest.mark.parametrize("configured", [False, True], ids=["bare", "configured"])
def test_restore_is_exact(install, mode, configured):
    configure_like_gunicorn()
    if configured:
        run_uvicorns_dict_config()
        logging.root.setLevel(logging.ERROR)
        logging.root.addHandler(logging.StreamHandler(sys.stdout))
        logging.getLogger("httpx").setLevel(logging.DEBUG)
    before = state()
    for _ in range(2):
        logs = install(mode=mode)
        logs.access_gives_way()
        logs.adopt()
        if mode == "replace":
            assert state() != before
        logs.restore()
        assert state() == before
        logs.restore()
        logs.adopt()
        logs.access_gives_way()
        assert state() == before


def test_restore_leaves_what_someone_changed_since(install):
    logs = install()
    logging.root.setLevel(logging.CRITICAL)
    logging.getLogger("httpx").setLevel(logging.INFO)
    theirs = logging.StreamHandler(sys.stdout)
    logging.root.addHandler(theirs)
    logs.restore()
    assert logging.root.level == logging.CRITICAL
    assert logging.getLogger("httpx").level == logging.INFO
    assert theirs in logging.root.handlers


def test_handlers_come_back_in_their_places(install, tmp_path):
    mine = [
        logging.StreamHandler(sys.stdout),
        logging.FileHandler(tmp_path / "a.log"),
        logging.StreamHandler(sys.stderr),
        logging.StreamHandler(io.StringIO()),
        logging.StreamHandler(open(2, "w", closefd=False)),  # noqa: SIM115
    ]
    logging.root.handlers[:0] = mine
    before = list(logging.root.handlers)
    logs = install()
    assert logging.root.handlers == [mine[1], mine[3], *before[5:], *ours()]
    logging.root.addHandler(mine[4])
    logs.restore()
    assert logging.root.handlers == [*before[:4], *before[5:], mine[4]], "what came back before is not doubled"
    mine[1].close()


def test_handlers_of_others_stay_and_get_their_records(install, memory, tmp_path, caplog):
    path = tmp_path / "a.log"
    file = logging.FileHandler(path)
    access = logging.FileHandler(tmp_path / "access.log")
    logging.root.addHandler(file)
    run_uvicorns_dict_config()
    logging.getLogger("uvicorn.access").addHandler(access)
    logs = install()
    logs.access_gives_way()
    logging.getLogger("shop").info("hello")
    logging.getLogger("uvicorn.access").info("%s %s %s %s %d", "a:1", "GET", "/", "1.1", 200)
    assert path.read_text() == "hello\na:1 GET / 1.1 200\n"
    assert (tmp_path / "access.log").read_text() == "a:1 GET / 1.1 200\n"
    assert [line["message"] for line in memory.lines] == ["hello"], "the access line gives way in ours only"
    assert caplog.messages[0] == "hello"
    file.close()
    access.close()


def test_a_subclass_of_stream_handler_is_someone_elses(install):
    class Rich(logging.StreamHandler):
        pass

    handler = Rich(sys.stdout)
    logging.root.addHandler(handler)
    install()
    assert handler in logging.root.handlers


def test_a_handler_whose_stream_is_closed_is_taken_all_the_same(install, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    handler = logging.StreamHandler(stream)
    logging.root.addHandler(handler)
    stream.close()
    install()
    assert handler not in logging.root.handlers


def test_root_has_one_handler_of_ours_however_often_it_is_adopted(install):
    logs = install()
    logs.adopt()
    assert len(ours()) == 1
    logging.root.removeHandler(ours()[0])
    logs.adopt()
    assert len(ours()) == 1


@pytest.mark.parametrize(("level", "number"), [("INFO", 20), ("debug", 10), ("Warning", 30)])
def test_the_level_holds_for_both(install, memory, level, number):
    install(level=level)
    assert logging.root.level == number
    for log in (get_logger("a"), logging.getLogger("a")):
        log.debug("debug")
        log.info("info")
        log.warning("warning")
    expected = {10: ["debug", "info", "warning"], 20: ["info", "warning"], 30: ["warning"]}[number]
    assert [line["message"] for line in memory.lines] == expected * 2


def test_http_clients_are_quiet_unless_someone_set_their_level(install):
    logging.getLogger("httpcore").setLevel(logging.DEBUG)
    install()
    assert logging.getLogger("httpx").level == logging.WARNING
    assert logging.getLogger("urllib3").level == logging.WARNING
    assert logging.getLogger("httpcore").level == logging.DEBUG


# -- servers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_uvicorns_loggers_wherever_it_configures_them(install, memory, when, capsys):
    if when == "before":
        run_uvicorns_dict_config()
    logs = install()
    if when == "after":
        run_uvicorns_dict_config()
    logs.adopt()
    logging.getLogger("uvicorn.error").info("Started %d", 7, extra={"color_message": "\x1b[36m%d"})
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", "/a?b", "1.1", 200)
    started, access = memory.lines
    assert (started["message"], started["logger"]) == ("Started 7", "uvicorn.error")
    assert "color_message" not in started
    assert (access["message"], access["url.path"]) == ("GET /a 200", "/a")
    assert capsys.readouterr() == ("", "")


def test_a_uvicorn_that_is_imported_already_configures_no_handlers_of_its_own(install):
    install()
    run_uvicorns_dict_config()
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        assert logging.getLogger(name).handlers == []
        assert logging.getLogger(name).propagate
        assert logging.getLogger(name).level in {logging.INFO, logging.NOTSET}


def test_hypercorns_reports_of_what_a_line_has_carried_give_way(install, memory, capsys):
    import hypercorn.config

    logs = install()
    logger = hypercorn.config.Config().log.error_logger  # set up once startup is over
    carried, other = ValueError("carried"), ValueError("other")
    mark_carried(carried)
    for error in (carried, other):
        logger.error("Error in ASGI Framework", exc_info=error)
    assert [line["exception.message"] for line in memory.lines] == ["other"]
    assert capsys.readouterr().err == ""
    logs.restore()
    assert len(logger.handlers) == 1
    logger.handlers.clear()


def test_handlers_that_appear_later_are_taken_and_given_back(install, memory):
    logs = install()
    late = logging.StreamHandler(sys.stderr)
    logger = logging.getLogger("uvicorn")
    logger.addHandler(late)
    logger.propagate = False
    given = logger.handlers.copy()  # pytest's own may stand beside it
    logs.adopt()
    assert logger.handlers == [handler for handler in given if handler is not late]
    assert logger.propagate
    logs.restore()
    assert logger.handlers == given
    assert not logger.propagate


@pytest.mark.parametrize("when", ["before", "after"])
def test_access_lines_give_way_without_cost(install, memory, monkeypatch, when):
    monkeypatch.setattr(logging.root, "handlers", [])  # without pytest's own, as in a server's process
    if when == "before":
        run_uvicorns_dict_config()
    logs = install()
    logs.access_gives_way()
    if when == "after":
        run_uvicorns_dict_config()
        logs.adopt()
    logs.adopt()
    access = logging.getLogger("uvicorn.access")
    assert not access.hasHandlers(), "uvicorn asks, and then does not even make the line"
    assert not access.isEnabledFor(logging.CRITICAL)
    logging.getLogger("uvicorn.error").info("x")
    assert [line["message"] for line in memory.lines] == ["x"]


def test_access_lines_stay_where_there_are_no_request_lines(install, memory):
    logs = install(request_log="off")
    logs.access_gives_way()
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", "/", "1.1", 200)
    assert [line["message"] for line in memory.lines] == ["GET / 200"]


def test_an_access_log_that_was_switched_off_stays_off(install, memory):
    run_uvicorns_dict_config()
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False  # what uvicorn's --no-access-log does
    install()
    access.info("x")
    assert memory.raw == []


def test_gunicorns_loggers(install, memory, capsys):
    logger = configure_like_gunicorn()
    install()
    logger.info("Booting worker")
    assert memory.lines[0]["logger"] == "gunicorn.error"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("config", [None, {"version": 1}])
def test_a_uvicorn_without_the_known_configuration(install, monkeypatch, config):
    monkeypatch.setattr(uvicorn.config, "LOGGING_CONFIG", config)
    install()


# -- modes --------------------------------------------------------------------------------------------------------


def finished(signal, exception=None, **fields):
    op = Operation(Pipeline([signal]), semconv.EVENT_OPERATION, "job", SpanKind.INTERNAL, fields=fields)
    op.finish(exception=exception)
    return op


def test_replace(install, memory):
    logs = install()
    assert (logs.effective_mode, logs.reason) == ("replace", "")
    finished(logs.signal)
    assert memory.lines[0]["message"] == "job ok"
    assert memory.lines[0]["service.name"] == "orders"


def test_off(install, memory):
    before = state()
    logs = install(mode="off")
    assert (logs.effective_mode, logs.reason, logs.signal) == ("off", "", None)
    assert state() == before


def test_stamp_touches_no_handler(install, memory, caplog):
    run_uvicorns_dict_config()
    before = state()
    logs = install(mode="stamp")
    logs.access_gives_way()
    assert (logs.effective_mode, logs.reason) == ("stamp", "")
    after = state()
    assert after["factory"] != before["factory"]
    assert {**after, "factory": 0} == {**before, "factory": 0}
    logging.getLogger("obskit.request").setLevel(logging.INFO)
    finished(logs.signal)
    logging.getLogger("obskit.request").setLevel(logging.NOTSET)
    assert memory.raw == []
    assert [record.getMessage() for record in caplog.records] == ["job ok"]


def test_structlog_configured_already_means_stamp(install, memory):
    events = []
    structlog.configure(processors=[lambda _logger, _name, event: events.append(dict(event)) or "rendered"])
    try:
        logs = install(mode="replace")
        assert logs.effective_mode == "stamp"
        assert logs.reason == "structlog is configured already"
        assert ours() == []
        get_logger().info("x")
        assert events[0]["service.name"] == "orders"
    finally:
        logs.restore()
        structlog.reset_defaults()


def test_structlog_configured_after_init_is_stamped_at_adopt(install):
    events = []
    logs = install(mode="stamp")
    structlog.configure(processors=[lambda _logger, _name, event: events.append(dict(event)) or "rendered"])
    try:
        logs.adopt()
        logs.adopt()
        structlog.get_logger().info("x")
        assert events == [{"event": "x", "service.name": "orders"}]
        logs.restore()
        structlog.get_logger().info("x")
        assert events[1] == {"event": "x"}
    finally:
        structlog.reset_defaults()


@pytest.mark.parametrize(
    ("log_format", "terminal", "console"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("json", True, False),
        ("console", False, True),
        ("console", True, True),
    ],
)
def test_the_format(install, memory, monkeypatch, log_format, terminal, console):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main, secondary = os.openpty() if terminal else os.pipe()
    logs = install(log_format=log_format, descriptor=secondary)
    logging.getLogger("shop").info("hello")
    finished(logs.signal)
    os.close(main)
    os.close(secondary)
    for line in memory.raw:
        assert line.startswith(b"{") is not console
        assert (b"\x1b[" in line) is (console and terminal)


# -- real servers -------------------------------------------------------------------------------------------------

SERVED = """
    import logging, os, sys
    {import_before}
    import structlog
    from opentelemetry.trace import SpanKind
    from obskit import semconv
    from obskit._pipeline import Pipeline
    from obskit.operation import Operation
    from obskit.redaction import Redactor
    from obskit.signals._adopt import install_logs

    class Out:
        def write(self, line):
            os.write(1, line)

    logs = install_logs(Out(), Redactor(), resource={{"service.name": "served"}}, request_log=os.environ["REQUEST_LOG"])
    logs.access_gives_way()

    async def lifespan(receive, send):
        logs.adopt()
        await receive()
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            return await lifespan(receive, send)
        op = Operation(Pipeline([logs.signal]), semconv.EVENT_HTTP_SERVER, "GET", SpanKind.SERVER,
                       fields={{"http.request.method": "GET", "http.route": scope["path"]}})
        try:
            structlog.get_logger("shop").info("by structlog", path=scope["path"])
            logging.getLogger("shop").info("by %s", "stdlib", extra={{"path": scope["path"]}})
            if scope["path"] == "/fail":
                raise ValueError("at fault")
            await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}})
            op.fields["http.response.status_code"] = 200
            op.finish()
            await send({{"type": "http.response.body"}})
        except ValueError as error:
            op.finish(exception=error)
            raise

    if __name__ == "__main__":
        import uvicorn
        uvicorn.run(app, host="127.0.0.1", port=0)
"""


class Server:
    """A real uvicorn whose output, both streams, is read line by line."""

    def __init__(self, command, cwd, request_log):
        self.output: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "REQUEST_LOG": request_log, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self._queue.put(line)

    def wait_for(self, pattern):
        while True:
            self.output.append(self._queue.get(timeout=30))
            if found := re.search(pattern, self.output[-1]):
                return found[1]

    def get(self, port, path):
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        connection.request("GET", path)
        status = connection.getresponse().status
        connection.close()
        return status

    def stop(self):
        self._process.terminate()
        self._process.wait(20)
        self._reader.join(10)
        self._process.stdout.close()
        while not self._queue.empty():
            self.output.append(self._queue.get())


COMMANDS = {
    "uvicorn module:app": ([sys.executable, "-m", "uvicorn", "served:app", "--port", "0"], ""),
    "uvicorn.run, imported before": ([sys.executable, "served.py"], "import uvicorn"),
    "uvicorn.run, imported after": ([sys.executable, "served.py"], ""),
}


def serve(tmp_path, style, request_log="all"):
    command, import_before = COMMANDS[style]
    (tmp_path / "served.py").write_text(textwrap.dedent(SERVED).format(import_before=import_before))
    server = Server(command, tmp_path, request_log)
    try:
        port = server.wait_for(r"running on http://127\.0\.0\.1:(\d+)")
        assert server.get(port, "/ok?token=hunter2") == 200
        assert server.get(port, "/fail") == 500
    finally:
        server.stop()
    return server.output


@pytest.mark.parametrize("style", list(COMMANDS))
def test_a_real_uvicorn_writes_one_kind_of_line(tmp_path, style):
    output = serve(tmp_path, style)
    if style == "uvicorn.run, imported after":  # what uvicorn says before the app's lifespan is beyond reach
        assert output[0].startswith("INFO:")
        output = [line for line in output if not line.startswith("INFO:")]
        assert any("startup complete" in line for line in output)
    lines = [json.loads(line) for line in output]
    for line in lines:
        assert list(line)[:5] == ["timestamp", "level", "message", "logger", "service.name"]
    messages = [line["message"] for line in lines]
    assert messages.count("by structlog") == messages.count("by stdlib") == 2
    assert {line["logger"] for line in lines} == {"uvicorn.error", "shop", "obskit.request"}
    assert [message for message in messages if message.startswith("GET")] == ["GET /ok 200", "GET /fail error"]
    assert "Application startup complete." in messages
    assert any(message.startswith("Finished server process") for message in messages)
    traces = [line for line in lines if "exception.stacktrace" in line]
    assert [line["logger"] for line in traces] == ["obskit.request"], "one stack trace an exception"
    assert not any("color_message" in line for line in lines)


def test_without_request_lines_uvicorn_reports_for_itself(tmp_path):
    output = serve(tmp_path, "uvicorn module:app", request_log="off")
    assert "hunter2" not in "".join(output)
    lines = [json.loads(line) for line in output]
    access = [line for line in lines if line["logger"] == "uvicorn.access"]
    assert [(line["url.path"], line["http.response.status_code"]) for line in access] == [("/ok", 200), ("/fail", 500)]
    assert access[0]["client.address"] == "127.0.0.1"
    [failed] = [line for line in lines if "exception.stacktrace" in line]
    assert failed["message"].startswith("Exception in ASGI application")
    assert failed["exception.type"] == "ValueError"


def test_a_logger_created_after_init_needs_no_adoption(install, memory):
    install()
    logging.getLogger(f"made.later.{id(memory)}").info("x")
    assert memory.lines[0]["message"] == "x"
