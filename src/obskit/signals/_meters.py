"""The process's meter provider: OpenTelemetry lets it be set once, so what is set delegates to what is live.

The SDK's metrics are imported when somebody measures for the first time, and not before: instrumentations make
instruments at once, and most are never used.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Literal, Protocol

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.environment_variables import OTEL_PYTHON_METER_PROVIDER
from opentelemetry.metrics import (
    CallbackT,
    NoOpCounter,
    NoOpHistogram,
    NoOpMeter,
    NoOpObservableCounter,
    NoOpObservableGauge,
    NoOpObservableUpDownCounter,
    NoOpUpDownCounter,
)
from opentelemetry.metrics._internal import _ProxyMeterProvider
from opentelemetry.metrics._internal.instrument import NoOpGauge
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import Attributes

from obskit._guard import contained
from obskit._metric_names import OWN
from obskit._sdk import without_variables
from obskit.config import Config

#: FastAPI's native telemetry wakes up once a provider is set; obskit's own series say the same.
_NATIVE_FASTAPI = "fastapi"


Make = Callable[[metrics.MeterProvider], Any]
"""Makes an instrument of a provider's."""


class Readable(Protocol):
    """The SDK's side: a provider, and what its instruments have measured; see :mod:`obskit.signals._sdk_meters`."""

    provider: metrics.MeterProvider

    def scraped(self) -> Sequence[Any]:
        """The scopes' metrics for ``/metrics``."""
        ...

    def pushed(self) -> Sequence[Any]:
        """The scopes' metrics for OTLP."""
        ...

    def close(self) -> None:
        """Measure no more."""
        ...


class Meters:
    """The metrics that other libraries make by OpenTelemetry's API, from the first instrument on.

    Args:
        config: which readers there are, and what they prefer.
        resource: whose metrics they are.
    """

    def __init__(self, config: Config, resource: Resource) -> None:
        self._config = config
        self._resource = resource
        self._lock = threading.RLock()
        self._sdk: Readable | None = None

    def sdk(self) -> Readable:
        """The SDK's provider and readers, made when they are asked for first."""
        with self._lock:
            if self._sdk is None:
                module = importlib.import_module("obskit.signals._sdk_meters")
                self._sdk = module.SdkMeters(self._config, self._resource)
            return self._sdk

    @property
    def measured(self) -> bool:
        """Whether anybody has measured anything."""
        return self._sdk is not None

    def close(self) -> None:
        """Measure no more."""
        if self._sdk is not None:
            self._sdk.close()

    def renew(self) -> None:
        """Count from nothing: in a forked child, whose parent shows what was counted before."""
        self._lock = threading.RLock()
        self._sdk = None


class GlobalMeterProvider(metrics.MeterProvider):
    """What obskit sets as the global provider: its instruments measure for the live one, and for nobody once closed.

    Libraries may keep an instrument for as long as they like: it looks for what is live at each measurement.
    """

    def __init__(self) -> None:
        self.live: Meters | None = None
        #: How each observable instrument is made; a library that makes it again replaces it.
        self.observables: dict[tuple[Any, ...], Make] = {}
        self._observed: tuple[object, set[Make]] = (None, set())

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> metrics.Meter:
        """A meter whose instruments measure for whichever provider is live."""
        if name == _NATIVE_FASTAPI:
            return NoOpMeter(name)
        return _GlobalMeter(self, (name, version, schema_url, attributes))

    def provider(self) -> metrics.MeterProvider | None:
        """The SDK's provider that is live, with every observable instrument in it."""
        live = self.live
        if live is None:
            return None
        provider = live.sdk().provider
        if self._observed[0] is not provider:
            self._observed = (provider, set())
        observed = self._observed[1]
        for make in [each for each in self.observables.values() if each not in observed]:
            observed.add(make)
            make(provider)
        return provider

    def read(self, way: Literal["scraped", "pushed"]) -> Sequence[Any]:
        """The scopes' metrics for one of the two ways out; empty where nobody has measured anything."""
        live = self.live
        if live is None or (not self.observables and not live.measured):
            return ()
        self.provider()
        scopes: Sequence[Any] = getattr(live.sdk(), way)()
        return scopes

    def force_flush(self, timeout_millis: float = 30000) -> bool:  # noqa: ARG002  (as the SDK's)
        """Nothing is held back here."""
        return True

    def shutdown(self, timeout_millis: float = 30000) -> None:
        """Nothing: the handle's ``close()`` shuts down what is live."""


class _GlobalMeter(metrics.Meter):
    def __init__(self, provider: GlobalMeterProvider, identity: tuple[Any, ...]) -> None:
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

    def __init__(self, provider: GlobalMeterProvider, make: Make) -> None:
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


_global = GlobalMeterProvider()


def scraped() -> Sequence[Any]:
    """What other libraries have measured, for ``/metrics``."""
    return _global.read("scraped")


def pushed() -> Sequence[Any]:
    """What other libraries have measured, for OTLP."""
    return _global.read("pushed")


def foreign_meter_provider() -> metrics.MeterProvider | None:
    """The provider that somebody else has set for the process, if any."""
    try:
        provider = metrics.get_meter_provider()
    except Exception:  # the variable names a provider that is not installed
        value = os.environ.get(OTEL_PYTHON_METER_PROVIDER)
        logging.getLogger("obskit").warning(
            "%s=%r is ignored: there is no such provider; obskit sets its own", OTEL_PYTHON_METER_PROVIDER, value
        )
        return None
    return None if provider is _global or isinstance(provider, _ProxyMeterProvider) else provider


def make_live(meters: Meters, undo: ExitStack) -> None:
    """Make `meters` what the global provider measures for, until `undo` is closed; a foreign provider is kept."""
    if foreign_meter_provider() is not None:
        return
    _renew_in_children()
    with without_variables(OTEL_PYTHON_METER_PROVIDER):  # a provider that it names has been looked for
        if metrics.get_meter_provider() is not _global:
            metrics.set_meter_provider(_global)
    _global.live = meters
    undo.callback(meters.close)
    undo.callback(setattr, _global, "live", None)


@functools.cache
def _renew_in_children() -> None:
    """Once a process: what is registered at fork cannot be taken back."""

    def renew() -> None:
        if _global.live is not None:
            _global.live.renew()

    os.register_at_fork(after_in_child=renew)
