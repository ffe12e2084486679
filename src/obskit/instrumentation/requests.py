"""Outbound calls by requests: what urllib3 sends for it, told apart from other calls by urllib3.

requests' ``Session.send`` is where one call of the application begins and ends, with the redirects that it follows and
the exception that the application gets. What goes over the wire is :mod:`obskit.instrumentation.urllib3`'s.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import requests

from obskit.instrumentation import urllib3
from obskit.instrumentation._outbound import Call, Outbound
from obskit.instrumentation._patch import replace


def instrument(outbound: Outbound) -> Callable[[], None]:
    """Observe every session of requests; returns a function that gives the libraries their own methods back."""
    urllib3.require()
    with ExitStack() as undo:
        undo.callback(replace(requests.Session, "send", _send))
        if not outbound.observes("urllib3"):
            undo.callback(urllib3.instrument(outbound, only_requests=True))
        return undo.pop_all().close


def observed() -> bool:
    """Every call of the library has its operation already."""
    return True


class _SessionCall(Call):
    """A call by one session, whose redirects come back to the same method."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session


def _send(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original, updated=())
    def send(session: Any, request: Any, **kwargs: Any) -> Any:
        under_way = urllib3.call.get()
        if isinstance(under_way, _SessionCall) and under_way.session is session:
            return original(session, request, **kwargs)
        asked = _SessionCall(session)
        token = urllib3.call.set(asked)
        try:
            return original(session, request, **kwargs)
        except BaseException as error:
            asked.settle(error)
            raise
        finally:
            urllib3.call.reset(token)
            asked.settle()

    return send
