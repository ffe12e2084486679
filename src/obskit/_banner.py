"""What ``init()`` says: what is wired, where it goes, what is off and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol
from urllib.parse import urlsplit

from obskit._otlp import GRPC_PACKAGE, Signal
from obskit._version import __version__
from obskit.config import Config

_ADOPTED: Mapping[str, str] = {
    "contrib": "OpenTelemetry's instrumentation (contrib)",
    "native": "the framework's own telemetry",
}
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


def banner(  # noqa: PLR0913  (each is something to say)
    config: Config,
    logs: LogsState,
    *,
    clients: Sequence[str],
    console: bool,
    foreign: Foreign,
    by_file: bool = False,
    served: bool,
) -> list[str]:
    """The lines to say: one, or a block where a terminal shows them.

    Args:
        config: the effective configuration, names resolved.
        logs: how log lines leave.
        clients: the outbound libraries that are observed.
        console: whether a terminal shows them.
        foreign: whether spans go through a provider that was there before, and whether it has an exporter itself.
        by_file: whether a configuration file decides what is pushed.
        served: whether there is an app, which has the paths. A script has none; a plain ASGI app comes later.
    """
    pushed = "" if by_file else _pushed_to(config, "metrics"), "" if by_file else _pushed_to(config, "logs")
    where_to = _wired(config, logs, *pushed, console=console, foreign=foreign, served=served)
    wired = [f"{what} → {where}" for what, where in where_to]
    if clients:
        wired.append(f"clients → {' '.join(clients)}")
    off = [f"off: {what} ({why})" for what, why in _off(config, logs, foreign=foreign)]
    head = f"obskit {__version__} observes {config.service_name}{_nameless(config)}"
    if console:
        return [head, *(f"  {line}" for line in wired + off)]
    return [" | ".join([head, *wired, *off])]


def _nameless(config: Config) -> str:
    return " (set OTEL_SERVICE_NAME to name it)" if (config.service_name or "").startswith("unknown_service") else ""


def _traces(config: Config, *, foreign: Foreign) -> Iterator[tuple[str, str]]:
    where = "" if foreign == "exports" else _pushed_to(config, "traces")
    if foreign != "none":
        where = " and ".join(filter(None, ["the tracer provider that was set already", where]))
    if where:
        yield "traces", where
    if config.server_spans in _ADOPTED:
        yield "SERVER spans", _ADOPTED[config.server_spans]


def _wired(  # noqa: PLR0913  (as above)
    config: Config,
    logs: LogsState,
    metrics_to: str,
    records_to: str,
    *,
    console: bool,
    foreign: Foreign,
    served: bool,
) -> Iterator[tuple[str, str]]:
    when = "" if served else " once obs.wrap(app) is served"
    if config.enabled:
        yield from _traces(config, foreign=foreign)
    if "prometheus" in config.metrics_exporter and config.metrics_path:
        yield "metrics", _admin(config) + config.metrics_path + when
    if metrics_to:
        yield "metrics", metrics_to
    if logs.effective_mode != "off":
        how = "a terminal" if console else "JSON lines on standard output"
        yield (
            "logs",
            how
            if logs.effective_mode == "replace"
            else f"your own pipeline, stamped ({logs.reason or 'as configured'})",
        )
    if records_to:
        yield "log records", records_to
    if config.enabled and config.keep_rate < 1.0:
        rules = " ".join(config.keep) + " and " if config.keep else ""
        yield "kept", f"{rules}{config.keep_rate:g} of the other traces"
    health_path = config.health_path and _admin(config) + config.health_path
    paths = [path for path in (config.live_path, config.ready_path, config.startup_path, health_path) if path]
    if paths:
        yield "health", " ".join(paths) + when


def _admin(config: Config) -> str:
    return "" if config.admin_port is None else f"port {config.admin_port} "


def _off(config: Config, logs: LogsState, *, foreign: Foreign) -> Iterator[tuple[str, str]]:
    if not config.enabled:
        yield "traces and RED metrics", "OTEL_SDK_DISABLED or enabled=False"
    elif foreign != "exports" and not config.pushes("traces"):
        yield "span export", _why_no_export(config)
    if config.enabled and config.keep_rate < 1.0 and foreign == "exports":
        yield "keep rules for spans", "the tracer provider exports them itself; lines are kept by them"
    if "prometheus" not in config.metrics_exporter:
        yield "/metrics", f"metrics_exporter is {','.join(config.metrics_exporter)}"
    if logs.effective_mode == "off":
        yield "logs", logs.reason or "OBSKIT_LOGS=off"


def _pushed_to(config: Config, signal: Signal) -> str:
    otlp = config.otlp(signal)
    url = urlsplit(otlp.url)
    host = (url.hostname or "") + (f":{url.port}" if url.port else "")
    places = {"otlp": f"{url.scheme}://{host}{url.path} ({otlp.protocol})", "console": "standard output"}
    return " and ".join(places[way] for way in config.pushes(signal))


def _why_no_export(config: Config) -> str:
    if config.traces_exporter == "none":
        return "traces_exporter is none"
    if config.traces_exporter == "otlp" or config.otlp_endpoint or config.otlp_traces_endpoint:
        return f"{GRPC_PACKAGE} is not installed: install obskit[grpc], or set http/protobuf and port 4318"
    return "set OTEL_EXPORTER_OTLP_ENDPOINT to switch it on"
