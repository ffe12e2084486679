"""Traces of known kinds, of two services each, with the truth about them: what samplers and counters must agree with."""

import random
from collections import Counter
from dataclasses import dataclass, field

from otlp import CLIENT, SERVER, span, traces

#: Share of each kind, and whether each of its traces is to be kept.
KINDS = {
    "ordinary": (0.62, False),
    "error below": (0.03, True),
    "slow": (0.03, True),
    "slow for its route": (0.03, True),
    "long route, not slow": (0.03, False),
    "websocket": (0.02, False),
    "asks for health": (0.02, False),
    "health check": (0.04, None),
    "failing health check": (0.01, None),
    "kept by a rule, 1 in 5 below": (0.10, False),
    "1 in 4 at the start": (0.06, False),
    "1 in 4, error": (0.01, True),
}
#: The thresholds of one in four and one in five, as samplers write them.
QUARTER, FIFTH = 0xC0 << 48, 0xCCCCCCCCCCCCCC
RESOURCE = {"service.namespace": "shop", "deployment.environment.name": "test"}


@dataclass
class Workload:
    """What was produced: traces by kind, spans by (service, name, status), calls between services; and what to send."""

    traces: Counter = field(default_factory=Counter)
    spans: Counter = field(default_factory=Counter)
    calls: int = 0
    sizes: Counter = field(default_factory=Counter)
    kinds: dict = field(default_factory=dict)
    exports: list = field(default_factory=list)


def workload(number, seed=1, batch=200):
    """`number` traces; both services send their spans in exports of their own."""
    rng, made = random.Random(seed), Workload()
    shares = [share for share, _ in KINDS.values()]
    for start in range(0, number, batch):
        front, back = [], []
        for _ in range(min(batch, number - start)):
            kind = rng.choices(list(KINDS), shares)[0]
            made.traces[kind] += 1
            _trace(made, kind, rng, front, back)
        made.exports += [traces({"front": front}, **RESOURCE), traces({"back": back}, **RESOURCE)]
    return made


def _trace(made, kind, rng, front, back):
    trace_id = rng.getrandbits(128).to_bytes(16, "big")
    threshold = QUARTER if kind.startswith("1 in 4") else 0
    state = "ot=th:c" if threshold else ""
    route = {"slow for its route": "/checkout", "long route, not slow": "/reports/{report_id}"}.get(kind, "/orders")
    seconds = {"slow": 1.2, "slow for its route": 0.4, "long route, not slow": 5.0, "websocket": 60.0}.get(kind, 0.02)
    path, error = route, kind in ("error below", "1 in 4, error")
    if "health check" in kind:
        path, error = "/healthz", kind.startswith("failing")
    asked = "/health" if kind == "asks for health" else "/stock"
    scheme = "ws" if kind == "websocket" else "http"
    common = {"trace_id": trace_id, "state": state}
    if "health check" in kind:
        spans = [("front", span("GET", **common, error=error, url__path=path))]
    else:
        root = span(f"GET {route}", **common, seconds=seconds, url__path=path, url__scheme=scheme, http__route=route)
        call = span("GET", **common, parent=root.span_id, kind=CLIENT, error=error, server__address="back")
        served = span(f"GET {asked}", **common, parent=call.span_id, error=error, url__path=asked, http__route=asked)
        spans = [("front", root), ("front", call), ("back", served)]
    below = FIFTH if kind.endswith("1 in 5 below") else threshold
    reached = int.from_bytes(trace_id[-7:], "big")
    for service, each in spans:
        limit = below if service == "back" else threshold
        if limit == FIFTH:
            each.trace_state = "ot=th:cccccccccccccc"
        # What a sampler of a service has dropped is never sent, but is a part of the truth.
        if reached < limit:
            continue
        made.kinds[trace_id] = kind
        made.sizes[trace_id] += 1
        (front if service == "front" else back).append(each)
        # Metrics leave out each SERVER span of a health check, also where another service asks for it.
        if not (each.kind == SERVER and _path(each) in ("/healthz", "/health")):
            status = "STATUS_CODE_ERROR" if each.status.code else "STATUS_CODE_UNSET"
            made.spans[service, each.name, status] += round((1 << 56) / ((1 << 56) - limit))
    made.calls += len(spans) == 3 and reached >= max(below, threshold) and kind != "asks for health"


def _path(each):
    return next((pair.value.string_value for pair in each.attributes if pair.key == "url.path"), None)
