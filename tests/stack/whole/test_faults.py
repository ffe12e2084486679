"""A part of the stack is killed in the middle of load: the shop does not notice, and what was queued arrives afterwards."""

import json
import time

import pytest
from tables import show

from receiver import until

#: What its death may lose: nothing, or the traces about which it had not yet decided.
UNDECIDED = {"gateway"}
ROWS = []


def requests_of(service, begin):
    """The canonical lines that a service has written from a position of its file on, whole ones."""
    with service.lines.open("rb") as lines:
        lines.seek(begin)
        written = lines.read()
    found = [json.loads(line) for line in written[: written.rfind(b"\n") + 1].splitlines()]
    return [line for line in found if line.get("event.name") == "http.server.request"]


def failed_with(line):
    return line["http.response.status_code"] >= 500


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["agent", "jaeger", "prometheus", "loki", "gateway"])
def test_the_shop_does_not_notice(stack, traffic, name):
    victim, front, payments = getattr(stack, name), stack.services[0], stack.services[-1]
    begin, begin_of_payments = front.lines.stat().st_size, payments.lines.stat().st_size
    with stack.customers(9, rate=20) as seen:
        time.sleep(2)
        victim.kill()
        time.sleep(3)
        victim.start()
    restarted = time.monotonic()
    assert all(outcome.isdigit() for outcome in seen), seen
    until(lambda: len(requests_of(front, begin)) >= sum(seen.values()), 20)
    requests = requests_of(front, begin)
    missing = {line["trace_id"]: line for line in requests}

    def arrived():
        for trace_id in list(missing):
            if stack.trace(trace_id):
                del missing[trace_id]
        return not missing

    if name in UNDECIDED:
        time.sleep(10)
        arrived()
        assert len(missing) < len(requests) / 2
    else:
        until(arrived, 60, every=1)
    asked = '{service_name="gateway"} | http_route!=""'
    wanted = {line["trace_id"] for line in requests}
    until(lambda: wanted <= {labels.get("trace_id") for labels, _ in stack.lines(asked, limit=5000)}, 60, every=1)
    if name not in UNDECIDED:  # its counters of spans begin anew
        stack.settle(twice=True)
    lasted = time.monotonic() - restarted
    # What failed is the shop's own, of its payments: nothing else did.
    refused = {line["trace_id"] for line in requests_of(payments, begin_of_payments) if failed_with(line)}
    of_others = [line["message"] for line in requests if failed_with(line) and line["trace_id"] not in refused]
    assert of_others == []
    failed = sum(map(failed_with, requests))
    slowest = max(line["duration_ms"] for line in requests)
    ROWS.append((name, len(requests), 0, failed, slowest, len(requests) - len(missing), len(missing), round(lasted)))
    assert not [service.name for service in stack.services if service.process.poll() is not None]


def test_what_was_lost_is_counted(stack, traffic):
    """Produced = exported + dropped in each service, once nothing is queued."""
    states = "produced", "exported", "dropped"

    def counts():
        return {
            (what, labels["service_name"]): [
                sum(
                    value
                    for other, value in stack.query(f"sum by (service_name) (obskit_{what}_{state}_total)")
                    if other == labels
                )
                for state in states
            ]
            for what in ("spans", "log_records")
            for labels, _ in stack.query(f"sum by (service_name) (obskit_{what}_produced_total)")
        }

    header = ("killed", "requests", "unanswered", "failed", "slowest ms", "in Jaeger", "lost", "seconds to arrive")
    show("Killed in the middle of load", header, ROWS)
    until(lambda: all(p == e + d for p, e, d in counts().values()), 40, every=1)
    show(
        "What the services produced",
        ("what", "service", *states),
        [(*key, *values) for key, values in counts().items()],
    )
