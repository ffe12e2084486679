"""What Quart tells of a request that it serves: the route, what went wrong below it, and work that goes on after it.

Quart turns exceptions into responses by itself. It sends a signal for one that no code of the application has handled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from quart import Quart, request, websocket
from quart.ctx import _BaseRequestWebsocketContext
from quart.signals import got_request_exception, got_websocket_exception

from obskit._asgi import ROUTE_KEY, SCOPE_KEY
from obskit._guard import contained
from obskit._pipeline import Pipeline
from obskit.instrumentation._patch import replace
from obskit.instrumentation.function import in_background


def instrument(pipeline: Pipeline) -> Callable[[], None]:
    """Have Quart tell of requests that obskit observes.

    Returns:
        A function that undoes it.
    """
    undo = ExitStack()
    undo.callback(replace(_BaseRequestWebsocketContext, "match_request", _telling_the_route))
    undo.callback(replace(Quart, "add_background_task", functools.partial(_observing_tasks, pipeline)))
    for signal, tell in ((got_request_exception, _tell_request), (got_websocket_exception, _tell_websocket)):
        signal.connect(tell, weak=False)
        undo.callback(signal.disconnect, tell)
    return undo.close


def routes_itself(app: Quart, path: str) -> bool:
    """Whether the app has a rule that is `path` itself; patterns that match it do not count."""
    return any(rule.rule == path for rule in app.url_map.iter_rules())


def _telling_the_route(match_request: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(match_request)
    def tell(self: Any) -> None:
        match_request(self)
        try:
            asked = self.request_websocket
            rule = asked.url_rule or _refused(self.url_adapter, asked.routing_exception)
            if rule is not None and SCOPE_KEY in asked.scope:
                asked.scope[ROUTE_KEY] = rule.rule
        except Exception as error:
            contained("asgi", error)

    return tell


def _refused(adapter: Any, error: Any) -> Any:
    """The rule that refuses a request for its method alone."""
    methods = getattr(error, "valid_methods", None)
    return adapter.match(method=next(iter(methods)), return_rule=True)[0] if methods else None


def _observing_tasks(pipeline: Pipeline, add_background_task: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(add_background_task)
    def add(self: Quart, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        async def observed() -> None:
            await in_background(pipeline, func, functools.partial(self.ensure_async(func), *args, **kwargs))

        add_background_task(self, observed)

    return add


# Signals run what is no coroutine function in a thread.
async def _tell_request(_app: Quart, *, exception: BaseException, **_signal: Any) -> None:
    _tell(request.scope, exception)


async def _tell_websocket(_app: Quart, *, exception: BaseException, **_signal: Any) -> None:
    _tell(websocket.scope, exception)


def _tell(scope: Any, exception: BaseException) -> None:
    op = scope.get(SCOPE_KEY)
    if op is not None and not op.ended:
        op.exception = exception
