"""What ended workers have counted, in one file: it reads as the cells of a single worker that has ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

import orjson

from obskit.export._cells import FAMILY, FOLDED, LONGEST_KEY, SAMPLE, VALUE, CellFile, records
from obskit.export._merge import Merged, MergedHistogram, exact
from obskit.export._values import value_key
from obskit.semconv import LABEL_OVERFLOW

#: Values of one metric of the user's that are kept; it is the user who decides how many there are.
_MOST_VALUES = 20_000
_LABEL_VALUE = re.compile(rb'="(?:[^"\\]|\\.)*"')


def write_departed(file: CellFile, merged: Merged, folded: Sequence[str], most_series: int) -> None:
    """Write what counts, so that it reads as one worker that has ended."""
    for worker in folded:  # first, where readers look for them
        file.append(FOLDED, worker.encode())
    _write_histograms(file, merged, most_series)
    for key, parts in list(merged.unknown.items())[:_MOST_VALUES]:
        _write_value(file, VALUE, key, parts)
    for family in merged.families.values():
        if not family.adds_up:
            continue
        head = orjson.dumps([*family.head[:6]])
        if len(head) >= LONGEST_KEY:
            continue
        file.append(FAMILY, head)
        for kind, values in ((VALUE, family.cells), (SAMPLE, family.sums)):
            for (name, labels), parts in list(values.items())[:_MOST_VALUES]:
                names, label_values = [list(part) for part in zip(*labels, strict=True)] or ([], [])
                key = value_key(family.head.name, name, names, label_values)
                if len(key) < LONGEST_KEY:
                    _write_value(file, kind, key, parts)


def _write_value(file: CellFile, kind: int, key: bytes, parts: list[float]) -> None:
    for part in exact(parts):
        file.append(kind, key, 8).cast("d")[0] = part


def _write_histograms(file: CellFile, merged: Merged, most_series: int) -> None:
    written: dict[bytes, int] = {}
    overflows: dict[bytes, MergedHistogram] = {}
    for key, series in merged.histograms().items():
        family, _, labels = key.rpartition(b"\n")
        written[family] = written.get(family, 0) + 1
        if written[family] <= most_series:
            _write_histogram(file, key, series)
        else:
            overflow = family + b"\n" + _overflow_labels(labels)
            overflows.setdefault(overflow, MergedHistogram("", len(series.counts))).add(series)
    for key, series in overflows.items():
        _write_histogram(file, key, series)


def _write_histogram(file: CellFile, key: bytes, series: MergedHistogram) -> None:
    counts, _, exemplars = series.read()
    *rest, largest = exact(series.sums)
    cells = file.histogram(key, len(counts))
    cells.sums[0] = largest
    for part in rest:
        file.histogram(key, len(counts)).sums[0] = part
    for bucket, (count, seen) in enumerate(zip(counts, exemplars, strict=True)):
        cells.counts[bucket] = count
        if seen is not None:
            cells.exemplars[bucket] = seen


def _overflow_labels(labels: bytes) -> bytes:
    if LABEL_OVERFLOW.encode() in labels:
        return labels
    return _LABEL_VALUE.sub(b'=""', labels) + f',{LABEL_OVERFLOW}="true"'.encode()


def folded_in(departed: memoryview) -> list[str]:
    """The workers that are part of ``departed``, the last first."""
    return [key.decode() for _, key, _ in takewhile(lambda record: record[0] == FOLDED, records(departed))]
