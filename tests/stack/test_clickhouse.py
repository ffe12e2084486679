"""Our schema for ClickHouse, run by ClickHouse's engine: the exporter's inserts fit it, and the questions are answered."""

import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from backends import program
from daemon import CONFIG
from tables import show

FOLDER = CONFIG / "clickhouse"
PROCESS = Path(__file__).with_name("clickhouse_process.py")
#: Statements end with a semicolon at a line's end; comments hold none there.
STATEMENT = re.compile(r";\s*$", re.MULTILINE)
TIERS = {"free": 1.0, "gold": 4.0}
ROUTES = {"/orders": 0.02, "/pay": 0.2}
COMPUTED = {"SampleRate", "Namespace", "Environment", "Route", "Status"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


def statements(file):
    return [each for each in STATEMENT.split((FOLDER / file).read_text()) if each.strip()]


def run(statements):
    """Each statement's rows."""
    done = subprocess.run(
        [sys.executable, str(PROCESS)],
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def inserts():
    """The columns that the exporter inserts, as its binary has them: {table: [column, …]}, all that it knows of."""
    binary = program("otelcol-clickhouse").read_bytes()
    found = {}
    for match in re.finditer(rb"INSERT INTO [^(]{5,60} \(([^?]+?)\) VALUES \(", binary):
        columns = re.findall(r"[A-Z]\w+(?:\.\w+)?", re.sub(r"\{\{.*?\}\}|%s", "", match[1].decode()))
        if "ParentSpanId" in columns:
            # Where the table has them, the exporter fills these too; it looks when it starts.
            found["otel_traces"] = [*columns, "ResourceAttributesKeys", "SpanAttributesKeys"]
        elif "SeverityText" in columns:
            keys = ["ResourceAttributesKeys", "ScopeAttributesKeys", "LogAttributesKeys"]
            found["otel_logs"] = [*columns, *keys, "EventName"]
    return found


def spans(number=4000):
    """Requests of the last half hour as the exporter writes them, one in ten of the ordinary ones kept; and the truth."""
    rng, rows = random.Random(7), []
    durations, requests, failed = defaultdict(list), Counter(), Counter()
    for index in range(number):
        tier, route = rng.choice(list(TIERS)), rng.choice(list(ROUTES))
        seconds, error = rng.lognormvariate(0, 0.5) * ROUTES[route] * TIERS[tier], rng.random() < 0.02
        durations[tier, route].append(seconds * 1e3)
        requests["gateway"] += 1
        failed["gateway"] += error
        if not error and index % 10:
            continue
        attributes = {"http.route": route, "http.response.status_code": 503 if error else 200, "user.tier": tier}
        attributes |= {"error.type": "503"} if error else {"sample_rate": 10.0}
        rows.append(row(seconds, error, attributes, f"{index:032x}"))
    rows.append(row(0.01, False, {"http.route": "/trace"}, TRACE, service="users"))
    return rows, durations, requests, failed


def row(seconds, error, attributes, trace_id, service="gateway"):
    resource = {"service.name": service, "service.namespace": "shop", "deployment.environment.name": "test"}
    started = time.time() - 1000 - random.Random(trace_id).random() * 500
    return {
        "Timestamp": f"{started:.9f}",
        "TraceId": trace_id,
        "SpanId": trace_id[:16],
        "SpanName": f"GET {attributes['http.route']}",
        "SpanKind": "Server",
        "ServiceName": service,
        "ResourceAttributes": resource,
        "ScopeName": "obskit",
        "SpanAttributes": attributes,
        "Duration": round(seconds * 1e9),
        "StatusCode": "Error" if error else "Unset",
        "Events.Timestamp": [f"{started:.9f}"],
        "Events.Name": ["exception"],
        "Events.Attributes": [{"exception.type": "ValueError"}],
        "ResourceAttributesKeys": sorted(resource),
        "SpanAttributesKeys": sorted(attributes),
    }


def insert(table, columns, rows):
    """The exporter's statement, with rows in place of its parameters."""
    lines = "\n".join(json.dumps({column: row.get(column, empty(column)) for column in columns}) for row in rows)
    return {"sql": f"INSERT INTO otel.{table} ({', '.join(columns)}) FORMAT JSONEachRow\n{lines}"}


def empty(column):
    """What the exporter writes where there is nothing."""
    if column.startswith(("Events.", "Links.")) or column.endswith("Keys"):
        return []
    if column.endswith("Attributes"):
        return {}
    return 0 if column in ("TraceFlags", "SeverityNumber", "Duration") else ""


@pytest.fixture(scope="module")
def answers():
    """The schema made, spans and a record inserted as the exporter does, and each question asked."""
    rows, *truth = spans()
    log = {
        "Timestamp": f"{time.time() - 900:.9f}",
        "TraceId": TRACE,
        "ServiceName": "users",
        "Body": "GET /trace 200",
        "LogAttributes": {"http.route": "/trace", "sample_rate": 4},
        "EventName": "http.server.request",
    }
    columns = inserts()
    made = [{"sql": each} for each in statements("schema.sql")]
    filled = [insert("otel_traces", columns["otel_traces"], rows), insert("otel_logs", columns["otel_logs"], [log])]
    asked = [
        {"sql": each, "parameters": {"trace_id": TRACE} if "trace_id" in each else {}}
        for each in statements("questions.sql")
    ]
    more = [
        {"sql": "SELECT DISTINCT Namespace, Environment FROM otel.otel_traces"},
        {"sql": "SELECT SampleRate, EventName FROM otel.otel_logs"},
        {"sql": "SELECT name, type FROM system.columns WHERE database = 'otel' AND table = 'otel_traces'"},
        {"sql": "SELECT table, partition_key, sorting_key FROM system.tables WHERE database = 'otel'"},
    ]
    results = run([*made, *filled, *asked, *more])
    return results[len(made) + len(filled) :], truth


def test_the_exporters_columns_are_the_schemas():
    found = inserts()
    assert set(found) == {"otel_traces", "otel_logs"}
    columns_of = "SELECT name FROM system.columns WHERE database = 'otel' AND table = {of: String}"
    asked = [{"sql": columns_of, "parameters": {"of": table}} for table in found]
    schema = run([*({"sql": each} for each in statements("schema.sql")), *asked])[-len(asked) :]
    ours = {table: {each["name"] for each in names} for table, names in zip(found, schema, strict=True)}
    rows = [
        (table, len(set(columns) & ours[table]), sorted(set(columns) - ours[table]), sorted(ours[table] - set(columns)))
        for table, columns in found.items()
    ]
    show("Columns", ("table", "inserted", "which the schema lacks", "computed"), rows)
    assert all(not lacking for _, _, lacking, _ in rows)
    assert {column for *_, computed in rows for column in computed} == COMPUTED


def test_how_slow_each_route_is_for_each_tier(answers):
    results, (durations, *_) = answers
    rows = []
    for found in results[0]:
        truth = durations[found["tier"], found["Route"]]
        exact = statistics.quantiles(truth, n=100)[98]
        rows.append((found["tier"], found["Route"], len(truth), found["requests"], exact, found["p99_ms"]))
    show("p99 by tier and route", ("tier", "route", "truth", "weighted", "p99 ms, truth", "p99 ms, sampled"), rows)
    assert len(rows) == len(TIERS) * len(ROUTES)
    for _, _, truth, weighted, exact, p99 in rows:
        assert weighted == pytest.approx(truth, rel=0.3)
        assert p99 == pytest.approx(exact, rel=0.35)


def test_how_many_requests_there_were_really(answers):
    results, (_, requests, failed) = answers
    found = {each["ServiceName"]: each for each in results[1]}
    show(
        "Requests",
        ("rows", "weighted", "truth"),
        [(found["gateway"]["rows"], found["gateway"]["requests"], requests["gateway"])],
    )
    assert found["gateway"]["rows"] < requests["gateway"] / 5
    assert found["gateway"]["requests"] == pytest.approx(requests["gateway"], rel=0.05)
    assert found["gateway"]["failed"] == failed["gateway"]


def test_the_other_questions_are_answered(answers):
    results, _ = answers
    assert {each["key"] for each in results[2]} == {"user.tier"}
    assert [each["what"] for each in results[3]] == ["GET /trace", "GET /trace 200"]


def test_what_the_schema_computes(answers):
    identity, log, columns, tables = answers[0][4:]
    assert identity == [{"Namespace": "shop", "Environment": "test"}]
    assert log == [{"SampleRate": 4, "EventName": "http.server.request"}]
    assert next(each["type"] for each in columns if each["name"] == "SpanAttributes").startswith("JSON(")
    assert {each["partition_key"] for each in tables} == {"toDate(Timestamp)"}
