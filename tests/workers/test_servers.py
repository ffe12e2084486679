"""``/metrics`` of any worker is the sum over all of them, under each server, with nothing set up."""

import os
import signal
from collections import Counter
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest
from cluster import SETUPS, bases, descriptors, value

from receiver import until

SERVED = "http_server_request_duration_seconds"
HOW_MANY_SCRAPES = 6


@pytest.fixture(scope="module")
def clusters(start_cluster):
    return {setup: start_cluster(setup) for setup in SETUPS}


@pytest.fixture(scope="module", params=list(SETUPS))
def warm(request, clusters):
    """(the cluster, its workers' pids, how many requests they have served)."""
    cluster = clusters[request.param]
    pids, count = cluster.warm()
    for number in range(20):
        cluster.work(number)
    return cluster, pids, count + 20


def test_whatever_counts_is_the_sum_in_any_worker(warm):
    cluster, _, count = warm
    for _ in range(HOW_MANY_SCRAPES):
        samples = cluster.scrape()
        assert {
            "served": value(samples, f"{SERVED}_count", http_route="/work/{number}"),
            "counter": value(samples, "orders_total", kind="a"),
            "obskit's registry": value(samples, "mine_total"),
            "histogram": value(samples, "took_seconds_count"),
            "bucket": value(samples, "took_seconds_bucket", le="0.5"),
            "smaller bucket": value(samples, "took_seconds_bucket", le="0.1"),
            "summary": value(samples, "size_bytes_count"),
            "summary's sum": value(samples, "size_bytes_sum") / 10,
            "collector": value(samples, "custom_calls_total"),
        } == {
            **dict.fromkeys(("served", "counter", "obskit's registry", "histogram", "bucket"), count),
            **dict.fromkeys(("summary", "summary's sum", "collector"), count),
            "smaller bucket": 0,
        }
        assert value(samples, "obskit_log_lines_produced_total") >= count


def test_gauges_are_as_their_mode_says(warm):
    cluster, pids, _ = warm
    cluster.work(77)
    samples = cluster.scrape()
    each = Counter({str(pid): pid for pid in pids})
    for mode in ("all", "liveall"):
        assert {sample.labels["pid"]: sample.value for sample in samples[f"mode_{mode}_now"]} == each
    assert value(samples, "mode_sum_now") == value(samples, "mode_livesum_now") == sum(pids)
    assert (value(samples, "mode_min_now"), value(samples, "mode_max_now")) == (min(pids), max(pids))
    assert value(samples, "mode_mostrecent_now") == 77
    assert value(samples, "born") == len(pids)
    assert value(samples, "custom_depth") == 2 * len(pids)
    assert value(samples, "http_server_active_requests") == 0


def test_what_is_one_is_shown_once(warm):
    cluster, _, _ = warm
    samples = cluster.scrape()
    for name in ("python_info", "target_info", "build_info"):
        assert [sample.value for sample in samples[name]] == [1]
    assert "service_instance_id" not in samples["target_info"][0].labels
    assert {sample.labels["state"]: sample.value for sample in samples["state"]} == {"idle": 0, "busy": 1}
    assert value(samples, "process_open_fds") < 100
    assert value(samples, "process_resident_memory_bytes") > 3 * 30 * 2**20


def test_exemplars_are_kept(warm):
    cluster, _, _ = warm
    samples = cluster.scrape()
    of_requests = [sample.exemplar for sample in samples[f"{SERVED}_bucket"] if sample.exemplar]
    assert of_requests
    assert all(len(exemplar.labels["trace_id"]) == 32 for exemplar in of_requests)
    [orders] = samples["orders_total"]
    assert orders.exemplar.labels == {"trace_id": "abc"}


def test_the_text_format_shows_the_same(warm):
    cluster, _, count = warm
    assert value(cluster.scrape_text(), f"{SERVED}_count", http_route="/work/{number}") >= count


def test_health_of_all_workers_is_the_worst(warm):
    cluster, _, _ = warm
    cluster.get("/health")
    [status] = cluster.scrape()["obskit_health_check_status"]
    assert (status.labels, status.value) == ({"check": "database"}, 1)


def test_a_worker_that_is_stopped_holds_nobody_up_and_its_last_word_counts(warm):
    cluster, pids, _ = warm
    before = cluster.scrape()
    stopped = min(pids)
    os.kill(stopped, signal.SIGSTOP)
    try:
        after = scraped_past(cluster)
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert value(after, f"{SERVED}_count", http_route="/work/{number}") == value(
        before, f"{SERVED}_count", http_route="/work/{number}"
    )
    assert value(after, "custom_calls_total") == value(before, "custom_calls_total")
    assert value(after, "mode_sum_now") == sum(pids)


def scraped_past(cluster):
    """A scrape by a worker that runs: the connections that the stopped one has taken get no answer."""
    for _ in range(20):
        try:
            return cluster.scrape(seconds=2.5)
        except OSError:
            continue
    raise AssertionError("no worker answered")


def test_a_killed_worker_takes_its_gauges_along_and_nothing_else(warm):
    cluster, pids, _ = warm
    if "hypercorn" in cluster.setup:  # which ends as a whole when one of its workers is killed
        return
    before = cluster.scrape()
    killed = min(pids)
    cluster.kill(killed)
    after = None

    def gauges_are_gone():
        nonlocal after
        with suppress(OSError, HTTPException):  # a connection that the killed worker had taken
            after = cluster.scrape()
        return after and value(after, "mode_all_now", pid=str(killed)) == 0

    until(gauges_are_gone, 10)
    for name in (f"{SERVED}_count", "orders_total", "mine_total", "took_seconds_count", "size_bytes_sum"):
        assert value(after, name) == value(before, name), name
    for name in ("custom_calls_total", "process_cpu_seconds_total", "obskit_log_lines_produced_total"):
        assert value(after, name) >= value(before, name), name
    assert {sample.labels["pid"] for sample in after["mode_all_now"]} >= {str(pid) for pid in pids - {killed}}


def test_two_services_do_not_mix(start_cluster):
    one, two = (start_cluster("uvicorn", workers=2) for _ in range(2))  # one shell, so to speak: one parent pid
    (_, first), (_, second) = one.warm(), two.warm()
    one.work()
    assert (one.value("orders_total"), two.value("orders_total")) == (first + 1, second)
    assert one.folder() != two.folder()


def test_one_process_alone_has_none_of_it(start_service):
    service = start_service("plain:app").ready()
    service.get("/work/1")
    files = list(descriptors(service.popen.pid))
    maps = Path(f"/proc/{service.popen.pid}/maps").read_text()
    assert any("socket:" in file for file in files)
    assert not [file for file in files if "obskit-" in file]
    assert "obskit-" not in maps
    assert "worker_ended" not in service.get("/metrics")[2].decode()
    assert not list(bases().glob(f"*/{service.popen.pid}-*"))
