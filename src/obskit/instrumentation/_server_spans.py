"""Who makes the SERVER span of a request: obskit itself, or another whose span obskit's operation adopts.

Another's producer runs between the server and the app, and its span must be there before the operation begins and
outlive it. So an app that has one is observed in two places: a :class:`Front` before the producer, which keeps probes
and the app's life away from it, and an :class:`Adopting` behind it, which observes what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.trace.propagation import _SPAN_KEY

from obskit._asgi import SCOPE_KEY, ASGIApp, Receive, Scope, Send
from obskit._guard import contained
from obskit.instrumentation._exchange import Exchange
from obskit.instrumentation._frameworks import instrument
from obskit.instrumentation._websocket import Connection
from obskit.instrumentation.asgi import CONNECTIONS, MOUNTED_KEY, ObservedApp
from obskit.instrumentation.function import leave

A = TypeVar("A", bound=ObservedApp)

#: In the scope while a request is behind the producer: what the app has raised, or None.
_PASSED = "obskit.passed"
#: And until it is there: its headers, where the producer is not to see all of them.
_HEADERS = "obskit.headers"


class Observe(Protocol):
    """Makes an observed app."""

    def __call__(self, app: ASGIApp, routed_by: Any, kind: type[A], /) -> A:
        """Observe `app`; see :class:`ObservedApp`."""
        ...


class ServerSpans(Protocol):
    """One answer to who makes the SERVER spans."""

    def only_in_place(self, app: object) -> bool:
        """Whether `app` cannot be wrapped, since its spans are made inside of it."""
        ...

    def instrument(self, app: Any, observe: Observe) -> Callable[[], None]:
        """Observe an app of a known framework in place; the returned function undoes it."""
        ...

    def wrap(self, app: ASGIApp, observe: Observe) -> ASGIApp:
        """Any ASGI app, observed."""
        ...


class OwnSpans:
    """obskit makes them."""

    def only_in_place(self, app: object) -> bool:  # noqa: ARG002  (of the protocol)
        """No app needs to be."""
        return False

    def instrument(self, app: Any, observe: Observe) -> Callable[[], None]:
        """Observe an app of a known framework in place; the returned function undoes it."""
        return instrument(app, lambda call: observe(call, app, ObservedApp))

    def wrap(self, app: ASGIApp, observe: Observe) -> ASGIApp:
        """Any ASGI app, observed."""
        return observe(app, app, ObservedApp)


class Adopting(ObservedApp):
    """Observes what is behind a producer of SERVER spans."""

    adopts = True

    def _begin(self, scope: Scope, receive: Receive, send: Send) -> Exchange | Connection | None:
        if _HEADERS in scope:
            scope["headers"] = scope.pop(_HEADERS)
        return super()._begin(scope, receive, send)

    def _adopted(self) -> Span | None:
        # The front has left no span in the context: one that is there now is the producer's. A remote one is only
        # what came with the request, where the producer has made none.
        span = trace.get_current_span()
        ids = span.get_span_context()
        if ids.is_valid and not ids.is_remote:
            return span
        self._options.not_produced()
        return None


class Front(ObservedApp):
    """Stands before a producer of SERVER spans.

    Attributes:
        producer: called with each connection that is observed; its span is adopted by what :meth:`behind` makes.
    """

    producer: ASGIApp

    def behind(self, app: ASGIApp) -> Adopting:
        """What the producer is to call in the place of `app`."""
        return Adopting(app, self._pipeline, self._endpoints, self._lifecycle, self._options, routed_by=self._routed_by)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if not self._observes(scope):
            await self._unobserved(scope, receive, send)
            return
        if not self._inbound.trusts(scope.get("client")):  # which producers do not ask
            headers, names = scope["headers"], self._inbound.of_the_caller
            scope[_HEADERS] = headers
            scope["headers"] = [header for header in headers if header[0].lower() not in names]
        context = otel_context.get_current()
        # Producers take a span that is current for this request's: one of a caller in the same process is not.
        if MOUNTED_KEY not in scope or super()._adopted() is None:
            context = Context({key: context[key] for key in context if key != _SPAN_KEY})
        token = otel_context.attach(context)
        try:
            await self.producer(scope, receive, send)
        finally:
            leave(token)

    def _observes(self, scope: Scope) -> bool:
        if scope["type"] not in CONNECTIONS or SCOPE_KEY in scope:
            return False
        if not self._lifecycle.begun:
            self._begin_without_lifespan()
        return bool(self._pipeline.signals) and not self._is_endpoint(scope)


def around(call: ASGIApp, app: Any, observe: Observe, produce: Callable[[ASGIApp], ASGIApp], *hidden: str) -> Front:
    """An app, observed behind a middleware that is put around it, made when it is needed first.

    Args:
        call: the app's own call.
        app: the app, whose routes name the mounts.
        observe: makes observed apps.
        produce: see :class:`Produced`.
        *hidden: see there.
    """
    front = observe(call, app, Front)

    async def first(scope: Scope, receive: Receive, send: Send) -> None:
        front.producer = Produced(produce, front.behind(call), *hidden)
        await front.producer(scope, receive, send)

    front.producer = first
    return front


def middleware_options(app: Any, cls: type) -> dict[str, Any]:
    """How the user has configured the middleware `cls` of a Starlette app, which stands down for the one around it."""
    added = [each for each in getattr(app, "user_middleware", ()) if each.cls is cls]
    return dict(added[0].kwargs) if added else {}


class Produced:
    """A middleware of somebody else's that makes SERVER spans, between a front and what observes behind it.

    What the app raises goes around the middleware: the span has it already, as the operation's other signals do. Where
    the middleware fails by itself the app is served without.

    Args:
        produce: makes the middleware around an app.
        behind: what it is to call.
        *hidden: keys of the scope that the middleware is not to see when the app is done.

    Attributes:
        app: the middleware.
    """

    def __init__(self, produce: Callable[[ASGIApp], ASGIApp], behind: ASGIApp, *hidden: str) -> None:
        self.app = produce(self._pass)
        self._behind = behind
        self._hidden = hidden

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            if _PASSED in scope:
                raise
            contained("server_spans", error)
            await self._behind(scope, receive, send)
            return
        raised, seen = scope.pop(_PASSED, (None, {}))
        scope.update(seen)
        if raised is not None:
            try:
                raise raised
            finally:
                del raised  # no cycle through its traceback

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        raised = None
        scope[_PASSED] = (None, {})
        try:
            await self._behind(scope, receive, send)
        except BaseException as error:
            raised = error
        scope[_PASSED] = (raised, {key: scope.pop(key) for key in self._hidden if key in scope})
        del raised
