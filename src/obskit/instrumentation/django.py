"""What Django tells of a request that its ASGI handler serves: the route, and what went wrong below it.

Django turns exceptions into responses by itself. It sends ``got_request_exception`` while it handles one that no code
of the application has turned into a response.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from django.core.handlers.base import BaseHandler
from django.core.signals import got_request_exception
from django.urls import Resolver404, resolve

from obskit._asgi import ROUTE_KEY, SCOPE_KEY
from obskit._guard import contained
from obskit._pipeline import Pipeline
from obskit.instrumentation._patch import replace


def instrument(pipeline: Pipeline) -> Callable[[], None]:  # noqa: ARG001  (as every framework's)
    """Have Django tell of requests that obskit observes.

    Returns:
        A function that undoes it.
    """
    undo = ExitStack()
    undo.callback(replace(BaseHandler, "resolve_request", _telling_the_route))
    got_request_exception.connect(_tell_exception, weak=False)
    undo.callback(got_request_exception.disconnect, _tell_exception)
    return undo.close


def routes_itself(_app: object, path: str) -> bool:
    """Whether the URL configuration has a route that is `path` itself; patterns that match it do not count."""
    try:
        return _template(str(resolve(path).route)) == path
    except Resolver404:
        return False


def _telling_the_route(resolve_request: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(resolve_request)
    def tell(self: BaseHandler, request: Any) -> Any:
        match = resolve_request(self, request)
        try:
            scope = getattr(request, "scope", None)
            if scope is not None and SCOPE_KEY in scope and match.route is not None:
                scope[ROUTE_KEY] = _template(str(match.route))
        except Exception as error:
            contained("asgi", error)
        return match

    return tell


def _template(route: str) -> str:
    """``items/<int:pk>/`` and ``^items/(?P<pk>[0-9]+)/$`` as a path: from the root, without what only anchors it."""
    return "/" + route.removeprefix("^").removesuffix("$").removesuffix(r"\Z").removeprefix("/")


def _tell_exception(*, request: Any = None, **_signal: Any) -> None:
    scope = getattr(request, "scope", None)
    op = scope.get(SCOPE_KEY) if scope is not None else None
    if op is not None and not op.ended:
        op.exception = sys.exception()
