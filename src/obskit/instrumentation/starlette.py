"""What stands beside obskit in FastAPI and Starlette apps: contrib's middleware, and background tasks."""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from obskit._asgi import SCOPE_KEY, Receive, Scope, Send
from obskit._pipeline import Pipeline
from obskit.instrumentation._frameworks import is_instrumented, layers_of
from obskit.instrumentation.asgi import ObservedApp
from obskit.instrumentation.function import in_background

_CONTRIB_ASGI = "opentelemetry.instrumentation.asgi"
_BACKGROUND = "starlette.background"
_MARK = "__obskit__"


def _is_observed(app: Any) -> bool:
    return any(isinstance(layer, ObservedApp) or is_instrumented(layer) for layer in layers_of(app))


class StandDown:
    """Has contrib's ASGI middleware, under FastAPI's and Starlette's instrumentors too, leave observed requests alone.

    Inside of the app, or put around it after obskit, it would add a second span for the request, and one for each
    message. Requests of apps that obskit does not observe keep their span.
    """

    def __init__(self) -> None:
        self._restore: Callable[[], None] | None = None

    def install(self) -> None:
        """Patch the middleware's class if it has been imported; call again when it may have been since."""
        module = sys.modules.get(_CONTRIB_ASGI)
        if module is None or self._restore is not None:
            return
        cls = module.OpenTelemetryMiddleware
        original = cls.__call__

        @functools.wraps(original)
        async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
            stands_down = SCOPE_KEY in scope or _is_observed(self.app)
            await (self.app if stands_down else functools.partial(original, self))(scope, receive, send)

        cls.__call__ = call

        def restore() -> None:
            if cls.__call__ is call:
                cls.__call__ = original

        self._restore = restore

    def restore(self) -> None:
        """Give the class its own method back."""
        if self._restore is not None:
            self._restore()
            self._restore = None


def instrument_background(pipeline: Pipeline) -> Callable[[], None] | None:
    """Make each Starlette background task an INTERNAL operation of the request's trace.

    May be called again, for a patch that somebody else has put over it since.
    Where contrib's instrumentor has put its own span around background tasks, the operation takes its place.

    Returns:
        A function that gives the class its own method back; None where there is nothing new to do.
    """
    module = sys.modules.get(_BACKGROUND)
    if module is None or getattr(module.BackgroundTask.__call__, _MARK, None) is pipeline:
        return None
    cls = module.BackgroundTask
    original: Callable[[Any], Awaitable[None]] = cls.__call__
    bare: Callable[[Any], Awaitable[None]] = getattr(cls, "_otel_original_call", original)

    @functools.wraps(original)
    async def call(task: Any) -> None:
        await in_background(pipeline, task.func, functools.partial(bare, task), functools.partial(original, task))

    setattr(call, _MARK, pipeline)
    cls.__call__ = call

    def restore() -> None:
        if cls.__call__ is call:
            cls.__call__ = original

    return restore
