"""SERVER spans by the framework's own telemetry: FastAPI's, and Starlette's OpenTelemetryMiddleware.

https://fastapi.tiangolo.com/advanced/telemetry/ and https://www.starlette.io/middleware/
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

from obskit import semconv
from obskit._asgi import SCOPE_KEY, ASGIApp, Message, Receive, Scope, Send
from obskit._guard import contained
from obskit.instrumentation._frameworks import instrument, is_fastapi, is_starlette, layers_of
from obskit.instrumentation._server_spans import Front, Observe, OwnSpans, around, middleware_options
from obskit.instrumentation.asgi import FASTAPI_KEY

_FASTAPI = "fastapi.telemetry"
_STARLETTE = "starlette.middleware.opentelemetry"


class NativeSpans(OwnSpans):
    """The framework makes them. Where it cannot, obskit does, and says so once."""

    def __init__(self) -> None:
        self._said = False

    def only_in_place(self, app: object) -> bool:
        """Whether `app` is a FastAPI app: its telemetry works inside of it."""
        return is_fastapi(app)

    def instrument(self, app: Any, observe: Observe) -> Callable[[], None]:
        """Observe an app of a known framework in place; the returned function undoes it."""
        if is_fastapi(app) and importlib.util.find_spec(_FASTAPI):
            return _behind_fastapi(app, observe)
        if is_starlette(app) and importlib.util.find_spec(_STARLETTE):
            return instrument(app, lambda call: _behind_starlette(call, app, observe))
        self._say(app)
        return super().instrument(app, observe)

    def wrap(self, app: ASGIApp, observe: Observe) -> ASGIApp:
        """Any ASGI app, observed."""
        below = next(filter(is_starlette, layers_of(app)), None)
        if below is not None and importlib.util.find_spec(_STARLETTE):
            return _behind_starlette(app, below, observe)
        self._say(app)
        return super().wrap(app, observe)

    def _say(self, app: object) -> None:
        if not self._said:
            self._said = True
            logging.getLogger("obskit").warning(
                "server_spans=native, but %s has no telemetry of its own: obskit makes its SERVER spans",
                type(app).__name__,
            )


def _behind_starlette(call: ASGIApp, app: Any, observe: Observe) -> Front:
    """Starlette's middleware, around the whole app; where the user has added it, as they have configured it."""
    cls = importlib.import_module(_STARLETTE).OpenTelemetryMiddleware

    def produce(behind: ASGIApp) -> ASGIApp:
        middleware: ASGIApp = cls(behind, **middleware_options(app, cls))
        return middleware

    # By the route it would name the span anew, after its end, and by the raw path of what is mounted.
    return around(call, app, observe, produce, "route")


def _behind_fastapi(app: Any, observe: Observe) -> Callable[[], None]:
    front: Front

    def before(call: ASGIApp) -> Front:
        nonlocal front
        front = observe(call, app, Front)
        front.producer = call
        return front

    return instrument(app, before, lambda call: _agreeing(front.behind(call)))


def _agreeing(observed: ASGIApp) -> ASGIApp:
    """Have FastAPI, which writes its own idea of the route on the span last, write the operation's."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            _agree(scope)
            await send(message)

        try:
            await observed(scope, receive, told)
        finally:
            _agree(scope)

    return call


def _agree(scope: Scope) -> None:
    try:
        op, telemetry = scope.get(SCOPE_KEY), scope.get(FASTAPI_KEY)
        if op is not None and telemetry is not None and op.ended and semconv.HTTP_ROUTE in op.fields:
            telemetry.route = op.fields[semconv.HTTP_ROUTE]
    except Exception as error:
        contained("server_spans", error)
