import json
import math
from io import StringIO

import pytest
from examples.shop import _questions as q
from examples.shop._exposition import histograms
from examples.shop._tree import tree
from examples.shop._waterfall import waterfall
from examples.shop.report import ROUTE_LABELS, show
from recording import TOPOLOGY, Recording, shop_with_a_cause
from rich.console import Console


@pytest.fixture
def folder(tmp_path):
    return shop_with_a_cause().write(tmp_path / "run")


def shown(folder, width=100):
    out = Console(width=width, file=StringIO())
    agreed = show(folder, 20, out)
    return agreed, out.file.getvalue()


def answers(folder):
    lines = q.opened(folder)
    q.assign(lines, **q.rows(lines, q.WORST)[0])
    lines.execute(q.SUSPECTS)
    lines.execute(q.FACTS)
    return lines


def test_report_agrees_with_itself_and_names_the_cause(folder):
    agreed, text = shown(folder)
    assert agreed
    assert "✓ /metrics and the lines agree: the same 2,400 requests" in text
    answer = " ".join(text[text.index("Answer") :].replace("│", " ").split())
    assert "POST /checkout is slow for gold users when pricing.list_version is new" in answer
    assert "is spent in pricing itself" in answer
    assert "waiting for its database" in answer
    assert "pricing.rules_evaluated is at least 80" in answer
    assert "It takes both" in answer


def test_report_stays_within_its_width(folder):
    for width in (80, 100, 120):
        _, text = shown(folder, width)
        assert max(len(row) for row in text.splitlines() if "grep -h" not in row) <= width


def test_cause_ranks_above_what_goes_along_with_it(folder):
    apart = [row for row in q.rows(answers(folder), q.APART) if row["kind"] == "label"]
    names = [row["name"] for row in apart]
    assert names[0] == "pricing.list_version"
    assert {"pricing.cache", "user.region"} <= set(names[1:])
    assert apart[0]["slow_has"] > 0.85 * apart[0]["slow_n"]
    assert apart[0]["rest_has"] == 0
    assert apart[0]["explains"] > 0.5 > apart[names.index("user.region")]["explains"]
    assert "user.id" not in names


def test_sentence_follows_the_data(tmp_path):
    """Another cause gives another sentence: nothing of the shop's own is written into it."""
    recording = Recording()
    for number in range(300):
        tier, provider = ("pro", "free")[number % 2], ("acme", "globex")[number % 3 == 0]
        slow = tier == "pro" and provider == "globex"
        fields = {"gateway": {"user.tier": tier}, "payments": {"payment.provider": provider}}
        recording.checkout(fields, {"payments": 90.0 + number % 7 if slow else 9.0 + number % 5})
    _, text = shown(recording.write(tmp_path / "run"))
    answer = " ".join(text[text.index("Answer") :].replace("│", " ").split())
    assert "slow for pro users when payment.provider is globex" in answer
    assert "is spent in payments itself" in answer
    assert "gold" not in text
    assert "pricing." not in answer


def test_chance_is_no_cause(tmp_path):
    recording = Recording()
    for number in range(300):
        fields = {"gateway": {"user.tier": ("pro", "free")[number % 2], "colour": ("red", "blue", "green")[number % 3]}}
        recording.checkout(fields, {"gateway": 5.0 + recording.rng.expovariate(0.2)})
    _, text = shown(recording.write(tmp_path / "run"))
    assert "no field sets the slow requests apart beyond chance" in " ".join(text.replace("│", " ").split())


def test_a_label_that_slows_all_tiers_is_not_blamed_on_one(tmp_path):
    recording = Recording()
    for number in range(800):
        tier, every, slow_ms = (("pro", 4, 90.0), ("free", 40, 60.0))[number % 2]
        region = "us" if number // 2 % every == 0 else "eu"
        own = {"gateway": (slow_ms if region == "us" else 9.0) + number % 5}
        recording.checkout({"gateway": {"user.tier": tier, "user.region": region}}, own)
    _, text = shown(recording.write(tmp_path / "run"))
    answer = " ".join(text[text.index("Answer") :].replace("│", " ").split())
    assert "slow for pro users when user.region is us" in answer
    assert "It is not the tier alone" in answer


def test_too_few_requests_to_compare(tmp_path):
    recording = Recording()
    recording.checkout({"gateway": {"user.tier": "gold"}}, {})
    agreed, text = shown(recording.write(tmp_path / "run"))
    assert agreed
    assert "Too few requests to compare tiers" in text
    q.duckdb.connect().execute((tmp_path / "run" / "questions.sql").read_text())


def test_no_request_at_all(tmp_path):
    agreed, text = shown(Recording().write(tmp_path / "run"))
    assert agreed
    assert "Read 0 lines" in text


def test_tiers_that_are_all_alike(tmp_path):
    """The worst tier is no slower than the others: no request is slow, and the report says no more than that."""
    recording = Recording()
    for number in range(60):
        recording.checkout({"gateway": {"user.tier": ("pro", "free")[number % 2]}}, {})
    agreed, text = shown(recording.write(tmp_path / "run"))
    assert agreed
    assert "0 of 30" in text
    assert "no field sets the slow requests apart beyond chance" in " ".join(text.replace("│", " ").split())


def test_quantiles_of_lines_lie_in_the_buckets_of_metrics(folder):
    from_lines = {(r["service"], r["method"], r["route"]): r for r in q.rows(q.opened(folder), q.RED)}
    from_metrics = histograms(folder, ROUTE_LABELS)
    assert from_lines.keys() == from_metrics.keys()
    for key, histogram in from_metrics.items():
        assert histogram.count == from_lines[key]["requests"] == 400
        for quantile, exact in zip((0.5, 0.95, 0.99), from_lines[key]["quantiles"], strict=True):
            low, high = histogram.bucket(quantile)
            assert low <= exact <= high
            assert low <= histogram.quantile_ms(quantile) <= high
            assert histogram.holds(quantile, exact)
            assert not histogram.holds(quantile, high * 1.01)


def test_questions_can_be_asked_again(folder):
    shown(folder)
    again = q.duckdb.connect().execute((folder / "questions.sql").read_text())
    assert {service for service, *_ in again.fetchall()} == set(Recording().lines)
    count = "SELECT count(*) FILTER (slow), count(*) FROM suspects"
    assert again.execute(count).fetchone() == answers(folder).execute(count).fetchone()


def test_disagreement_is_shown_and_returned(folder):
    file = folder / "pricing.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-2]))
    agreed, text = shown(folder)
    assert not agreed
    assert "✗ /metrics and the lines do not agree on: pricing POST /quotes" in text
    assert "400 ≠ 399" in text


def test_open_bucket_is_read_as_its_lower_bound(tmp_path):
    recording = Recording()
    recording.observe("pricing", ("POST", "/quotes", "503", ""), 99.0)
    histogram = histograms(recording.write(tmp_path), ROUTE_LABELS)["pricing", "POST", "/quotes"]
    assert histogram.quantile_ms(0.99) == 10_000
    assert histogram.bucket(0.99) == (10_000, math.inf)
    assert histogram.errors == 1


MALFORMED = [
    b"",
    b"Traceback (most recent call last):\n",
    b'{"timestamp": "2026-11-23T10:00:0',
    b'{"a": "\xff\xfe"}\n',
    b"[1, 2]\n",
    b"null\n",
    b"{}\n",
    b'{"timestamp": "yesterday", "event.name": "http.server.request", "duration_ms": "long"}\n',
    b'{"event.name": {"nested": 1}, "trace_id": 7, "fields": [1, {"a": null}]}\n',
]


def test_lines_of_any_other_kind_change_nothing(folder):
    before = q.rows(q.opened(folder), q.RED)
    for file in folder.glob("*.jsonl"):
        lines = file.read_bytes().splitlines(keepends=True)
        half = len(lines) // 2
        file.write_bytes(b"".join([*lines[:half], b"\n".join(MALFORMED), b"\n", *lines[half:]]))
    assert q.rows(q.opened(folder), q.RED) == before
    agreed, text = shown(folder)
    assert agreed
    assert "30 of them are no JSON objects" in " ".join(text.split())


def test_an_empty_service_is_no_error(folder):
    (folder / "payments.jsonl").write_text("")
    agreed, text = shown(folder)
    assert not agreed
    assert "payments POST /charges" in text


def edges(node):
    for child in node.children:
        yield (node.service, child.service)
        yield from edges(child)


TRUE_EDGES = [(caller[0], callee) for caller, callees in TOPOLOGY.items() for callee, _ in callees]


def test_tree_finds_the_topology_again(folder):
    lines = q.opened(folder)
    for (trace_id,) in lines.execute("SELECT DISTINCT trace_id FROM requests").fetchall():
        q.assign(lines, trace_id=trace_id)
        (root,) = tree(q.rows(lines, q.TRACE))
        assert sorted(edges(root)) == sorted(TRUE_EDGES)
        assert all(log["service"] == node.service for node in root.walk() for log in node.logs)
        assert sum(len(node.logs) for node in root.walk()) == 6


def line(service, span_id, parent, start, end, *, event="http.server.request", **fields):
    return {
        "service": service, "event": event, "message": service, "level": "info", "span_id": span_id,
        "parent_span_id": parent, "ended_us": end * 1000, "duration_ms": end - start, "fields": json.dumps({"event.name": event, **fields}),
    }  # fmt: skip


def test_work_after_the_response_hangs_below_its_request():
    request = line("orders", "s1", "c1", 0, 10)
    elsewhere = line("gateway", "s3", None, 0, 20, **{"http.client.count": 1})
    for parent in ("s1", None):
        after = line("orders", "s2", parent, 11, 15, event="operation")
        (root,) = tree([elsewhere, request, after])
        assert sorted(edges(root)) == [("gateway", "orders"), ("orders", "orders")]


def test_a_call_belongs_to_who_makes_calls():
    """An operation that calls nobody is not the caller, however tightly it encloses the callee in time."""
    outer = line("gateway", "s1", None, 0, 100, **{"http.client.count": 1})
    bystander = line("gateway", "s2", "s1", 10, 90)
    callee = line("users", "s3", "c9", 20, 30)
    (root,) = tree([outer, bystander, callee])
    assert [child.span_id for child in root.children] == ["s2", "s3"]


def test_waterfall_keeps_bars_on_one_axis():
    outer = line("gateway", "s1", None, 0, 100, **{"http.client.count": 1, "http.client.duration_ms": 75.0})
    callee = line("users", "s2", "c1", 25, 100, **{"user.tier": "gold"})
    (root,) = tree([outer, callee])
    text = waterfall(root, 100).plain.splitlines()
    caller, called = (row for row in text if "█" in row)
    assert caller.count("█") * 3 == pytest.approx(called.count("█"), abs=2)
    assert caller.rindex("─") == called.rindex("█")
    assert caller.rindex("█") == called.index("█") - 1
    assert caller.split()[-2:] == ["100.0", "25.0"]
    assert any("user.tier=gold" in row for row in text)
