"""How the families of several workers become one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric

from obskit.export._merge import Merged, Reading, exact, total
from obskit.export._snapshot import Family, families, packed, unpacked

NOTHING = memoryview(b"")


def family(name, kind, *samples, mode="", unit=""):
    return Family(
        name, "Doc.", kind, unit, mode, False, [(*sample, *(0.0, None)[len(sample) - 3 :]) for sample in samples]
    )


def merged(*workers):
    """Merge [alive, families…] of each worker, whose pids are 1, 2, …; {(name, labels): value}."""
    readings = [Reading(pid, alive, NOTHING, list(found)) for pid, (alive, *found) in enumerate(workers, 1)]
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for metric in Merged(readings).metrics()
        for sample in metric.samples
    }


GAUGES = {
    "": 6,
    "sum": 6,
    "livesum": 6,
    "min": 1,
    "livemin": 1,
    "max": 3,
    "livemax": 3,
}


@pytest.mark.parametrize(("mode", "value"), GAUGES.items())
def test_gauges_of_workers_that_live(mode, value):
    workers = [(True, family("g", "gauge", ("g", {}, float(number)), mode=mode)) for number in (1, 2, 3)]
    ended = False, family("g", "gauge", ("g", {}, 100.0), mode=mode)
    assert merged(*workers, ended) == {("g",): value}


@pytest.mark.parametrize("mode", ["all", "liveall"])
def test_a_gauge_of_each(mode):
    workers = [(alive, family("g", "gauge", ("g", {"a": "b"}, 5.0), mode=mode)) for alive in (True, True, False)]
    assert merged(*workers) == {("g", ("a", "b"), ("pid", "1")): 5, ("g", ("a", "b"), ("pid", "2")): 5}


@pytest.mark.parametrize("mode", ["mostrecent", "livemostrecent"])
def test_the_gauge_that_was_set_last(mode):
    set_at = {7.0: 30.0, 8.0: 10.0, 9.0: 20.0}
    workers = [(True, family("g", "gauge", ("g", {}, value, when), mode=mode)) for value, when in set_at.items()]
    assert merged(*workers) == {("g",): 7}


NAMED = {
    "process_open_fds": 9,
    "process_max_fds": 9,
    "process_start_time_seconds": 4,
    "process_resident_memory_bytes": 13,
    "python_info": 9,
    "obskit_metric_series": 9,
    "obskit_health_check_status": 4,
    "obskit_health_check_duration_seconds": 9,
}


@pytest.mark.parametrize(("name", "value"), NAMED.items())
def test_gauges_that_have_no_mode(name, value):
    workers = [(True, family(name, "gauge", (name, {}, number))) for number in (4.0, 9.0)]
    assert merged(*workers) == {(name,): value}


def test_what_counts_stays_when_its_worker_has_ended():
    counter = family("c", "counter", ("c_total", {"a": "b"}, 2.0))
    summary = family("s", "summary", ("s_count", {}, 1.0), ("s_sum", {}, 4.0), ("s", {"quantile": "0.5"}, 4.0))
    assert merged((True, counter, summary), (False, counter, summary)) == {
        ("c_total", ("a", "b")): 4,
        ("s_count",): 2,
        ("s_sum",): 8,
        ("s", ("quantile", "0.5")): 4,
    }


def test_infos_and_states_are_shown_once():
    info = family("build", "info", ("build_info", {"version": "7"}, 1.0))
    idle = family("state", "stateset", ("state", {"state": "idle"}, 1.0), ("state", {"state": "busy"}, 0.0))
    busy = family("state", "stateset", ("state", {"state": "idle"}, 0.0), ("state", {"state": "busy"}, 1.0))
    assert merged((True, info, idle), (True, info, busy)) == {
        ("build_info", ("version", "7")): 1,
        ("state", ("state", "idle")): 1,
        ("state", ("state", "busy")): 1,
    }


def test_the_latest_exemplar_is_kept():
    def counted(when):
        return family("c", "counter", ("c_total", {}, 1.0, 0.0, [{"trace_id": str(when)}, 1.0, when]))

    readings = [Reading(pid, True, NOTHING, [counted(when)]) for pid, when in enumerate((5.0, 9.0, 7.0))]
    [metric] = Merged(readings).metrics()
    assert metric.samples[0].exemplar.labels == {"trace_id": "9.0"}


def test_what_was_queued_in_a_worker_that_ended_is_dropped():
    def tally(produced, exported, dropped):
        return [
            family("obskit_spans_produced", "counter", ("obskit_spans_produced_total", {}, produced)),
            family("obskit_spans_exported", "counter", ("obskit_spans_exported_total", {}, exported)),
            family("obskit_spans_dropped", "counter", ("obskit_spans_dropped_total", {"reason": "error"}, dropped)),
        ]

    assert merged((True, *tally(10.0, 4.0, 1.0)), (False, *tally(10.0, 5.0, 2.0))) == {
        ("obskit_spans_produced_total",): 20,
        ("obskit_spans_exported_total",): 9,
        ("obskit_spans_dropped_total", ("reason", "error")): 3,
        ("obskit_spans_dropped_total", ("reason", "worker_ended")): 3,
    }


# -- what a worker tells --------------------------------------------------------------------------------------------


class Failing:
    def collect(self):
        raise ValueError("broken")


class Theirs:
    def collect(self):
        yield CounterMetricFamily("c", "C.", 3)
        yield HistogramMetricFamily("h", "H.", [("1", 2), ("+Inf", 3)], 5.0)
        strange = Metric("strange", "S.", "gauge")
        for value in (math.nan, math.inf, -math.inf):
            strange.add_sample("strange", {"value": str(value)}, value)
        yield strange


def test_any_family_comes_back_as_it_was(contained_errors):
    found = list(families([Failing(), Theirs()], {"h"}))
    again = unpacked(packed(found))
    assert [(one.name, one.type) for one in again] == [("c", "counter"), ("strange", "gauge")]
    values = [value for _, _, value, _, _ in again[1].samples]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]
    assert [component for component, _ in contained_errors] == ["metrics"]
    contained_errors.clear()


def test_a_gauge_of_the_mode_most_recent_tells_when_it_was_set():
    registry = CollectorRegistry()
    Gauge("g", "G.", ["a"], registry=registry, multiprocess_mode="mostrecent").labels("b")
    assert [(one.mode, len(one.samples)) for one in families(list(registry._collector_to_names), set())] == [
        ("mostrecent", 1)
    ]


def test_a_sum_that_may_fall_is_not_shown():
    registry = CollectorRegistry()
    Histogram("h", "H.", buckets=(-1, 1), registry=registry)
    [head] = families(list(registry._collector_to_names), set())
    reading = Reading(1, True, NOTHING, [head])
    merging = Merged([reading])
    labels = [("h_bucket", (("le", bound),)) for bound in ("-1.0", "1.0", "+Inf")]
    merging.families["h"].cells.update({**{label: [2.0] for label in labels}, ("h_sum", ()): [-3.0]})
    [metric] = merging.metrics()
    assert [(sample.name, sample.value) for sample in metric.samples] == [
        ("h_bucket", 2),
        ("h_bucket", 4),
        ("h_bucket", 6),
        ("h_count", 6),
    ]


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=12), st.randoms())
def test_a_sum_is_the_same_in_any_order_and_however_much_of_it_is_folded(parts, random):
    whole = total(parts)
    random.shuffle(parts)
    cut = random.randrange(len(parts))
    assert total([*exact(parts[:cut]), *parts[cut:]]) == total([*parts[cut:], *exact(exact(parts[:cut]))]) == whole


def test_sums_that_are_no_numbers_are_no_errors():
    assert total([math.inf, 1.0]) == exact([math.inf, 1.0])[0] == math.inf
    assert math.isnan(total([math.inf, -math.inf]))
