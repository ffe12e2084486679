"""Requests a second under uvicorn, one worker, loaded by wrk with 16 connections, the servers in turns."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import urllib.request
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks import subjects
from benchmarks.results import Account, Result
from benchmarks.sizes import Sizes
from benchmarks.subjects import ASSEMBLED, BARE, OBSKIT, TITLES
from benchmarks.traffic import PATH, QUERY
from benchmarks.workers import Child, Worker

WRK_MISSING = (
    "wrk is not on PATH, so throughput was NOT measured. Install it and run again: "
    "`apt-get install wrk`, `brew install wrk`, or https://github.com/wg/wrk"
)


def child(name: str) -> Child:
    """The worker's side: uvicorn in the main thread, as its command line runs it."""
    import uvicorn

    subject = subjects.build(name)
    # asyncio switches Nagle's algorithm off only where the socket names its protocol, as those it opens itself do.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(subject.app, access_log=False, log_level="warning")
    server = uvicorn.Server(config)

    def account(exposition: str) -> dict[str, dict[str, int] | None]:
        subject.flush()
        return {
            "spans": asdict(subject.spans(exposition)),
            "lines": asdict(subject.lines(exposition)) if subject.lines else None,
        }

    return Child(
        {
            "port": lambda: listener.getsockname()[1],
            "protocol": lambda: getattr(config, "http_protocol_class", type(None)).__name__,
            "flush": lambda: bool(subject.flush()),
            "account": account,
        },
        run=lambda: server.run(sockets=[listener]),
        stop=lambda: setattr(server, "should_exit", True),
    )


def measure(sizes: Sizes, folder: Path) -> Result:
    """Requests a second for each subject, and its ratio to the bare application."""
    result = Result(
        f"Throughput, uvicorn with one worker, wrk -t2 -c16 ({sizes.load_rounds} interleaved runs of"
        f" {sizes.load_seconds} s)",
        ("subject", "req/s median", "req/s maximum", "of bare"),
    )
    wrk = shutil.which("wrk")
    if wrk is None:
        result.notes.append(WRK_MISSING)
        return result
    rates: dict[str, list[float]] = {name: [] for name in (BARE, OBSKIT, ASSEMBLED)}
    with ExitStack() as stack:
        receiver = stack.enter_context(Worker("receiver", "throughput", folder, {}))
        port = receiver.ask("port")
        servers = [
            stack.enter_context(Worker("throughput", name, folder, subjects.environment(name, port))) for name in rates
        ]
        ports = {server.subject: server.ask("port") for server in servers}
        for server in servers:
            _load(wrk, ports[server.subject], 1)
        for _ in range(sizes.load_rounds):
            for server in servers:
                rates[server.subject].append(_load(wrk, ports[server.subject], sizes.load_seconds))
                server.ask("flush")
        result.notes.append(f"uvicorn reads HTTP by {servers[0].ask('protocol')}.")
        for server in servers:
            result.accounts += _accounts(server, ports[server.subject], receiver)
    _tabulate(result, rates)
    return result


def _load(wrk: str, port: int, seconds: int) -> float:
    """Requests a second of one wrk run; RuntimeError when any answer was not a 2xx or a connection failed."""
    url = f"http://127.0.0.1:{port}{PATH}?{QUERY}"
    # No caller's trace: one header for all requests would make them one trace, whose thousands of equal lines a second
    # are not what a service writes.
    command = [wrk, "-t2", "-c16", f"-d{seconds}s", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 20).stdout
    rate = re.search(r"Requests/sec:\s*([\d.]+)", output)
    if rate is None or "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"{' '.join(command)} did not go well:\n{output}")
    return float(rate[1])


def _accounts(server: Worker, port: int, receiver: Worker) -> list[Account]:
    server.ask("flush")
    exposition = ""
    if server.subject != BARE:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            exposition = answer.read().decode()
    counts: dict[str, dict[str, int]] = server.ask("account", exposition=exposition)
    received = {"spans": receiver.ask("count", subject=server.subject)["spans"], "lines": server.lines()}
    return [
        Account(TITLES[server.subject], item, **counts[item], received=received[item])
        for item in counts
        if counts[item] is not None
    ]


def _tabulate(result: Result, rates: dict[str, list[float]]) -> None:
    medians = {name: median(values) for name, values in rates.items()}
    for name, values in rates.items():
        result.rows.append(
            (TITLES[name], f"{medians[name]:.0f}", f"{max(values):.0f}", f"{medians[name] / medians[BARE]:.3f}")
        )
    result.figures = {"of_bare": medians[OBSKIT] / medians[BARE]}
