"""How a process is wired: the table of contents of obskit. What is touched is undone by the handle."""

from __future__ import annotations

import atexit
import dataclasses
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from multiprocessing.util import Finalize, register_after_fork
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate
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
from obskit.export.multiprocess import Workers
from obskit.export.spans import SPAN_REASONS
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
        app: may have a title to name the service by; what serves /metrics and the probes.
        place: where it was asked for, as file and line.
        writer: takes the log lines instead of standard output.
        exporter: takes the spans instead of what `wanted` names.

    Raises:
        ConfigError: what only shows when the parts are made, such as a certificate that cannot be read.
    """
    with ExitStack() as undo:
        wiring = _Wiring(undo, wanted, _named(wanted, app), writer or LineWriter(_STDOUT), exporter)
        handle = wiring.handle(place, served=app is not None)
        handle.undo = undo.pop_all()
        return handle


def _named(wanted: Config, app: Any) -> Config:
    name = resolve_service_name(wanted, app)
    return dataclasses.replace(wanted, service_name=name, service_version=resolve_service_version(wanted, name))


class _Wiring:
    """The parts of one process, made in the order in which they need each other.

    Args:
        undo: takes back what they touch.
        wanted, writer, exporter: see :func:`wire`.
        config: what was asked for, with the names filled in.
    """

    def __init__(
        self,
        undo: ExitStack,
        wanted: Config,
        config: Config,
        writer: Writer,
        exporter: Exporter[ReadableSpan] | None,
    ) -> None:
        self.undo, self.wanted, self.config, self.writer = undo, wanted, config, writer
        # A declarative configuration file decides about providers, exporters and propagators.
        self.by_file = bool(os.environ.get(CONFIG_FILE))
        self.resource = build_resource(config)
        self.redactor = Redactor(config.redact, config.redact_allow)
        self.exceptions = Exceptions(self.redactor.text)
        self.policy = FieldPolicy(
            self.redactor, max_fields=config.attribute_count_limit, max_length=config.attribute_value_length_limit
        )
        self.pipeline = Pipeline(policy=self.policy)
        self.registry = CollectorRegistry()
        self.registries = (self.registry, REGISTRY)
        self.health = Checks()
        undo.callback(self.health.close)
        self._outlets(exporter)
        self._signals()
        self._calls()
        self._numbers()

    def handle(self, place: str, *, served: bool) -> Obskit:
        """What ``init()`` returns; from here on the process is wired."""
        endpoints = self._endpoints()
        life = self._life(endpoints)
        handle = Obskit(
            server_spans=choose(self.config),
            config=self.config,
            asked_for=self.wanted,
            place=place,
            registry=self.registry,
            health=self.health,
            endpoints=endpoints,
            pipeline=self.pipeline,
            outlets=self.outlets,
            logs=self.logs,
            life=life,
        )
        atexit.register(handle.close)
        self.undo.callback(atexit.unregister, handle.close)
        register_after_fork(handle, _closed_at_its_end)
        self.undo.callback(_sigterm.before_default(life.dying))
        self._say(served=served)
        if self.push is not None:
            self.push.start()
        return handle

    def _outlets(self, exporter: Exporter[ReadableSpan] | None) -> None:
        """How lines, records, spans and metrics leave."""
        config = self.config
        self.keeping = Keeping(config.keep, config.keep_rate)
        self.log_records = None if self.by_file else log_queue(config, self.resource)
        self.logs = self._logs()  # before what may have something to say
        self.spans = span_queue(config, exporter, self.redactor, self.keeping)
        self.processors = Processors(*([self.spans] if self.spans else []))
        self.push = None if self.by_file else metrics_push(config, self.resource, self.registries, pushed)
        self.outlets = Outlets(self.writer, self.processors)
        self.outlets.add(self.spans, self.log_records, self.push)
        self.workers = Workers(
            self.registries,
            explicit=config.worker_group,
            service=config.service_name or "",
            series_limit=config.series_limit,
        )
        self.undo.callback(self.workers.close)

    def _signals(self) -> None:
        """What operations become."""
        config = self.config
        self.metrics = Metrics(
            registry=self.registry,
            metric_fields=config.metric_fields,
            series_limit=config.series_limit,
            buckets=config.duration_buckets,
            keep=self.workers.keep,
            exponential=_exponential(config),
        )
        self.pipeline.signals = () if self.logs.signal is None else (self.logs.signal,)
        if config.enabled:
            spans = build_spans(config, self.resource, self.policy, self.exceptions, self.processors, self.undo)
            traces = Traces(spans, self.exceptions)
            self.pipeline.signals = (traces, *self._keep(), self.metrics, *self.pipeline.signals)
        install(self.pipeline)
        self.undo.callback(install, Pipeline())

    def _keep(self) -> tuple[Keep, ...]:
        if self.config.keep_rate == 1.0 and self.config.request_log != "sampled":
            return ()
        elsewhere = _provider.foreign() == "exports" or self.by_file
        held = self.spans if isinstance(self.spans, HeldSpans) and not elsewhere else None
        return (Keep(self.keeping, held, exported=elsewhere),)

    def _logs(self) -> LogPipeline:
        config = self.config
        logs = install_logs(
            self.writer,
            self.redactor,
            mode=config.log_mode,
            level=config.log_level,
            log_format=config.log_format,
            request_log=config.request_log,
            encoder=encoder(config.log_profile, config.gcp_project),
            share=_share(config, self.keeping),
            left_out=self.writer.leave_out,
            resource={name: str(value) for name, value in self.resource.attributes.items()},
            records=None if self.log_records is None else self.log_records.add,
        )
        self.undo.callback(logs.restore)
        return logs

    def _calls(self) -> None:
        """What is observed beside requests: outbound calls, and the metrics of others."""
        config = self.config
        self.clients = Clients(self.pipeline, config.clients, Outgoing(config.propagators, config.propagate_to))
        self.databases = Databases(self.pipeline, config.clients)
        if not config.enabled:
            return
        self._propagate()
        if config.metrics_exporter != ("none",) and not self.by_file:
            OtelMetrics(scraped, self.registry)
            make_live(Meters(config, self.resource), self.undo)
        self.clients.install()
        self.undo.callback(self.clients.restore)
        self.databases.install()
        self.undo.callback(self.databases.restore)

    def _propagate(self) -> None:
        propagator = propagation.propagator(self.config.propagators)
        self.undo.callback(propagation.install, propagation.install(propagator))
        if not self.by_file:
            self.undo.callback(propagate.set_global_textmap, propagate.get_global_textmap())
            propagate.set_global_textmap(propagator)

    def _numbers(self) -> None:
        """What obskit tells of itself and of the process."""
        Internals(
            registry=self.registry,
            resource=self._target(),
            spans=self.spans.tally if self.spans else Tally(SPAN_REASONS),
            log_lines=self.writer.tally,
            log_records=self.log_records.tally if self.log_records else Tally(REASONS),
            metric_points=self.push.tally if self.push else Tally(REASONS),
            log_bytes=lambda: self.writer.bytes_written,
            dropped_fields=lambda: self.pipeline.dropped_fields,
            calls_without_timeout=lambda: self.clients.without_timeout,
            series_counts=self.metrics.series_counts,
            checks=self.health.snapshot,
        )
        register_process_metrics(self.registry)

    def _target(self) -> Mapping[str, Any]:
        """What ``target_info`` shows; the id of a single worker says nothing of what all of them show."""
        single, attributes = semconv.SERVICE_INSTANCE_ID, self.resource.attributes
        if self.workers.group is None or single in self.config.resource_attributes:
            return attributes
        return {name: value for name, value in attributes.items() if name != single}

    def _endpoints(self) -> Endpoints:
        config = self.config
        here = config.admin_port is None
        return Endpoints(
            self.health,
            self.workers.exposition if here and "prometheus" in config.metrics_exporter else None,
            live_path=config.live_path,
            ready_path=config.ready_path,
            startup_path=config.startup_path,
            health_path=config.health_path if here else "",
            metrics_path=config.metrics_path,
        )

    def _life(self, endpoints: Endpoints) -> ServerLife:
        lag = EventLoopLag(self.registry, self.workers.keep, exponential=_exponential(self.config))
        return ServerLife(
            config=self.config,
            endpoints=endpoints,
            pipeline=self.pipeline,
            clients=self.clients,
            logs=self.logs,
            loop_monitor=LoopMonitor(lag.observe),
            outlets=self.outlets,
            workers=self.workers,
            admin=None if self.config.admin_port is None else self._admin(self.config.admin_port, endpoints),
        )

    def _admin(self, port: int, endpoints: Endpoints) -> Admin:
        from obskit.health.admin import Admin  # noqa: PLC0415  (an HTTP server, for those who want it)

        admin = Admin(
            port,
            metrics=self.workers.exposition if "prometheus" in self.config.metrics_exporter else None,
            report=endpoints.report,
            may_listen=self.workers.leads,
            metrics_path=self.config.metrics_path,
            health_path=self.config.health_path,
        )
        self.undo.callback(admin.stop)
        return admin

    def _say(self, *, served: bool) -> None:
        log = logging.getLogger("obskit")
        for warning in (*self.wanted.warnings, *self.wanted.notes):
            log.warning("%s", warning)
        for line in banner(
            self.config,
            self.logs,
            clients=[*self.clients.installed, *self.databases.installed],
            console=self.logs.console,
            foreign=_provider.foreign(),
            by_file=self.by_file,
            served=served,
        ):
            log.info("%s", line)


def _share(config: Config, keeping: Keeping) -> Share | None:
    if config.request_log == "sampled":
        return trace_share
    return None if config.keep_rate == 1.0 else LineShare(keeping)


def _exponential(config: Config) -> bool:
    """Whether histograms need exponential buckets: only a push shows them."""
    return bool(config.pushes("metrics")) and config.metric_histograms == "base2_exponential_bucket_histogram"


def _closed_at_its_end(handle: Obskit) -> None:
    """A child that multiprocessing forks ends without atexit: what is run at its end are finalizers of that module."""
    Finalize(None, handle.close, exitpriority=-1)  # below 0: after its own children are joined, as atexit would
