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
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Literal, Protocol

from opentelemetry import metrics
from opentelemetry.environment_variables import OTEL_PYTHON_METER_PROVIDER
from opentelemetry.metrics import (
    NoOpMeter,
)
from opentelemetry.metrics._internal import _ProxyMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.util.types import Attributes

from obskit._sdk import without_variables
from obskit.config import Config
from obskit.signals._instruments import DelegatingMeter, Make

#: FastAPI's native telemetry wakes up once a provider is set; obskit's own series say the same.
_NATIVE_FASTAPI = "fastapi"


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
        return DelegatingMeter(self, (name, version, schema_url, attributes))

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
