"""The way out that a configuration asks for."""

from __future__ import annotations

import functools
import logging
import os

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from obskit.config import Config
from obskit.exceptions import ConfigError
from obskit.export._encodings import SPANS
from obskit.export._exporter import Exporter, SdkExporter
from obskit.export._redacted import Redact
from obskit.export.otlp import OtlpExporter
from obskit.export.spans import SpanQueue


def span_queue(config: Config, exporter: Exporter[ReadableSpan] | None, redact: Redact) -> SpanQueue | None:
    """The queue in front of the exporter; None where spans go nowhere.

    Args:
        config: the effective configuration.
        exporter: takes the place of the one that `config` names.
        redact: takes secrets out of the spans of other instrumentations.

    Raises:
        ConfigError: a certificate or key that an argument named cannot be used.
    """
    exporter = exporter or _span_exporter(config)
    if exporter is None or not config.enabled:
        return None
    return SpanQueue(
        exporter,
        max_queue_size=config.span_queue_size,
        schedule_delay=config.span_schedule_delay,
        max_batch_size=config.span_batch_size,
        export_timeout=config.span_export_timeout,
        redact=redact,
    )


def _span_exporter(config: Config) -> Exporter[ReadableSpan] | None:
    if config.span_exporter == "none" or config.otlp_protocol == "grpc":
        return None
    if config.span_exporter == "console":
        return SdkExporter(ConsoleSpanExporter())
    export = functools.partial(
        OtlpExporter,
        SPANS,
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
