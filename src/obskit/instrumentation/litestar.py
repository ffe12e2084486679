"""Litestar's background tasks. The rest it tells by itself: routes in the scope, exceptions while it answers them."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from litestar.background_tasks import BackgroundTask

from obskit._pipeline import Pipeline
from obskit.instrumentation._patch import replace
from obskit.instrumentation.function import in_background


def instrument(pipeline: Pipeline) -> Callable[[], None]:
    """Make each background task an INTERNAL operation of the request's trace.

    Returns:
        A function that undoes it.
    """

    def observing(call: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        @functools.wraps(call)
        async def observed(task: BackgroundTask) -> None:
            await in_background(pipeline, getattr(task.fn, "func", task.fn), functools.partial(call, task))

        return observed

    return replace(BackgroundTask, "__call__", observing)
