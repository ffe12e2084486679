"""The cap on label sets: nothing lost, nothing moved, never more than the limit, and strangers apart."""

from __future__ import annotations

import contextlib
import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.signals.cardinality import CappedSeries, Folding

LABELS = ("method", "route", "status", "tier")
FOLDING = Folding(
    steps=(("tier",), ("tier", "route")),
    strange=lambda labels: not labels[1] or labels[2] == "405",
    strange_steps=(("tier", "route"),),
)


class Count:
    def __init__(self, labels):
        self.labels = labels
        self.value = 0


def capped(limit, folding=FOLDING, labels=LABELS):
    return CappedSeries("requests_seconds", labels, limit, Count, folding)


def record(series, labels):
    counter = series[labels]
    counter.value += 1
    return counter


label_sets = st.lists(
    st.tuples(
        st.sampled_from(["GET", "POST"]),
        st.one_of(st.just(""), st.integers(0, 12).map("/r{}".format)),
        st.sampled_from(["200", "405", "500"]),
        st.sampled_from(["", "free", "gold", "_other"]),
    ),
    max_size=150,
)


@settings(max_examples=150, deadline=None)
@given(label_sets, st.integers(1, 40))
def test_whatever_arrives_is_counted_once_within_the_limit_and_stays_where_it_was(arriving, limit):
    series = capped(limit)
    placed = {}
    for labels in arriving:
        counter = record(series, labels)
        if labels in placed:
            before = placed[labels]
            assert counter is before or before.labels != dict(zip(LABELS, labels, strict=True))
        placed[labels] = counter
    assert len(series.known) <= limit
    assert len(series) == len(series.all()) <= limit + 1
    assert sum(counter.value for counter in series.all()) == len(arriving)
    label_texts = [tuple(sorted(counter.labels.items())) for counter in series.all()]
    assert len(set(label_texts)) == len(label_texts)


@settings(max_examples=150, deadline=None)
@given(label_sets, st.integers(1, 40))
def test_known_routes_stand_where_they_would_without_any_stranger(arriving, limit):
    among_strangers, alone = capped(limit), capped(limit)
    for labels in arriving:
        counter = record(among_strangers, labels)
        if not FOLDING.strange(labels):
            assert counter.labels == record(alone, labels).labels


@settings(max_examples=100, deadline=None)
@given(label_sets, st.integers(1, 40))
def test_folding_goes_from_fields_to_route_to_overflow_and_never_touches_the_rest(arriving, limit):
    series = capped(limit)
    for labels in arriving:
        got = record(series, labels).labels
        if "otel_metric_overflow" in got:
            assert got == {**dict.fromkeys(LABELS, ""), "otel_metric_overflow": "true"}
            continue
        given_ = dict(zip(LABELS, labels, strict=True))
        changed = {name for name in LABELS if got[name] != given_[name]}
        assert changed <= {"tier", "route"}
        assert all(got[name] == "_other" for name in changed)
        assert "route" not in changed or got["tier"] in ("_other", "")


def test_the_steps_in_order_with_a_tenth_of_the_limit_for_each():
    series = capped(20)
    got = [record(series, ("GET", f"/r{i}", "200", "gold")).labels for i in range(20)]
    assert [labels["route"] for labels in got] == [f"/r{i}" for i in range(16)] + ["_other"] * 4
    assert [labels["tier"] for labels in got] == ["gold"] * 14 + ["_other"] * 6
    assert record(series, ("PUT", "/new", "200", "gold")).labels["route"] == "_other"
    assert record(series, ("HEAD", "/new", "200", "gold")).labels["otel_metric_overflow"] == "true"
    assert len(series) == 14 + 2 + 2 + 1


def test_garbage_before_and_after_leaves_every_known_route_its_own_series():
    series = capped(50)
    for i in range(1000):
        record(series, (f"M{i % 9}", "", str(400 + i % 90), f"t{i}"))
        record(series, (f"M{i % 9}", f"/r{i % 20}", "405", f"t{i}"))
    strangers = len(series)
    for i in range(20):
        assert record(series, ("GET", f"/r{i}", "200", "gold")).labels["route"] == f"/r{i}"
    assert strangers <= 5 + 1
    assert sum(counter.value for counter in series.all()) == 2020


def test_strangers_have_detail_until_their_part_is_used_up_then_fold_then_overflow():
    series = capped(40)
    got = [record(series, ("GET", "", str(400 + i), "gold")).labels for i in range(5)]
    assert [labels["tier"] for labels in got[:4]] == ["gold", "gold", "gold", "_other"]
    assert got[3]["route"] == ""
    assert got[4]["otel_metric_overflow"] == "true"


def test_without_folding_the_whole_limit_is_for_full_label_sets():
    series = capped(3, Folding(), ("name",))
    names = [record(series, (f"n{i}",)).labels["name"] for i in range(5)]
    assert names == ["n0", "n1", "n2", "", ""]
    assert series.overflow.value == 2


def test_one_warning_a_metric_that_names_it(caplog):
    first, second = capped(2, Folding(), ("name",)), capped(2, Folding(), ("name",))
    with caplog.at_level(logging.WARNING, "obskit"):
        for i in range(9):
            record(first, (f"n{i}",))
        assert len(caplog.records) == 1
        assert "requests_seconds" in caplog.text
        assert "2 in all" in caplog.text
        for i in range(9):
            record(second, (f"n{i}",))
    assert len(caplog.records) == 2


def test_no_warning_while_there_is_room(caplog):
    series = capped(10, Folding(), ("name",))
    for i in range(10):
        record(series, (f"n{i}",))
    assert not caplog.records


@pytest.mark.parametrize(
    ("value", "label"), [("a\ud800b", "a?b"), ("x" * 5000, "x" * 256), (443, "443"), ('"\n\\', '"\n\\'), ("é☃", "é☃")]
)
def test_label_values_are_valid_bounded_text(value, label):
    series = capped(10, Folding(), ("name",))
    assert record(series, (value,)).labels == {"name": label}
    assert record(series, (value,)).value == 2


def test_a_finalizer_that_records_while_a_label_set_is_made_does_not_deadlock():
    def make(labels):
        if labels["name"] == "outer":
            record(series, ("inner",))
        return Count(labels)

    series = CappedSeries("requests_seconds", ("name",), 10, make)
    thread = threading.Thread(target=record, args=(series, ("outer",)), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert {counter.labels["name"] for counter in series.all()} == {"outer", "inner"}


def test_threads_that_bring_new_label_sets_at_once_get_one_series_each_within_the_limit():
    series, barrier, made = capped(50, Folding(), ("name",)), threading.Barrier(4), []

    def work():
        barrier.wait(10)
        made.extend([series[f"n{i}",] for i in range(200)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(made) == 800
    assert len(series) == 51
    assert len(set(map(id, made))) == 51


def test_two_threads_that_bring_the_same_label_set_make_it_once():
    both_inside = threading.Barrier(2)

    def make(labels):
        with contextlib.suppress(threading.BrokenBarrierError):
            both_inside.wait(0.2)
        return Count(labels)

    series, got = CappedSeries("requests_seconds", ("name",), 10, make), []
    threads = [threading.Thread(target=lambda: got.append(series["one",])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got[0] is got[1]
    assert series.all() == got[:1]
