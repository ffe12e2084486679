"""A flood: the gateway keeps to its memory, says so, and tells senders to come again; it neither falls nor forgets."""

import threading
import time
from collections import Counter

from collectors import Collector
from otlp import RETRYABLE, Backend, posted, send, span, traces, until
from tables import show

LIMIT_MIB = 150
#: What the README says that a container needs beside: the program itself, stacks, what is not given back at once.
BESIDE_MIB = LIMIT_MIB // 4 + 100
#: What weighs 2 KB and costs no time to redact.
NAME = "GET /flood" + "x" * 2000
AT_LEAST, AT_MOST = 6, 60


class Flood:
    """Exports of 500 spans of 2 KB, as fast as four connections take them, never tried again."""

    def __init__(self, endpoint):
        self.answers = Counter()
        self._ended = threading.Event()
        self._bodies = [traces({"flood": [span(NAME) for _ in range(500)]}).SerializeToString() for _ in range(64)]
        self._threads = [threading.Thread(target=self._run, args=(endpoint, n), daemon=True) for n in range(4)]
        for each in self._threads:
            each.start()

    def _run(self, endpoint, number):
        while not self._ended.is_set():
            number += 1
            self.answers[posted(endpoint, "/v1/traces", self._bodies[number % len(self._bodies)], {})] += 1

    def stop(self):
        self._ended.set()
        for each in self._threads:
            each.join(30)


def test_the_gateway_keeps_to_its_memory_under_a_flood(tmp_path):
    backend = Backend()
    gateway = Collector(
        "gateway.yaml",
        folder=tmp_path,
        JAEGER_ENDPOINT=backend.grpc,
        PROMETHEUS_OTLP_ENDPOINT=backend.http,
        LOKI_OTLP_ENDPOINT=backend.http,
        MEMORY_LIMIT_MIB=LIMIT_MIB,
        MEMORY_SPIKE_MIB=LIMIT_MIB // 5,
        DECISION_WAIT="3s",
    ).start()
    try:
        at_rest, process, seen = gateway.rss_mib, gateway.process, []
        flood = Flood(gateway.endpoint)
        began = time.monotonic()
        while (so_far := time.monotonic() - began) < AT_LEAST or (503 not in flood.answers and so_far < AT_MOST):
            seen.append(gateway.rss_mib)
            time.sleep(0.05)
        flood.stop()
        refused = gateway.metric("otelcol_receiver_refused_spans_total")
        accepted = gateway.metric("otelcol_receiver_accepted_spans_total")
        show(
            "Under a flood",
            ("limit MiB", "RSS at rest", "RSS at most", "spans taken", "spans refused", "answers"),
            [(LIMIT_MIB, at_rest, max(seen), int(accepted), int(refused), dict(flood.answers))],
        )
        assert max(seen) < LIMIT_MIB + BESIDE_MIB
        assert refused > 0
        assert accepted > 0
        assert set(flood.answers) <= {200, *RETRYABLE}
        assert 503 in flood.answers
        # It is the same process, and takes spans again once it has room.
        send(gateway.endpoint, traces({"after": [span("GET /after", error=True)]}), patience=30)
        assert until(lambda: any(each.name == "GET /after" for each in backend.spans), 30)
        assert gateway.process is process
        assert process.poll() is None
    finally:
        gateway.stop(60)
        backend.close()
