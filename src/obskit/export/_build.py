"""The ways out that a configuration asks for."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from prometheus_client import CollectorRegistry

from obskit._keep import Keeping
from obskit._otlp import Otlp, Signal
from obskit._probability import ALWAYS
from obskit.config import Config
from obskit.exceptions import ConfigError
from obskit.export._encodings import LOG_RECORDS, SPANS, Encoding
from obskit.export._exporter import Both, Exporter, SdkExporter
from obskit.export._held import HeldSpans
from obskit.export._push import Push
from obskit.export._redacted import Redact
from obskit.export.log_records import LogQueue
from obskit.export.otlp import OtlpExporter
from obskit.export.spans import SpanQueue

T = TypeVar("T")

_FILES = ("certificate", "client_key", "client_certificate")
_SHOWN_FILES = ("certificate", "client_certificate")


def span_queue(
    config: Config, exporter: Exporter[ReadableSpan] | None, redact: Redact, keeping: Keeping
) -> SpanQueue | None:
    """The queue in front of the exporter of spans; None where spans go nowhere.

    Args:
        config: the effective configuration.
        exporter: takes the place of the one that `config` names.
        redact: takes secrets out of the spans of other instrumentations.
        keeping: what is kept of them.

    Raises:
        ConfigError: a certificate or key that an argument named cannot be used.
    """
    exporter = exporter or _exporter(config, "traces", SPANS, lambda: SdkExporter(ConsoleSpanExporter()))
    if exporter is None or not config.enabled:
        return None
    queue = SpanQueue if keeping.threshold == ALWAYS else functools.partial(HeldSpans, keeping=keeping)
    return queue(
        exporter,
        max_queue_size=config.span_queue_size,
        schedule_delay=config.span_schedule_delay,
        max_batch_size=config.span_batch_size,
        export_timeout=config.span_export_timeout,
        redact=redact,
    )


def log_queue(config: Config, resource: Resource) -> LogQueue | None:
    """The queue in front of the exporter of log records; None where they go nowhere.

    Args:
        config: the effective configuration.
        resource: who emits them.

    Raises:
        ConfigError: a certificate or key that an argument named cannot be used.
    """
    exporter = _exporter(config, "logs", LOG_RECORDS, lambda: SdkExporter(*_sdk_logs().console()))
    if exporter is None:
        return None
    return LogQueue(
        exporter,
        resource,
        max_attributes=config.attribute_count_limit,
        max_length=config.attribute_value_length_limit,
        max_queue_size=config.log_queue_size,
        schedule_delay=config.log_schedule_delay,
        max_batch_size=config.log_batch_size,
        export_timeout=config.log_export_timeout,
    )


def metrics_push(
    config: Config, resource: Resource, registries: Sequence[CollectorRegistry], others: Callable[[], Sequence[Any]]
) -> Push | None:
    """What pushes metrics, not yet started; None where they are only scraped.

    Args:
        config: the effective configuration.
        resource: whose metrics they are.
        registries: where they are read; of two metrics with one name the first counts.
        others: gives the metrics of other libraries.

    Raises:
        ConfigError: a certificate or key that an argument named cannot be used.
    """
    ways = config.pushes("metrics")
    if not ways:
        return None
    module = importlib.import_module("obskit.export.metrics")  # with the SDK's metrics
    exporters = [module.console()] if "console" in ways else []
    if "otlp" in ways:
        exporters.append(_otlp_exporter(config, "metrics", module.METRICS))
    source = module.source(config, resource, registries, others)
    return Push(
        source,
        exporters[0] if len(exporters) == 1 else Both(exporters[1], exporters[0]),
        module.METRICS.count,
        interval=config.metric_export_interval,
        timeout=config.metric_export_timeout,
    )


def _exporter(
    config: Config, signal: Signal, encoding: Encoding[T], console: Callable[[], Exporter[T]]
) -> Exporter[T] | None:
    ways = config.pushes(signal)
    if "otlp" in ways:
        return _otlp_exporter(config, signal, encoding)
    return console() if ways else None


def _sdk_logs() -> Any:
    return importlib.import_module("obskit.export._sdk_logs")  # with half of the SDK, which most processes do without


def _otlp_exporter(config: Config, signal: Signal, encoding: Encoding[T]) -> Exporter[T]:
    otlp = config.otlp(signal)
    make: Callable[[Otlp], Exporter[T]]
    make = functools.partial(_over_grpc if otlp.protocol == "grpc" else _over_http, signal, encoding)
    try:
        return make(otlp)
    except OSError as error:  # a file that is not there, or holds no certificate
        files = [f"otlp_{name}={getattr(otlp, name)}" for name in _SHOWN_FILES if getattr(otlp, name)]
        problem = f"the certificate or key of OTLP ({', '.join(files)}) cannot be used: {error}"
    environment = Config.from_env(os.environ).otlp(signal)
    if any(getattr(otlp, name) != getattr(environment, name) for name in _FILES):
        raise ConfigError([problem])
    logging.getLogger("obskit").warning("OTEL_EXPORTER_OTLP_*: %s; used: the system's authorities, no key", problem)
    return make(dataclasses.replace(otlp, certificate=None, client_key=None, client_certificate=None))


def _over_http(_signal: Signal, encoding: Encoding[T], otlp: Otlp) -> Exporter[T]:
    return OtlpExporter(
        encoding,
        endpoint=otlp.url,
        headers=otlp.headers,
        headers_file=otlp.headers_file,
        timeout=otlp.timeout,
        compression=otlp.compression,
        protocol="http/json" if otlp.protocol == "http/json" else "http/protobuf",
        certificate=otlp.certificate,
        client_key=otlp.client_key,
        client_certificate=otlp.client_certificate,
    )


def _over_grpc(signal: Signal, encoding: Encoding[T], otlp: Otlp) -> Exporter[T]:
    official = importlib.import_module("obskit.export._grpc")  # an extra
    convert: Callable[..., Any] = list
    if signal == "logs":
        convert = _sdk_logs().sdk_records
    elif signal == "metrics":
        convert = importlib.import_module("obskit.export.metrics").data_of
    exporter: Exporter[T] = official.GrpcExporter(official.EXPORTERS[signal], otlp, convert, encoding.count)
    return exporter
