"""The README and the docs are true: what they show is run, and what it prints is what they show.

How a page is read, block by block, in a process and a folder of the page's own:

- ```python: run; blocks of a page share their names. A block with a title is a file, for the commands that follow.
- ```text after a python block: what that block prints.
- ```console: each ``$`` line is run, a server among them on a pseudo-terminal until the page ends; below it stands what
  it prints. The ports 8000 to 8003 stand for free ones.
- ```sh: what a reader may run; its make targets, variables and modules exist.

What is shown must be printed, in that order; what differs from run to run (times, ids, durations) is not compared.
"""

import importlib.util
import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ports import free_port

import obskit
from obskit import redaction, semconv
from obskit._config_table import SETTINGS

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/reference"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += [
    page for folder in ("collector-config", "dashboards", "examples") for page in sorted((ROOT / folder).rglob("*.md"))
]
DEADLINE = 45.0
MARK = "--- end of the block ---"


# -- reading a page ---------------------------------------------------------------------------------------------------


@dataclass
class Fence:
    kind: str
    title: str
    text: str
    line: int
    commands: list[tuple[str, list[str]]] = field(default_factory=list)  # of a console: each with what it prints


def fences(page):
    found, opened = [], None
    for number, line in enumerate(page.splitlines(), 1):
        if opened is None and (start := re.match(r'( *)```(\w*)(?: title="(.+)")?$', line)):
            opened = (start[1], Fence(start[2], start[3] or "", "", number))
        elif opened is not None and line.strip() == "```":
            found.append(opened[1])
            opened = None
        elif opened is not None:
            opened[1].text += line.removeprefix(opened[0]) + "\n"
    assert opened is None, f"the block of line {opened and opened[1].line} has no end"
    for fence in found:
        if fence.kind == "console":
            fence.commands = commands_of(fence.text)
    return found


def commands_of(text):
    commands = []
    for line in text.replace("\\\n", "").splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(line)
    return commands


VARYING = [
    (r"^([a-z_]+(?:\{.*\})? \d+)\.0$", r"\1"),  # a count on /metrics, which does not differ
    (r"\x1b\[[\d;]*m", ""),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z?", "<time>"),
    (r"\b\d\d:\d\d:\d\d[.,]\d{3}\b", "<time>"),
    (r"(?i)\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT", "<date>"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<uuid>"),
    (r"\b([0-9a-f]{32}|[0-9a-f]{16}|(?=\d*[a-f])[0-9a-f]{8}|\d{8,})\b", "<number>"),
    (r"0x[0-9a-f]+", "<address>"),
    (r"process \[\d+\]", "process [<pid>]"),
    (r"\d+(?:\.\d+)+(?:e[+-]?\d+)?", "<decimal>"),
    (r'"[^"]*?([^/"]+\.py)"', r'"\1"'),
    (r"(?<=[\s(])/[^\s:]*?([^/\s:]+\.py)", r"\1"),
    (r"([─═]){2,}", r"\1"),
    (r"[ \t]+", " "),
]


def shape(line):
    """A line without what differs from run to run."""
    for pattern, stands in VARYING:
        line = re.sub(pattern, stands, line)
    return line.strip()


def missing(shown, printed):
    """The first line that is shown and not printed after the ones before it; None if all are."""
    rest = iter([shape(line) for line in printed])
    for line in filter(None, map(shape, shown)):
        begin = line.removesuffix("…").rstrip()
        if begin and not any(each.startswith(begin) if line.endswith("…") else each == line for each in rest):
            return line
    return None


# -- doing what it says -----------------------------------------------------------------------------------------------

INTERPRETER = f"""
import json, sys
names = {{"__name__": "__main__"}}
for request in sys.stdin:
    where, code = json.loads(request)
    exec(compile(code, where, "exec", dont_inherit=True), names)
    wiring = sys.modules.get("obskit._init")
    if wiring is not None and wiring._current is not None and not wiring._current.closed:
        wiring._current.flush(5.0)
    print({MARK!r}, flush=True)
"""

# For a machine without curl: what the pages use of it.
CURL = f"""#!{sys.executable}
import sys
from urllib.request import Request, urlopen
from urllib.error import HTTPError
words, headers, url, head = sys.argv[1:], {{"user-agent": "curl/8.0.0"}}, "", False
while words:
    word = words.pop(0)
    if word == "-H":
        name, _, value = words.pop(0).partition(":")
        headers[name] = value.strip()
    elif word.startswith("-"):
        assert set(word[1:]) <= set("si"), word
        head = head or "i" in word
    else:
        url = word if "://" in word else "http://" + word
try:
    answer = urlopen(Request(url, headers=headers))
except HTTPError as error:
    answer = error
if head:
    print(f"HTTP/1.1 {{answer.status}} {{answer.reason}}", *(f"{{n}}: {{v}}" for n, v in answer.headers.items()), "", sep="\\n")
sys.stdout.write(answer.read().decode())
"""


class Reader:
    """Does what one page says, from top to bottom."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder
        self.problems = []
        self._ports = {port: free_port() for port in ("8000", "8001", "8002", "8003")}
        self._servers = {}
        self._python = None
        self._stack = ExitStack()
        binaries = folder / ".bin"
        binaries.mkdir()
        if shutil.which("curl") is None:
            (binaries / "curl").write_text(CURL)
            (binaries / "curl").chmod(0o755)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OBSKIT_", "COV_"))}
        path = os.pathsep.join([str(binaries), str(Path(sys.executable).parent), kept.get("PATH", "")])
        python = os.pathsep.join([str(folder), *filter(None, [kept.get("PYTHONPATH")])])
        self._environ = {**kept, "PATH": path, "NO_COLOR": "1", "TERM": "xterm", "PYTHONPATH": python}

    def read(self, page):
        """Every problem of the page, as sentences; the last python block's print is what a text block shows."""
        printed = None
        with self._stack:
            for fence in fences(page):
                if fence.kind == "python" and fence.title:
                    (self.folder / fence.title).write_text(self._with_ports(fence.text))
                elif fence.kind == "python":
                    printed = self._run(fence)
                elif fence.kind == "text":
                    self._compare(fence.line, fence.text.splitlines(), printed or [])
                for command, shown in fence.commands:
                    self._command(fence.line, command, shown)
            for port in list(self._servers):
                self._stop(port)
        return self.problems

    def _run(self, fence):
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-W", "error::SyntaxWarning", "-c", INTERPRETER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self.folder,
                env=self._environ,
            )
            self._stack.callback(end, self._python)
        alarm = threading.Timer(DEADLINE, self._python.kill)
        alarm.start()
        lines = []
        try:
            self._python.stdin.write(json.dumps([f"{self.name}:{fence.line}", self._with_ports(fence.text)]) + "\n")
            self._python.stdin.flush()
            for line in self._python.stdout:
                if line.rstrip() == MARK:
                    return lines
                lines.append(line.rstrip("\n"))
        except BrokenPipeError:
            lines.append("the block before it has failed")
        finally:
            alarm.cancel()
        self.problems.append(f"{self.name}:{fence.line} failed:\n" + "\n".join(lines[-20:]))
        return lines

    def _command(self, line, command, shown):
        command = command.removesuffix("&").rstrip()
        if re.match(r"(\w+=\S+\s+)*uvicorn ", command):
            self._serve(line, command, shown)
            return
        reads = re.match(r"(tail|grep|cat) ", command)  # what a server writes comes a moment later
        give_up = time.monotonic() + (5.0 if reads else 0.0)
        while True:
            done = subprocess.run(
                ["timeout", str(DEADLINE), "sh", "-c", self._with_ports(command)],
                cwd=self.folder, env=self._environ, check=False, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            printed = done.stdout.splitlines()
            if (done.returncode == 0 and missing(shown, printed) is None) or time.monotonic() > give_up:
                break
            time.sleep(0.05)
        if done.returncode:
            self.problems.append(f"{self.name}:{line}: `{command}` ended with {done.returncode}: {done.stdout}")
        self._compare(line, shown, printed)

    def _serve(self, line, command, shown):
        port = found[1] if (found := re.search(r"--port (\d+)", command)) else "8000"
        self._stop(port)
        if not found:
            command = command.replace("uvicorn ", f"uvicorn --port {port} ")
        terminal, inner = pty.openpty()
        server = subprocess.Popen(
            ["sh", "-c", "exec env " + self._with_ports(command)],
            cwd=self.folder, env=self._environ, stdin=subprocess.DEVNULL, stdout=inner, stderr=inner,
        )  # fmt: skip
        os.close(inner)
        self._stack.callback(end, server)
        printed = []
        thread = threading.Thread(target=keep, args=(terminal, printed), daemon=True)
        thread.start()
        self._servers[port] = (server, thread, printed, line, shown)
        give_up = time.monotonic() + DEADLINE
        while server.poll() is None and time.monotonic() < give_up:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self._ports[port])) == 0:
                    return
            time.sleep(0.02)
        self.problems.append(f"{self.name}:{line}: `{command}` does not serve:\n{b''.join(printed).decode()}")

    def _stop(self, port):
        server, thread, printed, line, shown = self._servers.pop(port, (None, None, [], 0, []))
        if server is not None:
            time.sleep(0.1 if shown else 0.0)  # the lines of the last answer gather for a moment
            server.send_signal(signal.SIGINT)
            server.wait(DEADLINE)
            thread.join(DEADLINE)
            self._compare(line, shown, b"".join(printed).decode().splitlines())

    def _compare(self, line, shown, printed):
        without = missing(shown, [self._without_ports(each) for each in printed])
        if without is not None:
            there = "\n    ".join(map(shape, printed))
            self.problems.append(f"{self.name}:{line} shows\n    {without}\nbut there is only\n    {there}")

    def _with_ports(self, text):
        return re.sub(r"\b800[0-3]\b", lambda port: str(self._ports[port[0]]), text)

    def _without_ports(self, text):
        for shown, port in self._ports.items():
            text = re.sub(rf"\b{port}\b", shown, text)
        return text


def end(process):
    if process.poll() is None:
        process.kill()
    process.wait(DEADLINE)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def keep(terminal, chunks):
    with os.fdopen(terminal, "rb", buffering=0) as output:
        try:
            while chunk := output.read(65536):
                chunks.append(chunk)
        except OSError:  # the last one on the other side has closed it
            return


def name_of(page):
    return str(page.relative_to(ROOT))


# -- the pages --------------------------------------------------------------------------------------------------------

RUNNABLE = [page for page in PAGES if any(f.kind in ("python", "console") for f in fences(page.read_text()))]


@pytest.fixture(scope="module")
def readings(request, tmp_path_factory):
    """What each page that is asked for has wrong; a few are read at a time, since they mostly wait for processes."""
    items = [item for item in request.session.items if item.name.startswith("test_page_does_what_it_says")]
    folders = {item.callspec.params["page"]: tmp_path_factory.mktemp("page") for item in items}
    with ThreadPoolExecutor(3) as pool:
        yield {
            page: pool.submit(Reader(name_of(page), folder).read, page.read_text()) for page, folder in folders.items()
        }


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_page_does_what_it_says(page, readings):
    problems = readings[page].result()

    assert not problems, "\n\n".join(problems)


def test_snippets_are_found():
    found = [fence for page in PAGES for fence in fences(page.read_text())]
    count = {kind: sum(fence.kind == kind for fence in found) for kind in ("python", "console", "text", "sh")}

    assert len(RUNNABLE) >= 15
    assert count["python"] >= 35
    assert sum(len(fence.commands) for fence in found) >= 20
    assert count["text"] >= 6
    assert count["sh"] >= 5
    assert {fence.kind for fence in found} <= {"python", "console", "text", "sh", "yaml", ""}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_file_of_a_page_is_used(page):
    found = fences(page.read_text())
    for number, fence in enumerate(found):
        stem = fence.title.removesuffix(".py") if fence.title.endswith(".py") else ""
        later = "\n".join(each.text for each in found[number + 1 :])
        assert not stem or re.search(rf"\b{stem}(:|\.py\b| import )|import {stem}\b", later), fence.title


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ("```python\nassert 1 + 1 == 3\n```", "AssertionError"),
        ("```python\nprint('a')\n```\n```text\nb\n```", "shows"),
        ("```python\nprint('a')\nprint('b')\n```\n```text\nb\na\n```", "shows"),
        ("```text\nnobody printed it\n```", "shows"),
        ("```python\nx = 1\n```\n```python\nassert y\n```", "NameError"),
        ("```console\n$ echo 1\n2\n```", "shows"),
        ("```console\n$ false\n```", "ended with 1"),
        ("```console\n$ uvicorn nothing:app\n```", "does not serve"),
    ],
)
def test_a_page_that_is_wrong_is_found_out(page, problem, tmp_path):
    (found, *_) = Reader("wrong.md", tmp_path).read(page)

    assert problem in found


def test_a_server_that_says_something_else_is_found_out(tmp_path):
    app = "from starlette.applications import Starlette\nimport obskit\napp = Starlette()\nobskit.init(app)\n"
    command = (
        "$ uvicorn app:app --port 8001\n00:00:00.000 info Waiting for application startup. uvicorn.error\nno such line"
    )
    page = f'```python title="app.py"\n{app}```\n```console\n{command}\n```'

    [problem] = Reader("wrong.md", tmp_path).read(page)
    assert "shows\n    no such line" in problem


@pytest.mark.parametrize(
    ("line", "other", "same"),
    [
        (
            '{"duration_ms":1.5,"trace_id":"' + "a1" * 16 + '"}',
            '{"duration_ms":20.25,"trace_id":"' + "0f" * 16 + '"}',
            True,
        ),
        ('{"duration_ms":1.5}', '{"duration_s":1.5}', False),
        ('{"status":200}', '{"status":404}', False),
        ('spans_total{reason="x"} 1.0', 'spans_total{reason="x"} 2.0', False),
        ("11:20:01.123 200 GET /a 1.5ms", "09:00:00.001 200 GET /a 7.0ms", True),
        ("11:20:01.123 200 GET /a 1.5ms", "09:00:00.001 200 GET /b 7.0ms", False),
    ],
)
def test_shape(line, other, same):
    assert (shape(line) == shape(other)) is same


# -- what is not run --------------------------------------------------------------------------------------------------

PROGRAMS = {"make", "python3", "export", "kill"}


def wrong_commands(text):
    """What a sh block names that does not exist."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    variables = {variable.partition("[")[0] for entry in SETTINGS.values() for variable in entry.variables}
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for word in words:
            name = re.match(r"((?:OTEL|OBSKIT)_\w+)(=|$)", word)
            if name and name[1] not in variables:
                yield f"no variable {name[1]}"
        command = [word for word in words if not re.match(r"\w+=", word)]
        if command and command[0] not in PROGRAMS | {"granian", "gunicorn", "hypercorn", "kubectl", "uvicorn"}:
            yield f"no program {command[0]}"
        if command[:1] == ["make"]:
            yield from (f"no target {word}" for word in command[1:] if word not in targets)
        if command[:2] == ["python3", "-m"] and importlib.util.find_spec(command[2]) is None:
            yield f"no module {command[2]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page):
    wrong = [each for fence in fences(page.read_text()) if fence.kind == "sh" for each in wrong_commands(fence.text)]

    assert not wrong


@pytest.mark.parametrize(
    "command",
    ["make nothing", "OBSKIT_NOTHING=1 uvicorn a:b", "export OTEL_NOTHING=2", "python3 -m no_such", "rm -r x"],
)
def test_a_command_that_does_not_exist_is_found_out(command):
    assert list(wrong_commands(command))


def test_probes_of_the_yaml_exist():
    blocks = [fence.text for page in PAGES for fence in fences(page.read_text()) if fence.kind == "yaml"]
    paths = [path for block in blocks for path in re.findall(r"path: (\S+)", block)]

    assert len(paths) >= 3
    assert set(paths) <= {entry.default for name, entry in SETTINGS.items() if name.endswith("_path")}


# -- links ------------------------------------------------------------------------------------------------------------


def prose(page):
    return re.sub(r"^( *)```.*?^ *```$", "", page, flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """What GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(page, text):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        there = target.is_relative_to(ROOT) and target.exists()
        if not there or (anchor and anchor not in anchors(target.read_text())):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    assert not list(dead_links(page, page.read_text()))


def test_a_dead_link_is_found_out():
    page = ROOT / "docs/index.md"
    text = "[a](nowhere.md) [b](concepts.md#no-such-heading) [c](../../outside.md) [d](concepts.md) [e](https://example.org)"

    assert list(dead_links(page, text)) == ["nowhere.md", "concepts.md#no-such-heading", "../../outside.md"]


def test_every_page_is_reached_from_the_index():
    seen, waiting = set(), [ROOT / "docs/index.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            links = re.findall(r"\]\(([^)#\s]+\.md)", prose(page.read_text()))
            waiting += [(page.parent / link).resolve() for link in links if "://" not in link]

    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} <= seen


# -- the reference is whole -------------------------------------------------------------------------------------------


def rows(page):
    """The names in the first column of a page's tables."""
    return re.findall(r"^\| `([^`]+)` \|", (REFERENCE / page).read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=lambda page: page.name)
def test_names_of_a_page_are_unique(page):
    names = rows(page.name)

    assert sorted(names) == sorted(set(names))


def test_public_names_are_in_the_reference():
    names = {re.split(r"[(:.]", name.removeprefix("obskit."))[0] for name in rows("api.md")}

    assert set(obskit.__all__) <= names


def constants(*prefixes):
    return {value for name, value in vars(semconv).items() if name.startswith(prefixes) and isinstance(value, str)}


FIELDS = {value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)}
FIELDS -= constants("METRIC_", "LABEL_", "EVENT_", "OUTCOME_", "ROLLUP_", "VALUE_", "METHOD_", "REASON_", "RESERVED_")
FIELDS -= {semconv.HTTP_CLIENT, semconv.DB_CLIENT}  # prefixes of roll-ups
FIELDS |= {
    prefix + each
    for prefix in (semconv.HTTP_CLIENT, semconv.DB_CLIENT)
    for each in (semconv.ROLLUP_COUNT, semconv.ROLLUP_DURATION_MS, semconv.ROLLUP_ERRORS)
}


def test_fields_are_in_the_reference():
    assert len(FIELDS) > 40
    assert not FIELDS - {*rows("log-line.md"), *rows("traces.md")}


def test_reserved_names_are_in_the_reference():
    page = (REFERENCE / "log-line.md").read_text()
    [listed] = re.findall(r"^Reserved names: (.+?)\.$", page, re.MULTILINE | re.DOTALL)

    assert set(re.findall(r"`([^`]+)`", listed)) == semconv.RESERVED_FIELDS


def test_metrics_are_in_the_reference():
    names = rows("metrics.md")
    tallies = {semconv.METRIC_SPANS, semconv.METRIC_LOG_LINES, semconv.METRIC_LOG_RECORDS, semconv.METRIC_POINTS}
    counters = {semconv.METRIC_LOG_BYTES, semconv.METRIC_INTERNAL_ERRORS, semconv.METRIC_FIELDS_DROPPED}
    counters.add(semconv.METRIC_CALLS_WITHOUT_TIMEOUT)
    expected = constants("METRIC_") - tallies - counters | {f"{name}_total" for name in counters}
    expected |= {f"{name}_{fate}_total" for name in tallies for fate in ("produced", "exported", "dropped")}

    assert expected <= set(names)
    assert constants("LABEL_") <= set(names)


def test_events_and_outcomes_are_in_the_reference():
    page = (REFERENCE / "log-line.md").read_text()

    assert all(f"`{value}`" in page for value in constants("EVENT_", "OUTCOME_"))


def test_sensitive_names_are_in_the_reference():
    page = (REFERENCE / "redaction.md").read_text()
    lists = dict(re.findall(r"^(Names|Parameters|Said about): (.+?)\.$", page, re.MULTILINE | re.DOTALL))
    listed = {title: set(re.findall(r"`([^`]+)`", names)) for title, names in lists.items()}

    assert listed["Names"] == set(redaction.SENSITIVE_NAMES)
    assert listed["Parameters"] == set(redaction.SENSITIVE_PARAMETERS)
    assert listed["Said about"] == set(redaction.ABOUT)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_docs_stand_alone(page):
    text = page.read_text()

    assert not [name for name in ("../shared", "contract.md", "design.md", str(ROOT)) if name in text]


def test_benchmarks_have_their_place():
    costs = (ROOT / "README.md").read_text().partition("## What it costs")[2].partition("\n## ")[0]
    assert "`make bench` printed" in costs  # a figure says which command printed it
    assert len(re.findall(r"^\| .*\d", costs, re.MULTILINE)) == 4


def test_first_snippet_is_within_a_screen():
    first = next(fence for fence in fences((ROOT / "README.md").read_text()) if fence.kind == "python")

    assert "obskit.init(app)" in first.text
    assert first.line + first.text.count("\n") <= 60
