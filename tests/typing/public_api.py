"""The public surface as a strict type checker sees it. Run by mypy, never by Python."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import Any, assert_type

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette

import obskit
from obskit import Config, Obskit
from obskit.exceptions import ConfigError, ObskitError
from obskit.operation import Operation
from obskit.testing import Captured, capture

# -- init and the handle ------------------------------------------------------------------------------------------

app = Starlette()
assert_type(obskit.init(), Obskit)
assert_type(obskit.__version__, str)
obs = obskit.init(
    app,
    service_name="orders",
    service_version="1.2.3",
    environment="production",
    config=Config(log_level="DEBUG", traces_exporter="otlp", duration_buckets=(0.1, 1.0)),
    checks={"db": lambda: True},
)
assert_type(obs.config, Config)
assert_type(obs.registry, CollectorRegistry)
Counter("orders", "Orders.", registry=obs.registry)
assert_type(obs.flush(), bool)
assert_type(obs.flush(1.5), bool)
assert_type(obs.close(), bool)
assert_type(obs.close(timeout=2), bool)
with obskit.init() as entered:
    assert_type(entered, Obskit)

obskit.init(app, "orders")  # type: ignore[call-arg]
obskit.init(service_name=3)  # type: ignore[arg-type]
obskit.init(unknown="x")  # type: ignore[call-arg]


async def bare(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None: ...


obs.wrap(bare)
obs.wrap(obs.wrap(app))


@obs.check("database", timeout=0.5, ttl=10, critical=False, affects="ready", failures=3)
async def database() -> bool:
    return True


@obs.check("disk")
def disk() -> None: ...


async def a_check_stays_what_it_is() -> None:
    assert_type(await database(), bool)
    await obs.health.run()


obs.check("x", affects="nothing")  # type: ignore[arg-type]

# -- Config -------------------------------------------------------------------------------------------------------

assert_type(Config.from_env({"OTEL_SERVICE_NAME": "orders"}), Config)
assert_type(Config().warnings, tuple[str, ...])
assert_type(Config().service_name, str | None)
assert_type(Config().shutdown_seconds, float)
Config(log_mode="loud")  # type: ignore[arg-type]
Config("orders")  # type: ignore[call-arg]
Config().log_level = "DEBUG"  # type: ignore[misc]

# -- operations ---------------------------------------------------------------------------------------------------


@obskit.operation("plain")
def plain(number: int, *, text: str = "") -> str:
    return text * number


@obskit.operation("coroutine", kind="consumer")
async def coroutine(number: int) -> str:
    return str(number)


@obskit.operation("generator")
def generator(number: int) -> Iterator[int]:
    yield number


@obskit.operation("async generator")
async def async_generator(number: int) -> AsyncIterator[int]:
    yield number


class Service:
    @obskit.operation("method")
    def run(self, number: int) -> int:
        return number


async def decorated_functions_keep_their_types() -> None:
    assert_type(plain(1, text="x"), str)
    assert_type(await coroutine(1), str)
    assert_type(generator(1), Iterator[int])
    async for item in async_generator(1):
        assert_type(item, int)
    assert_type(Service().run(1), int)
    plain("1")  # type: ignore[arg-type]
    await coroutine()  # type: ignore[call-arg]


async def context_managers(headers: dict[str, str], links: list[Link]) -> None:
    assert_type(obskit.extract(headers), Context)
    assert_type(obskit.extract([(b"traceparent", b"00")]), Context)
    with obskit.operation("x", parent=obskit.extract(headers), links=links, fields={"a": 1}) as op:
        assert_type(op, Operation)
        assert_type(op.trace_id, str)
        op.annotate({"user.tier": "gold"}, attempt=2)
        op.accumulate("bytes", 2.5)
    async with obskit.operation("x", kind="producer") as op:
        obskit.inject(headers)
    obskit.operation("x", kind="sideways")  # type: ignore[arg-type]
    obskit.operation("x", "client")  # type: ignore[call-arg]


assert_type(obskit.current_operation(), Operation)
obskit.annotate({"user.tier": "gold"})
obskit.annotate(tier="gold", nested={"a": [1, 2]}, nothing=None)
obskit.accumulate("hits")
obskit.accumulate("hits", 2.5)
obskit.accumulate("hits", "many")  # type: ignore[arg-type]

# -- logs, testing, exceptions ------------------------------------------------------------------------------------

obskit.get_logger().info("started", port=80)
obskit.get_logger("orders").bind(tier="gold").warning("low")

with capture(app, config=Config(), checks={"db": lambda: 1}) as captured:
    assert_type(captured, Captured)
    assert_type(captured.obs, Obskit)
    assert_type(captured.lines, list[dict[str, Any]])
    assert_type(captured.line("x"), dict[str, Any])
    assert_type(captured.spans, list[ReadableSpan])
    assert_type(captured.span("x"), ReadableSpan)
    assert_type(captured.metric("x", label="y"), float)

try:
    obskit.init()
except ConfigError as error:
    assert_type(error.problems, tuple[str, ...])
    a_value_error: ValueError = error
    one_of_obskits: ObskitError = error
