"""Work off the event loop, in a thread of obskit's own.

The loop's default executor is the application's: when that is full of its work, a scrape or the last flush would wait
in line for as long as that takes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """What `function` returns or raises, called in a daemon thread that ends with it.

    Raises:
        RuntimeError: there is no asyncio loop, or no thread can be started.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():  # whoever waited has gone
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]  # without an error there is one
        else:
            done.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = function(*args)
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="obskit-work", daemon=True).start()
    return await done
