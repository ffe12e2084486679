"""`http.route` of a request that a framework has routed: whole, with mounts, and never a raw path.

FastAPI and Starlette leave the route in the scope, Litestar the template; Quart and Django are made to tell it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from obskit import semconv
from obskit._asgi import ROUTE_KEY
from obskit._guard import contained
from obskit.instrumentation._frameworks import layers_of, routes_itself
from obskit.operation import Operation

_METHOD_NAMES = semconv.KNOWN_METHODS | {semconv.METHOD_OTHER_SPAN_NAME}
_MOUNT_SUFFIX = "/{path}"
_MAX_DEPTH = 16
# In the scope of a request that Litestar has routed: the template.
_LITESTAR_KEY = "path_template"


def routes_of(app: Any) -> Sequence[Any] | None:
    """The routes of an app, found through the middleware around it; None where there is no router to be seen."""
    for inner in layers_of(app):
        routes = getattr(inner, "routes", None)
        if isinstance(routes, Sequence):
            return routes
    return None


def mounted_at(scope: Mapping[str, Any]) -> str | None:
    """Where the app that is about to be called is mounted in one that is not observed; None where it is in none."""
    return scope.get("root_path", "") if "app_root_path" in scope else None


def name_by_route(op: Operation, scope: Mapping[str, Any], app: Any, root: str | None) -> None:
    """Give an operation the route that its request took, once that is known.

    Args:
        op: an operation whose name is its method; a name that the user gave it stays.
        scope: the ASGI scope after the app has routed it.
        app: the observed app.
        root: where the observed app itself is mounted in another one; None where it is not.
    """
    try:
        route = route_template(scope, app, root)
    except Exception as error:
        contained("asgi", error)
        return
    if route is not None:
        op.fields[semconv.HTTP_ROUTE] = route
        if op.name in _METHOD_NAMES:
            op.name = f"{op.name} {route}"


def route_template(scope: Mapping[str, Any], app: Any, root: str | None = None) -> str | None:
    """The template that a request was routed by, such as ``/tenants/{tenant}/items``, below the server's root path.

    Args:
        scope: the ASGI scope after the app has routed it.
        app: the observed app, whose routes name the mounts that lie on the way.
        root: where the observed app itself is mounted in another one; None where it is not.
    """
    if root is None:
        root = scope.get("app_root_path", scope.get("root_path", ""))
    route = scope.get("route")
    if hasattr(route, "endpoint"):
        template = _template_of(route, scope)
    elif ROUTE_KEY in scope or _LITESTAR_KEY in scope:
        template = scope.get(ROUTE_KEY)
    else:
        return _by_the_routes(scope, app, root)
    if _LITESTAR_KEY in scope:
        template = _by_litestar(scope, template)
    if template is None or scope.get("root_path", "") == root:
        return template
    prefix = _mounts(scope, routes_of(app), root)
    return None if prefix is None else prefix + template


def _by_the_routes(scope: Mapping[str, Any], app: Any, root: str) -> str | None:
    """What the router has matched, or would have, where it has left no trace in the scope.

    It leaves none where it has matched an app that is mounted, where a middleware has handed it a copy of the scope,
    and where one has answered in its stead.
    """
    routes = routes_of(app)
    if routes is None or ("router" in scope and "endpoint" not in scope):  # nothing is known, or nothing matched
        return None
    path = _path_below(scope, root)
    return _search(routes, path, _takes_method(scope)) or _search(routes, path, lambda _route: True)


def _takes_method(scope: Mapping[str, Any]) -> Callable[[Any], bool]:
    method = scope.get("method")
    return lambda route: method in (getattr(route, "methods", None) or (method,))


def _template_of(route: Any, scope: Mapping[str, Any]) -> str | None:
    # A router that FastAPI has included elsewhere keeps its own short path; the whole one is with the match.
    fastapi = scope.get("fastapi")
    if fastapi:
        effective = fastapi.get("effective_route_context")
        if effective is not None and effective.original_route is route:
            return effective.path_format  # type: ignore[no-any-return]
    return getattr(route, "path_format", None)


def _by_litestar(scope: Mapping[str, Any], below: str | None) -> str | None:
    """What Litestar routed by; `below` is the template of an app that is mounted in it, where that one tells."""
    handler = scope["route_handler"]
    if not getattr(handler, "is_mount", False):
        return scope[_LITESTAR_KEY]  # type: ignore[no-any-return]
    mounts = [route for route in scope["litestar_app"].routes if getattr(route, "route_handler", None) is handler]
    return mounts[0].path_format + (below or _MOUNT_SUFFIX) if len(mounts) == 1 else None


def _path_below(scope: Mapping[str, Any], root: str) -> str:
    path: str = scope["path"]
    mounted: str = scope.get("root_path", "")
    if not path.startswith(mounted):  # Litestar leaves there what it made of it
        path = mounted + path
    return path[len(root) :] if root and path.startswith(root) else path


def _mounts(scope: Mapping[str, Any], routes: Sequence[Any] | None, root: str) -> str | None:
    """The templates of the mounts between the observed app and the one that routed the request."""
    concrete: str = scope["root_path"][len(root) :]
    path = _path_below(scope, root)
    prefix = ""
    while concrete:
        step = _mount_step(routes or (), path, concrete)
        if step is None:
            return None
        mount, rest = step
        prefix += mount.path_format[: -len(_MOUNT_SUFFIX)]
        concrete = concrete[len(path) - len(rest) :]
        path, routes = rest, routes_of(mount.app)
    return prefix


def _mount_step(routes: Sequence[Any], path: str, concrete: str) -> tuple[Any, str] | None:
    for route in _flat(routes):
        rest = _rest_below(route, path)
        if rest is not None and concrete.startswith(path[: len(path) - len(rest)]):
            return route, rest
    return None


def _rest_below(route: Any, path: str) -> str | None:
    """What of `path` a mount passes on, or None where `route` is no mount or does not match."""
    if not hasattr(route, "app") or not str(getattr(route, "path_format", "")).endswith(_MOUNT_SUFFIX):
        return None
    regex = getattr(route, "path_regex", None)  # Litestar's routes have none
    match = None if regex is None else regex.match(path)
    return None if match is None else "/" + match.group("path")


def _flat(routes: Sequence[Any]) -> list[Any]:
    """Routes with those of FastAPI's included routers in their place, and Starlette's host routers opened."""
    flat: list[Any] = []
    for route in routes:
        included = getattr(route, "effective_candidates", None)
        if callable(included):
            flat += _flat([getattr(candidate, "starlette_route", None) or candidate for candidate in included()])
        elif hasattr(route, "host_regex"):
            flat += _flat(routes_of(route.app) or ())
        else:
            flat.append(route)
    return flat


def _search(routes: Sequence[Any], path: str, takes: Callable[[Any], bool], depth: int = 0) -> str | None:
    """Match `path` as the routers did, among the routes that `takes` lets pass."""
    for route in _flat(routes):
        rest = _rest_below(route, path)
        if rest is not None:
            inner = routes_of(route.app)
            if inner is None:  # an app without a router: all below the mount is one route
                return route.path_format  # type: ignore[no-any-return]
            below = _search(inner, rest, takes, depth + 1) if depth < _MAX_DEPTH else None
            return None if below is None else route.path_format[: -len(_MOUNT_SUFFIX)] + below
        regex = getattr(route, "path_regex", None)
        if hasattr(route, "endpoint") and regex is not None and regex.match(path) and takes(route):
            return route.path_format  # type: ignore[no-any-return]
    return None


def routes_exactly(app: Any, path: str) -> bool:
    """Whether the app has a route whose template is `path` itself, or mounts an app there.

    Patterns that merely match it do not count.
    """
    routes = routes_of(app)
    if routes is None:
        return any(routes_itself(inner, path) for inner in layers_of(app))
    for route in _flat(routes):
        rest = _rest_below(route, path)
        if rest is None:
            template = path + _MOUNT_SUFFIX if hasattr(route, "routes") else path
            if getattr(route, "path_format", None) == template:
                return True
        elif routes_exactly(route.app, rest):
            return True
    return False
