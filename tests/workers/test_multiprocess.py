"""A process as a worker: how it becomes one, forks, and leaves."""

import os
import signal
import socket
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cluster import value
from prometheus_client import CollectorRegistry, Counter, values

import fresh_process
from obskit.export import _peers
from obskit.export.multiprocess import Workers
from receiver import until

SERVED = "http_server_request_duration_seconds_count"


def workers_of(registry, name="test", **given):
    return Workers([registry], explicit=name, service="svc", series_limit=10, **given)


def text(workers):
    return workers.exposition(None)[1].decode()


# -- by name ----------------------------------------------------------------------------------------------------------


def test_a_group_by_name(place):
    one_registry, two_registry = CollectorRegistry(), CollectorRegistry()
    with_one = workers_of(one_registry)
    Counter("hits", "h", registry=one_registry).inc(2)
    with_one.close()
    one, two = workers_of(one_registry), workers_of(two_registry)
    assert one.group == two.group
    assert workers_of(CollectorRegistry(), "other").group != one.group
    assert Workers([], explicit="test", service="other", series_limit=10).group != one.group
    two.close()
    one.close()


def test_none_is_alone(place):
    registry = CollectorRegistry()
    alone = workers_of(registry, "none")
    Counter("hits", "h", registry=registry).inc()
    assert (alone.group, values.ValueClass) == (None, values.MutexValue)
    assert "hits_total 1.0" in text(alone)
    assert not list(place.iterdir())
    alone.close()


def test_what_it_touched_is_as_it_was(place):
    registry = CollectorRegistry()
    hits = Counter("hits", "h", registry=registry)
    before = set(threading.enumerate())
    workers = workers_of(registry)
    hits.inc(3)
    assert "hits_total 3.0" in text(workers)
    workers.close()
    workers.close()
    assert values.ValueClass is values.MutexValue
    assert type(hits._value) is values.MutexValue
    assert registry.get_sample_value("hits_total") == 3
    assert set(threading.enumerate()) <= before
    assert [path.name for path in place.glob("*/*")] == [".lock"]


def test_a_process_that_can_write_nowhere_starts_all_the_same():
    """A read-only root file system, as hardened containers have it."""
    said = fresh_process.run(
        """
        import json, os, tempfile

        def read_only(*_args, **_more):
            raise OSError(30, "Read-only file system")

        tempfile._get_default_tempdir = os.mkdir = read_only
        import obskit

        with obskit.init(service_name="hardened") as obs:
            print(json.dumps(obs.config.service_name))
        """,
        OBSKIT_WORKER_GROUP="hardened",
        OBSKIT_LOGS="off",
    )
    assert said == "hardened"


def test_a_place_that_cannot_be_written_leaves_each_worker_to_itself(place, monkeypatch, caplog):
    (place / "file").touch()
    monkeypatch.setattr("obskit.export._folder._PLACES", (place / "file",))
    registry = CollectorRegistry()
    workers = workers_of(registry)
    Counter("hits", "h", registry=registry).inc()
    assert "hits_total 1.0" in text(workers)
    assert workers.keep("m", "", (1.0,)) == ([0, 0], [0.0], [None, None])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    workers.close()


def test_a_place_whose_name_is_too_long_for_sockets_leaves_each_worker_to_itself(place, monkeypatch, caplog):
    deep = place / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("obskit.export._folder._PLACES", (deep,))
    registry = CollectorRegistry()
    hits = Counter("hits", "h", registry=registry)
    workers = workers_of(registry)
    hits.inc()
    assert "AF_UNIX" in caplog.text
    assert "hits_total 1.0" in text(workers)
    assert workers.keep("m", "", (1.0,)) == ([0, 0], [0.0], [None, None])
    assert [path.name for path in deep.glob("*/*")] == [".lock"]
    workers.close()


def test_an_obskit_histogram_without_room_counts_for_itself(place, monkeypatch, contained_errors):
    registry = CollectorRegistry()
    workers = workers_of(registry)
    monkeypatch.setattr(workers._member.cells, "histogram", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    assert workers.keep("m", "", (1.0,)) == ([0, 0], [0.0], [None, None])
    assert [component for component, _ in contained_errors] == ["workers"]
    contained_errors.clear()
    workers.close()


# -- asking -------------------------------------------------------------------------------------------------------------


def test_nobody_waits_for_a_worker_that_does_not_answer(place):
    path = place / "hung.sock"
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen(1)
        began = time.monotonic()
        _peers.ask([path, place / "gone.sock"], 0.2)
        assert 0.15 < time.monotonic() - began < 5


def test_a_collector_that_fails_is_left_out_and_what_tells_goes_on(place, contained_errors):
    class Failing:
        def collect(self):
            raise ValueError("broken")

    registry = CollectorRegistry()
    registry._collector_to_names[Failing()] = []
    workers = workers_of(registry)
    Counter("hits", "h", registry=registry).inc()
    assert "hits_total 1.0" in text(workers)
    workers.close()
    assert {component for component, _ in contained_errors} == {"metrics"}
    contained_errors.clear()


# -- forks ----------------------------------------------------------------------------------------------------------------

FORKS = """
import json, os, sys, threading
from prometheus_client import Counter, Gauge, REGISTRY
import obskit
from obskit import Config, operation

obs = obskit.init(service_name="forks", config=Config(worker_group={group!r}, log_mode="off"))
hits, depth = Counter("hits", "h", ["a"]), Gauge("depth", "d", multiprocess_mode="sum")
hits.labels("b").inc(5)
depth.set(1)

@operation("work")
def work(): pass

work()
def counts():
    body = obs._life._workers.exposition(None)[1].decode().splitlines()
    wanted = ("hits_total", "depth", "obskit_operation_duration_seconds_count")
    return sorted([*line.rpartition(" ")[::2]] for line in body if line.startswith(wanted))

holding = threading.Event()
def hold():  # a thread that holds every lock while the process forks, and is left behind
    from obskit.export._values import SharedValue
    with obs.registry._lock, REGISTRY._lock, hits._lock, SharedValue._lock, obs._life._workers._lock:
        holding.set()
        threading.Event().wait(1.0)
threading.Thread(target=hold, daemon=True).start()
assert holding.wait(10)
read, write = os.pipe()
child = os.fork()
if child == 0:
    hits.labels("b").inc(1)
    hits.labels("c").inc(1)
    work()
    own = [(sample.labels["a"], sample.value) for m in hits.collect() for sample in m.samples if sample.name == "hits_total"]
    for _ in range(100):  # until the parent can answer again
        found = counts()
        if ["depth", "2.0"] in found:
            break
    os.write(write, json.dumps([own, found]).encode())
    os.close(write)
    os.kill(os.getpid(), 9) if {kill!r} else obs.close()
    os._exit(0)
os.close(write)
os.waitpid(child, 0)
in_child = json.loads(os.read(read, 100000))
print(json.dumps([*in_child, counts()]))
"""


@pytest.mark.parametrize("kill", [False, True], ids=["closed", "killed"])
def test_a_forked_child_of_a_worker_is_a_worker_that_counts_from_zero(kill):
    code = textwrap.dedent(FORKS.format(group=f"forks-{os.getpid()}-{kill}", kill=kill))
    own, in_child, after = fresh_process.run(code, timeout=30)
    assert own == [["b", 1.0], ["c", 1.0]]
    summed = {'hits_total{a="b"}': "6.0", 'hits_total{a="c"}': "1.0"}
    assert dict(in_child).items() >= {**summed, "depth": "2.0"}.items()
    assert dict(after).items() >= {**summed, "depth": "1.0"}.items()
    assert [count for name, count in in_child if name.startswith("obskit_op")] == ["2"]
    assert [count for name, count in after if name.startswith("obskit_op")] == ["2"]


def test_a_forked_child_of_a_process_alone_counts_obskits_metrics_from_zero():
    code = textwrap.dedent(FORKS.format(group="none", kill=False)).replace('["depth", "2.0"] in found', "True")
    _, in_child, after = fresh_process.run(code.replace("hits._lock, ", ""), timeout=30)
    assert [count for name, count in in_child if name.startswith("obskit_op")] == ["1"]
    assert [count for name, count in after if name.startswith("obskit_op")] == ["1"]


LATE = """
import json, multiprocessing, os
import obskit
from obskit import Config

obs = obskit.init(service_name="late", config=Config(log_mode="off"))

def serve(pipe):
    obs._life.begin()
    obs._life._loop_monitor.stop()
    pipe.send(obs._life._workers.group is not None and obs._life._workers._member is not None)
    obs.close()

if __name__ == "__main__":
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=serve, args=(there,))
    child.start()
    found = here.poll(10) and here.recv()
    child.join()
    print(json.dumps([found, obs._life._workers.group is None]))
"""


def test_a_child_that_is_forked_to_serve_finds_its_group_then():
    assert fresh_process.run(LATE, timeout=30) == [True, True]


# -- the user's own way ---------------------------------------------------------------------------------------------------


def test_prometheus_clients_own_files_are_left_to_it(start_cluster, tmp_path):
    cluster = start_cluster("gunicorn", workers=2, variables={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})
    _, count = cluster.warm()
    samples = cluster.scrape()
    assert value(samples, "mine_total") == value(samples, "orders_total") == count
    assert value(samples, SERVED, http_route="/work/{number}") == count
    assert value(samples, "custom_calls_total") == count
    assert list(tmp_path.glob("counter_*.db"))


# -- what a group leaves --------------------------------------------------------------------------------------------------


def test_what_a_service_left_that_was_killed_whole_goes_with_the_next_start(start_cluster):
    killed = start_cluster("uvicorn", workers=2)
    killed.warm()
    folder = killed.folder()
    killed.end()
    assert folder.exists()
    start_cluster("uvicorn", workers=2).ready()
    until(lambda: not folder.exists(), 5)


def test_what_a_service_left_that_was_stopped_goes_with_the_next_start(start_cluster):
    cluster = start_cluster("uvicorn", workers=2)
    cluster.warm()
    folder = cluster.folder()
    cluster.popen.send_signal(signal.SIGTERM)
    cluster.wait()
    start_cluster("uvicorn", workers=2).ready()
    until(lambda: not folder.exists(), 5)


# -- in this process --------------------------------------------------------------------------------------------------


def test_what_a_child_forgets_and_joins_anew(place):
    other = workers_of(CollectorRegistry())
    registry = CollectorRegistry()
    workers = workers_of(registry)
    hits = Counter("hits", "h", ["a"], registry=registry)
    hits.labels("b").inc(3)
    parent, locks = workers._member, (registry._lock, hits._lock)
    parent.teller.stop()  # a child has no such thread
    workers._after_fork()  # as the child calls it
    assert (registry._lock, hits._lock) != locks
    assert workers._member is None
    hits.labels("b").inc()
    assert workers._member.folder.id != parent.folder.id
    assert 'hits_total{a="b"} 4.0' in text(workers)
    workers.close()
    other.close()


def test_a_parent_about_to_fork_is_no_worker_and_its_child_is(place, monkeypatch):
    group = Workers([], explicit="test", service="svc", series_limit=10).group
    monkeypatch.setattr("obskit.export.multiprocess.find_group", lambda *_: replace(group, forming=True))
    registry = CollectorRegistry()
    workers = workers_of(registry)
    hits = Counter("hits", "h", registry=registry)
    hits.inc(5)
    workers.begin()
    assert (workers._member, workers.leads()) == (None, True)
    assert "hits_total 5.0" in text(workers)
    workers._after_fork()
    workers.begin()
    hits.inc()
    assert "hits_total 1.0" in text(workers)
    workers.close()


def test_a_process_that_is_alone_leads_and_one_of_a_group_may(place):
    alone, one, two = (
        workers_of(CollectorRegistry(), "none"),
        workers_of(CollectorRegistry()),
        workers_of(CollectorRegistry()),
    )
    assert [each.leads() for each in (alone, one, two)] == [True, True, False]
    for each in (alone, one, two):
        each.tell()
        each.close()


def test_no_room_to_fold_fails_no_scrape(place, monkeypatch, contained_errors):
    registry = CollectorRegistry()
    workers = workers_of(registry)
    Counter("hits", "h", registry=registry).inc()

    def full(_self):
        raise OSError("no room")

    monkeypatch.setattr("obskit.export._folder.Folder.fold", full)
    assert "hits_total 1.0" in text(workers)
    assert [component for component, _ in contained_errors] == ["workers"]
    contained_errors.clear()
    workers.close()


def test_a_teller_that_fails_goes_on(place, monkeypatch, contained_errors):
    monkeypatch.setattr(_peers, "_INTERVAL_SECONDS", 0.01)
    told = []

    def tell(asked):
        told.append(asked)
        if len(told) == 1:
            raise ValueError("broken")

    teller = _peers.Teller(place / "t.sock", tell)
    until(lambda: len(told) > 3, 5)
    _peers.ask([place / "t.sock"])
    assert True in told
    teller.stop()
    assert [component for component, _ in contained_errors] == ["workers"]
    contained_errors.clear()


def test_joined_and_left_many_times_leaves_nothing(place):
    registry = CollectorRegistry()
    hits = Counter("hits", "h", registry=registry)
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(100):
        workers = workers_of(registry)
        hits.inc()
        workers.close()
    assert registry.get_sample_value("hits_total") == 100
    assert len([*Path("/proc/self/fd").iterdir()]) <= before + 1
    assert [path.name for path in place.glob("*/*")] == [".lock"]
