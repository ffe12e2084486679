"""Meters and instruments that libraries may keep as long as they like: each measures for the provider that is live."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import (
    CallbackT,
    NoOpCounter,
    NoOpHistogram,
    NoOpObservableCounter,
    NoOpObservableGauge,
    NoOpObservableUpDownCounter,
    NoOpUpDownCounter,
)
from opentelemetry.metrics._internal.instrument import NoOpGauge
from opentelemetry.util.types import Attributes

from obskit._guard import contained
from obskit._metric_names import OWN

Make = Callable[[metrics.MeterProvider], Any]
"""Makes an instrument of a provider's."""


class Provider(Protocol):
    """Knows which provider is live.

    Attributes:
        observables: how each observable instrument is made.
    """

    observables: dict[tuple[Any, ...], Make]

    def provider(self) -> metrics.MeterProvider | None:
        """The one that is live; None: nobody measures."""
        ...


class DelegatingMeter(metrics.Meter):
    """A meter by its name, version, schema and attributes; see the API's ``Meter`` for what it makes."""

    def __init__(self, provider: Provider, identity: tuple[Any, ...]) -> None:
        super().__init__(*identity[:3])
        self._provider = provider
        self._identity = identity

    def create_counter(self, name: str, unit: str = "", description: str = "") -> metrics.Counter:
        if not _measures(name, unit, description):
            return NoOpCounter(name, unit, description)
        return _Counter(self._live("create_counter", name, unit, description), name, unit, description)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> metrics.UpDownCounter:
        if not _measures(name, unit, description):
            return NoOpUpDownCounter(name, unit, description)
        return _UpDownCounter(self._live("create_up_down_counter", name, unit, description), name, unit, description)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> metrics._Gauge:
        if not _measures(name, unit, description):
            return NoOpGauge(name, unit, description)
        return _Gauge(self._live("create_gauge", name, unit, description), name, unit, description)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> metrics.Histogram:
        if not _measures(name, unit, description):
            return NoOpHistogram(name, unit, description)
        bounds = {"explicit_bucket_boundaries_advisory": explicit_bucket_boundaries_advisory}
        return _Histogram(self._live("create_histogram", name, unit, description, **bounds), name, unit, description)

    def create_observable_counter(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableCounter:
        self._observe("create_observable_counter", name, callbacks, unit, description)
        return NoOpObservableCounter(name, callbacks, unit, description)

    def create_observable_gauge(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableGauge:
        self._observe("create_observable_gauge", name, callbacks, unit, description)
        return NoOpObservableGauge(name, callbacks, unit, description)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> metrics.ObservableUpDownCounter:
        self._observe("create_observable_up_down_counter", name, callbacks, unit, description)
        return NoOpObservableUpDownCounter(name, callbacks, unit, description)

    def _maker(self, create: str, *given: Any, **more: Any) -> Make:
        def make(provider: metrics.MeterProvider) -> Any:
            return getattr(provider.get_meter(*self._identity), create)(*given, **more)

        return make

    def _live(self, create: str, name: str, unit: str, description: str, **more: Any) -> _Live:
        return _Live(self._provider, self._maker(create, name, unit, description, **more))

    def _observe(self, create: str, name: str, callbacks: Any, unit: str, description: str) -> None:
        if _measures(name, unit, description):
            make = self._maker(create, name, callbacks, unit, description)
            self._provider.observables[self._identity[:3], create, name] = make


class _Live:
    """The instrument of the provider that is live, made when it is needed first."""

    def __init__(self, provider: Provider, make: Make) -> None:
        self._provider = provider
        self._make = make
        self._made: tuple[metrics.MeterProvider | None, Any] = (None, None)

    def measure(self, method: str, *given: Any) -> None:
        """Call the instrument's `method`; contained, never raises."""
        try:
            instrument = self._instrument()
            if instrument is not None:
                getattr(instrument, method)(*given)
        except Exception as error:
            contained("metrics", error)

    def _instrument(self) -> Any:
        provider = self._provider.provider()
        made_for, instrument = self._made
        if provider is not made_for:
            instrument = None if provider is None else self._make(provider)
            self._made = (provider, instrument)
        return instrument


class _Counter(NoOpCounter):
    def __init__(self, live: _Live, name: str, unit: str, description: str) -> None:
        super().__init__(name, unit, description)
        self._live = live

    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self._live.measure("add", amount, attributes, context)


class _UpDownCounter(NoOpUpDownCounter):
    def __init__(self, live: _Live, name: str, unit: str, description: str) -> None:
        super().__init__(name, unit, description)
        self._live = live

    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self._live.measure("add", amount, attributes, context)


class _Histogram(NoOpHistogram):
    def __init__(self, live: _Live, name: str, unit: str, description: str) -> None:
        super().__init__(name, unit, description)
        self._live = live

    def record(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self._live.measure("record", amount, attributes, context)


class _Gauge(NoOpGauge):
    def __init__(self, live: _Live, name: str, unit: str, description: str) -> None:
        super().__init__(name, unit, description)
        self._live = live

    def set(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self._live.measure("set", amount, attributes, context)


def _measures(name: str, unit: str, description: str) -> bool:
    """Whether an instrument may measure: not what obskit measures itself, nor under a name that the API has not."""
    checked = metrics.Instrument._check_name_unit_description(name, unit, description)  # noqa: SLF001  (the API's rule)
    if checked["name"] is None or checked["unit"] is None:
        logging.getLogger("obskit").warning(
            "the instrument %r (unit %r) measures nothing: that is no name or no unit of OpenTelemetry's", name, unit
        )
        return False
    return name not in OWN
