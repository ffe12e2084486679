"""Outbound calls by httpx; see :mod:`obskit.instrumentation._httpx`."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from obskit.instrumentation import _httpx
from obskit.instrumentation._outbound import Outbound

observed = _httpx.observed


def instrument(outbound: Outbound) -> Callable[[], None]:
    """Observe every httpx client of the process; returns a function that gives httpx its own methods back."""
    return _httpx.instrument(outbound, httpx)
