"""A recorded shop: lines and metrics as the contract writes them, for traces whose shape and cause are known."""

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
BEGIN = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)

# Who calls whom, in order: the topology that the tree has to find again.
TOPOLOGY = {
    ("gateway", "POST /checkout"): [("users", "GET /users/{user_id}"), ("orders", "POST /orders")],
    ("orders", "POST /orders"): [
        ("inventory", "POST /reservations"),
        ("pricing", "POST /quotes"),
        ("payments", "POST /charges"),
    ],
}


class Recording:
    def __init__(self, seed=1):
        self.rng = random.Random(seed)
        self.lines = {name: [] for name in ("gateway", "users", "orders", "inventory", "pricing", "payments")}
        self.metrics = {name: Counter() for name in self.lines}
        self.clock_ms = 0.0

    def identifier(self, bits):
        return f"{self.rng.getrandbits(bits):0{bits // 4}x}"

    def checkout(self, fields, own_ms, status=201):
        """One trace. `fields` and `own_ms` are by service; returns its trace id."""
        trace_id = self.identifier(128)
        self.clock_ms = self.call(
            ("gateway", "POST /checkout"), trace_id, None, self.clock_ms + 5, fields, own_ms, status
        )
        return trace_id

    def call(self, what, trace_id, parent, start, *said):
        fields, own_ms, status = said
        service = what[0]
        span_id, now, waited = self.identifier(64), start + own_ms.get(service, 1.0) / 2, 0.0
        for callee in TOPOLOGY.get(what, []):
            end = self.call(callee, trace_id, self.identifier(64), now + 0.3, *said)
            waited += end + 0.3 - now
            now = end + 0.3
        end = now + own_ms.get(service, 1.0) / 2
        calls = (
            {"http.client.count": len(TOPOLOGY[what]), "http.client.duration_ms": waited} if what in TOPOLOGY else {}
        )
        self.say(service, end - 0.01, "working", trace_id, span_id)
        self.canonical(what, (trace_id, span_id, parent), (start, end), {**fields.get(service, {}), **calls}, status)
        return end

    def say(self, service, at_ms, message, trace_id=None, span_id=None):
        line = {"timestamp": stamp(at_ms), "level": "info", "message": message, "service.name": service}
        self.lines[service].append(json.dumps({**line, "trace_id": trace_id, "span_id": span_id}))

    def canonical(self, what, ids, interval, fields, status):
        (service, message), (start, end) = what, interval
        method, route = message.split(" ", 1)
        line = {
            "timestamp": stamp(end),
            "level": "info",
            "message": f"{message} {status}",
            "event.name": "http.server.request",
            "service.name": service,
            **dict(zip(("trace_id", "span_id", "parent_span_id"), ids, strict=True)),
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "duration_ms": round(end - start, 3),
            "outcome": "ok",
            **fields,
        }
        self.lines[service].append(json.dumps(line))
        self.observe(service, (method, route, str(status), fields.get("user.tier", "")), (end - start) / 1000)

    def observe(self, service, labels, seconds):
        for bound in (*BUCKETS, float("inf")):
            self.metrics[service][labels, bound] += seconds <= bound

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for service, lines in self.lines.items():
            (folder / f"{service}.jsonl").write_text("".join(line + "\n" for line in lines))
            (folder / f"{service}.metrics").write_text(exposition(self.metrics[service]))
        return folder


def stamp(milliseconds):
    return (BEGIN + timedelta(milliseconds=milliseconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def exposition(counts):
    name = "http_server_request_duration_seconds"
    lines = [f"# HELP {name} Duration.", f"# TYPE {name} histogram"]
    for (labels, bound), count in counts.items():
        names = ("http_request_method", "http_route", "http_response_status_code", "user_tier")
        pairs = ",".join(f'{key}="{value}"' for key, value in zip(names, labels, strict=True))
        le = "+Inf" if bound == float("inf") else repr(bound)
        lines.append(f'{name}_bucket{{{pairs},le="{le}"}} {count}')
        if le == "+Inf":
            lines.append(f"{name}_count{{{pairs}}} {count}")
    return "\n".join(lines) + "\n"


def shop_with_a_cause(seed=1, traces=400):
    """Gold is slow in pricing where the list is the new one; region and cache only go along with it."""
    recording = Recording(seed)
    rng = random.Random(seed)
    for number in range(traces):
        tier, region = rng.choice(("free", "pro", "gold")), rng.choice(("eu", "eu", "us"))
        version = "new" if region == "eu" and rng.random() < 0.5 else "old"
        slow = tier == "gold" and version == "new"
        pricing = {
            "pricing.list_version": version,
            "pricing.cache": "miss" if version == "new" or rng.random() < 0.2 else "hit",
            "pricing.rules_evaluated": 80 if slow else rng.randint(1, 4),
            "db.client.duration_ms": 150.0 if slow else 2.0,
        }
        fields = {"gateway": {"user.tier": tier, "user.region": region, "user.id": f"u{number}"}, "pricing": pricing}
        own_ms = {"gateway": 2.0, "pricing": rng.uniform(140, 180) if slow else rng.uniform(3, 6)}
        recording.checkout(fields, {**own_ms, "payments": rng.uniform(8, 16)})
    return recording
