"""How a process is wired: the table of contents of obskit. What is touched is undone by the handle."""

from __future__ import annotations

import atexit
import dataclasses
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client import REGISTRY, CollectorRegistry

from obskit import _sigterm, propagation, semconv
from obskit._banner import banner
from obskit._exception import Exceptions
from obskit._fields import FieldPolicy
from obskit._handle import Obskit
from obskit._keep import Keeping
from obskit._life import ServerLife
from obskit._outlets import Outlets
from obskit._pipeline import Pipeline, install
from obskit._tally import Tally
from obskit._writer import Writer
from obskit.config import Config
from obskit.export._build import log_queue, metrics_push, span_queue
from obskit.export._exporter import REASONS, Exporter
from obskit.export._held import HeldSpans
from obskit.export._push import Push
from obskit.export.log_records import LogQueue
from obskit.export.multiprocess import Workers
from obskit.export.spans import SPAN_REASONS, SpanQueue
from obskit.export.writer import LineWriter
from obskit.health.checks import Checks
from obskit.health.endpoints import Endpoints
from obskit.instrumentation._clients import Clients
from obskit.instrumentation._loop import LoopMonitor
from obskit.instrumentation._outgoing import Outgoing
from obskit.instrumentation.databases import Databases
from obskit.instrumentation.server_spans import choose
from obskit.redaction import Redactor
from obskit.signals import _provider
from obskit.signals._adopt import LogPipeline, install_logs
from obskit.signals._internals import EventLoopLag, Internals, register_process_metrics
from obskit.signals._meters import Meters, make_live, pushed, scraped
from obskit.signals._otel_metrics import OtelMetrics
from obskit.signals._processors import Processors
from obskit.signals._profiles import encoder
from obskit.signals.keep import Keep, LineShare, trace_share
from obskit.signals.logs import Share
from obskit.signals.metrics import Metrics
from obskit.signals.resource import build_resource, resolve_service_name, resolve_service_version
from obskit.signals.traces import CONFIG_FILE, Traces, build_spans

if TYPE_CHECKING:
    from obskit.health.admin import Admin

_STDOUT = 1


def wire(
    wanted: Config, app: Any, place: str, writer: Writer | None, exporter: Exporter[ReadableSpan] | None
) -> Obskit:
    """Wire the process.

    Args:
        wanted: the effective configuration, as it was asked for.
        app: may have a title to name the service by.
        place: where it was asked for, as file and line.
        writer: takes the log lines instead of standard output.
        exporter: takes the spans instead of what `wanted` names.

    Raises:
        ConfigError: what only shows when the parts are made, such as a certificate that cannot be read.
    """
    with ExitStack() as undo:
        handle = _wired(undo, wanted, _named(wanted, app), place, writer or LineWriter(_STDOUT), exporter)
        handle.undo = undo.pop_all()
        return handle


def _named(wanted: Config, app: Any) -> Config:
    name = resolve_service_name(wanted, app)
    return dataclasses.replace(wanted, service_name=name, service_version=resolve_service_version(wanted, name))


def _wired(  # noqa: PLR0913  (see wire)
    undo: ExitStack, wanted: Config, config: Config, place: str, writer: Writer, exporter: Exporter[ReadableSpan] | None
) -> Obskit:
    resource = build_resource(config)
    redactor = Redactor(config.redact, config.redact_allow)
    exceptions = Exceptions(redactor.text)
    policy = FieldPolicy(
        redactor, max_fields=config.attribute_count_limit, max_length=config.attribute_value_length_limit
    )
    pipeline = Pipeline(policy=policy)
    registry = CollectorRegistry()

    keeping = Keeping(config.keep, config.keep_rate)
    by_file = bool(os.environ.get(CONFIG_FILE))
    log_records = None if by_file else log_queue(config, resource)
    logs = _logs(config, resource, writer, redactor, keeping, log_records, undo)
    spans = span_queue(config, exporter, redactor, keeping)
    processors = Processors(*([spans] if spans else []))
    outlets = Outlets(writer, processors)
    outlets.add(spans, log_records)
    workers = Workers(
        (registry, REGISTRY),
        explicit=config.worker_group,
        service=config.service_name or "",
        series_limit=config.series_limit,
    )
    undo.callback(workers.close)
    metrics = _metrics(config, registry, workers)
    push = None if by_file else metrics_push(config, resource, (registry, REGISTRY), pushed)
    outlets.add(push)
    clients = Clients(pipeline, config.clients, Outgoing(config.propagators, config.propagate_to))
    databases = Databases(pipeline, config.clients)
    health = Checks()
    undo.callback(health.close)

    pipeline.signals = () if logs.signal is None else (logs.signal,)
    if config.enabled:
        traces = Traces(build_spans(config, resource, policy, exceptions, processors, undo), exceptions)
        pipeline.signals = (traces, *_keep(config, keeping, spans), metrics, *pipeline.signals)
        _propagate(config, undo)
        if config.metrics_exporter != ("none",) and not by_file:
            OtelMetrics(scraped, registry)
            make_live(Meters(config, resource), undo)
        clients.install()
        undo.callback(clients.restore)
        databases.install()
        undo.callback(databases.restore)
    install(pipeline)
    undo.callback(install, Pipeline())

    target = _target(resource, config, workers)
    _internals(registry, target, spans, log_records, push, writer, pipeline, metrics, health, clients)
    endpoints = _endpoints(config, health, workers)
    life = ServerLife(
        config=config,
        endpoints=endpoints,
        pipeline=pipeline,
        clients=clients,
        logs=logs,
        loop_monitor=LoopMonitor(EventLoopLag(registry, workers.keep, exponential=_exponential(config)).observe),
        outlets=outlets,
        workers=workers,
        admin=None if config.admin_port is None else _admin(config.admin_port, config, endpoints, workers, undo),
    )
    handle = Obskit(
        server_spans=choose(config),
        config=config,
        asked_for=wanted,
        place=place,
        registry=registry,
        health=health,
        endpoints=endpoints,
        pipeline=pipeline,
        outlets=outlets,
        logs=logs,
        life=life,
    )
    atexit.register(handle.close)
    undo.callback(atexit.unregister, handle.close)
    undo.callback(_sigterm.before_default(life.dying))
    _say(config, (*wanted.warnings, *wanted.notes), logs, [*clients.installed, *databases.installed])
    if push is not None:
        push.start()
    return handle


def _keep(config: Config, keeping: Keeping, spans: SpanQueue | None) -> tuple[Keep, ...]:
    if config.keep_rate == 1.0 and config.request_log != "sampled":
        return ()
    elsewhere = _provider.foreign() == "exports" or bool(os.environ.get(CONFIG_FILE))
    return (Keep(keeping, spans if isinstance(spans, HeldSpans) and not elsewhere else None, exported=elsewhere),)


def _logs(  # noqa: PLR0913  (the parts that a line passes)
    config: Config,
    resource: Resource,
    writer: Writer,
    redactor: Redactor,
    keeping: Keeping,
    log_records: LogQueue | None,
    undo: ExitStack,
) -> LogPipeline:
    logs = install_logs(
        writer,
        redactor,
        mode=config.log_mode,
        level=config.log_level,
        log_format=config.log_format,
        request_log=config.request_log,
        encoder=encoder(config.log_profile, config.gcp_project),
        share=_share(config, keeping),
        left_out=writer.leave_out,
        resource={name: str(value) for name, value in resource.attributes.items()},
        records=None if log_records is None else log_records.add,
    )
    undo.callback(logs.restore)
    return logs


def _share(config: Config, keeping: Keeping) -> Share | None:
    if config.request_log == "sampled":
        return trace_share
    return None if config.keep_rate == 1.0 else LineShare(keeping)


def _metrics(config: Config, registry: CollectorRegistry, workers: Workers) -> Metrics:
    return Metrics(
        registry=registry,
        metric_fields=config.metric_fields,
        series_limit=config.series_limit,
        buckets=config.duration_buckets,
        keep=workers.keep,
        exponential=_exponential(config),
    )


def _exponential(config: Config) -> bool:
    """Whether histograms need exponential buckets: only a push shows them."""
    return bool(config.pushes("metrics")) and config.metric_histograms == "base2_exponential_bucket_histogram"


def _target(resource: Resource, config: Config, workers: Workers) -> Mapping[str, Any]:
    """What ``target_info`` shows; the id of a single worker says nothing of what all of them show."""
    single = semconv.SERVICE_INSTANCE_ID
    if workers.group is None or single in config.resource_attributes:
        return resource.attributes
    return {name: value for name, value in resource.attributes.items() if name != single}


def _internals(  # noqa: PLR0913  (each is a source of numbers of its own)
    registry: CollectorRegistry,
    target: Mapping[str, Any],
    spans: SpanQueue | None,
    log_records: LogQueue | None,
    push: Push | None,
    writer: Writer,
    pipeline: Pipeline,
    metrics: Metrics,
    health: Checks,
    clients: Clients,
) -> None:
    Internals(
        registry=registry,
        resource=target,
        spans=spans.tally if spans else Tally(SPAN_REASONS),
        log_lines=writer.tally,
        log_records=log_records.tally if log_records else Tally(REASONS),
        metric_points=push.tally if push else Tally(REASONS),
        log_bytes=lambda: writer.bytes_written,
        dropped_fields=lambda: pipeline.dropped_fields,
        calls_without_timeout=lambda: clients.without_timeout,
        series_counts=metrics.series_counts,
        checks=health.snapshot,
    )
    register_process_metrics(registry)


def _propagate(config: Config, undo: ExitStack) -> None:
    propagator = propagation.propagator(config.propagators)
    undo.callback(propagation.install, propagation.install(propagator))
    if not os.environ.get(CONFIG_FILE):
        undo.callback(propagate.set_global_textmap, propagate.get_global_textmap())
        propagate.set_global_textmap(propagator)


def _endpoints(config: Config, health: Checks, workers: Workers) -> Endpoints:
    here = config.admin_port is None
    return Endpoints(
        health,
        workers.exposition if here and "prometheus" in config.metrics_exporter else None,
        live_path=config.live_path,
        ready_path=config.ready_path,
        startup_path=config.startup_path,
        health_path=config.health_path if here else "",
        metrics_path=config.metrics_path,
    )


def _admin(port: int, config: Config, endpoints: Endpoints, workers: Workers, undo: ExitStack) -> Admin:
    from obskit.health.admin import Admin  # noqa: PLC0415  (an HTTP server, for those who want it)

    admin = Admin(
        port,
        metrics=workers.exposition if "prometheus" in config.metrics_exporter else None,
        report=endpoints.report,
        may_listen=workers.leads,
        metrics_path=config.metrics_path,
        health_path=config.health_path,
    )
    undo.callback(admin.stop)
    return admin


def _say(config: Config, warnings: tuple[str, ...], logs: LogPipeline, clients: list[str]) -> None:
    log = logging.getLogger("obskit")
    for warning in warnings:
        log.warning("%s", warning)
    by_file = bool(os.environ.get(CONFIG_FILE))
    foreign = _provider.foreign()
    for line in banner(config, logs, clients=clients, console=logs.console, foreign=foreign, by_file=by_file):
        log.info("%s", line)
