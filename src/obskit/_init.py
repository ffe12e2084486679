"""``init()``: what it takes, and that a process is wired once."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from obskit._handle import Obskit
from obskit._wiring import wire
from obskit._writer import Writer
from obskit.config import Config
from obskit.exceptions import ConfigError
from obskit.export._exporter import Exporter
from obskit.health.checks import Checks
from obskit.instrumentation._frameworks import can_instrument

_lock = threading.RLock()
_current: Obskit | None = None


def init(  # noqa: PLR0913  (the contract's arguments)
    app: Any = None,
    *,
    service_name: str | None = None,
    service_version: str | None = None,
    environment: str | None = None,
    config: Config | None = None,
    checks: Mapping[str, Callable[[], object]] | None = None,
) -> Obskit:
    """Make this process observable, and `app` if it is given.

    Args:
        app: a FastAPI, Starlette, Litestar or Quart app or Django's ASGI handler, observed in place, before or after
            its routes are added. For any other ASGI app use the handle's ``wrap``. None for a process without one.
        service_name: what the service is called in every signal.
        service_version: its version.
        environment: where it is deployed, such as ``production``.
        config: everything else; what it does not give is read from the environment.
        checks: health checks by name, functions without parameters; see :meth:`Obskit.check`.

    Returns:
        The handle. Where the process is wired already by the same configuration, the same handle, which then
        observes `app` too.

    Raises:
        ConfigError: wrong arguments, all of them named; or the process is wired by another configuration.
    """
    given = {"service_name": service_name, "service_version": service_version, "environment": environment}
    problems = [*_wrong_app(app), *_wrong_config(config), *_wrong_checks(checks or {})]
    try:
        arguments = Config(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    wanted = Config.from_env(os.environ).overlaid(config or Config()).overlaid(arguments)
    caller = sys._getframe(1)  # noqa: SLF001  (a second init() names both places)
    place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
    return start(wanted, app, place, checks or {})


def start(  # noqa: PLR0913  (see init)
    wanted: Config,
    app: Any,
    place: str,
    checks: Mapping[str, Callable[[], object]],
    *,
    writer: Writer | None = None,
    exporter: Exporter[ReadableSpan] | None = None,
    exclusive: bool = False,
) -> Obskit:
    """Wire the process once; what :func:`init` and :mod:`obskit.testing` share.

    Args:
        wanted: the effective configuration, as it was asked for.
        app: see :func:`init`.
        place: where it was asked for.
        checks: see :func:`init`.
        writer: takes the log lines instead of standard output.
        exporter: takes the spans instead of what `wanted` names.
        exclusive: whether to refuse a process that is wired, also by the same configuration.
    """
    global _current  # noqa: PLW0603  (one handle a process)
    with _lock:
        if _current is not None and _current.closed:
            _current.close()  # by another thread, perhaps still under way: what it restores must not be the new wiring
            _current = None
        if _current is None:
            _current = wire(wanted, app, place, writer, exporter)
        elif exclusive or _current.asked_for != wanted:
            raise ConfigError(_wired_twice(_current, wanted, place))
        for name, function in checks.items():
            _current.health.register(name, function)
        if app is not None:
            _current.instrument(app)
        return _current


def _wired_twice(first: Obskit, wanted: Config, place: str) -> list[str]:
    differences = "; ".join(first.asked_for.differences(wanted)) or "it must be the only one"
    return [
        f"{first.place} wired this process, {place} asks otherwise: {differences}. Call init() once, or close() first"
    ]


def _wrong_app(app: Any) -> list[str]:
    if app is None or can_instrument(app):
        return []
    what = f"init() observes apps of FastAPI, Starlette, Litestar, Quart and Django in place, not {type(app).__name__}"
    return [f"{what}: call obs = obskit.init(...) without it, and serve obs.wrap(app)"]


def _wrong_config(config: object) -> list[str]:
    if config is None or isinstance(config, Config):
        return []
    return [f"config is of type {type(config).__name__}: it must be an obskit.Config"]


def _wrong_checks(checks: Mapping[str, Callable[[], object]]) -> list[str]:
    problems: list[str] = []
    rehearsal = Checks()
    for name, function in checks.items():
        try:
            rehearsal.register(name, function)
        except ConfigError as error:
            problems += error.problems
    return problems
