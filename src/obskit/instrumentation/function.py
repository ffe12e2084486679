"""User code as operations: the ``operation`` decorator and context manager."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Token
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind

from obskit import semconv
from obskit._pipeline import Pipeline, current_pipeline
from obskit.exceptions import ConfigError
from obskit.operation import Operation, current_operation

P = ParamSpec("P")
R = TypeVar("R")

Kind = Literal["internal", "server", "client", "producer", "consumer"]
_KINDS = {kind.name.lower(): kind for kind in SpanKind}


class Running:
    """An operation while the code inside it runs: current on entry, ended on exit.

    Args:
        op: a started operation.
    """

    __slots__ = ("_token", "op")

    def __init__(self, op: Operation) -> None:
        self.op = op
        self._token: Token[Context]

    def __enter__(self) -> Operation:
        self._token = otel_context.attach(self.op.context)
        return self.op

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave(self._token)
        end(self.op, error)


def leave(token: Token[Context]) -> None:
    """Restore the context from before; silently where the code was resumed in another one, as async generators are."""
    try:
        token.var.reset(token)
    except ValueError:
        return


def end(op: Operation, error: BaseException | None) -> None:
    """End `op` by how its code was left: an exception is an error, cancellation and a closed generator are not."""
    if error is None or isinstance(error, (GeneratorExit, StopIteration, StopAsyncIteration)):
        op.finish()
    elif isinstance(error, Exception):
        op.finish(exception=error)
    else:
        op.finish(cancelled=True)


async def in_background(
    pipeline: Pipeline,
    function: Any,
    run: Callable[[], Awaitable[Any]],
    unobserved: Callable[[], Awaitable[Any]] | None = None,
) -> None:
    """Run what a framework does after a response, as an INTERNAL operation of the request's trace.

    Args:
        pipeline: what operations pass through.
        function: what names it.
        run: does the work.
        unobserved: does it where no observed request is served; `run` if not given.
    """
    if not pipeline.signals or current_operation().event != semconv.EVENT_HTTP_SERVER:
        await (unobserved or run)()
        return
    name = getattr(function, "__qualname__", type(function).__qualname__)
    with Running(Operation(pipeline, semconv.EVENT_OPERATION, name, SpanKind.INTERNAL, fields={})):
        await run()


class operation:  # noqa: N801  (used as a decorator and in `with`, where the field writes lower case)
    """One unit of work: a decorator for functions of every kind, and a context manager, plain or async.

    As a decorator it takes sync and async functions, generators and async generators; each call, or each run of a
    generator, is one operation. ::

        @obskit.operation("reindex", kind="consumer")
        async def reindex(batch): ...

        with obskit.operation("charge", fields={"payment.provider": "acme"}) as op:
            op.annotate({"payment.attempt": 2})

    Args:
        name: low-cardinality; the span's name and the metric's ``operation_name``.
        kind: internal, server, client, producer or consumer, as OpenTelemetry's span kinds.
        parent: a context to be a child of, from :func:`obskit.extract`; default is the current one.
        links: OpenTelemetry links to other spans.
        fields: what the operation is annotated with at its start.

    Raises:
        ConfigError: `name` is no text, `kind` none of these, or `parent` no context.

    Outside of ``init()`` and ``close()`` the code runs and nothing is observed. Exceptions pass unchanged.
    """

    def __init__(
        self,
        name: str,
        *,
        kind: Kind = "internal",
        parent: Context | None = None,
        links: Sequence[Link] = (),
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ConfigError([f'operation: its name is {name!r}; write operation("a name")'])
        if kind not in _KINDS:
            raise ConfigError([f"operation {name!r}: kind is {kind!r}; it is one of {', '.join(_KINDS)}"])
        if parent is not None and not isinstance(parent, Context):
            raise ConfigError([f"operation {name!r}: parent is {parent!r}; it is what obskit.extract(headers) gives"])
        self._name = name
        self._kind = _KINDS[kind]
        self._parent = parent
        self._links = links
        self._fields = fields
        self._running: dict[Operation, Running] = {}

    def _start(self) -> Running:
        event = semconv.EVENT_MESSAGE if self._kind is SpanKind.CONSUMER else semconv.EVENT_OPERATION
        op = Operation(
            current_pipeline(), event, self._name, self._kind, fields={}, context=self._parent, links=self._links
        )
        if self._fields:
            op.annotate(self._fields)
        return Running(op)

    def __enter__(self) -> Operation:
        running = self._start()
        self._running[running.op] = running
        return running.__enter__()

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # One object may be entered by several tasks at a time: each leaves the operation that is current in it.
        # Where that is another's (the body left a context attached), it is the last that was entered.
        running = self._running.pop(current_operation(), None) or self._running.popitem()[1]
        running.__exit__(exc_type, error, traceback)

    async def __aenter__(self) -> Operation:
        return self.__enter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(exc_type, error, traceback)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate `function`; what it returns has the same signature."""
        wrap = _plain
        if inspect.isasyncgenfunction(function):
            wrap = _async_generator
        elif inspect.isgeneratorfunction(function):
            wrap = _generator
        elif inspect.iscoroutinefunction(function):
            wrap = _coroutine
        return functools.wraps(function)(wrap(self._start, function))


def _plain(start: Callable[[], Running], function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with start():
            return function(*args, **kwargs)

    return call


def _coroutine(start: Callable[[], Running], function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with start():
            return await function(*args, **kwargs)

    return call


def _generator(start: Callable[[], Running], function: Callable[..., Any]) -> Callable[..., Any]:
    # The operation, and what the code attaches below it, is current only while that code runs: between two items
    # the caller's is.
    def call(*args: Any, **kwargs: Any) -> Any:
        op = start().op
        context = op.context
        generator = function(*args, **kwargs)
        step = functools.partial(next, generator)
        try:
            while True:
                token = otel_context.attach(context)
                try:
                    item = step()
                finally:
                    context = otel_context.get_current()
                    leave(token)
                try:
                    step = functools.partial(generator.send, (yield item))
                except BaseException as error:
                    step = functools.partial(generator.throw, error)
        except StopIteration as stop:
            end(op, None)
            return stop.value
        except BaseException as error:
            end(op, error)
            raise
        finally:
            del step  # which holds an exception that was thrown in, whose traceback holds this frame

    return call


def _async_generator(start: Callable[[], Running], function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        op = start().op
        context = op.context
        generator = function(*args, **kwargs)
        step = generator.__anext__
        try:
            while True:
                token = otel_context.attach(context)
                try:
                    item = await step()
                finally:
                    context = otel_context.get_current()
                    leave(token)
                try:
                    step = functools.partial(generator.asend, (yield item))
                except BaseException as error:
                    step = functools.partial(generator.athrow, error)
        except StopAsyncIteration:
            end(op, None)
        except BaseException as error:
            end(op, error)
            raise
        finally:
            del step  # as above

    return call
