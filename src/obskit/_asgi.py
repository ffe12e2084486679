"""The types of ASGI (https://asgi.readthedocs.io/en/latest/specs/main.html), and what obskit puts in its scopes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: In the scope of every request that obskit observes: its operation. What finds one there leaves the request alone.
SCOPE_KEY: Final = "obskit"
#: In the scope of a request whose framework was made to tell it: the template of its route, below the root path.
ROUTE_KEY: Final = "obskit.route"


def path_below_root(scope: Scope) -> str:
    """The path that the app itself sees: without the root path at which the server says it is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path
