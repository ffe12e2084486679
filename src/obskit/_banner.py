"""What ``init()`` says: what is wired, where it goes, what is off and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol
from urllib.parse import urlsplit

from obskit._version import __version__
from obskit.config import Config

Foreign = Literal["none", "bare", "exports"]


class LogsState(Protocol):
    """What the log pipeline has settled on."""

    @property
    def effective_mode(self) -> str:
        """replace, stamp or off."""
        ...

    @property
    def reason(self) -> str:
        """Why it is another than was asked for."""
        ...


def banner(config: Config, logs: LogsState, *, clients: Sequence[str], console: bool, foreign: Foreign) -> list[str]:
    """The lines to say: one, or a block where a terminal shows them.

    Args:
        config: the effective configuration, names resolved.
        logs: how log lines leave.
        clients: the outbound libraries that are observed.
        console: whether a terminal shows them.
        foreign: whether spans go through a provider that was there before, and whether it has an exporter itself.
    """
    wired = [f"{what} → {where}" for what, where in _wired(config, logs, console=console, foreign=foreign)]
    if clients:
        wired.append(f"clients → {' '.join(clients)}")
    off = [f"off: {what} ({why})" for what, why in _off(config, logs, foreign=foreign)]
    head = f"obskit {__version__} observes {config.service_name}"
    if console:
        return [head, *(f"  {line}" for line in wired + off)]
    return [" | ".join([head, *wired, *off])]


def _wired(config: Config, logs: LogsState, *, console: bool, foreign: Foreign) -> Iterator[tuple[str, str]]:
    if config.enabled:
        where = "" if foreign == "exports" else _spans_to(config)
        if foreign != "none":
            where = " and ".join(filter(None, ["the tracer provider that was set already", where]))
        if where:
            yield "traces", where
    if "prometheus" in config.metrics_exporter and config.metrics_path:
        yield "metrics", config.metrics_path
    if logs.effective_mode != "off":
        how = "a terminal" if console else "JSON lines on standard output"
        yield (
            "logs",
            how
            if logs.effective_mode == "replace"
            else f"your own pipeline, stamped ({logs.reason or 'as configured'})",
        )
    paths = [path for path in (config.live_path, config.ready_path, config.startup_path, config.health_path) if path]
    if paths:
        yield "health", " ".join(paths)


def _off(config: Config, logs: LogsState, *, foreign: Foreign) -> Iterator[tuple[str, str]]:
    if not config.enabled:
        yield "traces and RED metrics", "OTEL_SDK_DISABLED or enabled=False"
    elif foreign != "exports" and not _spans_to(config):
        yield "span export", _why_no_export(config)
    if "prometheus" not in config.metrics_exporter:
        yield "/metrics", "metrics_exporter is none"
    if logs.effective_mode == "off":
        yield "logs", logs.reason or "OBSKIT_LOGS=off"


def _spans_to(config: Config) -> str:
    if config.span_exporter == "otlp":
        url = urlsplit(config.traces_url)
        host = (url.hostname or "") + (f":{url.port}" if url.port else "")
        return f"{url.scheme}://{host}{url.path} ({config.otlp_protocol})"
    return "standard output" if config.span_exporter == "console" else ""


def _why_no_export(config: Config) -> str:
    if config.otlp_protocol == "grpc":
        return "this release has no gRPC: use OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf and port 4318"
    if config.traces_exporter == "none":
        return "traces_exporter is none"
    return "set OTEL_EXPORTER_OTLP_ENDPOINT to switch it on"
