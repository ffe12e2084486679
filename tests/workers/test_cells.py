"""Cells: what is counted can be read by any process the moment it is counted, and nothing in a file can mislead."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.export import _cells
from obskit.export._cells import CHUNK, VALUE, CellFile, buckets_of, histogram_cells, histogram_key, mapped, records

SEEN = ("ab" * 16, "cd" * 8, 0.25, 1_700_000_000_000_000_001)


@pytest.fixture
def file(tmp_path):
    made = CellFile(tmp_path / "cells")
    yield made
    made.close()


def read(tmp_path):
    return [(kind, key) for kind, key, _ in records(mapped(tmp_path / "cells"))]


def test_what_is_written_in_place_is_read_at_once(tmp_path, file):
    before = mapped(tmp_path / "cells")
    cells = file.histogram(b"key", 3)
    cells.counts[1] += 1
    cells.sums[0] += 0.25
    cells.exemplars[1] = SEEN
    [(kind, key, memory)] = records(before)
    seen = histogram_cells(memory, buckets_of(memory))
    assert (kind, key) == (_cells.HISTOGRAM, b"key")
    assert ([*seen.counts], [*seen.sums], seen.exemplars.copy()) == ([0, 1, 0], [0.25], [None, SEEN, None])


def test_cells_stay_where_they_are_while_the_file_grows(tmp_path, file):
    first = file.append(VALUE, b"first", 8).cast("d")
    keys = [b"%d" % number * 1000 for number in range(300)]
    for key in keys:
        file.append(VALUE, key, 8)
    first[0] = 7
    found = list(records(mapped(tmp_path / "cells")))
    assert [key for _, key, _ in found] == [b"first", *keys]
    assert found[0][2].cast("d")[0] == 7
    assert (tmp_path / "cells").stat().st_size > CHUNK


@given(st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 40)), max_size=30))
def test_any_key_comes_back(tmp_path_factory, wanted):
    path = tmp_path_factory.mktemp("cells")
    file = CellFile(path / "cells")
    for key, cells in wanted:
        file.append(VALUE, key, cells * 8)
    file.close()
    found = [(key, len(memory)) for _, key, memory in records(mapped(path / "cells"))]
    assert found == [(key, cells * 8) for key, cells in wanted]


@given(st.binary(max_size=200))
def test_a_file_of_anything_is_read_without_an_error(data):
    memory = memoryview(data.ljust(CHUNK, b"\0"))
    for _, key, cells in records(memory):
        assert len(key) + len(cells) <= CHUNK


def test_a_record_that_is_not_complete_is_not_there(tmp_path, file):
    file.append(VALUE, b"whole", 8)
    cells = file.append(VALUE, b"torn", 8)
    with (tmp_path / "cells").open("r+b") as raw:  # as if its writer had been killed before it wrote the length
        raw.seek(cells.obj and 16 + 8 + 8)
        raw.write(struct.pack("<q", 0))
    assert read(tmp_path) == [(VALUE, b"whole")]


def test_an_exemplar_is_not_shown_while_it_is_written(file):
    exemplars = file.histogram(b"key", 1).exemplars
    exemplars[0] = SEEN
    exemplars._stamps[0] = 0
    assert exemplars.copy() == [None]


def test_a_record_larger_than_a_chunk_is_refused_and_harms_nothing(tmp_path, file):
    with pytest.raises(OSError, match="does not fit"):
        file.append(VALUE, b"k" * CHUNK, 8)
    file.append(VALUE, b"next", 8)
    assert read(tmp_path) == [(VALUE, b"next")]


def test_a_file_that_has_gone_is_empty(tmp_path):
    assert list(records(mapped(tmp_path / "none"))) == []


def test_other_bounds_are_another_key():
    assert histogram_key("m", (1.0, 2.0)) != histogram_key("m", (1.0, 3.0))
    assert histogram_key("m", (1.0,), 'a="b"').startswith(histogram_key("m", (1.0,)))


def test_files_are_the_users_alone_and_made_once(tmp_path, file):
    assert (tmp_path / "cells").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        CellFile(tmp_path / "cells")
