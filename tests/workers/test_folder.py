"""The folder of a group: workers come and go, what counted stays, and it is as small as the group."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from obskit.export import _folder
from obskit.export._cells import histogram_key
from obskit.export._folder import ALIVE, ALL, CELLS, OWN, Folder
from obskit.export._group import Group, pid_namespace
from obskit.export._snapshot import Family, packed
from obskit.export._values import value_key

BOUNDS = (1.0, 2.0)
LABELS = 'http_route="/a"'
GROUP = Group(f"workers-{pid_namespace()}-{os.getpid()}-0123456789abcdef", parent=os.getpid())


def worker(group=GROUP, *, observations=0, hits=0, said=(), most_series=100):
    """A worker that has joined and counted; it lives until `end` is called with it."""
    folder = Folder(group, most_series)
    cells = folder.join()
    if observations:
        kept = cells.histogram(histogram_key("took", BOUNDS, LABELS), 3)
        kept.counts[1] += observations
        kept.sums[0] += observations * 1.5
        kept.exemplars[1] = (f"{observations:032x}", "1" * 16, 1.5, observations)
    if hits:
        cells.append(_folder._cells.VALUE, value_key("hits", "hits_total", [], []), 8).cast("d")[0] += hits
    families = [Family("hits", "Hits.", "counter", "", "", True, []), *said]
    folder.write(ALL, packed(families))
    cells.close()
    return folder


def kill(folder):
    """As ``kill -9`` leaves it: the lock goes, the files stay."""
    folder.forget()


def shown(folder):
    """The sums that a scrape of this worker shows: the histogram's counts, sum, exemplar, and the counter."""
    merged = folder.merged()
    histogram = [series.read() for series in merged.histogram(histogram_key("took", BOUNDS))]
    hits = [sample.value for metric in merged.metrics() if metric.name == "hits" for sample in metric.samples]
    counts, total, exemplars = histogram[0] if histogram else ([0, 0, 0], 0.0, [None] * 3)
    return counts[1], total, exemplars[1] and int(exemplars[1][0], 16), sum(hits)


def names(folder):
    return sorted(path.name for path in folder.path.iterdir())


def test_any_worker_shows_the_sum(place):
    one, two = worker(observations=3, hits=1), worker(observations=4, hits=2)
    assert shown(one) == shown(two) == (7, 10.5, 4, 3)


def test_what_a_killed_worker_counted_stays_before_the_fold_and_after(place):
    one, two = worker(observations=3, hits=1), worker(observations=4, hits=2)
    kill(two)
    assert shown(one) == (7, 10.5, 4, 3)
    one.fold()
    assert shown(one) == (7, 10.5, 4, 3)
    assert [name for name in names(one) if not name.startswith(one.id)] == ["departed"]
    kill(one)
    three = worker(observations=1)
    assert shown(three) == (8, 12.0, 4, 3)


def test_a_fold_that_was_cut_short_counts_nothing_twice(place, tmp_path):
    one, two = worker(observations=3, hits=1), worker(observations=4, hits=2)
    kill(two)
    shutil.copytree(one.path, tmp_path / "before")
    one.fold()
    for suffix in (CELLS, ALL, ALIVE):  # as if it had been killed after it wrote `departed`
        shutil.copy(tmp_path / "before" / f"{two.id}{suffix}", one.path)
    assert shown(one) == (7, 10.5, 4, 3)
    one.fold()
    assert shown(one) == (7, 10.5, 4, 3)
    assert not [name for name in names(one) if name.startswith(two.id)]


def test_a_reader_that_began_before_a_fold_counts_nothing_twice(place, monkeypatch):
    one, two = worker(observations=3, hits=1), worker(observations=4, hits=2)
    kill(two)
    departed = Folder._departed

    def folded_meanwhile(self):
        monkeypatch.setattr(Folder, "_departed", departed)
        one.fold()
        return departed(self)

    monkeypatch.setattr(Folder, "_departed", folded_meanwhile)
    assert shown(one) == (7, 10.5, 4, 3)
    assert "departed" in names(one)


def test_what_is_left_of_a_worker_that_was_killed_while_it_joined_goes(place):
    one = worker()
    (one.path / ".123-abcd").touch()
    (one.path / "123-abcd.cells").touch()
    two = worker()
    assert {name.partition(".")[0] for name in names(one)} == {one.id, two.id}


@pytest.mark.parametrize("way", ["killed", "left"])
def test_two_hundred_generations_leave_no_more_than_one(place, way):
    one = worker(observations=1, hits=1)
    sizes = []
    for _ in range(200):
        next_one = worker(observations=1, hits=1)
        kill(next_one) if way == "killed" else next_one.leave()
        sizes.append(sum(path.stat().st_size for path in one.path.iterdir()))
    one.fold()
    assert shown(one)[0] == shown(one)[3] == 201
    assert len(names(one)) <= 5
    assert max(sizes[100:]) == max(sizes[:100])


def test_what_nobody_has_told_of_yet_counts_once_somebody_does(place):
    one = worker(hits=1)
    one.file(ALL).unlink()
    killed = worker(hits=2)
    killed.file(ALL).unlink()
    kill(killed)
    one.fold()
    assert shown(one)[3] == 0
    assert shown(worker())[3] == 3


def test_label_sets_of_ended_workers_are_bounded_and_their_sum_is_right(place):
    one = worker(most_series=10)
    for generation in range(5):
        folder = Folder(GROUP, 10)
        cells = folder.join()
        for number in range(4):
            labels = f'http_route="/{generation}\\"{number}",error_type=""'
            cells.histogram(histogram_key("took", BOUNDS, labels), 3).counts[0] += 1
        cells.close()
        kill(folder)
    one.fold()
    series = one.merged().histogram(histogram_key("took", BOUNDS))
    assert sum(sum(each.read()[0]) for each in series) == 20
    assert len(series) == 11
    assert {each.text for each in series} >= {'http_route="",error_type="",otel_metric_overflow="true"'}


def test_a_worker_does_not_wait_for_a_fold_that_hangs(place):
    one, two = worker(observations=3, hits=1), worker(observations=4, hits=2)
    kill(two)
    with one._locked():
        began = time.monotonic()
        two_more = Folder(GROUP, 100)
        two_more.id = one.id
        two_more.fold()
        assert time.monotonic() - began < 2
        assert shown(one) == (7, 10.5, 4, 3)


# -- groups side by side, and their ends ----------------------------------------------------------------------------


def ended_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def named(parent, namespace=None, digest="0" * 16):
    return Group(f"workers-{namespace or pid_namespace()}-{parent}-{digest}", parent=parent)


def test_groups_do_not_mix(place):
    one, other = worker(observations=3), worker(named(os.getpid(), digest="f" * 16), observations=4)
    assert (shown(one)[0], shown(other)[0]) == (3, 4)


def test_what_a_group_left_that_was_killed_whole_goes_with_the_next_start(place):
    left, alive = worker(named(ended_pid())), worker(named(ended_pid(), digest="a" * 16))
    parent_lives = worker(named(os.getpid(), digest="b" * 16))
    kill(left)
    kill(parent_lives)
    worker()
    assert (left.path.exists(), alive.path.exists(), parent_lives.path.exists()) == (False, True, True)


def test_another_containers_group_is_left_for_an_hour(place):
    fresh, old = worker(named(1, "ffffffff")), worker(named(2, "ffffffff"))
    kill(fresh)
    kill(old)
    os.utime(old.path, (0, time.time() - 4000))
    worker()
    assert (fresh.path.exists(), old.path.exists()) == (True, False)


def test_the_last_worker_of_a_named_group_takes_all_of_it_away(place):
    group = Group(f"named-{pid_namespace()}-0-0123456789abcdef")
    one, two = worker(group, observations=1), worker(group, observations=2)
    one.leave()
    assert shown(two)[0] == 3
    two.leave()
    assert not two.path.exists()


def test_a_named_group_that_was_killed_whole_begins_anew(place):
    group = Group(f"named-{pid_namespace()}-0-0123456789abcdef")
    kill(worker(group, observations=1))
    assert shown(worker(group, observations=5))[0] == 5


def test_the_folder_is_this_users_alone(place):
    one = worker()
    assert [path.stat().st_mode & 0o777 for path in (one.path.parent, one.path)] == [0o700, 0o700]


@pytest.mark.parametrize("trap", ["open to others", "a link", "a file"])
def test_a_place_that_is_not_this_users_alone_is_refused(place, trap):
    base = place / f"obskit-{os.getuid()}"
    if trap == "open to others":
        base.mkdir()
        base.chmod(0o755)
    elif trap == "a link":
        (place / "elsewhere").mkdir(mode=0o700)
        base.symlink_to(place / "elsewhere")
    else:
        base.touch()
    with pytest.raises(OSError, match="obskit-"):
        Folder(GROUP, 100)


def test_what_a_worker_said_last_may_be_missing_or_torn(place):
    one = worker(observations=3)
    one.file(ALL).write_bytes(b'[["hits", "Hi')
    assert not one.file(OWN).exists()
    assert shown(one)[:2] == (3, 4.5)


def test_one_worker_leads_for_life_and_another_takes_over(place):
    one, two = worker(), worker()
    assert (one.leads(), two.leads(), one.leads()) == (True, False, True)
    kill(one)
    assert two.leads()
    two.fold()
    assert "leader" in names(two)


def test_keys_too_long_to_be_kept_are_left_out_and_the_rest_is_kept(place):
    long = "x" * 200_000
    said = [
        Family("long", long, "counter", "", "", False, [("long_total", {}, 1.0, 0.0, None)]),
        Family("c", "C.", "counter", "", "", False, [("c_total", {"a": name}, 1.0, 0.0, None) for name in (long, "b")]),
        Family("g", "G.", "gauge", "", "", False, [("g", {}, 1.0, 0.0, None)]),
    ]
    one = worker()
    kill(worker(said=said))
    one.fold()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in one.merged().metrics()
        for sample in metric.samples
    }
    assert {key: value for key, value in found.items() if key[0] != "hits_total"} == {("c_total", "b"): 1}


def test_to_leave_twice_or_without_having_joined_is_nothing(place):
    one = Folder(GROUP, 100)
    one.leave()
    one = worker()
    one.leave()
    one.leave()
