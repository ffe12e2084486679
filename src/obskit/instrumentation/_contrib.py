"""SERVER spans by OpenTelemetry's contrib instrumentation: ``opentelemetry-instrumentation-asgi`` and ``-fastapi``.

https://opentelemetry-python-contrib.readthedocs.io/en/latest/instrumentation/asgi/asgi.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

from obskit._asgi import ASGIApp
from obskit.instrumentation._frameworks import instrument, is_fastapi
from obskit.instrumentation._server_spans import Front, Observe, around, middleware_options

NO_SPANS_OF_MESSAGES: list[Literal["receive", "send"]] = ["receive", "send"]


class ContribSpans:
    """Contrib's middleware makes them: FastAPI's instrumentor where the app is one, else the one for any ASGI app."""

    def only_in_place(self, app: object) -> bool:
        """Whether `app` is a FastAPI app: its instrumentor works inside of it."""
        return is_fastapi(app)

    def instrument(self, app: Any, observe: Observe) -> Callable[[], None]:
        """Observe an app of a known framework in place; the returned function undoes it."""
        if not is_fastapi(app):
            return instrument(app, lambda call: _around(call, app, observe))
        from obskit.instrumentation._contrib_fastapi import place  # noqa: PLC0415  (needs FastAPI)

        fronts: list[Front] = []

        def front(call: ASGIApp) -> ASGIApp:
            fronts.append(observe(call, app, Front))
            fronts[0].producer = call
            return fronts[0]

        restore_class = instrument(app, front)
        restore_stack = place(app, fronts[0].behind)

        def restore() -> None:
            restore_stack()
            restore_class()

        return restore

    def wrap(self, app: ASGIApp, observe: Observe) -> ASGIApp:
        """Any ASGI app, observed."""
        return _around(app, app, observe)


def _around(call: ASGIApp, app: Any, observe: Observe) -> Front:
    def produce(behind: ASGIApp) -> ASGIApp:
        options = middleware_options(app, OpenTelemetryMiddleware)
        if getattr(options.get("default_span_details"), "__module__", "").startswith("opentelemetry."):
            del options["default_span_details"]  # the instrumentor's own, which needs to be inside of the app
        middleware: ASGIApp = OpenTelemetryMiddleware(behind, **{**options, "exclude_spans": NO_SPANS_OF_MESSAGES})
        return middleware

    return around(call, app, observe, produce)
