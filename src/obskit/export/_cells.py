"""Numbers in a file that outlive their process: what a worker has counted is safe the moment it is counted.

A file is append-only and made of records, each a key and some aligned 64-bit cells. Its owner maps it and writes the
cells in place, so that ``kill -9`` loses nothing and tears nothing: the kernel keeps the pages, and a cell is stored
as a whole. Any process may map it and read along, without a lock. A record is there once its length is, which is
written last.

Files grow by chunks of zeros that are written, not left as holes: where there is no room the write fails, while a hole
would end the process with SIGBUS at some later count.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

CHUNK = 256 * 1024
#: Bytes of a key that always fits, with its cells.
LONGEST_KEY = CHUNK // 2

#: Kinds of records: a histogram of obskit's, one value of a metric of prometheus_client's, a sample of a worker that
#: has ended, what is known of a family, the id of a worker whose numbers are part of this file.
HISTOGRAM, VALUE, SAMPLE, FAMILY, FOLDED = range(1, 6)

_HEADER = Struct("<qii")  # bytes of the record, kind, bytes of the key
_CELL = 8
_EXEMPLAR = Struct("<16s8sd")
_STAMP = _EXEMPLAR.size // _CELL
#: Cells of an exemplar: trace id, span id, value, and last the nanoseconds since the epoch, 0 while it is written.
EXEMPLAR_CELLS = _STAMP + 1
_ATTEMPTS = 3

Seen = tuple[str, str, float, int]
"""An exemplar: trace id, span id, value, nanoseconds since the epoch."""


class HistogramCells(NamedTuple):
    """Where a histogram's observations are kept."""

    counts: memoryview[int]
    sums: memoryview[float]
    exemplars: ExemplarCells


class ExemplarCells:
    """The exemplars of a histogram's buckets, in the place of a list.

    Args:
        memory: bytes, as many as the buckets' exemplars take.
    """

    __slots__ = ("_memory", "_stamps")

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._stamps = memory.cast("q")[_STAMP::EXEMPLAR_CELLS]

    def __setitem__(self, bucket: int, seen: Seen) -> None:
        trace_id, span_id, value, nanoseconds = seen
        self._stamps[bucket] = 0
        place = bucket * EXEMPLAR_CELLS * _CELL
        _EXEMPLAR.pack_into(self._memory, place, bytes.fromhex(trace_id), bytes.fromhex(span_id), value)
        self._stamps[bucket] = nanoseconds

    def __getitem__(self, bucket: int) -> Seen | None:
        for _ in range(_ATTEMPTS):  # its owner may be at it
            stamp = self._stamps[bucket]
            trace_id, span_id, value = _EXEMPLAR.unpack_from(self._memory, bucket * EXEMPLAR_CELLS * _CELL)
            if stamp and stamp == self._stamps[bucket]:
                return trace_id.hex(), span_id.hex(), value, stamp
        return None

    def stamps(self) -> list[int]:
        """When each was seen, in nanoseconds since the epoch; 0 where there is none."""
        return self._stamps.tolist()

    def copy(self) -> list[Seen | None]:
        """All of them, as a list would hold them."""
        return [self[bucket] for bucket in range(len(self._stamps))]


class CellFile:
    """A file of cells, for its one writer.

    Args:
        path: where; the file must not exist.

    Raises:
        OSError: it cannot be made, or there is no room.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._chunk = memoryview(b"")
        self._used = self._size = 0
        try:
            self._grow()
        except OSError:
            self.close()
            raise

    def histogram(self, key: bytes, buckets: int) -> HistogramCells:
        """Append a histogram; see :meth:`append` for what it raises."""
        memory = self.append(HISTOGRAM, key, (buckets + 1 + buckets * EXEMPLAR_CELLS) * _CELL)
        return histogram_cells(memory, buckets)

    def append(self, kind: int, key: bytes, size: int = 0) -> memoryview:
        """Append a record.

        Args:
            kind: one of this module's.
            key: what the record is of.
            size: bytes of its cells, a multiple of 8.

        Returns:
            The cells, all 0, for as long as the process lives.

        Raises:
            OSError: there is no room for it.
        """
        start = _HEADER.size + -(-len(key) // _CELL) * _CELL
        length = start + size
        if length > CHUNK:
            msg = f"a record of {length} bytes does not fit into a chunk"
            raise OSError(msg)
        if self._used + length > CHUNK:
            self._grow()
        record = self._chunk[self._used : self._used + length]
        record[_HEADER.size : _HEADER.size + len(key)] = key
        _HEADER.pack_into(record, 0, 0, kind, len(key))
        record.cast("q")[0] = length
        self._used += length
        return record[start:]

    def _grow(self) -> None:
        os.pwrite(self._descriptor, bytes(CHUNK), self._size)
        # Each chunk is a mapping of its own, so that cells stay where they are.
        self._chunk = memoryview(mmap.mmap(self._descriptor, CHUNK, offset=self._size))
        self._size += CHUNK
        self._used = 0

    def close(self) -> None:
        """Append no more; cells that were handed out stay."""
        os.close(self._descriptor)


def histogram_key(metric: str, bounds: Sequence[float], labels: str = "") -> bytes:
    """What a histogram's label set is known by; without `labels`, what the keys of all of them begin with.

    Bounds are part of it: what was counted in other buckets, before a reload say, cannot be added.
    """
    return f"{metric}\n{crc32(repr(tuple(bounds)).encode()):08x}\n{labels}".encode()


def histogram_cells(memory: memoryview, buckets: int) -> HistogramCells:
    """The parts of a histogram's cells."""
    counts, sums = buckets * _CELL, (buckets + 1) * _CELL
    return HistogramCells(memory[:counts].cast("q"), memory[counts:sums].cast("d"), ExemplarCells(memory[sums:]))


def buckets_of(memory: memoryview) -> int:
    """How many buckets the cells of a histogram are for."""
    return (len(memory) // _CELL - 1) // (1 + EXEMPLAR_CELLS)


def mapped(path: Path) -> memoryview:
    """A file of cells as it is and will be; empty where there is none."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size // CHUNK * CHUNK
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b"")
    except FileNotFoundError:
        return memoryview(b"")


def records(memory: memoryview) -> Iterator[tuple[int, bytes, memoryview]]:
    """The kind, the key and the cells of each record that is complete."""
    for chunk in range(0, len(memory), CHUNK):
        place, end = chunk, chunk + CHUNK
        while place + _HEADER.size <= end:
            length, kind, key_length = _HEADER.unpack_from(memory, place)
            start = place + _HEADER.size
            cells = start + -(-key_length // _CELL) * _CELL
            if length <= 0 or place + length > end or key_length < 0 or cells > place + length:
                break
            yield kind, bytes(memory[start : start + key_length]), memory[cells : place + length]
            place += length
