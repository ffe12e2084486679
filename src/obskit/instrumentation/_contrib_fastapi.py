"""``opentelemetry-instrumentation-fastapi``: its middleware is part of the app's own stack.

https://opentelemetry-python-contrib.readthedocs.io/en/latest/instrumentation/fastapi/fastapi.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from obskit._asgi import ASGIApp
from obskit.instrumentation._contrib import NO_SPANS_OF_MESSAGES
from obskit.instrumentation._server_spans import Produced

_INSTRUMENTED = "_is_instrumented_by_opentelemetry"
_BUILD = "build_middleware_stack"


def place(app: Any, behind: Callable[[ASGIApp], ASGIApp]) -> Callable[[], None]:
    """Have the app instrumented, and observed behind contrib's middleware; an app that is instrumented stays so.

    Args:
        app: a FastAPI app, observed in place already.
        behind: makes what observes, around the rest of the stack.

    Returns:
        A function that undoes it, without building the stack again: constructors of middleware may have effects.
    """
    before = vars(app).get(_BUILD)
    instruments = not getattr(app, _INSTRUMENTED, False)
    if instruments:
        FastAPIInstrumentor.instrument_app(app, exclude_spans=NO_SPANS_OF_MESSAGES)
        app.middleware_stack = None  # one that was built lacks the middleware
    build: Callable[[], Any] = app.build_middleware_stack
    placed: list[Callable[[], None]] = []

    def place_in(stack: Any) -> Any:
        stack, undo = _placed(stack, behind, keep=not instruments)
        placed.append(undo)
        return stack

    def build_and_place() -> Any:
        return place_in(build())

    app.build_middleware_stack = build_and_place
    if app.middleware_stack is not None:
        app.middleware_stack = place_in(app.middleware_stack)

    def restore() -> None:
        for undo in placed:
            undo()
        if vars(app).get(_BUILD) is build_and_place:
            app.build_middleware_stack = build
            if instruments:
                app._original_build_middleware_stack = lambda: app.middleware_stack  # noqa: SLF001  (contrib's name)
                FastAPIInstrumentor.uninstrument_app(app)
                del app.build_middleware_stack
            if before is not None:
                app.build_middleware_stack = before

    return restore


def _placed(stack: Any, behind: Callable[[ASGIApp], ASGIApp], *, keep: bool) -> tuple[Any, Callable[[], None]]:
    """Put what observes behind contrib's middleware in `stack`, or around it where contrib could not place its own.

    Returns:
        The stack, and a function that takes it out again, and contrib's middleware too unless `keep`.
    """
    outer = stack
    while outer is not None and not isinstance(getattr(outer, "app", None), OpenTelemetryMiddleware):
        outer = getattr(outer, "app", None)
    if outer is None:
        return behind(stack), lambda: None  # which passes everything on once obskit is closed
    middleware = outer.app
    rest, receive, send = middleware.app, middleware.exclude_receive_span, middleware.exclude_send_span

    def produce(passed: ASGIApp) -> ASGIApp:
        middleware.app = passed
        middleware.exclude_receive_span = middleware.exclude_send_span = True
        app: ASGIApp = middleware
        return app

    outer.app = Produced(produce, behind(rest))

    def undo() -> None:
        middleware.app, middleware.exclude_receive_span, middleware.exclude_send_span = rest, receive, send
        outer.app = middleware if keep else rest

    return stack, undo
