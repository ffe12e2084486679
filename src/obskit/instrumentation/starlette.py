"""FastAPI and Starlette apps, observed in place.

Both frameworks run code of their own before any middleware, FastAPI its native telemetry; ``add_middleware`` and
``build_middleware_stack`` are inside of it. Python looks ``__call__`` up on the class, so the app's class is swapped
for a subclass whose ``__call__`` goes through obskit, and swapped back by the returned function.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry.trace import SpanKind

from obskit import semconv
from obskit._asgi import ASGIApp, Receive, Scope, Send
from obskit._pipeline import Pipeline
from obskit.instrumentation.asgi import SCOPE_KEY
from obskit.instrumentation.function import Running
from obskit.operation import Operation, current_operation

_CONTRIB_ASGI = "opentelemetry.instrumentation.asgi"
_BACKGROUND = "starlette.background"
_MARK = "__obskit__"


def can_instrument(app: Any) -> bool:
    """Whether `app` is a Starlette app or a subclass's, such as FastAPI."""
    applications = sys.modules.get("starlette.applications")
    return applications is not None and isinstance(app, applications.Starlette)


def is_instrumented(app: Any) -> bool:
    """Whether `app` is observed in place already."""
    return hasattr(type(app), _MARK)


def instrument(app: Any, observe: Callable[[ASGIApp], ASGIApp]) -> Callable[[], None]:
    """Put what `observe` makes of the app around it, in place; routes may still be added.

    Args:
        app: a Starlette or FastAPI app.
        observe: makes the observed app from the app's own call.

    Returns:
        A function that gives the app its class back.
    """
    cls = type(app)
    observed = observe(lambda scope, receive, send: cls.__call__(app, scope, receive, send))

    async def call(_self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        await observed(scope, receive, send)

    mark = object()
    body = {"__call__": call, "__module__": cls.__module__, "__doc__": cls.__doc__, _MARK: mark}
    app.__class__ = type(cls.__name__, (cls,), body)
    seen = weakref.ref(app)  # whoever may undo this keeps no app alive

    def restore() -> None:
        app = seen()
        if app is not None and vars(type(app)).get(_MARK) is mark:
            app.__class__ = cls

    return restore


class StandDown:
    """Has contrib's ASGI middleware, under FastAPI's and Starlette's instrumentors too, leave observed requests alone.

    It is inside of the app and would add a second span for the request, and one for each message. Requests of apps
    that obskit does not observe keep their span.
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
            await (self.app(scope, receive, send) if SCOPE_KEY in scope else original(self, scope, receive, send))

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
        if not pipeline.signals or current_operation().event != semconv.EVENT_HTTP_SERVER:
            await original(task)
            return
        name = getattr(task.func, "__qualname__", type(task.func).__qualname__)
        with Running(Operation(pipeline, semconv.EVENT_OPERATION, name, SpanKind.INTERNAL, fields={})):
            await bare(task)

    setattr(call, _MARK, pipeline)
    cls.__call__ = call

    def restore() -> None:
        if cls.__call__ is call:
            cls.__call__ = original

    return restore
