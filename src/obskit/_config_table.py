"""The table of the configuration: each field with its default, what it takes, its variables and its meaning.

What a row says is what ``Config`` checks, what the environment is read by, and what the reference documents.
"""

# ruff: noqa: RUF009  (each call declares a field)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from obskit import semconv
from obskit._keep import KEEP
from obskit._parse import (
    HEADER_NAME,
    LEVEL,
    NEGATED,
    PATH,
    PORT,
    PROJECT,
    RATIO,
    SECRET,
    TEXT,
    URL,
    choice,
    count,
    seconds,
)
from obskit._parse_many import ATTRIBUTES, BUCKETS, HEADERS, HOSTS, NAMES, PROMOTED, TRUST, names_of, subset
from obskit._setting import setting

if TYPE_CHECKING:
    from obskit._parse import Kind
    from obskit._setting import Setting

Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]
"""The samplers of the specification (https://opentelemetry.io/docs/specs/otel/trace/sdk/#built-in-samplers)."""

Protocol = Literal["http/protobuf", "http/json", "grpc"]
Compression = Literal["gzip", "none"]

_SAMPLERS = choice(*get_args(Sampler))
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_MILLISECONDS = seconds(unit=0.001, unit_note=" (milliseconds in the variable)")


_PROTOCOL = choice(*get_args(Protocol))
_COMPRESSION = choice(*get_args(Compression))
_TIMEOUT = seconds(maximum=600, unit_note=", not milliseconds")


def _otlp(option: str, signal: str = "") -> str:
    """Name the variable of an option of OTLP, for one signal or for all."""
    return "_".join(filter(None, ("OTEL_EXPORTER_OTLP", signal.upper(), option.upper())))


def _only(signal: str, option: str, kind: Kind) -> Any:
    """Declare an option of OTLP for one signal; unset, what is given for all signals holds."""
    doc = f"`otlp_{option}`, for {signal} alone."
    return setting(None, kind, _otlp(option, signal), doc, default_doc=f"otlp_{option}", hashed=kind is not HEADERS)


def _endpoint(signal: str) -> Any:
    doc = f"The URL that takes {signal}, used as it is; beats the base URL."
    return setting(None, URL, _otlp("endpoint", signal), doc)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Table:
    """The fields of ``Config``."""

    service_name: str | None = setting(
        None,
        TEXT,
        "OTEL_SERVICE_NAME OTEL_RESOURCE_ATTRIBUTES[service.name]",
        "The service's name in every signal.",
        default_doc="the app's title, else unknown_service:<process>",
    )
    service_version: str | None = setting(
        None,
        TEXT,
        "OTEL_RESOURCE_ATTRIBUTES[service.version]",
        "The service's version.",
        default_doc="that of the installed distribution, if known",
    )
    environment: str | None = setting(
        None,
        TEXT,
        "OTEL_RESOURCE_ATTRIBUTES[deployment.environment.name] OTEL_RESOURCE_ATTRIBUTES[deployment.environment]",
        "Where it is deployed, such as `production`; `deployment.environment` is the older name.",
    )
    service_namespace: str | None = setting(
        None, TEXT, "OTEL_RESOURCE_ATTRIBUTES[service.namespace]", "The group of services it belongs to."
    )
    resource_attributes: Mapping[str, str] = setting(
        _EMPTY, ATTRIBUTES, "OTEL_RESOURCE_ATTRIBUTES", "What else describes the process, beside the four above."
    )
    enabled: bool = setting(
        True,  # noqa: FBT003  (the default of a column, not a flag)
        NEGATED,
        "OTEL_SDK_DISABLED",
        "Off: no spans, no export, no RED metrics; health, `/metrics` and JSON logs stay. `true` in the variable: off.",
        default_doc="on",
    )
    traces_exporter: Literal["otlp", "console", "none"] | None = setting(
        None,
        choice("otlp", "console", "none"),
        "OTEL_TRACES_EXPORTER",
        "Where spans go: `otlp`, `console` or `none`.",
        default_doc="otlp when an endpoint is set, else none",
    )
    metrics_exporter: tuple[str, ...] = setting(
        ("prometheus",),
        names_of("prometheus", "otlp", "console"),
        "OTEL_METRICS_EXPORTER",
        "How metrics leave, a list: `prometheus` (scraped from `metrics_path`), `otlp` (pushed), `console`; or `none`.",
    )
    logs_exporter: Literal["otlp", "console", "none"] = setting(
        "none",
        choice("otlp", "console", "none"),
        "OTEL_LOGS_EXPORTER",
        "Where log records go beside standard output: `otlp`, `console` or `none`.",
    )
    otlp_endpoint: str | None = setting(
        None,
        URL,
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "The collector's base URL; over HTTP `/v1/traces`, `/v1/metrics` and `/v1/logs` are appended.",
        default_doc="unset; http://localhost:4318 (4317 for grpc) where an exporter is otlp",
    )
    otlp_headers: Mapping[str, str] = setting(
        _EMPTY, HEADERS, _otlp("headers"), "Headers of each export: `name=value,name=value`, percent-encoded."
    )
    otlp_headers_file: str | None = setting(
        None,
        TEXT,
        "OBSKIT_OTLP_HEADERS_FILE",
        "A file of such headers, a mounted secret say; read again as it changes.",
    )
    otlp_timeout: float = setting(10.0, _TIMEOUT, _otlp("timeout"), "Seconds that one export may take.")
    otlp_protocol: Protocol = setting(
        "http/protobuf",
        _PROTOCOL,
        _otlp("protocol"),
        "`http/protobuf`, `http/json`, or `grpc`, for which `obskit[grpc]` is to be installed.",
    )
    otlp_compression: Compression = setting("gzip", _COMPRESSION, _otlp("compression"), "`gzip` or `none`.")
    otlp_certificate: str | None = setting(
        None, TEXT, _otlp("certificate"), "PEM file of the authorities to trust.", default_doc="the system's"
    )
    otlp_client_key: str | None = setting(
        None, SECRET, _otlp("client_key"), "PEM file of the private key that obskit shows the collector."
    )
    otlp_client_certificate: str | None = setting(
        None, TEXT, _otlp("client_certificate"), "PEM file of the certificate that goes with the key."
    )
    otlp_traces_endpoint: str | None = _endpoint("traces")
    otlp_traces_headers: Mapping[str, str] | None = _only("traces", "headers", HEADERS)
    otlp_traces_timeout: float | None = _only("traces", "timeout", _TIMEOUT)
    otlp_traces_protocol: Protocol | None = _only("traces", "protocol", _PROTOCOL)
    otlp_traces_compression: Compression | None = _only("traces", "compression", _COMPRESSION)
    otlp_traces_certificate: str | None = _only("traces", "certificate", TEXT)
    otlp_traces_client_key: str | None = _only("traces", "client_key", SECRET)
    otlp_traces_client_certificate: str | None = _only("traces", "client_certificate", TEXT)
    otlp_metrics_endpoint: str | None = _endpoint("metrics")
    otlp_metrics_headers: Mapping[str, str] | None = _only("metrics", "headers", HEADERS)
    otlp_metrics_timeout: float | None = _only("metrics", "timeout", _TIMEOUT)
    otlp_metrics_protocol: Protocol | None = _only("metrics", "protocol", _PROTOCOL)
    otlp_metrics_compression: Compression | None = _only("metrics", "compression", _COMPRESSION)
    otlp_metrics_certificate: str | None = _only("metrics", "certificate", TEXT)
    otlp_metrics_client_key: str | None = _only("metrics", "client_key", SECRET)
    otlp_metrics_client_certificate: str | None = _only("metrics", "client_certificate", TEXT)
    otlp_logs_endpoint: str | None = _endpoint("logs")
    otlp_logs_headers: Mapping[str, str] | None = _only("logs", "headers", HEADERS)
    otlp_logs_timeout: float | None = _only("logs", "timeout", _TIMEOUT)
    otlp_logs_protocol: Protocol | None = _only("logs", "protocol", _PROTOCOL)
    otlp_logs_compression: Compression | None = _only("logs", "compression", _COMPRESSION)
    otlp_logs_certificate: str | None = _only("logs", "certificate", TEXT)
    otlp_logs_client_key: str | None = _only("logs", "client_key", SECRET)
    otlp_logs_client_certificate: str | None = _only("logs", "client_certificate", TEXT)
    span_queue_size: int = setting(
        2048, count(1), "OTEL_BSP_MAX_QUEUE_SIZE", "Spans that may wait for export; more are dropped and counted."
    )
    span_batch_size: int = setting(
        512,
        count(1),
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "Spans an export; at most `span_queue_size`, to which the default shrinks.",
    )
    span_schedule_delay: float = setting(
        5.0, _MILLISECONDS, "OTEL_BSP_SCHEDULE_DELAY", "Seconds between exports. The variable is in milliseconds."
    )
    span_export_timeout: float = setting(
        30.0,
        _MILLISECONDS,
        "OTEL_BSP_EXPORT_TIMEOUT",
        "Seconds that a batch may take, retries included. The variable is in milliseconds.",
    )
    log_queue_size: int = setting(
        2048,
        count(1),
        "OTEL_BLRP_MAX_QUEUE_SIZE",
        "Log records that may wait for export; more are dropped and counted.",
    )
    log_batch_size: int = setting(
        512,
        count(1),
        "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
        "Log records an export; at most `log_queue_size`, to which the default shrinks.",
    )
    log_schedule_delay: float = setting(
        1.0, _MILLISECONDS, "OTEL_BLRP_SCHEDULE_DELAY", "Seconds between exports. The variable is in milliseconds."
    )
    log_export_timeout: float = setting(
        30.0,
        _MILLISECONDS,
        "OTEL_BLRP_EXPORT_TIMEOUT",
        "Seconds that a batch may take, retries included. The variable is in milliseconds.",
    )
    metric_export_interval: float = setting(
        60.0, _MILLISECONDS, "OTEL_METRIC_EXPORT_INTERVAL", "Seconds between pushes. The variable is in milliseconds."
    )
    metric_export_timeout: float = setting(
        30.0,
        _MILLISECONDS,
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "Seconds that a push may take, retries included. The variable is in milliseconds.",
    )
    metric_temporality: Literal["cumulative", "delta", "lowmemory"] = setting(
        "cumulative",
        choice("cumulative", "delta", "lowmemory"),
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "What is pushed: sums since the start, `delta` since the last push, or `lowmemory`: deltas of histograms only.",
    )
    metric_histograms: Literal["explicit_bucket_histogram", "base2_exponential_bucket_histogram"] = setting(
        "explicit_bucket_histogram",
        choice("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "How histograms are pushed; `/metrics` has explicit buckets always.",
    )
    attribute_count_limit: int = setting(
        128,
        count(0),
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT OTEL_ATTRIBUTE_COUNT_LIMIT",
        "Fields that an operation holds; more are dropped and counted.",
    )
    attribute_value_length_limit: int = setting(
        4096,
        count(0),
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "Characters that a string keeps.",
    )
    span_event_limit: int = setting(128, count(0), "OTEL_SPAN_EVENT_COUNT_LIMIT", "Events that a span holds.")
    span_link_limit: int = setting(128, count(0), "OTEL_SPAN_LINK_COUNT_LIMIT", "Links that a span holds.")
    propagators: tuple[str, ...] = setting(
        ("tracecontext", "baggage"),
        names_of("tracecontext", "baggage", "b3", "b3multi"),
        "OTEL_PROPAGATORS",
        "What is read from and written to headers: of `tracecontext`, `baggage`, `b3` and `b3multi`, or `none`.",
    )
    trust_inbound: str | tuple[str, ...] = setting(
        "always",
        TRUST,
        "OBSKIT_TRUST_INBOUND",
        "Whose trace context and baggage are taken over: `always`, `never`, or the networks of peers, as CIDRs.",
    )
    propagate_to: tuple[str, ...] = setting(
        (),
        HOSTS,
        "OBSKIT_PROPAGATE_TO",
        "Hosts that baggage is sent to, `*` for any characters: `stock,*.internal`. Trace context goes everywhere.",
    )
    sampler: Sampler = setting(
        "parentbased_always_on",
        _SAMPLERS,
        "OTEL_TRACES_SAMPLER",
        "Which traces are recorded: `always_on`, `always_off`, `traceidratio`, or `parentbased_` and one of these.",
    )
    sampler_ratio: float = setting(
        1.0, RATIO, "OTEL_TRACES_SAMPLER_ARG", "The share of traces that the `traceidratio` samplers record, 0 to 1."
    )
    keep: tuple[str, ...] = setting(
        ("errors",),
        KEEP,
        "OBSKIT_KEEP",
        "What is kept whatever `keep_rate` is: `errors`, `slow:1s`, `slow:/route=2s`, `field:name=value`; or `none`.",
    )
    keep_rate: float = setting(
        1.0, RATIO, "OBSKIT_KEEP_RATE", "The share of all other traces that is kept, 0 to 1, spans and canonical lines."
    )
    request_log: Literal["all", "errors", "sampled", "off"] = setting(
        "all",
        choice("all", "errors", "sampled", "off"),
        "OBSKIT_REQUEST_LOG",
        "Requests that get a line: `all`, `errors`, `sampled` (errors, what `keep` names, and kept traces) or `off`.",
    )
    response_trace_header: str | None = setting(
        None, HEADER_NAME, "OBSKIT_RESPONSE_TRACE_HEADER", "The response header that carries the trace id back."
    )
    log_mode: Literal["replace", "stamp", "off"] = setting(
        "replace",
        choice("replace", "stamp", "off"),
        "OBSKIT_LOGS",
        "`replace` the stream handlers of root and server, only `stamp` trace ids, or `off`.",
        default_doc="replace; stamp where structlog is configured already",
    )
    log_level: str = setting("INFO", LEVEL, "OBSKIT_LOG_LEVEL", "The lowest level written: `DEBUG`, `info`, …")
    log_format: Literal["auto", "json", "console"] = setting(
        "auto",
        choice("auto", "json", "console"),
        "OBSKIT_LOG_FORMAT",
        "`json`, `console` (coloured), or `auto`: the latter on a terminal only.",
    )
    log_profile: Literal["otel", "datadog", "gcp", "ecs"] = setting(
        "otel",
        choice("otel", "datadog", "gcp", "ecs"),
        "OBSKIT_LOG_PROFILE",
        "Whose names JSON lines have: `otel`, or those of `datadog`, `gcp` or `ecs`.",
    )
    gcp_project: str | None = setting(
        None, PROJECT, "GOOGLE_CLOUD_PROJECT", "The project that traces in lines of profile `gcp` belong to."
    )
    metric_fields: Mapping[str, tuple[str, ...]] = setting(
        _EMPTY,
        PROMOTED,
        "OBSKIT_METRIC_FIELDS",
        "Fields that become labels, with their allowed values: `user.tier=free|pro|gold,region=eu|us`.",
    )
    series_limit: int = setting(500, count(1), "OBSKIT_SERIES_LIMIT", "Label sets a metric; more are folded.")
    duration_buckets: tuple[float, ...] = setting(
        semconv.DURATION_BUCKETS, BUCKETS, "OBSKIT_DURATION_BUCKETS", "Upper bounds of the histograms, in seconds."
    )
    client_address: Literal["full", "truncated", "off"] = setting(
        "full",
        choice("full", "truncated", "off"),
        "OBSKIT_CLIENT_ADDRESS",
        "How much of the client's address is kept: `full`, `truncated` or `off`.",
    )
    redact: tuple[str, ...] = setting((), NAMES, "OBSKIT_REDACT", "Names to redact beside the built-in ones.")
    redact_allow: tuple[str, ...] = setting((), NAMES, "OBSKIT_REDACT_ALLOW", "Names to leave as they are.")
    clients: tuple[str, ...] | None = setting(
        None,
        subset(
            *("httpx", "httpx2", "aiohttp", "requests", "urllib3"),
            *("aio_pika", "asyncpg", "kafka", "psycopg", "pymongo", "redis", "sqlalchemy", "sqlite3"),
        ),
        "OBSKIT_CLIENTS",
        "Libraries whose calls are observed, of `httpx`, `httpx2`, `aiohttp`, `requests`, `urllib3`, `aio_pika`, "
        "`asyncpg`, `kafka`, `psycopg`, `pymongo`, `redis`, `sqlalchemy` and `sqlite3`; `none` in the variable, `()` "
        "as argument: none of them.",
        default_doc="every supported one that is imported",
    )
    server_spans: Literal["obskit", "contrib", "native"] = setting(
        "obskit",
        choice("obskit", "contrib", "native"),
        "OBSKIT_SERVER_SPANS",
        "Who makes the one SERVER span of a request: `obskit`, OpenTelemetry's `contrib`, or the framework (`native`).",
    )
    live_path: str = setting("/livez", PATH, "OBSKIT_LIVE_PATH", "Liveness; empty: off.", blank=True)
    ready_path: str = setting("/readyz", PATH, "OBSKIT_READY_PATH", "Readiness; empty: off.", blank=True)
    startup_path: str = setting("/startupz", PATH, "OBSKIT_STARTUP_PATH", "Startup; empty: off.", blank=True)
    health_path: str = setting("/health", PATH, "OBSKIT_HEALTH_PATH", "All checks as JSON; empty: off.", blank=True)
    metrics_path: str = setting("/metrics", PATH, "OBSKIT_METRICS_PATH", "Metrics to scrape; empty: off.", blank=True)
    admin_port: int | None = setting(
        None,
        PORT,
        "OBSKIT_ADMIN_PORT",
        "Serve `health_path` and `metrics_path` on this port instead of the app's; one listener for all workers.",
    )
    worker_group: str | None = setting(
        None,
        TEXT,
        "OBSKIT_WORKER_GROUP",
        "Workers of one name show one sum on `/metrics`; `none`: each process shows its own.",
        default_doc="the workers of one `multiprocessing` parent or gunicorn arbiter",
    )
    drain_seconds: float = setting(
        0.0,
        seconds(zero=True),
        "OBSKIT_DRAIN_SECONDS",
        "Seconds for which SIGTERM is held back while readiness is 503 already.",
        default_doc="0",
    )
    shutdown_seconds: float = setting(
        5.0, seconds(zero=True), "OBSKIT_SHUTDOWN_SECONDS", "Seconds that close may take to flush."
    )


#: The rows by the names of their fields, in order.
SETTINGS: Mapping[str, Setting] = MappingProxyType({row.name: row.metadata["setting"] for row in fields(Table)})
PATHS = tuple(name for name in SETTINGS if name.endswith("_path"))
