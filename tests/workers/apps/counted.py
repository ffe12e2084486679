"""An app that counts in every way there is: obskit's metrics, a user's own in both registries, collectors."""

import os
import time

from fastapi import FastAPI
from prometheus_client import REGISTRY, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

import obskit

ORDERS = Counter("orders", "Orders.", ["kind"])
TOOK = Histogram("took_seconds", "Took.", buckets=(0.1, 0.5, 1))
SIZE = Summary("size_bytes", "Size.")
MODES = ("all", "liveall", "sum", "livesum", "min", "max", "mostrecent")
GAUGES = {mode: Gauge(f"mode_{mode}_now", mode, multiprocess_mode=mode) for mode in MODES}
BORN = Gauge("born", "Set before any fork.", multiprocess_mode="livesum")
BORN.set(1)
Info("build", "Build.").info({"version": "7"})
STATE = Enum("state", "State.", states=["idle", "busy"])


class Custom:
    """A collector of the user's own."""

    calls = 0

    def collect(self):
        yield CounterMetricFamily("custom_calls", "Calls.", Custom.calls)
        yield GaugeMetricFamily("custom_depth", "Depth.", 2)


REGISTRY.register(Custom())

app = FastAPI(title="counted")
obs = obskit.init(app)
MINE = Counter("mine", "On obskit's registry.", registry=obs.registry)


@obs.check("database")
async def database():
    return True


@app.get("/work/{number}")
async def work(number: int):
    ORDERS.labels("a").inc(1, {"trace_id": "abc"})
    MINE.inc()
    TOOK.observe(0.2)
    SIZE.observe(10)
    Custom.calls += 1
    STATE.state("busy")
    for mode, gauge in GAUGES.items():
        gauge.set(number if mode == "mostrecent" else os.getpid())
    return {"pid": os.getpid()}


@app.get("/hang")
async def hang():
    time.sleep(30)  # noqa: ASYNC251  (that is the fault)
