"""Workers come and go, by ``kill -9`` and by recycling: nothing that was answered is uncounted, nothing goes back."""

import random
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException

from cluster import children, value

from receiver import until

SERVED = "http_server_request_duration_seconds"
#: How long workers are killed; the counts are compared after each scrape.
SECONDS = 30.0
CLIENTS = 4
COUNTING = ("_total", "_count", "_bucket", "_sum")


class Load:
    """Clients that ask without a pause, and go on when their connection breaks."""

    def __init__(self, port, answered):
        self.answered = self.sent = answered
        self.failed = 0
        self._port = port
        self._ended = False
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self):
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._ended:
            with self._lock:
                self.sent += 1
            try:
                connection.request("GET", "/work/1")
                response = connection.getresponse()
                response.read()
                answered = response.status == 200
            except (OSError, HTTPException):
                answered = False
                connection.close()
            with self._lock:
                self.answered += answered
                self.failed += not answered
        connection.close()

    def end(self):
        self._ended = True
        for thread in self._threads:
            thread.join(15)
            assert not thread.is_alive()


class Watch:
    """What scrapes have shown so far, and whether anything went back."""

    def __init__(self, cluster, load):
        self.cluster, self.load = cluster, load
        self.scrapes = self.unanswered = 0
        self.most_bytes = self.exemplars = 0
        self._seen = {}

    def look(self):
        """One scrape: between what had been answered before it and what has been sent since."""
        least = self.load.answered
        try:
            samples = self.cluster.scrape()
        except (OSError, HTTPException):  # the worker that was asked has been killed
            self.unanswered += 1
            return None
        most = self.load.sent
        self.scrapes += 1
        served = value(samples, f"{SERVED}_count", http_route="/work/{number}")
        for name, counted in {"served": served, "mine": value(samples, "mine_total")}.items():
            assert least <= counted <= most, f"{name}: {least} answered, {counted} shown, {most} sent"
        self.exemplars = sum(sample.exemplar is not None for sample in samples[f"{SERVED}_bucket"])
        self._never_back(samples)
        with suppress(OSError, ValueError):
            sizes = [path.stat().st_size for path in self.cluster.folder().iterdir()]
            self.most_bytes = max(self.most_bytes, sum(sizes))
        return served

    def _never_back(self, samples):
        for name, some in samples.items():
            if not name.endswith(COUNTING):
                continue
            for sample in some:
                key = name, tuple(sample.labels.items())
                assert sample.value >= self._seen.get(key, 0.0), f"{key}: {self._seen[key]} went back to {sample.value}"
                self._seen[key] = sample.value


def test_eight_workers_killed_at_random_for_half_a_minute(start_cluster):
    cluster = start_cluster("gunicorn preload", workers=8)
    cluster.warm()
    chance = random.Random(4)
    load = Load(cluster.port, answered=int(cluster.value("mine_total")))
    watch, killed, until_time = Watch(cluster, load), 0, time.monotonic() + SECONDS
    while time.monotonic() < until_time:
        with suppress(ProcessLookupError):
            cluster.kill(chance.choice(children(cluster.popen.pid)))
            killed += 1
        pause = time.monotonic() + 0.3
        while time.monotonic() < pause:
            watch.look()
    load.end()
    until(lambda: watch.look() is not None, 10)
    shown = watch.look()
    print(
        f"\n{killed} kills, {watch.scrapes} scrapes ({watch.unanswered} unanswered): {load.answered} answered <= "
        f"{shown:.0f} shown <= {load.answered + load.failed} answered and failed; at most {watch.most_bytes} bytes"
    )
    assert load.answered <= shown <= load.answered + load.failed
    assert load.answered <= cluster.value("orders_total") <= load.answered + load.failed
    assert watch.exemplars > 0
    assert killed > 30
    assert watch.most_bytes < 16 * 512 * 1024


def test_recycled_workers_leave_bounded_files_and_every_count(start_cluster):
    cluster = start_cluster("gunicorn preload", "--max-requests", "15", workers=2)
    cluster.ready()
    pids, answered = set(), 0
    before = cluster.scrape()

    def twenty_generations():
        nonlocal answered
        with suppress(OSError, HTTPException):
            pids.add(cluster.work())
            answered += 1
        return len(pids) >= 20

    until(twenty_generations, 60, every=0.001)
    until(lambda: len(list(cluster.folder().glob("*.alive"))) <= 3, 10)
    after = cluster.scrape()
    assert answered <= value(after, "mine_total") - value(before, "mine_total") <= answered + 20
    assert len(list(cluster.folder().glob("*.alive"))) <= 3
    assert sum(path.stat().st_size for path in cluster.folder().iterdir()) < 4 * 512 * 1024
    assert value(after, "obskit_log_lines_produced_total") >= answered
