"""The demo as a person runs it: real processes, real load, real output."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from examples.shop import _questions as q
from examples.shop._processes import ShopError, choose_ports, environment, start, stop, wait_until_ready
from examples.shop._runs import KEPT, latest, new_run
from examples.shop._tree import tree
from ports import free_port

ROOT = Path(__file__).parents[2]
SERVICES = ("gateway", "users", "orders", "inventory", "pricing", "payments")


def command(*arguments):
    return [sys.executable, "-m", "examples.shop.demo", *map(str, arguments)]


@contextmanager
def demo(*arguments, env=None):
    """The demo as a process; ended, and its services with it, whatever the test does."""
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def read_until(process, text):
    said = ""
    while text not in said:
        line = process.stdout.readline()
        assert line, f"the demo ended without {text!r}:\n{said}"
        said += line
    return said


def children(pid):
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\nPPid:\t{pid}\n" in status.read_text():
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def alive(pid):
    return Path(f"/proc/{pid}").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One whole demo: what it printed, and the folder it left."""
    runs = tmp_path_factory.mktemp("runs")
    done = subprocess.run(
        command("--seconds", 24, "--rate", 40, "--runs", runs),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout, latest(runs)


def test_first_answer_rate_errors_duration_of_each_route(run):
    text, folder = run
    for route in (
        "gateway POST /checkout", "gateway GET /products/{sku}", "users GET /users/{user_id}", "orders POST /orders",
        "inventory POST /reservations", "pricing POST /quotes", "payments POST /charges",
    ):  # fmt: skip
        service, rest = route.split(" ", 1)
        assert re.search(rf"^{service} +{re.escape(rest)} +\d", text, re.MULTILINE), route
    assert "✓ /metrics and the lines agree" in text
    assert "are no JSON objects" not in text
    assert sorted(file.stem for file in folder.glob("*.metrics")) == sorted(SERVICES)


def test_second_answer_is_a_tree_over_all_services(run):
    text, _ = run
    drawn = text[text.index("What does a slow request look like?") : text.index("3  Why")]
    assert re.search(r"^trace [0-9a-f]{32} ", drawn, re.MULTILINE)
    for service in SERVICES:
        assert re.search(rf"^[│├└─ ]*{service} (GET|POST) ", drawn, re.MULTILINE), service
    assert "· info: order placed" in drawn
    assert "user.tier=gold" in drawn


def test_third_answer_names_what_the_shop_hides(run):
    text, _ = run
    answer = " ".join(text[text.index("─ Answer ") :].replace("│", " ").split())
    assert "POST /checkout is slow for gold users when pricing.list_version is 2026-11b" in answer
    assert "is spent in pricing itself" in answer
    assert "pricing.rules_evaluated is at least" in answer
    assert "It takes both" in answer


def test_trees_of_real_lines_have_the_true_topology(run):
    lines = q.opened(run[1])
    traces = lines.execute(
        "SELECT trace_id FROM requests WHERE service = 'gateway' AND route = '/checkout' AND status = 201"
        " AND fields->>'checkout.replayed' = 'false'"
    ).fetchall()
    assert len(traces) > 50
    expected = {("gateway", "users"), ("gateway", "orders")}
    expected |= {("orders", callee) for callee in ("inventory", "pricing", "payments")}
    for (trace_id,) in traces:
        q.assign(lines, trace_id=trace_id)
        root = tree(q.rows(lines, q.TRACE))[0]
        assert {(node.service, child.service) for node in root.walk() for child in node.children} - expected <= {
            ("orders", "orders")  # the letter that orders writes after its response
        }
        assert expected <= {(node.service, child.service) for node in root.walk() for child in node.children}


def test_lines_can_be_asked(run):
    asked = subprocess.run(
        [sys.executable, "-m", "examples.shop.ask", "SELECT count(*) AS found FROM requests", "--run", str(run[1])],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    assert "found" in asked.stdout


@pytest.mark.parametrize(("sql", "said"), [("SELECT nothing", "nothing"), ("FROM requests", "There are no JSON lines")])
def test_a_question_that_cannot_be_answered(run, tmp_path, sql, said):
    folder = run[1] if sql == "SELECT nothing" else tmp_path
    asked = subprocess.run(
        [sys.executable, "-m", "examples.shop.ask", sql, "--run", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert asked.returncode == 1
    assert said in asked.stdout
    assert "Traceback" not in asked.stdout + asked.stderr


@pytest.mark.parametrize("moment", ["Starting the shop", "s of customers"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_child(tmp_path, moment, number):
    with demo("--seconds", 30, "--runs", tmp_path) as process:
        read_until(process, moment)
        deadline = time.monotonic() + 20
        while not (started := children(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert started
        process.send_signal(number)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 130, rest
        assert "Interrupted" in rest
        assert "Traceback" not in rest
        assert not [pid for pid in started if alive(pid)]


def test_an_interrupt_in_the_middle_of_an_import_is_one_like_any_other(tmp_path):
    (tmp_path / "interrupted.py").write_text(
        "from examples.shop import demo\n"
        "demo.run = lambda *_: exec('raise KeyboardInterrupt')  # as dataclasses are made\n"
        "raise SystemExit(demo.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")
    assert "Interrupted" in done.stdout


def test_a_service_that_fails_to_start_is_named(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('payments' in word for word in sys.orig_argv):\n"
        "    print('no [/] provider', file=sys.stderr, flush=True)\n"
        "    os._exit(3)\n"
    )
    with demo("--runs", tmp_path / "runs", env={**os.environ, "PYTHONPATH": str(tmp_path)}) as process:
        text, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "payments exited with code 3" in text
        assert "no [/] provider" in text
        assert "Traceback" not in text


def test_a_service_that_is_never_ready_is_named(tmp_path):
    service = start("gateway", free_port(), tmp_path, environment({}, tmp_path, 1))
    try:
        with pytest.raises(ShopError, match=r"gateway was not ready within 0 s"):
            wait_until_ready([service], seconds=0)
    finally:
        assert stop([service]) == []
    assert not alive(service.process.pid)


def test_a_service_that_ignores_sigterm_is_killed(tmp_path):
    service = start("gateway", free_port(), tmp_path, environment({}, tmp_path, 1))
    wait_until_ready([service])
    service.process.send_signal(signal.SIGSTOP)
    (note,) = stop([service], seconds=0.5)
    assert note == f"gateway (pid {service.process.pid}) did not stop on SIGTERM and was killed"
    assert service.process.returncode == -signal.SIGKILL


def test_a_busy_port_is_passed_over_with_a_note():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        busy, free = taken.getsockname()[1], free_port()
        ports, notes = choose_ports({"pricing": busy, "users": free})
    assert ports["users"] == free
    assert ports["pricing"] not in (busy, free)
    assert notes == [f"port {busy} is in use, pricing takes {ports['pricing']}"]


def test_only_the_last_runs_are_kept(tmp_path):
    old = [tmp_path / f"20260101-00000{at}-1" for at in range(5)]
    for folder in [*old, tmp_path / "mine"]:
        folder.mkdir()
    new = new_run(tmp_path)
    assert latest(tmp_path) == new
    assert [folder.exists() for folder in old] == [False] * (6 - KEPT) + [True] * (KEPT - 1)
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize("wrong", [("--seconds", 0), ("--rate", 0), ("--seconds", "long")])
def test_wrong_arguments_are_said(wrong):
    done = subprocess.run(command(*wrong), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "--seconds" in done.stderr
