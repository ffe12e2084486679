"""prometheus_client's values are written through to cells, and stay what they are to their own process."""

import sys
import threading

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, values

from obskit.export._values import SharedValue, adopt, share, value_key


class Cells(dict):
    """Gives out cells, and shows them by sample and labels."""

    def __call__(self, key):
        return self.setdefault(key, [0.0])

    def of(self, metric, sample, names=(), label_values=()):
        return self.get(value_key(metric, sample, names, label_values), [None])[0]


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def cells(registry):
    found = Cells()
    restore = share([], found)
    yield found
    restore(list(registry._collector_to_names))


@pytest.mark.parametrize("when", ["before", "after"])
def test_each_kind_is_written_through_whenever_it_was_made(registry, when):
    cells = Cells()

    def make():
        return (
            Counter("hits", "h", ["kind"], registry=registry),
            Summary("size", "s", registry=registry),
            Histogram("took", "t", registry=registry, buckets=(1, 2)),
            Gauge("depth", "d", registry=registry),
        )

    def use(hits, size, took, depth):
        hits.labels("a").inc(2)
        size.observe(3)
        took.observe(1.5)
        depth.set(4)

    made = None
    if when == "before":
        made = make()
        use(*made)
    restore = share(list(registry._collector_to_names), cells)
    if made is None:
        made = make()
        use(*made)
    use(*made)
    read = registry.get_sample_value
    local = {name: read(name) for name in ("size_count", "size_sum", "took_sum", "depth")}
    assert (local, read("hits_total", {"kind": "a"})) == (
        {"size_count": 2, "size_sum": 6, "took_sum": 3, "depth": 4},
        4,
    )
    assert cells.of("hits", "hits_total", ("kind",), ("a",)) == 4
    assert (cells.of("size", "size_count"), cells.of("size", "size_sum")) == (2, 6)
    assert cells.of("took", "took_bucket", ("le",), ("2.0",)) == 2
    assert cells.of("took", "took_sum") == 3
    assert cells.of("depth", "depth") is None

    restore(list(registry._collector_to_names))
    assert values.ValueClass is values.MutexValue
    use(*made)
    assert read("hits_total", {"kind": "a"}) == 6
    assert read("took_bucket", {"le": "2.0"}) == 3
    assert cells.of("hits", "hits_total", ("kind",), ("a",)) == 4


def test_a_private_registry_of_the_same_names_reads_its_own_numbers(registry, cells):
    Counter("hits", "h", registry=registry).inc(5)
    private = CollectorRegistry()
    Counter("hits", "h", registry=private).inc(1)
    assert (registry.get_sample_value("hits_total"), private.get_sample_value("hits_total")) == (5, 1)
    assert cells.of("hits", "hits_total") == 6


def test_a_label_set_that_is_removed_and_made_again_does_not_go_back(registry, cells):
    hits = Counter("hits", "h", ["kind"], registry=registry)
    hits.labels("a").inc(3)
    hits.remove("a")
    hits.labels("a").inc()
    assert cells.of("hits", "hits_total", ("kind",), ("a",)) == 4
    assert registry.get_sample_value("hits_total", {"kind": "a"}) == 1


def test_a_reset_does_not_go_back(registry, cells):
    hits = Counter("hits", "h", registry=registry)
    hits.inc(3)
    hits.reset()
    hits.inc()
    assert (cells.of("hits", "hits_total"), registry.get_sample_value("hits_total")) == (4, 1)


def test_exemplars_stay_with_the_value(registry, cells):
    Counter("hits", "h", registry=registry).inc(1, {"trace_id": "abc"})
    [family] = registry.collect()
    assert family.samples[0].exemplar.labels == {"trace_id": "abc"}


def test_what_cannot_be_kept_is_counted_all_the_same(registry, contained_errors):
    def full(_key):
        raise OSError("no room")

    restore = share([], full)
    hits = Counter("hits", "h", registry=registry)
    hits.inc()
    hits.inc()
    restore([])
    assert registry.get_sample_value("hits_total") == 2
    assert {component for component, _ in contained_errors} == {"workers"}
    contained_errors.clear()


def test_in_a_forked_child_counters_begin_anew_and_gauges_stay(registry, cells):
    hits, depth = Counter("hits", "h", registry=registry), Gauge("depth", "d", registry=registry)
    hits.inc(3)
    depth.set(2)
    cells.clear()
    SharedValue.renew()
    hits.inc()
    assert (registry.get_sample_value("hits_total"), registry.get_sample_value("depth")) == (1, 2)
    assert cells.of("hits", "hits_total") == 1


@pytest.fixture
def impatient():
    """Threads take turns at every opportunity."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_exchange_the_same_values_lose_nothing(registry, impatient):
    cells = Cells()
    metrics = [Counter(f"hits_{number}", "h", registry=registry) for number in range(300)]
    for metric in metrics:
        metric.inc(2)
    start = threading.Barrier(4)

    def exchange():
        start.wait()
        for metric in metrics:
            adopt(metric)
            metric.inc()

    restore = share([], cells)
    threads = [threading.Thread(target=exchange) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [cells.of(metric._name, f"{metric._name}_total") for metric in metrics]
    assert [metric._value.get() for metric in metrics] == found == [6.0] * 300
    restore(metrics)
