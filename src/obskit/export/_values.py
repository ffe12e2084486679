# ruff: noqa: SLF001  (prometheus_client has no public way to the values of its metrics)
"""The values of prometheus_client's metrics, kept where all workers can read them.

prometheus_client makes each value by ``values.ValueClass``. While a worker group is active that class is
:class:`SharedValue`, and the values that exist already are exchanged. A value stays what it is to its own process;
what it is raised by is written through to a cell as well.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

import orjson
from prometheus_client import Counter, Gauge, Summary, values
from prometheus_client import Histogram as UserHistogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.utils import floatToGoString

from obskit._guard import contained

_ATTRIBUTES = (("_value", ""), ("_sum", "_sum"), ("_count", "_count"))
#: Metrics whose values are written through: a count that is lost is never made good. A gauge is asked for.
COUNTING = (Counter, Summary, UserHistogram)
_COUNTING_TYPES = frozenset({"counter", "summary", "histogram"})


_number: Callable[[float], str] = floatToGoString


class Cells(Protocol):
    """Gives out cells."""

    def __call__(self, key: bytes) -> Any:
        """A mutable sequence of one float, the sum of what is added under `key`; None if there is none to be had."""
        ...


def has_its_own_files() -> bool:
    """Whether the user has chosen prometheus_client's multiprocess mode (``PROMETHEUS_MULTIPROC_DIR``)."""
    return bool(getattr(values.ValueClass, "_multiprocess", False))


def value_key(metric: str, sample: str, names: Sequence[str], label_values: Sequence[str]) -> bytes:
    """What the cell of a value is known by, the same in each worker."""
    return orjson.dumps([metric, sample, names, label_values])


class SharedValue:
    """A value as prometheus_client's metrics use it; see ``prometheus_client.values.MutexValue``.

    Attributes:
        timestamp: when a gauge of the mode ``mostrecent`` was set, in seconds since the epoch.
    """

    _multiprocess = False  # as prometheus_client means it: by its own files
    #: One for all: two values of one key share a cell. Re-entrant, since a finalizer may count too.
    _lock: ClassVar[threading.RLock] = threading.RLock()
    _cells: ClassVar[Cells | None] = None
    #: Whether any value ever had an exemplar: as a rule none has, and nobody need look.
    exemplars_seen: ClassVar[bool] = False
    _all: ClassVar[weakref.WeakSet[SharedValue]] = weakref.WeakSet()

    def __init__(  # noqa: PLR0913  (prometheus_client's signature)
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,  # noqa: ARG002  (the same)
        multiprocess_mode: str = "",  # noqa: ARG002  (the same)
    ) -> None:
        self._value = 0.0
        self._exemplar: Any = None
        self.timestamp = 0.0
        self._counts = typ in _COUNTING_TYPES
        self._identity = metric_name, name, labelnames, labelvalues
        self._cell: Any = self._shared_cell()
        self._all.add(self)

    def inc(self, amount: float) -> None:
        """Add `amount`."""
        with SharedValue._lock:
            self._value += amount
            if self._counts:
                if self._cell is None:
                    self._cell = self._shared_cell() or [0.0]
                self._cell[0] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Become `value`; what is counted is not taken back from the cell."""
        with SharedValue._lock:
            raised = value - self._value
            if self._counts and raised > 0:
                self.inc(raised)
            self._value = value
            self.timestamp = timestamp or 0.0

    def set_exemplar(self, exemplar: object) -> None:
        """Remember the exemplar."""
        SharedValue.exemplars_seen = True
        self._exemplar = exemplar

    def get(self) -> float:
        """What this process made of it."""
        return self._value

    def get_exemplar(self) -> object:
        """The last exemplar, None if there was none."""
        return self._exemplar

    def _shared_cell(self) -> Any:
        cells = SharedValue._cells
        if cells is None or not self._counts:
            return None
        try:
            return cells(value_key(*self._identity))
        except Exception as error:
            contained("workers", error)
            return None

    @classmethod
    def keep_in(cls, cells: Cells | None) -> None:
        """Have cells from there from now on, or none."""
        cls._cells = cells

    @classmethod
    def join(cls) -> None:
        """There are cells now, which there were not before: what has counted nothing yet is to be seen as well."""
        for value in list(cls._all):
            if value._cell is None:  # no lock: whoever counts meanwhile gets the same cell
                value._cell = value._shared_cell()

    @classmethod
    def renew(cls) -> None:
        """In a forked child: no lock is held, nothing is counted yet, no cell is the parent's."""
        cls._lock = threading.RLock()
        for value in list(cls._all):
            value._cell = None
            value._exemplar = None
            if value._counts:
                value._value = 0.0


def share(collectors: Iterable[object], cells: Cells) -> Callable[[Iterable[object]], None]:
    """Keep the values of prometheus_client's metrics in `cells`: those of `collectors`, and all made from now on.

    Returns:
        A function that gives the class, and the values of the collectors it is called with, their place back.
    """
    before: Any = values.ValueClass
    SharedValue.keep_in(cells)
    values.ValueClass = SharedValue
    for collector in collectors:
        adopt(collector)

    def restore(collectors: Iterable[object]) -> None:
        if values.ValueClass is SharedValue:
            values.ValueClass = before
        SharedValue.keep_in(None)
        for collector in collectors:
            _exchange(collector, SharedValue, before)

    return restore


def adopt(collector: object) -> None:
    """Exchange the values of a metric that were made before; what they have counted is counted."""
    _exchange(collector, values.MutexValue, SharedValue)


def children(metric: MetricWrapperBase) -> Iterator[Any]:
    """The metrics that have values: `metric` itself, or one for each of its label sets."""
    if metric._labelnames and not metric._labelvalues:
        with metric._lock:
            yield from list(metric._metrics.values())
    else:
        yield metric


def renew_locks(collector: object) -> None:
    """In a forked child: no lock of the metric is held by a thread that was left behind."""
    if isinstance(collector, MetricWrapperBase) and hasattr(collector, "_lock"):
        collector._lock = threading.Lock()


def _exchange(collector: object, old: type[Any], new: type[Any]) -> None:
    if not isinstance(collector, (*COUNTING, Gauge)):
        return
    with SharedValue._lock:  # one thread at a time: of two that exchange a value, one would lose what it counted
        for child in children(collector):
            _exchange_of(child, old, new)


def _exchange_of(child: Any, old: type[Any], new: type[Any]) -> None:
    for attribute, suffix in _ATTRIBUTES:
        value = getattr(child, attribute, None)
        if type(value) is old:
            full = suffix if suffix or isinstance(child, Gauge) else "_total"
            setattr(child, attribute, _converted(value, new, child, full, ()))
    buckets: Any = getattr(child, "_buckets", ())
    for index, value in enumerate(buckets):
        if type(value) is old:
            bound = _number(child._upper_bounds[index])
            buckets[index] = _converted(value, new, child, "_bucket", (bound,))


def _converted(value: Any, new: type[Any], child: Any, suffix: str, bound: tuple[str, ...]) -> Any:
    names = child._labelnames + (("le",) if bound else ())
    name = child._name
    made = new(child._type, name, name + suffix, names, child._labelvalues + bound, "")
    with value._lock:
        made.set(value._value)
        made._exemplar = value._exemplar
    if value._exemplar is not None:
        SharedValue.exemplars_seen = True
    return made
