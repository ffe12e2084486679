"""The benchmarks run, compare every subject, and account for everything they produced; no figure is asserted."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.budgets import BUDGETS, Budget
from benchmarks.receiver import child as receiver
from benchmarks.request_cpu import SUBJECTS
from benchmarks.results import Account, Result

from benchmarks import report

PROJECT = Path(__file__).parents[2]
ACCOUNT = re.compile(r"(spans|lines) produced (\d+) = exported (\d+) \+ dropped (\d+) \(received (\d+)\): (.*)")


def bench(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "--tiny", *arguments],
        cwd=PROJECT,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def rows(output: str) -> dict[str, list[str]]:
    """The cells of every table row by its first cell."""
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in output.splitlines() if "|" in line]
    return {first: rest for first, *rest in cells}


def accounts(output: str, item: str) -> list[tuple[int, ...]]:
    """Produced, exported, dropped and received of each subject."""
    return [tuple(map(int, numbers)) for which, *numbers, _ in ACCOUNT.findall(output) if which == item]


def add_up(numbers: list[tuple[int, ...]]) -> bool:
    return all(
        produced == exported + dropped == received + dropped for produced, exported, dropped, received in numbers
    )


def test_cpu_compares_every_subject_and_accounts_for_every_span(tmp_path):
    done = bench("cpu", "--json", str(tmp_path / "results.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    table = rows(done.stdout)
    for title in (
        "bare FastAPI",
        "obskit, sampled",
        "obskit, not sampled",
        "assembled stack",
        "assembled, no send/receive spans",
    ):
        assert float(table[title][0]) > 0
    spans, lines = accounts(done.stdout, "spans"), accounts(done.stdout, "lines")
    assert len(spans) == len(lines) == len(SUBJECTS)
    assert add_up(spans)
    assert add_up(lines)
    bare, obskit, unsampled, assembled, lean = (produced for produced, *_ in spans)
    requests = 300 + 2 * 40  # the warm-up, two tiny blocks
    assert (bare, obskit, unsampled) == (0, requests, 0)
    assert assembled >= 3 * requests
    assert requests <= lean < 2 * requests
    assert [produced // requests for produced, *_ in lines] == [0, 2, 2, 1, 1]  # obskit's second is the canonical one
    document = json.loads((tmp_path / "results.json").read_text())
    assert set(document["results"]["cpu"]["figures"]) >= {"overhead_us", "overhead_of_assembled"}
    assert table["the same, of the assembled stack's"][2] in {"met", "NOT MET"}
    assert table["import obskit + init()"][2] == "not measured"


def test_log_lines_are_all_accounted_for():
    done = bench("log")
    assert done.returncode == 0, done.stdout + done.stderr
    table = rows(done.stdout)
    titles = ("obskit.get_logger, buffered", "structlog, orjson, a write a line", "logging, json.dumps, a write a line")
    assert all(float(table[title][0]) > 0 for title in titles)
    numbers = accounts(done.stdout, "lines")
    assert len(numbers) == len(titles)
    assert add_up(numbers)
    assert all(produced >= 1000 + 2 * 40 for produced, *_ in numbers)
    assert table["one log line"][2] in {"met", "NOT MET"}


def test_startup_measures_fresh_processes_beside_a_control():
    done = bench("startup")
    assert done.returncode == 0, done.stdout + done.stderr
    table = rows(done.stdout)
    assert float(table["FastAPI alone"][0]) < float(table["import obskit + init(app)"][0])
    assert float(table["FastAPI alone"][3]) < float(table["import obskit + init(app)"][3])
    assert table["import obskit + init()"][2] in {"met", "NOT MET"}
    assert table["memory added by them"][2] in {"met", "NOT MET"}


def test_scrape_measures_the_loop_with_one_worker_and_with_eight():
    done = bench("scrape")
    assert done.returncode == 0, done.stdout + done.stderr
    table = rows(done.stdout)
    alone, workers = table["one process alone"], table["one of 8 workers"]
    assert float(alone[0]) > 0
    assert float(workers[3]) > 0
    assert float(workers[4]) >= float(alone[4]) > 1
    assert table["the same with eight workers"][2] in {"met", "NOT MET"}


@pytest.mark.skipif("not __import__('shutil').which('wrk')", reason="wrk is not on PATH")
def test_throughput_compares_servers_under_load():
    done = bench("throughput")
    assert done.returncode == 0, done.stdout + done.stderr
    table = rows(done.stdout)
    assert all(float(table[title][0]) > 0 for title in ("bare FastAPI", "obskit", "assembled stack"))
    assert [produced > 0 for produced, *_ in accounts(done.stdout, "spans")] == [False, True, True]
    assert [produced > 0 for produced, *_ in accounts(done.stdout, "lines")] == [True]
    assert table["throughput, of the bare app's"][2] in {"met", "NOT MET"}


def test_without_wrk_only_throughput_is_skipped_and_that_is_said(tmp_path):
    done = bench("throughput", environment={"PATH": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "throughput was NOT measured" in done.stdout
    assert rows(done.stdout)["throughput, of the bare app's"][2] == "not measured"


@pytest.mark.parametrize("parts", [("profile",), ("profile", "unsampled")])
def test_profile_names_functions_of_obskit(parts):
    done = bench(*parts)
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(name.startswith("obskit/instrumentation/") for name in rows(done.stdout))


def test_pieces_show_each_signal():
    done = bench("pieces")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"+ traces", "+ metrics", "+ logs", "all, not sampled"} <= set(rows(done.stdout))


def test_an_unknown_part_is_refused():
    done = bench("speed")
    assert done.returncode == 2
    assert "no such part: speed" in done.stderr


def test_a_part_that_crashes_fails_the_run_and_the_others_still_run(monkeypatch, capsys):
    from benchmarks import __main__ as command

    def crash(*_):
        raise OSError("no such disk")

    monkeypatch.setitem(command.PARTS, "cpu", crash)
    monkeypatch.setitem(command.PARTS, "log", lambda *_: Result("T", ("subject",), [("row",)], {"line_us": 1.0}))
    assert command.main(["cpu", "log"]) == 1
    out = capsys.readouterr().out
    assert "no such disk" in out
    assert rows(out)["one log line"][2] == "met"
    assert "crashed: cpu" in out


@pytest.mark.parametrize(
    ("account", "verdict"),
    [
        (Account("s", "spans", 10, 10, 0, 10), "ok"),
        (Account("s", "spans", 10, 7, 3, 7), "NOT A RESULT: 3 dropped"),
        (Account("s", "spans", 10, 9, 0, 9), "NOT A RESULT: does not add up"),
        (Account("s", "spans", 10, 10, 0, 9), "NOT A RESULT: does not add up"),
    ],
)
def test_what_drops_or_does_not_add_up_is_not_a_result(account, verdict):
    assert account.verdict == verdict
    assert str(account).endswith(verdict)


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [(4.9, False, "met"), (5.0, False, "met"), (5.1, False, "NOT MET"), (4.9, True, "NOT MET"), (5.1, True, "met")],
)
def test_a_budget_is_met_at_its_limit(value, at_least, verdict):
    budget = Budget("x", "part", "figure", 5, at_least=at_least)
    assert budget.row({"part": {"figure": value}})[-1] == verdict


def test_the_budgets_are_not_moved():
    assert [(each.figure, each.limit) for each in BUDGETS] == [
        ("overhead_us", 45),
        ("overhead_of_assembled", 0.15),
        ("unsampled_overhead_us", 25),
        ("of_bare", 0.70),
        ("line_us", 5),
        ("seconds", 0.35),
        ("rss_mb", 30),
        ("lag_ms", 20),
        ("workers_lag_ms", 20),
    ]


def test_the_receiver_counts_what_it_can_decode():
    import gzip
    import urllib.request

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    served = receiver("")
    commands = served.commands
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for name in "abc":
        scope.spans.add(name=name)
    body = message.SerializeToString()
    for sent, headers in ((body, {}), (gzip.compress(body), {"content-encoding": "gzip"})):
        url = f"http://127.0.0.1:{commands['port']()}/counted/v1/traces"
        request = urllib.request.Request(url, sent, headers, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  (loopback)
            assert answer.status == 200
    assert commands["count"]("counted") == {
        "requests": 2,
        "bytes": len(body) + len(gzip.compress(body)),
        "spans": 6,
    }
    assert commands["count"]("another")["spans"] == 0
    served.stop()


def test_the_machine_is_named():
    facts = report.machine()
    assert facts["cores"] >= 1
    assert facts["python"].endswith(".".join(map(str, sys.version_info[:3])))
