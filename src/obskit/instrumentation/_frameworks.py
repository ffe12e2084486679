"""Which frameworks are known, how an app of theirs is observed in place, and what each tells of its requests.

Frameworks run code of their own before any middleware (FastAPI its native telemetry). Python looks ``__call__`` up on
the class, so the app's class is swapped for a subclass whose ``__call__`` goes through obskit, and swapped back by the
returned function.
"""

from __future__ import annotations

import importlib
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from obskit._asgi import ASGIApp, Receive, Scope, Send
from obskit._pipeline import Pipeline

_MARK = "__obskit__"
_MAX_DEPTH = 16
#: Module and name of the class of a framework's apps; a FastAPI is a Starlette.
_APPS = {
    "starlette": ("starlette.applications", "Starlette"),
    "litestar": ("litestar.app", "Litestar"),
    "quart": ("quart.app", "Quart"),
    "django": ("django.core.handlers.asgi", "ASGIHandler"),
}
#: Those that obskit's module of the same name makes tell more of their requests.
_PATCHED = ("litestar", "quart", "django")
#: Those whose apps show no list of their routes.
_WITHOUT_ROUTES = ("quart", "django")


def can_instrument(app: Any) -> bool:
    """Whether `app` is one of a framework that is known, so that it can be observed in place."""
    return any(_is_of(framework, app) for framework in _APPS)


def is_starlette(app: Any) -> bool:
    """Whether `app` is a Starlette app, FastAPI's among them."""
    return _is_of("starlette", app)


def is_fastapi(app: Any) -> bool:
    """Whether `app` is a FastAPI app."""
    return _class_of(app, "fastapi.applications", "FastAPI") is not None


def _is_of(framework: str, app: Any) -> bool:
    return _class_of(app, *_APPS[framework]) is not None


def _class_of(app: Any, module: str, name: str) -> type[Any] | None:
    # By name: ``opentelemetry-instrument`` puts a subclass in the place of the class that apps are made of.
    return next((each for each in type(app).__mro__ if (each.__module__, each.__name__) == (module, name)), None)


def layers_of(app: Any) -> Iterator[Any]:
    """An app's middleware, from the outermost inwards, and what is in the middle of it."""
    for _ in range(_MAX_DEPTH):
        if app is None:
            return
        yield app
        app = getattr(app, "app", None)


def routes_itself(app: Any, path: str) -> bool:
    """Whether an app that shows no list of its routes has one whose template is `path` itself."""
    for framework in _WITHOUT_ROUTES:
        if _is_of(framework, app):
            module = importlib.import_module(f"obskit.instrumentation.{framework}")
            return bool(module.routes_itself(app, path))
    return False


def is_instrumented(app: Any) -> bool:
    """Whether `app` is observed in place already."""
    return hasattr(type(app), _MARK)


def instrument(
    app: Any, observe: Callable[[ASGIApp], ASGIApp], inside: Callable[[ASGIApp], ASGIApp] | None = None
) -> Callable[[], None]:
    """Put what `observe` makes of the app around it, in place; routes may still be added.

    Args:
        app: an app for which :func:`can_instrument` holds.
        observe: makes the observed app from the app's own call.
        inside: makes what stands between FastAPI's own call and Starlette's, from the latter.

    Returns:
        A function that gives the app its class back.
    """
    cls = type(app)
    observed = observe(lambda scope, receive, send: cls.__call__(app, scope, receive, send))

    async def call(_self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        await observed(scope, receive, send)

    mark = object()
    # Without slots of its own, the subclass has the layout of its base, which is what an object's class may become.
    body = {"__call__": call, "__module__": cls.__module__, "__doc__": cls.__doc__, "__slots__": (), _MARK: mark}
    app.__class__ = type(cls.__name__, (cls,) if inside is None else (cls, _between(app, inside)), body)
    seen = _reference(app)

    def restore() -> None:
        app = seen()
        if app is not None and vars(type(app)).get(_MARK) is mark:
            app.__class__ = cls

    return restore


def _between(app: Any, inside: Callable[[ASGIApp], ASGIApp]) -> type:
    """A base class that comes ahead of Starlette where FastAPI calls ``super()``."""
    base: Any = _class_of(app, *_APPS["starlette"])
    within = inside(lambda scope, receive, send: base.__call__(app, scope, receive, send))

    async def call(_self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await base.__call__(app, scope, receive, send)
        else:
            await within(scope, receive, send)

    return type(base.__name__, (base,), {"__call__": call, "__module__": base.__module__})


def _reference(app: Any) -> Callable[[], Any]:
    """The app, without keeping it alive where it lets that be (a Litestar does not)."""
    try:
        return weakref.ref(app)
    except TypeError:
        return lambda: app


class Frameworks:
    """What frameworks are made to tell of the requests they serve, as soon as the process has imported them.

    Args:
        pipeline: what operations pass through.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._restore: dict[str, Callable[[], None]] = {}

    def install(self) -> None:
        """Patch what has been imported by now; call again when more may have been."""
        for name in _PATCHED:
            if _APPS[name][0] in sys.modules and name not in self._restore:
                module = importlib.import_module(f"obskit.instrumentation.{name}")
                self._restore[name] = module.instrument(self._pipeline)

    def restore(self) -> None:
        """Give every framework its own methods back."""
        while self._restore:
            self._restore.popitem()[1]()
