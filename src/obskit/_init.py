"""``init()``: reads as the table of contents of obskit."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from opentelemetry import propagate
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from prometheus_client import REGISTRY, CollectorRegistry

from obskit import propagation
from obskit._banner import banner
from obskit._exception import Exceptions
from obskit._fields import FieldPolicy
from obskit._handle import Obskit, Writer
from obskit._sdk import without_variables
from obskit._tally import Tally
from obskit._version import __version__
from obskit.config import Config
from obskit.exceptions import ConfigError
from obskit.export._exporter import REASONS, SdkExporter, SpanExporter
from obskit.export.exposition import exposition
from obskit.export.otlp import OtlpSpanExporter
from obskit.export.spans import SpanQueue
from obskit.export.writer import LineWriter
from obskit.health.checks import Checks
from obskit.health.endpoints import Endpoints
from obskit.instrumentation import starlette
from obskit.instrumentation._loop import LoopMonitor
from obskit.operation import Pipeline, install
from obskit.redaction import Redactor
from obskit.signals import _provider
from obskit.signals._adopt import install_logs
from obskit.signals._internals import EventLoopLag, Internals, register_process_metrics
from obskit.signals._span import Processors, SpanSource
from obskit.signals.metrics import Metrics
from obskit.signals.resource import build_resource, resolve_service_name, resolve_service_version
from obskit.signals.traces import Spans, TracerSpans, Traces, build_sampler, span_limits

_STDOUT = 1

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
        app: a FastAPI or Starlette app, observed in place, before or after its routes are added. For any other ASGI
            app use the handle's ``wrap``. None for a process without one.
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
    exporter: SpanExporter | None = None,
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
        if _current is None or _current.closed:
            _current = _wire(wanted, app, place, writer, exporter)
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
    if app is None or starlette.can_instrument(app):
        return []
    what = f"init() observes FastAPI and Starlette apps in place, not {type(app).__name__}"
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


def _wire(wanted: Config, app: Any, place: str, writer: Writer | None, exporter: SpanExporter | None) -> Obskit:
    undo = ExitStack()
    try:
        return _wired(undo, wanted, app, place, writer, exporter)
    except BaseException:
        undo.close()
        raise


def _wired(  # noqa: PLR0913  (see start)
    undo: ExitStack, wanted: Config, app: Any, place: str, writer: Writer | None, exporter: SpanExporter | None
) -> Obskit:
    service_name = resolve_service_name(wanted, app)
    version = resolve_service_version(wanted, service_name)
    config = dataclasses.replace(wanted, service_name=service_name, service_version=version)
    resource = build_resource(config)
    redactor = Redactor(config.redact, config.redact_allow)
    policy = FieldPolicy(
        redactor, max_fields=config.attribute_count_limit, max_length=config.attribute_value_length_limit
    )

    writer = writer or LineWriter(_STDOUT)
    logs = install_logs(
        writer,
        redactor,
        mode=config.log_mode,
        level=config.log_level,
        log_format=config.log_format,
        request_log=config.request_log,
        resource={name: str(value) for name, value in resource.attributes.items()},
    )
    undo.callback(logs.restore)

    spans = _span_queue(config, exporter)
    registry = CollectorRegistry()
    pipeline = Pipeline(policy=policy)
    health = Checks()
    undo.callback(health.close)
    metrics = Metrics(
        registry=registry,
        metric_fields=config.metric_fields,
        series_limit=config.series_limit,
        buckets=config.duration_buckets,
    )
    Internals(
        registry=registry,
        resource=resource.attributes,
        spans=spans.tally if spans else Tally(REASONS),
        log_lines=writer.tally,
        log_bytes=lambda: writer.bytes_written,
        dropped_fields=lambda: pipeline.dropped_fields,
        series_counts=metrics.series_counts,
        checks=health.snapshot,
    )
    register_process_metrics(registry)

    pipeline.signals = () if logs.signal is None else (logs.signal,)
    if config.enabled:
        exceptions = Exceptions(redactor.text)
        traces = Traces(_spans(config, resource, policy, exceptions, spans, undo), exceptions)
        pipeline.signals = (traces, metrics, *pipeline.signals)
        _propagate(config, undo)
        _instrument_clients(config, pipeline, undo)
    install(pipeline)
    undo.callback(install, Pipeline())

    handle = Obskit(
        config=config,
        asked_for=wanted,
        place=place,
        registry=registry,
        health=health,
        endpoints=_endpoints(config, health, registry),
        pipeline=pipeline,
        spans=spans,
        writer=writer,
        logs=logs,
        loop_monitor=LoopMonitor(EventLoopLag(registry).observe),
        undo=undo,
    )
    atexit.register(handle.close)
    undo.callback(atexit.unregister, handle.close)
    log = logging.getLogger("obskit")
    for warning in wanted.warnings:
        log.warning("%s", warning)
    for line in banner(config, logs, console=logs.console, foreign=_provider.foreign()):
        log.info("%s", line)
    return handle


def _span_queue(config: Config, exporter: SpanExporter | None) -> SpanQueue | None:
    exporter = exporter or _span_exporter(config)
    if exporter is None or not config.enabled:
        return None
    return SpanQueue(
        exporter,
        max_queue_size=config.span_queue_size,
        schedule_delay=config.span_schedule_delay,
        max_batch_size=config.span_batch_size,
        export_timeout=config.span_export_timeout,
    )


def _span_exporter(config: Config) -> SpanExporter | None:
    if config.span_exporter == "none" or config.otlp_protocol == "grpc":
        return None
    if config.span_exporter == "console":
        return SdkExporter(ConsoleSpanExporter())
    export = functools.partial(
        OtlpSpanExporter,
        endpoint=config.traces_url,
        headers=config.otlp_headers,
        headers_file=config.otlp_headers_file,
        timeout=config.otlp_timeout,
        compression=config.otlp_compression,
        protocol=config.otlp_protocol,
    )
    files = {name: getattr(config, f"otlp_{name}") for name in ("certificate", "client_key", "client_certificate")}
    try:
        return export(**files)
    except OSError as error:  # a file that is not there, or holds no certificate
        names = ", ".join(f"otlp_{name}={path}" for name, path in files.items() if path and name != "client_key")
        problem = f"the certificate or key of OTLP ({names}) cannot be used: {error}"
    environment = Config.from_env(os.environ)
    if any(path != getattr(environment, f"otlp_{name}") for name, path in files.items()):
        raise ConfigError([problem])
    logging.getLogger("obskit").warning("OTEL_EXPORTER_OTLP_*: %s; used: the system's authorities, no key", problem)
    return export()


def _spans(  # noqa: PLR0913  (the parts that a provider is made of)
    config: Config,
    resource: Resource,
    policy: FieldPolicy,
    exceptions: Exceptions,
    queue: SpanQueue | None,
    undo: ExitStack,
) -> Spans:
    """Where operations get their spans: a provider of obskit's own, unless the process has one already."""
    foreign = _provider.foreign_provider()
    if foreign is not None:
        if queue is not None and not _provider.has_exporter(foreign):
            _provider.attach(foreign, queue, undo)
        return TracerSpans(foreign.get_tracer("obskit", __version__))
    processors = Processors(*([queue] if queue else []))
    sampler, limits = build_sampler(config), span_limits(config)
    with without_variables("SDK_DISABLED"):  # `enabled` has been decided; arguments beat the environment
        provider = TracerProvider(sampler, resource, False, processors, span_limits=limits)  # noqa: FBT003  (no atexit)
    _provider.make_live(provider, undo)
    return SpanSource(provider, processors, sampler, policy, exceptions, limits)


def _propagate(config: Config, undo: ExitStack) -> None:
    propagator = propagation.propagator(config.propagators)
    undo.callback(propagation.install, propagation.install(propagator))
    undo.callback(propagate.set_global_textmap, propagate.get_global_textmap())
    propagate.set_global_textmap(propagator)


def _instrument_clients(config: Config, pipeline: Pipeline, undo: ExitStack) -> None:
    wanted = ("httpx",) if config.clients is None else config.clients
    if "httpx" in wanted and "httpx" in sys.modules:
        from obskit.instrumentation import httpx  # noqa: PLC0415  (an optional library's module)

        undo.callback(httpx.instrument(pipeline, propagate="tracecontext" in config.propagators))


def _endpoints(config: Config, health: Checks, registry: CollectorRegistry) -> Endpoints:
    def render(accept: str | None) -> tuple[str, bytes]:
        return exposition((registry, REGISTRY), accept)

    return Endpoints(
        health,
        render if "prometheus" in config.metrics_exporter else None,
        live_path=config.live_path,
        ready_path=config.ready_path,
        startup_path=config.startup_path,
        health_path=config.health_path,
        metrics_path=config.metrics_path,
    )
