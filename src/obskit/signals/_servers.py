"""The servers' own logging: their loggers, what sets these up after obskit, and what their access records hold."""

from __future__ import annotations

import copy
import functools
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final

from obskit import semconv
from obskit.signals._encoding import text_of

ERROR: Final = ("uvicorn", "uvicorn.error", "gunicorn.error", "hypercorn.error", "_granian")
ACCESS: Final = ("uvicorn.access", "gunicorn.access", "hypercorn.access", "granian.access")
#: Granian's Rust code logs under names below its own.
_GRANIAN: Final = "_granian."

_ACCESS_NAMES: Final = frozenset(ACCESS)
#: Who reports an exception that an app let out, Django's handler among them.
_REPORTING: Final = frozenset({*ERROR, "django.request"})
#: Quart's logger has the name of the app, which logs there too.
_QUARTS_REPORT: Final = (f"quart{os.sep}app.py", "log_exception")
#: What access records hold: client, method, target, version of the protocol, status. uvicorn gives them in this order.
_IN_ORDER: Final = 5
_BY_NAME: Final = (("h", "m", "U", "H", "s"), ("addr", "method", "path", "protocol", "status"))
#: Whose client has its port with it.
_WITH_PORT: Final = frozenset({"uvicorn.access", "hypercorn.access"})


def is_access(logger: str) -> bool:
    """Whether a server writes a line for each request to this logger."""
    return logger in _ACCESS_NAMES


def raised(record: logging.LogRecord) -> Any:
    """The app's exception that a server or framework reports by `record`, as such or as ``exc_info``; or nothing."""
    if record.exc_info:
        return record.exc_info if record.name in _REPORTING or _is_quarts(record) else None
    if record.levelno >= logging.ERROR and text_of(record.name).startswith(_GRANIAN):
        return sys.exception()  # logged from where it is handled
    return None


def _is_quarts(record: logging.LogRecord) -> bool:
    file, function = _QUARTS_REPORT
    return record.funcName == function and record.pathname.endswith(file)


def without_stacktrace(message: str) -> str:
    """Granian's message, which has the stack trace written out in it."""
    return message.partition("\nTraceback (most recent call last)")[0]


def access(record: logging.LogRecord, message: str) -> tuple[str, dict[Any, Any]]:
    """Message and fields of an access record; `message` alone where it holds something else."""
    args: Any = record.args
    if isinstance(args, Mapping):
        names = next((each for each in _BY_NAME if all(name in args for name in each)), ())
        args = tuple(args[name] for name in names)
    if not isinstance(args, tuple) or len(args) != _IN_ORDER:
        return message, {}
    client, method, target, version, status = args
    path = text_of(target).partition("?")[0]
    address = text_of(client)
    code = text_of(status)
    return f"{method} {path} {status}", {
        semconv.CLIENT_ADDRESS: address.rpartition(":")[0] if record.name in _WITH_PORT else address,
        semconv.HTTP_REQUEST_METHOD: method,
        semconv.URL_PATH: path,
        semconv.NETWORK_PROTOCOL_VERSION: text_of(version).removeprefix("HTTP/"),
        semconv.HTTP_RESPONSE_STATUS_CODE: int(code) if code.isdecimal() else status,
    }


def preset_uvicorn(undo: ExitStack) -> None:
    """Have uvicorn, where it is imported, configure no handlers of its own: it may do so after this."""
    config = getattr(sys.modules.get("uvicorn.config"), "LOGGING_CONFIG", None)
    for name in (*ERROR, *ACCESS):
        logger = config.get("loggers", {}).get(name) if isinstance(config, dict) else None
        if logger is None or not logger.get("handlers"):
            continue
        before = copy.deepcopy(logger)
        logger.update(handlers=[], propagate=True)
        undo.callback(_replace_contents, logger, before)


def follow_hypercorn(adopt: Callable[[], None], undo: ExitStack) -> None:
    """Have `adopt` called when hypercorn, where it is imported, has set its loggers up: at its first line."""
    module = sys.modules.get("hypercorn.logging")
    cls: Any = getattr(module, "Logger", None)
    if cls is None:
        return
    original = cls.__init__

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        adopt()

    cls.__init__ = init

    def restore() -> None:
        if cls.__init__ is init:
            cls.__init__ = original

    undo.callback(restore)


def _replace_contents(target: dict[str, Any], contents: dict[str, Any]) -> None:
    target.clear()
    target.update(contents)
