"""Health checks: registered once, run when a probe asks, each at most once at a time and never past its deadline.

A probe runs the checks whose result is older than its time to live, all of them at once, and shares a run that is
under way. The outside sees the type of what went wrong; its text goes to the log, once for each change of state.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from obskit import semconv
from obskit._guard import contained
from obskit.exceptions import ConfigError
from obskit.health._execution import Attempt, FailedError, Threads

Affects = Literal["health", "ready", "startup"]
CheckFunction = Callable[[], object]
"""A check: sync or async, without arguments. It fails when it raises, returns False, or passes its deadline."""

_log = logging.getLogger("obskit.health")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckState:
    """What is known of a check.

    Attributes:
        name: as it was registered.
        affects: the probe that it decides besides ``/health``.
        critical: whether its failing is an error, or a degradation.
        ok: None while it has neither passed nor failed often enough to be failing.
        passed: whether it has ever passed.
        reason: why the last run failed: the exception's type, ``"timeout"``, ``"returned False"``; None if it passed.
        duration_seconds: of the last run.
    """

    name: str
    affects: Affects
    critical: bool
    ok: bool | None = None
    passed: bool = False
    reason: str | None = None
    duration_seconds: float = 0.0


@dataclass(slots=True)
class _Check:
    """A registered check: what was asked for, what is known, and what is under way."""

    function: CheckFunction
    timeout: float
    ttl: float
    failures: int
    state: CheckState
    failed: int = 0
    due: float = -math.inf
    blocking: bool = False
    attempt: Attempt | None = None
    flight: Future[None] | None = None
    loop: asyncio.AbstractEventLoop | None = None
    task: asyncio.Task[None] | None = None


class Checks:
    """The registry of health checks.

    Args:
        checks: names to functions, registered with the defaults.
        clock: seconds, monotonic; durations and the age of results are measured by it.

    Raises:
        ConfigError: as :meth:`register` does, with the problems of all checks.
    """

    def __init__(
        self, checks: Mapping[str, CheckFunction] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._checks: dict[str, _Check] = {}
        self._clock = clock
        self._lock = threading.Lock()
        self._threads = Threads()
        problems: list[str] = []
        for name, function in (checks or {}).items():
            try:
                self.register(name, function)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)

    def register(  # noqa: PLR0913  (the parameters of a check are the contract's)
        self,
        name: str,
        function: CheckFunction,
        *,
        timeout: float = 1.0,
        ttl: float = 5.0,
        critical: bool = True,
        affects: Affects = "health",
        failures: int = 1,
    ) -> None:
        """Add a check.

        The same code under the same name again (a module that runs twice, an app factory called twice) takes the
        place of the first.

        Args:
            name: shown in ``/health`` and as the label ``check``.
            function: sync ones run in a thread, async ones on the loop of the probe. Anything but False is a pass.
            timeout: seconds that a run may take.
            ttl: seconds for which a result is used again.
            critical: False makes its failing a degradation, not an error.
            affects: the probe that it decides besides ``/health``.
            failures: how many runs in a row must fail before the check is failing.

        Raises:
            ConfigError: with every problem of the arguments.
        """
        problems = _problems(name, function, timeout=timeout, ttl=ttl, affects=affects, failures=failures)
        known = self._checks.get(name) if isinstance(name, str) else None
        if known is not None and _place(known.function) != _place(function):
            problems.append(f"check {name!r} exists already: give this one another name")
        if problems:
            raise ConfigError(problems)
        state = CheckState(name=name, affects=affects, critical=critical)
        self._checks[name] = _Check(function, timeout, ttl, failures, state)

    def snapshot(self) -> list[CheckState]:
        """What is known of each check, without running any; for the metrics."""
        return [check.state for check in list(self._checks.values())]

    async def run(self, affects: Collection[Affects] | None = None) -> dict[str, CheckState]:
        """Run the checks that are due, all at once, and give the state of each by its name.

        Args:
            affects: only the checks that decide one of these probes; None is all.

        Cancelling the caller leaves the runs to the other probes that wait for them.
        """
        chosen = [check for check in list(self._checks.values()) if affects is None or check.state.affects in affects]
        flights = [flight for check in chosen if (flight := self._flight(check)) is not None]
        await asyncio.gather(*map(asyncio.wrap_future, flights))
        return {check.state.name: check.state for check in chosen}

    def close(self) -> None:
        """Let the threads go; one that hangs in a check goes when the check ends."""
        self._threads.close()

    def _flight(self, check: _Check) -> Future[None] | None:
        """The run that a probe waits for: the one under way on any loop, a new one, or none."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if check.flight is not None and not check.flight.done() and check.loop and check.loop.is_running():
                return check.flight
            if self._clock() < check.due:
                return None
            flight: Future[None] = Future()
            flight.set_running_or_notify_cancel()  # from here on, no waiter's cancellation reaches it
            check.flight, check.loop = flight, loop
        check.task = contextvars.Context().run(loop.create_task, self._fly(check, flight))
        return flight

    async def _fly(self, check: _Check, flight: Future[None]) -> None:
        try:
            await self._run(check)
        except Exception as error:
            contained("health", error)
        finally:
            flight.set_result(None)

    async def _run(self, check: _Check) -> None:
        if check.attempt is not None and check.attempt.running():
            self._settle(check, "timeout", None, check.state.duration_seconds)
            return
        attempt = check.attempt = Attempt(check.function, check.timeout, self._clock)
        reason: str | None = None
        error: BaseException | None = None
        began = self._clock()
        try:
            if await attempt.value(self._threads) is False:
                reason = "returned False"
        except FailedError as failed:
            reason, error = str(failed), failed.__cause__
        except Exception as raised:
            reason, error = type(raised).__name__, raised
        seconds = self._clock() - began
        _name_if_blocking(check, attempt.held)
        self._settle(check, reason, error, seconds)

    def _settle(self, check: _Check, reason: str | None, error: BaseException | None, seconds: float) -> None:
        before = check.state
        check.failed = 0 if reason is None else check.failed + 1
        ok = True if reason is None else False if check.failed >= check.failures else before.ok
        check.state = replace(
            before, ok=ok, passed=before.passed or reason is None, reason=reason, duration_seconds=seconds
        )
        check.due = self._clock() + check.ttl
        if check.attempt is not None and not check.attempt.running():
            check.attempt = None  # it holds what was raised, and with it the frames
        extra = {semconv.DURATION_MS: round(seconds * 1e3, 3)}
        if ok is False and before.ok is not False:
            _log.warning("health check %s is failing: %s", before.name, reason, exc_info=error, extra=extra)
        elif ok and before.ok is False:
            _log.info("health check %s is ok again", before.name, extra=extra)


def _name_if_blocking(check: _Check, held: float) -> None:
    blocking = held > check.timeout
    if blocking and not check.blocking:
        _log.warning("health check %s blocked the event loop for %.3f s", check.state.name, held)
    check.blocking = blocking


def _problems(  # noqa: PLR0913  (the parameters of a check)
    name: Any, function: Any, *, timeout: Any, ttl: Any, affects: Any, failures: Any
) -> list[str]:
    rules = (
        (isinstance(name, str) and name.strip(), "its name is a non-empty str"),
        (callable(function), f"a check is a function, not {function!r}"),
        (not callable(function) or _needs_nothing(function), f"{function!r} must be callable without arguments"),
        (_is_number(timeout) and 0 < timeout < math.inf, f"timeout is seconds above 0, not {timeout!r}"),
        (_is_number(ttl) and ttl >= 0, f"ttl is seconds, 0 or more, not {ttl!r}"),
        (affects in get_args(Affects), f"affects is one of {', '.join(get_args(Affects))}, not {affects!r}"),
        (type(failures) is int and failures >= 1, f"failures is a whole number, 1 or more, not {failures!r}"),
    )
    return [f"check {name!r}: {rule}" for holds, rule in rules if not holds]


def _needs_nothing(function: Callable[..., object]) -> bool:
    with suppress(ValueError):  # a builtin that tells no signature
        try:
            inspect.signature(function).bind()
        except TypeError:
            return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _place(function: object) -> object:
    """Where a function's code stands; the same for a module that runs twice in one process."""
    code = getattr(function, "__code__", None)
    return function if code is None else (code.co_filename, code.co_firstlineno, code.co_qualname)
