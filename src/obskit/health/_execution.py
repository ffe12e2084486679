"""How one run of a health check is executed: quietly, under a deadline, and without waiting for what hangs.

Coroutines run on the loop of the probe, plain functions in daemon threads of obskit's own, so that one that hangs
neither holds the process at its exit nor takes a thread of the application's executor.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import random
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY, _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

Clock = Callable[[], float]


class FailedError(Exception):
    """A run failed. Its text is the reason that probes show; its cause is what the check raised, if it did."""


class Attempt:
    """One run of a check function. It can outlive its deadline; `running` tells.

    Args:
        function: sync or async, without arguments.
        timeout: seconds.
        clock: seconds, monotonic.

    Attributes:
        held: the longest time, in seconds, for which an async check held the loop without yielding.
    """

    __slots__ = ("_clock", "_function", "_timeout", "held", "running")

    def __init__(self, function: Callable[[], object], timeout: float, clock: Clock) -> None:
        self._function = function
        self._timeout = timeout
        self._clock = clock
        self.held = 0.0
        #: Whether the function still runs, be it past its deadline.
        self.running: Callable[[], bool] = bool

    async def value(self, threads: Threads) -> object:
        """What the function returns, awaited if need be.

        Raises:
            FailedError: it raised, passed its deadline, or was cancelled.
        """
        if _is_async(self._function):
            return await self._on_loop(self._function)
        value = await self._in_thread(threads)
        # A plain function may hand out a coroutine; never awaited, it would pass for ever.
        return await self._on_loop(lambda: value) if inspect.isawaitable(value) else value

    async def _on_loop(self, function: Callable[[], object]) -> object:
        loop = asyncio.get_running_loop()
        steps = _Steps(_called(function), self._clock)
        task: asyncio.Task[object] = _quiet_context().run(loop.create_task, steps)
        self.running = lambda: not task.done() and loop.is_running()
        try:
            await asyncio.wait({task}, timeout=self._timeout)
        finally:
            self.held = steps.longest
            task.cancel()
            task.add_done_callback(_retrieve)
        self._raise_if_late(finished=task.done(), seconds=steps.longest)
        if task.cancelled():
            reason = "cancelled"
            raise FailedError(reason)
        _raise_if_any(task.exception())
        return task.result()

    async def _in_thread(self, threads: Threads) -> object:
        job = _Job(self._function, self._clock)
        self.running = lambda: job.running
        try:
            threads.submit(job)
            await job.begun  # the deadline counts from here: to wait for a thread is not the check's fault
            await asyncio.wait({job.ended}, timeout=self._timeout)
        finally:
            threads.give_up(job)
        self._raise_if_late(finished=job.ended.done(), seconds=job.seconds)
        _raise_if_any(job.error)
        return job.value

    def _raise_if_late(self, *, finished: bool, seconds: float) -> None:
        if not finished or seconds > self._timeout:
            reason = "timeout"
            raise FailedError(reason)


class Threads:
    """A few daemon threads. One that hangs past its deadline is given up, and another may take its place.

    Args:
        size: how many run at once, those given up not counted: of these there is at most one a check.
    """

    def __init__(self, size: int = 4) -> None:
        self._size = size
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = 0
        self._unfinished = 0

    def submit(self, job: _Job) -> None:
        """Run `job` as soon as a thread is free."""
        if self._pid != os.getpid():  # a fork took the threads away, and maybe the lock
            self._reset()
        with self._lock:
            self._unfinished += 1
            self._queue.put(job)
            self._add_thread_if_short()

    def give_up(self, job: _Job) -> None:
        """No longer wait for `job`: what has not begun never will, what hangs loses its place."""
        with self._lock:
            if job.finished or job.given_up:
                return
            job.given_up = True
            self._unfinished -= 1
            if job.running:
                self._threads -= 1
                self._add_thread_if_short()

    def close(self) -> None:
        """Let every thread end after what it does now; a later `submit` starts new ones."""
        with self._lock:
            for _ in range(self._threads):
                self._queue.put(None)
            self._threads = 0

    def _add_thread_if_short(self) -> None:
        if self._threads < min(self._size, self._unfinished):
            threading.Thread(target=self._work, name="obskit-health", daemon=True).start()
            self._threads += 1

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            with self._lock:
                job.running = not job.given_up
            if job.running:
                job.run()
                with self._lock:
                    job.running, job.finished = False, True
                    if job.given_up:
                        return
                    self._unfinished -= 1
                job.tell(job.ended)
            del job  # an idle thread holds nothing of the check's


class _Job:
    """One call of a plain function in a thread, awaited on the loop that made it."""

    def __init__(self, function: Callable[[], object], clock: Clock) -> None:
        self._function = function
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self.begun = self._loop.create_future()
        self.ended = self._loop.create_future()
        self.running = self.finished = self.given_up = False
        self.seconds = 0.0
        self.value: object = None
        self.error: BaseException | None = None

    def run(self) -> None:
        self.tell(self.begun)
        began = self._clock()
        try:
            self.value = _quiet_context().run(self._function)
        except BaseException as error:
            self.error = error
        self.seconds = self._clock() - began

    def tell(self, future: asyncio.Future[None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(_resolve, future)


class _Steps(Coroutine[Any, Any, object]):
    """A coroutine that measures its steps: how long it keeps the loop from everything else."""

    def __init__(self, inner: Coroutine[Any, Any, object], clock: Clock) -> None:
        self._inner = inner
        self._clock = clock
        self.longest = 0.0

    def send(self, value: Any) -> Any:
        began = self._clock()
        try:
            return self._inner.send(value)
        finally:
            self.longest = max(self.longest, self._clock() - began)

    def throw(self, *error: Any) -> Any:
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, object]:
        return self._inner.__await__()


async def _called(function: Callable[[], object]) -> object:
    value = function()
    return await value if inspect.isawaitable(value) else value


def _is_async(function: Callable[[], object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _raise_if_any(error: BaseException | None) -> None:
    if error is not None:
        raise FailedError(type(error).__name__) from error


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _retrieve(task: asyncio.Task[object]) -> None:
    if not task.cancelled():
        task.exception()


def _quiet_context() -> contextvars.Context:
    """Variables of their own, under a trace that is not sampled: what a check does shows in no signal of requests."""
    unsampled = SpanContext(random.getrandbits(128) or 1, random.getrandbits(64) or 1, is_remote=False)
    suppressed = Context({_SUPPRESS_INSTRUMENTATION_KEY: True, _SUPPRESS_HTTP_INSTRUMENTATION_KEY: True})
    variables = contextvars.Context()
    variables.run(otel_context.attach, set_span_in_context(NonRecordingSpan(unsampled), suppressed))
    return variables
