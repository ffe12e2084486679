"""What the programs behind the services cost: agent, gateway, both tiers and Prometheus, with the files that ship."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from benchmarks import plan
from benchmarks.results import Account, Result

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "stack"))

TARGETS, SERIES_EACH, SCRAPE_SECONDS = 40, 2500, 5


def cpu_seconds(pid):
    """User and system time of a process so far: what other work on the machine does not change much."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid, name="VmRSS"):
    """Resident memory of a process in bytes; `VmHWM` is its highest."""
    return int(re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def measure(sizes, folder):
    """Each chain takes the same traces, sends on what it keeps, and is waited for; then Prometheus scrapes."""
    result = Result(
        "The stack: CPU of the programs for 100,000 spans (samples), of which a core takes so many a second; memory",
        ("program", "CPU s/100k", "/s and core", "idle MiB", "highest MiB"),
    )
    _one_tier(result, sizes.stack_batches, folder / "one")
    _two_tiers(result, sizes.stack_batches, folder / "two")
    _prometheus(result, sizes.stack_scrapes, folder)
    result.tables.append(("What a rate needs, computed from it", plan.COLUMNS, plan.rows(result.figures)))
    result.tables.append(("What a million requests cost", plan.COST_COLUMNS, plan.costs(result.figures)))
    return result


def _one_tier(result, batches, folder):
    from collectors import Collector
    from otlp import Backend

    backend = Backend()
    ends = _ends(backend)
    gateway = Collector("gateway.yaml", folder=folder, **ends)
    agent = Collector("agent.yaml", folder=folder, GATEWAY_ENDPOINT=gateway.grpc_endpoint)
    held = _load(result, {"agent": agent, "gateway": gateway}, batches, backend)
    kept = backend.spans
    size = sum(each.proto.ByteSize() for each in kept) / len(kept)
    result.figures |= {"held_bytes": held, "span_bytes": size}
    expected = plan.Plan(1, tail=True, figures={}).kept / plan.SPANS
    result.notes += [
        f"{len(kept) / (batches * 1000):.1%} of the spans were kept, {expected:.1%} expected",
        f"a span is {size:.0f} bytes of protobuf; while it waits for the decision, {held:.0f} of memory",
    ]
    backend.close()


def _two_tiers(result, batches, folder):
    from collectors import Collector
    from otlp import Backend

    backend = Backend()
    sampling = Collector("gateway-sampling.yaml", folder=folder, **_ends(backend))
    resolver = f"static: {{hostnames: [{sampling.grpc_endpoint}]}}"
    balancer = Collector("gateway-lb.yaml", folder=folder, SAMPLING_RESOLVER=resolver, **_ends(backend))
    _load(result, {"balancer": balancer, "sampling": sampling}, batches, backend)
    backend.close()


def _ends(backend):
    return {
        "JAEGER_ENDPOINT": backend.grpc,
        "PROMETHEUS_OTLP_ENDPOINT": backend.http,
        "LOKI_OTLP_ENDPOINT": backend.http,
        "SAMPLE_PERCENT": round(plan.SHARE * 100),
    }


def _load(result, chain, batches, backend):
    """Measure a chain of Collectors, and return the bytes that the last one holds for a span that waits."""
    from collectors import running
    from otlp import until

    from benchmarks.stack_load import send

    spans = batches * 1000
    with running(*chain.values()):
        pids = {name: each.process.pid for name, each in chain.items()}
        before = {name: (cpu_seconds(pid), memory(pid)) for name, pid in pids.items()}
        began = time.monotonic()
        send(next(iter(chain.values())).endpoint, batches)
        last = list(chain.values())[-1]
        until(lambda: _accepted(last) >= spans, 60)
        seconds = time.monotonic() - began
        time.sleep(plan.WAIT + 3)  # all is decided, and sent on
        until(lambda: len(backend.spans) >= 0.99 * spans * plan.SHARE, 30, 0.5)
        for name, pid in pids.items():
            cpu, idle = before[name]
            used, highest = cpu_seconds(pid) - cpu, memory(pid, "VmHWM")
            _row(result, name, used * 100_000 / spans, idle, highest)
            result.accounts.append(Account(name, "spans", spans, spans, 0, round(_accepted(chain[name]))))
        waiting = spans * min(1, plan.WAIT / seconds)
        return (highest - idle) / waiting


def _accepted(collector):
    return collector.metric("otelcol_receiver_accepted_spans_total")


def _row(result, name, cpu, idle, highest):
    result.figures |= {f"{name}_cpu": cpu, f"{name}_mib": highest / 2**20}
    figures = (f"{cpu:.2f}", f"{100_000 / cpu:,.0f}", f"{idle / 2**20:.0f}", f"{highest / 2**20:.0f}")
    result.rows.append((name, *figures))


def _prometheus(result, scrapes, folder):
    """Scrape 100,000 series; what the first scrape costs, which makes them, is left out of the CPU time."""
    from otlp import until

    from benchmarks.stack_load import targets
    from programs import Prometheus

    server, address = targets(SERIES_EACH)
    timing = {"__scrape_interval__": f"{SCRAPE_SECONDS}s", "__scrape_timeout__": f"{SCRAPE_SECONDS}s"}
    services = [
        (address, timing | {"__metrics_path__": f"/{number}", "instance": f"{number}"}) for number in range(TARGETS)
    ]
    prometheus = Prometheus(folder, {}).start()
    try:
        pid = prometheus.process.pid
        idle, series = memory(pid), TARGETS * SERIES_EACH
        prometheus.aim({"services": services})
        until(lambda: _own(prometheus, "prometheus_tsdb_head_series") >= series, 60, 0.5)
        samples, cpu = _own(prometheus, "prometheus_tsdb_head_samples_appended_total"), cpu_seconds(pid)
        time.sleep(scrapes * SCRAPE_SECONDS)
        samples = _own(prometheus, "prometheus_tsdb_head_samples_appended_total") - samples
        _row(result, "prometheus", (cpu_seconds(pid) - cpu) * 100_000 / samples, idle, memory(pid, "VmHWM"))
        made = _own(prometheus, "prometheus_tsdb_head_series")
        each = (memory(pid, "VmHWM") - idle) / made
        result.figures["series_bytes"] = each
        result.notes.append(
            f"{made:,.0f} series, {samples:,.0f} samples scraped; a series is {each:,.0f} bytes of memory"
        )
    finally:
        prometheus.stop()
        server.shutdown()
        server.server_close()


def _own(prometheus, name):
    """What Prometheus says of itself, summed."""
    import httpx

    text = httpx.get(f"{prometheus.url}/metrics", timeout=10).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))
