"""The services that are compared: one FastAPI endpoint, observed by nothing, by obskit, by the assembled stack."""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

SERVICE_NAME = "bench"
FLUSH_SECONDS = 30.0

BARE = "bare"
OBSKIT = "obskit"
ASSEMBLED = "assembled"
ASSEMBLED_LEAN = "assembled-lean"

#: How the tables name them.
TITLES = {
    BARE: "bare FastAPI",
    OBSKIT: "obskit",
    ASSEMBLED: "assembled stack",
    ASSEMBLED_LEAN: "assembled, no send/receive spans",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """What a subject says became of its spans or lines."""

    produced: int = 0
    exported: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """One service.

    Attributes:
        app: the application.
        flush: returns when all that was produced has left the process.
        spans: counts of spans, from the exposition text of its ``/metrics`` where that is where they stand.
        lines: the same of log lines; None where each call has written before it returns.
    """

    app: FastAPI
    flush: Callable[[], object] = lambda: None
    spans: Callable[[str], Counts] = lambda _exposition: Counts()
    lines: Callable[[str], Counts] | None = None


def application(log: Any = None) -> FastAPI:
    """The service itself: one JSON endpoint, which writes one line with two fields when given a structlog logger."""
    app = FastAPI(title=SERVICE_NAME)

    if log is None:

        @app.get("/items/{item_id}")
        async def read_item(item_id: int, *, verbose: bool = False) -> dict[str, object]:
            return {"id": item_id, "name": "pen", "price": 1.5, "verbose": verbose}
    else:

        @app.get("/items/{item_id}")
        async def read_logged_item(item_id: int, *, verbose: bool = False) -> dict[str, object]:
            log.info("item read", item_id=item_id, verbose=verbose)
            return {"id": item_id, "name": "pen", "price": 1.5, "verbose": verbose}

    return app


def wire_obskit(app: FastAPI) -> Subject:
    """One ``init``, all of it by default; the endpoint comes from the environment."""
    import obskit

    handle = obskit.init(app, service_name=SERVICE_NAME)
    return Subject(
        app,
        lambda: handle.flush(FLUSH_SECONDS),
        lambda text: counts_of(text, "obskit_spans"),
        lambda text: counts_of(text, "obskit_log_lines"),
    )


def obskit_logger() -> Any:
    """The logger of a module, taken before ``init`` as a module takes it."""
    import obskit

    return obskit.get_logger("shop.items")


def counts_of(exposition: str, name: str) -> Counts:
    """obskit's own counters of one kind of item, from the text of ``/metrics``."""
    from prometheus_client.parser import text_string_to_metric_families

    sums = dict.fromkeys(("produced", "exported", "dropped"), 0)
    for family in text_string_to_metric_families(exposition):
        outcome = family.name.removeprefix(name + "_")
        if outcome in sums:
            sums[outcome] = int(sum(s.value for s in family.samples if s.name.endswith("_total")))
    return Counts(**sums)


def wire_assembled(app: FastAPI, *, lean: bool = False) -> Subject:
    """What a team puts together itself: contrib's FastAPI instrumentor, the official OTLP/HTTP exporter behind the
    SDK's batch processor, and prometheus-fastapi-instrumentator; structlog comes with :func:`structlog_logger`.

    Args:
        app: the service.
        lean: without contrib's spans for each ASGI send and receive.
    """
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from prometheus_fastapi_instrumentator import Instrumentator

    processor, exported = _assembled_tracing()
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["send", "receive"] if lean else None)
    Instrumentator().instrument(app).expose(app)

    def spans(_exposition: str) -> Counts:
        return Counts(processor.produced, exported(), processor.produced - exported())

    return Subject(app, processor.force_flush, spans)


def _assembled_tracing() -> tuple[Any, Callable[[], int]]:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

    class CountingExporter(OTLPSpanExporter):
        exported = 0

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            self.exported += len(spans) if result is SpanExportResult.SUCCESS else 0
            return result

    class CountingProcessor(BatchSpanProcessor):
        produced = 0

        def on_end(self, span: ReadableSpan) -> None:
            self.produced += 1
            super().on_end(span)

    exporter = CountingExporter()
    processor = CountingProcessor(exporter)
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE_NAME}))
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    return processor, lambda: exporter.exported


def _add_trace_ids(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def structlog_logger() -> Any:
    """structlog as its documentation sets it up for JSON at speed: orjson, bytes, one write a line to stdout."""
    import orjson
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _add_trace_ids,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("INFO"),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    return structlog.get_logger()


def build(name: str) -> Subject:
    """The subject of that name, with its log line, wired in this process."""
    if name == BARE:
        return Subject(application())
    if name == OBSKIT:
        return wire_obskit(application(obskit_logger()))
    return wire_assembled(application(structlog_logger()), lean=name == ASSEMBLED_LEAN)


def environment(name: str, receiver_port: int) -> dict[str, str]:
    """The variables that send a subject's spans to the receiver, under a path of its own."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver_port}/{name}"}
