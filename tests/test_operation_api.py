"""User code as operations: the decorator, the context manager, and what code below adds to them."""

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio.to_thread
import pytest
from fastapi import Depends, FastAPI
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind
from starlette.middleware.base import BaseHTTPMiddleware

import obskit
import raw_asgi
from obskit import Config, semconv
from obskit._pipeline import Pipeline
from obskit._rollup import LOCK
from obskit.exceptions import ConfigError
from obskit.instrumentation._unbounded import Unbounded
from obskit.operation import NO_OPERATION, Operation, current_operation
from obskit.signals._repeats import Repeats
from obskit.testing import capture

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def captured():
    with capture() as captured:
        yield captured


def outcome_of(captured, name):
    """What the span and the line say of the one operation with this name, after they were found to agree."""
    span = captured.span(name)
    (line,) = [line for line in captured.lines if line["message"].startswith(f"{name} ")]
    assert line["message"] == f"{name} {line['outcome']}"
    assert span.attributes["outcome"] == line["outcome"]
    assert span.attributes.get("error.type") == line.get("error.type")
    assert (line["trace_id"], line["span_id"]) == (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
    assert line["duration_ms"] == round((span.end_time - span.start_time) / 1e6, 3)
    assert captured.metric(
        "obskit_operation_duration_seconds_count",
        operation_name=name, outcome=line["outcome"], error_type=line.get("error.type", ""),
    ) == 1  # fmt: skip
    return line["outcome"], line.get("error.type")


# -- every way to run one, and every way for it to end ------------------------------------------------------------


class BoomError(Exception):
    pass


#: What ends the code, and what the operation says of it.
ENDINGS = [
    (None, ("ok", None)),
    (BoomError, ("error", f"{__name__}.BoomError")),
    (ValueError, ("error", "ValueError")),
    (asyncio.CancelledError, ("cancelled", None)),
    (KeyboardInterrupt, ("cancelled", None)),
    (SystemExit, ("cancelled", None)),
]


def leave_by(ending):
    assert current_operation().name == "job"
    if ending is not None:
        raise ending


def by_with(ending):
    with obskit.operation("job") as op:
        assert op is current_operation()
        leave_by(ending)


def by_async_with(ending):
    async def run():
        async with obskit.operation("job") as op:
            assert op is current_operation()
            leave_by(ending)

    step_through(run())


def by_function(ending):
    @obskit.operation("job")
    def job(ending):
        leave_by(ending)
        return "result"

    assert job(ending) == "result"


def by_coroutine(ending):
    @obskit.operation("job")
    async def job(ending):
        leave_by(ending)
        return "result"

    assert step_through(job(ending)) == "result"


def by_generator(ending):
    @obskit.operation("job")
    def job(ending):
        yield 1
        leave_by(ending)
        yield 2

    assert list(job(ending)) == [1, 2]


def by_async_generator(ending):
    @obskit.operation("job")
    async def job(ending):
        yield 1
        leave_by(ending)
        yield 2

    async def run():
        return [item async for item in job(ending)]

    assert step_through(run()) == [1, 2]


def step_through(coroutine):
    """Run a coroutine that never waits; a loop would make something of its own of KeyboardInterrupt."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


WAYS = (by_with, by_async_with, by_function, by_coroutine, by_generator, by_async_generator)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("ending", "expected"), ENDINGS)
def test_ways_and_endings(captured, way, ending, expected):
    with pytest.raises(ending) if ending else contextlib.nullcontext():
        way(ending)
    assert outcome_of(captured, "job") == expected
    assert current_operation() is NO_OPERATION
    assert otel_context.get_current() == {}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", [None, BoomError, KeyboardInterrupt])
def test_outside_of_init_the_code_just_runs(way, ending):
    with pytest.raises(ending) if ending else contextlib.nullcontext():
        way(ending)
    assert current_operation() is NO_OPERATION


def test_an_exception_passes_as_it_is_and_is_written_down(captured):
    error = BoomError("the reason")
    with pytest.raises(BoomError) as caught, obskit.operation("job"):
        raise error
    assert caught.value is error
    (event,) = captured.span("job").events
    assert event.attributes["exception.message"] == "the reason"
    assert captured.line("job error")["level"] == "error"


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration, GeneratorExit])
def test_the_end_of_an_iteration_is_no_error(captured, error):
    """A `__next__` or `__anext__` that is an operation says its end by an exception."""

    @obskit.operation("job")
    def following():
        raise error

    with pytest.raises(error):
        following()
    assert outcome_of(captured, "job") == ("ok", None)


# -- the decorator ------------------------------------------------------------------------------------------------


def test_what_is_decorated_keeps_its_face():
    @obskit.operation("x")
    def plain(a: int, *, b: str = "b") -> str:
        """Documented."""
        return f"{a}{b}"

    assert (plain.__name__, plain.__doc__, plain.__module__) == ("plain", "Documented.", __name__)
    assert str(inspect.signature(plain)) == "(a: int, *, b: str = 'b') -> str"
    assert plain(1, b="c") == "1c"


def test_every_kind_of_function_stays_of_its_kind():
    async def coroutine(): ...
    def generator():
        yield

    async def async_generator():
        yield

    decorate = obskit.operation("x")
    assert inspect.iscoroutinefunction(decorate(coroutine))
    assert inspect.isgeneratorfunction(decorate(generator))
    assert inspect.isasyncgenfunction(decorate(async_generator))


def test_methods_are_decorated_too(captured):
    class Service:
        @obskit.operation("job")
        def run(self, x):
            return self, x

    service = Service()
    assert service.run(1) == (service, 1)
    assert outcome_of(captured, "job") == ("ok", None)


def test_each_call_is_an_operation(captured):
    @obskit.operation("job")
    def job():
        pass

    for _ in range(3):
        job()
    assert len({span.context.span_id for span in captured.spans}) == 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": print}, "operation\\("),
        ({"name": ""}, "its name"),
        ({"name": "x", "kind": "sideways"}, "producer"),
        ({"name": "x", "parent": "00-ab-cd-01"}, "obskit.extract"),
    ],
)
def test_wrong_arguments_say_what_is_right(arguments, named):
    with pytest.raises(ConfigError, match=named):
        obskit.operation(**arguments)


# -- generators ---------------------------------------------------------------------------------------------------


def test_a_generators_operation_is_current_in_its_own_code_only(captured):
    seen = []

    @obskit.operation("job")
    def job():
        for index in range(2):
            seen.append(("inside", current_operation().name))
            obskit.accumulate("items", 1)
            yield index

    with obskit.operation("consumer"):
        for _ in job():
            seen.append(("outside", current_operation().name))
            obskit.annotate(touched=True)
    assert seen == [("inside", "job"), ("outside", "consumer")] * 2
    assert captured.span("job").attributes["items"] == 2
    assert "touched" not in captured.span("job").attributes
    assert captured.line("consumer ok")["touched"] is True
    assert captured.span("job").parent.span_id == captured.span("consumer").context.span_id


async def test_an_async_generators_operation_is_current_in_its_own_code_only(captured):
    seen = []

    @obskit.operation("job")
    async def job():
        for index in range(2):
            await asyncio.sleep(0)
            seen.append(("inside", current_operation().name))
            yield index

    async with obskit.operation("consumer"):
        async for _ in job():
            await asyncio.sleep(0)
            seen.append(("outside", current_operation().name))
    assert seen == [("inside", "job"), ("outside", "consumer")] * 2


def test_what_a_generator_has_entered_is_current_again_when_it_goes_on(captured):
    @obskit.operation("job")
    def job():
        with obskit.operation("inner"):
            yield current_operation().name
            yield current_operation().name
        yield current_operation().name

    with obskit.operation("consumer"):
        assert [(name, current_operation().name) for name in job()] == [
            ("inner", "consumer"), ("inner", "consumer"), ("job", "consumer"),
        ]  # fmt: skip
    assert captured.span("inner").parent.span_id == captured.span("job").context.span_id


def test_a_generator_is_sent_to_thrown_into_and_returns(captured):
    @obskit.operation("job")
    def job():
        got = yield "ready"
        try:
            yield got
        except BoomError:
            yield "caught"
        return "returned"

    generator = job()
    assert next(generator) == "ready"
    assert generator.send("sent") == "sent"
    assert generator.throw(BoomError) == "caught"
    with pytest.raises(StopIteration) as done:
        next(generator)
    assert done.value.value == "returned"
    assert outcome_of(captured, "job") == ("ok", None)


async def test_an_async_generator_is_sent_to_and_thrown_into(captured):
    @obskit.operation("job")
    async def job():
        got = yield "ready"
        try:
            yield got
        except BoomError:
            yield "caught"

    generator = job()
    assert await anext(generator) == "ready"
    assert await generator.asend("sent") == "sent"
    assert await generator.athrow(BoomError) == "caught"
    with pytest.raises(StopAsyncIteration):
        await anext(generator)
    assert outcome_of(captured, "job") == ("ok", None)


@pytest.mark.parametrize("how", ["close", "throw", "forget"])
def test_a_generator_that_is_not_run_to_its_end(captured, how):
    cleaned = []

    @obskit.operation("job")
    def job():
        try:
            yield 1
            yield 2
        finally:
            cleaned.append(current_operation().name)

    generator = job()
    assert next(generator) == 1
    if how == "throw":
        with pytest.raises(BoomError):
            generator.throw(BoomError)
    elif how == "close":
        generator.close()
    else:
        del generator
    assert cleaned == ["job"]
    assert outcome_of(captured, "job") == (("error", f"{__name__}.BoomError") if how == "throw" else ("ok", None))


async def test_an_async_generator_that_is_closed(captured):
    @obskit.operation("job")
    async def job():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            obskit.annotate(cleaned=True)

    generator = job()
    assert await anext(generator) == 1
    await generator.aclose()
    assert outcome_of(captured, "job") == ("ok", None)
    assert captured.line("job ok")["cleaned"] is True


async def test_an_async_generator_that_goes_on_in_another_task(captured):
    @obskit.operation("job")
    async def job():
        for _ in range(3):
            yield current_operation().name

    generator = job()
    for _ in range(3):
        assert await asyncio.create_task(anext(generator)) == "job"
        assert current_operation() is NO_OPERATION
    await asyncio.create_task(generator.aclose())
    assert outcome_of(captured, "job") == ("ok", None)


def test_a_generator_that_is_never_started_is_no_operation(captured):
    @obskit.operation("job")
    def job():
        yield

    job().close()
    assert captured.spans == []


async def test_a_with_block_that_ends_in_another_context(captured):
    """As the two halves of an async fixture do."""

    async def fixture():
        with obskit.operation("job"):
            yield

    generator = fixture()
    await asyncio.create_task(anext(generator))
    with pytest.raises(StopAsyncIteration):
        await asyncio.create_task(anext(generator))
    assert outcome_of(captured, "job") == ("ok", None)


# -- nesting, and many at once ------------------------------------------------------------------------------------


def test_nested_operations_are_parent_and_child(captured):
    with obskit.operation("outer") as outer:
        with obskit.operation("middle") as middle, obskit.operation("inner") as inner:
            assert (inner.parent, middle.parent, outer.parent) == (middle, outer, None)
            assert inner.root is outer
            obskit.annotate(where="inner")
        obskit.annotate(where="outer")
    spans = {span.name: span for span in captured.spans}
    assert spans["inner"].parent.span_id == spans["middle"].context.span_id
    assert spans["middle"].parent.span_id == spans["outer"].context.span_id
    assert spans["outer"].parent is None
    assert {name: spans[name].attributes.get("where") for name in spans} == {
        "inner": "inner",
        "middle": None,
        "outer": "outer",
    }


def test_one_object_entered_within_itself(captured):
    job = obskit.operation("job")
    with job as first, job as second:
        assert (second.parent, current_operation()) == (first, second)
    assert (first.ended, second.ended, len(captured.spans)) == (True, True, 2)


async def test_one_object_in_many_tasks(captured):
    job = obskit.operation("job")
    order = []

    async def run(index, wait):
        async with job as op:
            op.annotate(index=index)
            for _ in range(wait):
                await asyncio.sleep(0)
            assert current_operation() is op
            order.append(index)
        assert op.ended

    await asyncio.gather(*(run(index, (7 * index) % 20) for index in range(20)))
    assert sorted(order) == list(range(20)) != order
    assert sorted(span.attributes["index"] for span in captured.spans) == list(range(20))
    assert job._running == {}


def test_one_object_in_many_threads(captured):
    job = obskit.operation("job")
    gate = threading.Barrier(8)

    def run(index):
        gate.wait(10)
        for _ in range(50):
            with job as op:
                op.annotate(index=index)
                assert current_operation() is op
            assert op.ended
            assert op.fields["index"] == index

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(run, range(8)))
    assert len(captured.spans) == 400
    assert job._running == {}


def test_a_context_that_the_body_left_attached_is_no_obstacle(captured):
    with obskit.operation("job"):
        otel_context.attach(otel_context.Context())
    assert outcome_of(captured, "job") == ("ok", None)
    assert current_operation() is NO_OPERATION


# -- kinds, parents, links, fields --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["internal", "server", "client", "producer", "consumer"])
def test_kinds(captured, kind):
    with obskit.operation("job", kind=kind):
        pass
    assert captured.span("job").kind is SpanKind[kind.upper()]
    if kind != "client":  # whose line would be the service's that is called
        assert captured.line("job ok")["event.name"] == ("message.process" if kind == "consumer" else "operation")
    assert captured.metric("obskit_operation_duration_seconds_count", operation_name="job", operation_kind=kind) == 1


@pytest.mark.parametrize("kind", ["server", "consumer"])
def test_what_is_served_or_consumed_stands_for_itself(captured, kind):
    with obskit.operation("outer") as outer:
        with obskit.operation("job", kind=kind) as op:
            assert (op.parent, op.root) == (None, op)
        assert outer.root is outer
    assert captured.span("job").parent.span_id == captured.span("outer").context.span_id


def test_a_trace_goes_on_from_what_was_injected(captured):
    carrier = {}
    with obskit.operation("sends", kind="producer") as sends:
        obskit.inject(carrier)
    assert carrier["traceparent"] == f"00-{sends.trace_id}-{sends.span_id}-03"
    with obskit.operation("works", kind="consumer", parent=obskit.extract(carrier)) as works:
        assert works.trace_id == sends.trace_id
        assert works.parent is None
    assert captured.span("works").parent.span_id == captured.span("sends").context.span_id


def test_a_parent_that_is_given_beats_the_current_one(captured):
    with obskit.operation("current") as current:
        with obskit.operation("job", parent=obskit.extract({"traceparent": TRACEPARENT})) as op:
            assert current_operation() is op
        assert current_operation() is current
    assert f"{captured.span('job').parent.span_id:016x}" == "b7ad6b7169203331"


def test_a_decorated_function_has_the_parent_of_its_call(captured):
    @obskit.operation("job")
    def job():
        pass

    for name in ("first", "second"):
        with obskit.operation(name):
            job()
    parents = {span.parent.span_id for span in captured.spans if span.name == "job"}
    assert parents == {captured.span(name).context.span_id for name in ("first", "second")}


def test_links(captured):
    with obskit.operation("first"):
        link = Link(trace.get_current_span().get_span_context(), {"why": "batch"})
    with obskit.operation("job", links=[link]):
        pass
    (found,) = captured.span("job").links
    assert (found.context.span_id, dict(found.attributes)) == (link.context.span_id, {"why": "batch"})


def test_fields_are_those_of_each_run(captured):
    given = {"user": {"tier": "gold"}, "n": 1, "password": "hunter2"}

    @obskit.operation("job", fields=given)
    def job(extra):
        obskit.annotate(extra=extra)

    job("a")
    job("b")
    assert given == {"user": {"tier": "gold"}, "n": 1, "password": "hunter2"}
    assert [(s.attributes["user.tier"], s.attributes["n"], s.attributes["extra"]) for s in captured.spans] == [
        ("gold", 1, "a"), ("gold", 1, "b"),
    ]  # fmt: skip
    assert "hunter2" not in str([s.attributes for s in captured.spans])
    assert b"hunter2" not in b"".join(captured._writer.lines)


# -- annotate and accumulate --------------------------------------------------------------------------------------


def test_annotate_takes_a_mapping_keywords_or_both(captured):
    with obskit.operation("job") as op:
        obskit.annotate({"user.tier": "gold"})
        obskit.annotate(plain=1)
        obskit.annotate({"a": 1, "b": 1}, b=2)
        obskit.annotate({"mapping": "by name"}, mapping="by keyword")
        obskit.annotate()
        obskit.annotate(None)
        obskit.annotate({})
        op.annotate({"own": True})
    line = captured.line("job ok")
    expected = {"user.tier": "gold", "plain": 1, "a": 1, "b": 2, "mapping": "by keyword", "own": True}
    assert {name: line[name] for name in expected} == expected


def test_a_name_that_is_reported_while_it_is_accumulated_holds_nobody_up(captured, monkeypatch):
    other = Operation(Pipeline(), semconv.EVENT_OPERATION, "other", SpanKind.INTERNAL, fields={})

    class Sends(logging.Handler):
        """Sends records by a thread of its own, whose calls roll up, and waits for it."""

        def emit(self, record):
            thread = threading.Thread(target=other.accumulate, args=("sent",), daemon=True)
            thread.start()
            thread.join(10)

    log = logging.getLogger("obskit")
    monkeypatch.setattr(log, "handlers", [*log.handlers, Sends()])
    with obskit.operation("job"):
        obskit.accumulate("http.route", 1)
        assert other.fields == {"sent": 1}


def test_accumulate_adds_up(captured):
    with obskit.operation("job"):
        for amount in (1, 2.5):
            obskit.accumulate("sum", amount)
        obskit.accumulate("count")
        obskit.accumulate("count")
        obskit.annotate(text="x", set=5)
        obskit.accumulate("text", 1)
        obskit.accumulate("set", 1)
        obskit.accumulate("duration_ms", 1)
        obskit.accumulate("duration_ms", 1)
    line = captured.line("job ok")
    assert (line["sum"], line["count"], line["text"], line["set"], line["fields.duration_ms"]) == (3.5, 2, 1, 6, 2)


def test_accumulate_from_many_threads_loses_nothing(captured):
    gate = threading.Barrier(8)
    with obskit.operation("job") as op:

        def run():
            gate.wait(10)
            for _ in range(250):
                op.accumulate("count")

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert op.fields["count"] == 2000


def test_a_log_handler_that_accumulates_does_not_lock_itself_out(captured):
    import logging

    class Counting(logging.Handler):
        def emit(self, record):
            obskit.accumulate("log.lines")

    handler = Counting()
    logging.getLogger("obskit").addHandler(handler)
    try:
        with obskit.operation("job") as op:
            worker = threading.Thread(target=lambda: op.accumulate("level", 1), daemon=True)
            worker.start()
            worker.join(10)
            assert not worker.is_alive()
            op.accumulate("message", 1)
    finally:
        logging.getLogger("obskit").removeHandler(handler)


@pytest.mark.parametrize("wrong", [lambda: obskit.annotate(["no mapping"]), lambda: obskit.accumulate("x", "no number"),
                                   lambda: obskit.accumulate(["no name"])])  # fmt: skip
def test_nothing_that_is_given_raises(captured, contained_errors, wrong):
    with obskit.operation("job"):
        wrong()
    assert outcome_of(captured, "job") == ("ok", None)
    assert [component for component, _ in contained_errors] == ["annotate"]
    contained_errors.clear()


def test_after_the_end_fields_are_dropped_and_counted(captured):
    with obskit.operation("job") as op:
        pass
    op.annotate(late=1, later=2)
    op.accumulate("latest")
    op.finish(exception=ValueError())
    assert "late" not in captured.line("job ok")
    assert captured.metric("obskit_fields_dropped_total") == 3
    assert (op.outcome, len(captured.spans)) == ("ok", 1)


def test_outside_of_operations_everything_is_taken_and_nothing_kept():
    obskit.annotate(a=1)
    obskit.accumulate("b", 1)
    op = obskit.current_operation()
    op.annotate(a=1)
    op.accumulate("b")
    op.finish()
    assert op is NO_OPERATION
    assert (op.fields, op.ended, op.name, op.trace_id, op.duration_ms, op.root) == ({}, True, "", "", 0.0, op)


async def annotate_in(where):
    obskit.annotate({f"from.{where}": True})


def app_that_annotates_everywhere():
    class Middleware(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            obskit.annotate({"from.base_http_middleware": True})
            return await call_next(request)

    def dependency():
        obskit.annotate({"from.sync_dependency": True})

    async def closing():
        yield
        obskit.annotate({"from.after_yield": True})

    app = FastAPI(dependencies=[Depends(dependency), Depends(closing)])
    app.add_middleware(Middleware)

    @app.get("/threadpool")
    def threadpool():
        obskit.annotate({"from.endpoint": True})
        with ThreadPoolExecutor(1) as pool:  # a bare thread has no context; it is given the operation
            pool.submit(obskit.current_operation().annotate, {"from.bare_thread": True}).result()

    @app.get("/loop")
    async def loop():
        obskit.annotate({"from.endpoint": True})
        await asyncio.create_task(annotate_in("task"))
        await asyncio.gather(annotate_in("gather1"), annotate_in("gather2"))
        await asyncio.to_thread(obskit.annotate, {"from.to_thread": True})
        await anyio.to_thread.run_sync(obskit.annotate, {"from.anyio_thread": True})
        async with asyncio.TaskGroup() as group:
            group.create_task(annotate_in("group"))

    return app


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("/threadpool", {"endpoint", "bare_thread"}),
        ("/loop", {"endpoint", "task", "gather1", "gather2", "to_thread", "anyio_thread", "group"}),
    ],
)
def test_annotate_from_anywhere_below_a_request(path, places):
    app = app_that_annotates_everywhere()
    with capture(app) as captured:
        assert raw_asgi.get(app, path).status == 200
        line = captured.line(f"GET {path} 200")
        span = captured.span(f"GET {path}")
    wanted = {f"from.{place}" for place in places | {"base_http_middleware", "sync_dependency"}}
    assert wanted <= line.keys()
    assert wanted <= span.attributes.keys()


def test_an_operation_below_a_request_is_its_child_and_has_fields_of_its_own():
    app = FastAPI()

    @app.get("/")
    def root():
        with obskit.operation("charge", fields={"provider": "acme"}):
            obskit.annotate(attempt=1)
        obskit.annotate(of="request")

    with capture(app) as captured:
        raw_asgi.get(app, "/")
        charge, request = captured.span("charge"), captured.span("GET /")
    assert charge.parent.span_id == request.context.span_id
    assert (charge.attributes["provider"], charge.attributes["attempt"]) == ("acme", 1)
    assert "attempt" not in request.attributes
    assert request.attributes["of"] == "request"


async def test_a_task_that_outlives_its_operation_starts_a_root_of_the_same_trace(captured):
    async def late():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with obskit.operation("late") as op:
            assert (op.parent, op.root) == (None, op)
        obskit.annotate(too="late")

    with obskit.operation("job"):
        task = asyncio.create_task(late())
    await task
    assert captured.span("late").context.trace_id == captured.span("job").context.trace_id
    assert captured.span("late").parent.span_id == captured.span("job").context.span_id
    assert captured.metric("obskit_fields_dropped_total") == 1


@pytest.mark.parametrize(
    ("fields", "outcome", "rolled_up"),
    [
        ({semconv.DB_SYSTEM_NAME: "sqlite"}, None, {"db.client.count": 1, "db.client.errors": 0}),
        ({semconv.DB_SYSTEM_NAME: "sqlite"}, BoomError, {"db.client.count": 1, "db.client.errors": 1}),
        ({}, None, {}),
    ],
)
def test_client_operations_of_databases_roll_up_into_the_root(captured, fields, outcome, rolled_up):
    query = obskit.operation("query", kind="client", fields=fields)
    with obskit.operation("job") as root, obskit.operation("between"), contextlib.suppress(BoomError), query:
        if outcome:
            raise outcome
    found = {
        name: value for name, value in root.fields.items() if name.startswith("db.client.") and "duration" not in name
    }
    assert found == rolled_up


def test_a_roll_up_whose_name_holds_text_is_left_alone(captured):
    with obskit.operation("job") as root:
        root.annotate({"db.client.count": "mine"})
        with obskit.operation("query", kind="client", fields={semconv.DB_SYSTEM_NAME: "sqlite"}):
            pass
    assert root.fields["db.client.count"] == "mine"
    assert root.fields["db.client.errors"] == 0


# -- the operation itself -----------------------------------------------------------------------------------------


class Recording:
    name = "recording"

    def __init__(self):
        self.seen = []

    def start(self, op):
        self.seen.append(("start", op.name, op.ended, op.duration_ms))

    def finish(self, op):
        self.seen.append(("finish", op.name, op.ended, op.outcome, op.error_type))


@pytest.mark.parametrize(
    ("how", "outcome", "error_type"),
    [
        ({}, "ok", None),
        ({"error_type": "503"}, "error", "503"),
        ({"exception": BoomError()}, "error", f"{__name__}.BoomError"),
        ({"exception": BoomError(), "error_type": "mine"}, "error", "mine"),
        ({"cancelled": True}, "cancelled", None),
        ({"cancelled": True, "error_type": "503"}, "cancelled", None),
    ],
)
def test_signals_see_an_operation_at_its_start_and_once_at_its_end(how, outcome, error_type):
    signal = Recording()
    op = Operation(Pipeline((signal,)), semconv.EVENT_OPERATION, "job", SpanKind.INTERNAL, fields={})
    assert op.elapsed_ms() >= 0
    op.finish(**how)
    op.finish(error_type="again")
    assert signal.seen == [("start", "job", False, 0.0), ("finish", "job", True, outcome, error_type)]
    assert op.fields == ({} if error_type is None else {"error.type": error_type})
    assert op.duration_ns > 0
    assert op.duration_ms == round(op.duration_ns / 1e6, 3)


def test_an_operation_that_has_ended_is_freed_without_the_collector():
    import gc
    import weakref

    class Payload:
        pass

    gc.collect()
    gc.disable()
    try:
        with capture(config=Config(log_mode="off")):
            payload = Payload()
            seen = weakref.ref(payload)
            with obskit.operation("job") as op:
                op.exception = payload
            del op, payload
            assert seen() is None
    finally:
        gc.enable()


class Payload:
    """What code holds while it runs."""


def fail_in_a_block():
    with obskit.operation("job") as op:
        assert not op.ended
        raise ValueError


def throw_into_a_generator():
    @obskit.operation("job")
    def job():
        yield 1

    running = job()
    next(running)
    running.throw(ValueError())


def throw_into_an_async_generator():
    @obskit.operation("job")
    async def job():
        yield 1

    running = job()
    with contextlib.suppress(StopIteration):
        running.__anext__().send(None)
    running.athrow(ValueError()).send(None)


@pytest.mark.parametrize("fail", [fail_in_a_block, throw_into_a_generator, throw_into_an_async_generator])
def test_a_failure_keeps_nothing_of_its_code_alive(fail):
    import gc
    import weakref

    seen = []

    def work():
        payload = Payload()
        seen.append(weakref.ref(payload))
        fail()

    gc.collect()
    gc.disable()
    try:
        with capture(config=Config(log_mode="off")):
            with contextlib.suppress(ValueError):
                work()
            assert seen[0]() is None
    finally:
        gc.enable()


def test_a_chain_of_operations_that_each_begin_the_next_does_not_grow():
    def begin(context):
        return Operation(Pipeline(), semconv.EVENT_OPERATION, "step", SpanKind.INTERNAL, fields={}, context=context)

    op = begin(None)
    for _ in range(3):
        below = begin(op.context)
        assert below.parent is op
        op.finish()
        op = below
    assert op.parent.parent is None


@pytest.mark.parametrize("lock", ["roll-ups", "repeated lines", "calls without a timeout"])
def test_a_forked_child_waits_for_no_thread_of_its_parents(lock):
    repeats, unbounded = Repeats(lambda _reason: None, lambda _ns: None), Unbounded(())
    held, use = {
        "roll-ups": (LOCK, lambda: obskit.accumulate("sum", 1)),
        "repeated lines": (repeats._lock, repeats.take),
        "calls without a timeout": (unbounded._lock, lambda: unbounded.note("db")),
    }[lock]
    holds, done = threading.Event(), threading.Event()

    def hold():
        with held:
            holds.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    with capture(), obskit.operation("job"):
        thread.start()
        assert holds.wait(5)
        child = os.fork()
        if not child:
            try:
                signal.alarm(5)  # a deadlock must not hang the suite
                use()
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        done.set()
        thread.join()
    assert status == 0
