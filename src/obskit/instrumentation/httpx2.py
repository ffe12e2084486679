"""Outbound calls by httpx2; see :mod:`obskit.instrumentation._httpx`."""

from __future__ import annotations

from collections.abc import Callable

import httpx2

from obskit.instrumentation import _httpx
from obskit.instrumentation._outbound import Outbound

observed = _httpx.observed


def instrument(outbound: Outbound) -> Callable[[], None]:
    """Observe every httpx2 client of the process; returns a function that gives httpx2 its own methods back."""
    return _httpx.instrument(outbound, httpx2)
