"""Configuration: arguments, environment, precedence, and the reference that documents them."""

import copy
import dataclasses
import inspect
import os
import re
import subprocess
import sys
import typing
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from obskit import semconv
from obskit._config_table import SETTINGS
from obskit.config import Config
from obskit.exceptions import ConfigError

REFERENCE = Path(__file__).parent.parent / "docs" / "reference" / "configuration.md"
RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"

#: The contract's defaults, written out once more so that a changed default is seen.
DEFAULTS = {
    "service_name": None,
    "service_version": None,
    "environment": None,
    "service_namespace": None,
    "resource_attributes": {},
    "enabled": True,
    "traces_exporter": None,
    "metrics_exporter": ("prometheus",),
    "logs_exporter": "none",
    "otlp_endpoint": None,
    "otlp_headers": {},
    "otlp_headers_file": None,
    "otlp_timeout": 10.0,
    "otlp_protocol": "http/protobuf",
    "otlp_compression": "gzip",
    "otlp_certificate": None,
    "otlp_client_key": None,
    "otlp_client_certificate": None,
    **{
        f"otlp_{signal}_{name}": None
        for signal in ("traces", "metrics", "logs")
        for name in (
            "endpoint",
            "headers",
            "timeout",
            "protocol",
            "compression",
            "certificate",
            "client_key",
            "client_certificate",
        )
    },
    "span_queue_size": 2048,
    "span_batch_size": 512,
    "span_schedule_delay": 5.0,
    "span_export_timeout": 30.0,
    "log_queue_size": 2048,
    "log_batch_size": 512,
    "log_schedule_delay": 1.0,
    "log_export_timeout": 30.0,
    "metric_export_interval": 60.0,
    "metric_export_timeout": 30.0,
    "metric_temporality": "cumulative",
    "metric_histograms": "explicit_bucket_histogram",
    "attribute_count_limit": 128,
    "attribute_value_length_limit": 4096,
    "span_event_limit": 128,
    "span_link_limit": 128,
    "propagators": ("tracecontext", "baggage"),
    "propagate_to": (),
    "trust_inbound": "always",
    "sampler": "parentbased_always_on",
    "sampler_ratio": 1.0,
    "keep": ("errors",),
    "keep_rate": 1.0,
    "request_log": "all",
    "response_trace_header": None,
    "log_mode": "replace",
    "log_level": "INFO",
    "log_format": "auto",
    "log_profile": "otel",
    "gcp_project": None,
    "metric_fields": {},
    "series_limit": 500,
    "duration_buckets": (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    "client_address": "full",
    "redact": (),
    "redact_allow": (),
    "clients": None,
    "server_spans": "obskit",
    "live_path": "/livez",
    "ready_path": "/readyz",
    "startup_path": "/startupz",
    "health_path": "/health",
    "metrics_path": "/metrics",
    "admin_port": None,
    "worker_group": None,
    "drain_seconds": 0.0,
    "shutdown_seconds": 5.0,
}

SAMPLERS = [p + s for p in ("", "parentbased_") for s in ("always_on", "always_off", "traceidratio")]
NOT_SECONDS = ["five", "5s", "-1", "nan", "inf", "1e400", "86401"]
NOT_COUNTS = ["x", "-1", "1.5", "2147483648", "9" * 5000]
NOT_PATHS = ["livez", "/a b", "/a?b", "/a#b", "/a\nb"]
NOT_LISTS = ["\udcff"]
TEXTS = ([(" orders ", "orders"), ("café", "café")], ["caf\udce9"])


def pairs(*rows):
    """Good values for settings of plain text: each read as it is."""
    return [(row, row) for row in rows]


#: Variable -> (field, [(text, value)], [wrong texts]).
VARIABLES = {
    "OTEL_SERVICE_NAME": ("service_name", *TEXTS),
    RESOURCE: (
        "resource_attributes",
        [
            ("team=web", {"team": "web"}),
            ("team=web%2C%20eu, k = v=w ,,", {"team": "web, eu", "k": "v=w"}),
            ("a=100%,b=", {"a": "100%", "b": ""}),
            ("a=1,a=2", {"a": "2"}),
        ],
        ["team", "=web", "a=b,c", "a=%ff", "%ff=a", "a=\udcff"],
    ),
    "OTEL_SDK_DISABLED": ("enabled", [("true", False), ("TRUE", False), ("false", True)], ["1", "yes", "on"]),
    "OTEL_TRACES_EXPORTER": (
        "traces_exporter",
        [*pairs("otlp", "console", "none"), ("OTLP", "otlp")],
        ["zipkin", "otlp,console", "nope"],
    ),
    "OTEL_METRICS_EXPORTER": (
        "metrics_exporter",
        [
            ("prometheus", ("prometheus",)),
            ("none", ("none",)),
            (" Prometheus ", ("prometheus",)),
            ("otlp,console, prometheus", ("otlp", "console", "prometheus")),
        ],
        ["none,prometheus", "prometheus,prometheus", ",", "nope", "otlp,nope"],
    ),
    "OTEL_LOGS_EXPORTER": (
        "logs_exporter",
        [*pairs("otlp", "console", "none"), ("OTLP", "otlp")],
        ["otlp,console", "nope"],
    ),
    "OTEL_EXPORTER_OTLP_ENDPOINT": (
        "otlp_endpoint",
        pairs("http://collector:4318", "https://collector/base/", "http://[::1]:4318"),
        [
            "collector:4318",
            "collector",
            "ftp://collector",
            "http://",
            "http://a:99999",
            "http://a:0",
            "http://[::1",
            "http://a b",
        ],
    ),
    **{
        f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT": (
            f"otlp_{signal}_endpoint",
            pairs(f"http://collector:4318/v1/{signal}"),
            ["collector:4318", "http://a\nb"],
        )
        for signal in ("traces", "metrics", "logs")
    },
    **{
        f"OTEL_EXPORTER_OTLP_{infix}{name}": (f"otlp_{infix.lower()}{name.lower()}", *row)
        for infix in ("", "TRACES_", "METRICS_", "LOGS_")
        for name, row in {
            "HEADERS": (
                [
                    ("Authorization=Basic%20dTpw,x-key=a=b==", {"authorization": "Basic dTpw", "x-key": "a=b=="}),
                    ("a=b c,", {"a": "b c"}),
                    ("a=", {"a": ""}),
                ],
                [
                    "s3cret",
                    "a b=s3cret",
                    "a=s3cret%0d%0ab",
                    "a=s3cret%ff",
                    "a=s3cret\udcff",
                    "=s3cret",
                    "a=s3cret%c3%a9",
                ],
            ),
            "TIMEOUT": ([("3", 3.0), ("0.5", 0.5)], ["ten", "10000", "0", "-1", "nan", "inf"]),
            "PROTOCOL": (
                [*pairs("http/protobuf", "http/json", "grpc"), ("HTTP/JSON", "http/json")],
                ["http", "json", "thrift"],
            ),
            "COMPRESSION": (pairs("gzip", "none"), ["deflate", "zstd"]),
            "CERTIFICATE": (pairs("/etc/ca.pem"), ["/etc/\udcff"]),
            "CLIENT_KEY": (pairs("/etc/key.pem"), ["s3cret\udcff"]),
            "CLIENT_CERTIFICATE": (pairs("/etc/client.pem"), ["/etc/\udcff"]),
        }.items()
    },
    "OBSKIT_OTLP_HEADERS_FILE": ("otlp_headers_file", pairs("/run/secrets/otlp"), ["/run/\udcff"]),
    "OTEL_BSP_MAX_QUEUE_SIZE": ("span_queue_size", [("600", 600), ("512", 512)], [*NOT_COUNTS, "0"]),
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": ("span_batch_size", [("1", 1), ("2048", 2048)], [*NOT_COUNTS, "0", "2049"]),
    "OTEL_BSP_SCHEDULE_DELAY": (
        "span_schedule_delay",
        [("200", 0.2), ("1500.5", 1.5005)],
        ["0", "-5", "5s", "nan", "86400001"],
    ),
    "OTEL_BSP_EXPORT_TIMEOUT": ("span_export_timeout", [("1000", 1.0)], ["0", "-5", "5s", "nan", "inf"]),
    "OTEL_BLRP_MAX_QUEUE_SIZE": ("log_queue_size", [("600", 600), ("512", 512)], [*NOT_COUNTS, "0"]),
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": ("log_batch_size", [("1", 1), ("2048", 2048)], [*NOT_COUNTS, "0", "2049"]),
    "OTEL_BLRP_SCHEDULE_DELAY": ("log_schedule_delay", [("200", 0.2)], ["0", "-5", "5s", "nan", "86400001"]),
    "OTEL_BLRP_EXPORT_TIMEOUT": ("log_export_timeout", [("1000", 1.0)], ["0", "-5", "5s", "nan", "inf"]),
    "OTEL_METRIC_EXPORT_INTERVAL": ("metric_export_interval", [("200", 0.2)], ["0", "-5", "5s", "nan", "86400001"]),
    "OTEL_METRIC_EXPORT_TIMEOUT": ("metric_export_timeout", [("1000", 1.0)], ["0", "-5", "5s", "nan", "inf"]),
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": (
        "metric_temporality",
        [*pairs("cumulative", "delta", "lowmemory"), ("LowMemory", "lowmemory")],
        ["gauge", "both"],
    ),
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": (
        "metric_histograms",
        pairs("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
        ["exponential"],
    ),
    **{
        f"OTEL_{infix}ATTRIBUTE_COUNT_LIMIT": ("attribute_count_limit", [("0", 0), ("64", 64)], NOT_COUNTS)
        for infix in ("", "SPAN_")
    },
    **{
        f"OTEL_{infix}ATTRIBUTE_VALUE_LENGTH_LIMIT": (
            "attribute_value_length_limit",
            [("0", 0), ("64", 64)],
            NOT_COUNTS,
        )
        for infix in ("", "SPAN_")
    },
    "OTEL_SPAN_EVENT_COUNT_LIMIT": ("span_event_limit", [("0", 0), ("7", 7)], NOT_COUNTS),
    "OTEL_SPAN_LINK_COUNT_LIMIT": ("span_link_limit", [("0", 0), ("7", 7)], NOT_COUNTS),
    "OTEL_PROPAGATORS": (
        "propagators",
        [
            ("baggage, TraceContext", ("baggage", "tracecontext")),
            ("none", ("none",)),
            ("tracecontext", ("tracecontext",)),
            ("b3multi,B3,tracecontext", ("b3multi", "b3", "tracecontext")),
        ],
        ["jaeger", "b3,ottrace", "nope", "none,baggage", "baggage,baggage", ","],
    ),
    "OBSKIT_TRUST_INBOUND": (
        "trust_inbound",
        [
            ("always", "always"),
            (" Never ", "never"),
            ("10.0.0.0/8, fd00::/8,", ("10.0.0.0/8", "fd00::/8")),
            ("10.1.2.3/8,::1", ("10.0.0.0/8", "::1/128")),
        ],
        ["sometimes", "10.0.0.0/33", "always,10.0.0.0/8", "gateway", "10.0.0", "10.0.0.0-10.0.0.9", ","],
    ),
    "OTEL_TRACES_SAMPLER": (
        "sampler",
        [*pairs(*SAMPLERS), ("Always_On", "always_on")],
        ["jaeger_remote", "xray", "half"],
    ),
    "OTEL_TRACES_SAMPLER_ARG": (
        "sampler_ratio",
        [("0", 0.0), ("0.25", 0.25), ("1", 1.0)],
        ["1.01", "-0.1", "nan", "half"],
    ),
    "OBSKIT_KEEP": (
        "keep",
        [
            ("errors", ("errors",)),
            ("none", ()),
            (" errors, slow:1s,slow:/a/{b:int}=300ms , errors", ("errors", "slow:1s", "slow:/a/{b:int}=300ms")),
            ("field:user.tier=gold", ("field:user.tier=gold",)),
        ],
        ["error", "slow", "slow:1h", "slow:/a=", "field:a", "errors;slow:1s", "none,errors", "\udcff"],
    ),
    "OBSKIT_KEEP_RATE": ("keep_rate", [("0", 0.0), ("0.25", 0.25), ("1", 1.0)], ["1.01", "-0.1", "nan", "10%"]),
    "OBSKIT_REQUEST_LOG": (
        "request_log",
        [*pairs("all", "errors", "sampled", "off"), ("OFF", "off")],
        ["none", "slow"],
    ),
    "OBSKIT_RESPONSE_TRACE_HEADER": ("response_trace_header", pairs("x-trace-id"), ["x trace", "x:y", "x\ny", "é"]),
    "OBSKIT_LOGS": ("log_mode", pairs("replace", "stamp", "off"), ["json", "none"]),
    "OBSKIT_LOG_LEVEL": (
        "log_level",
        [("debug", "DEBUG"), ("Warning", "WARNING"), ("CRITICAL", "CRITICAL")],
        ["10", "loud"],
    ),
    "OBSKIT_LOG_FORMAT": ("log_format", pairs("auto", "json", "console"), ["logfmt"]),
    "OBSKIT_LOG_PROFILE": (
        "log_profile",
        [*pairs("otel", "datadog", "gcp", "ecs"), ("ECS", "ecs")],
        ["elastic", "aws"],
    ),
    "GOOGLE_CLOUD_PROJECT": (
        "gcp_project",
        pairs("shop-prod-1234", "example.com:shop", "1234567890"),
        ["projects/shop", "Shop", "a b", "x" * 64, "caf\udce9"],
    ),
    "OBSKIT_METRIC_FIELDS": (
        "metric_fields",
        [
            ("user.tier=free|pro|gold, other = a | b ", {"user.tier": ("free", "pro", "gold"), "other": ("a", "b")}),
            ("_x=1", {"_x": ("1",)}),
        ],
        [
            "user.tier",
            "user.tier=",
            "user.tier=a||b",
            "user.tier=a|a",
            "=a",
            "user-tier=a",
            "1st=a",
            "__x=a",
            "a.b=1,a_b=1",
            "http.route=a",
            "http_route=a",
            "le=a",
            "outcome=a",
            "duration_ms=1",
            "service.name=a",
            "café=a",
            "k=" + "x" * 129,
            "k=" + "|".join(map(str, range(101))),
            ",".join(f"k{n}=a" for n in range(17)),
        ],
    ),
    "OBSKIT_SERIES_LIMIT": ("series_limit", [("1", 1), ("1000", 1000)], [*NOT_COUNTS, "0"]),
    "OBSKIT_DURATION_BUCKETS": (
        "duration_buckets",
        [("0.1, 1,10", (0.1, 1.0, 10.0)), ("5", (5.0,))],
        ["1,0.5", "1,1", "0,1", "-1,1", "a,b", "1,inf", "nan", ","],
    ),
    "OBSKIT_CLIENT_ADDRESS": ("client_address", pairs("full", "truncated", "off"), ["none", "hash"]),
    "OBSKIT_REDACT": ("redact", [("iban, pin", ("iban", "pin")), ("x", ("x",))], NOT_LISTS),
    "OBSKIT_REDACT_ALLOW": ("redact_allow", [("token", ("token",))], NOT_LISTS),
    "OBSKIT_PROPAGATE_TO": (
        "propagate_to",
        [
            ("Stock, *.internal", ("stock", "*.internal")),
            ("*", ("*",)),
            ("::1,10.0.*,fd00:*", ("::1", "10.0.*", "fd00:*")),
        ],
        [*NOT_LISTS, "http://stock", "stock:80", "stock/x", "a b", "user@stock", "[::1]"],
    ),
    "OBSKIT_CLIENTS": (
        "clients",
        [
            ("httpx", ("httpx",)),
            ("HTTPX,httpx", ("httpx",)),
            ("aiohttp, httpx2,requests,urllib3", ("aiohttp", "httpx2", "requests", "urllib3")),
            ("none", ()),
            ("None", ()),
        ],
        ["pycurl", "httpx,grpc", "none,httpx"],
    ),
    "OBSKIT_SERVER_SPANS": ("server_spans", pairs("obskit", "contrib", "native"), ["none", "fastapi"]),
    **{
        f"OBSKIT_{name}_PATH": (
            f"{name.lower()}_path",
            [("/a/b", "/a/b"), ("", ""), ("  ", ""), ("/é", "/é")],
            NOT_PATHS,
        )
        for name in ("LIVE", "READY", "STARTUP", "HEALTH", "METRICS")
    },
    "OBSKIT_ADMIN_PORT": (
        "admin_port",
        [("9464", 9464), ("1", 1), ("65535", 65_535)],
        ["0", "65536", "-1", "http", "1.5"],
    ),
    "OBSKIT_WORKER_GROUP": ("worker_group", [("orders", "orders"), ("none", "none")], ["\udcff"]),
    "OBSKIT_DRAIN_SECONDS": ("drain_seconds", [("0", 0.0), ("2.5", 2.5)], NOT_SECONDS),
    "OBSKIT_SHUTDOWN_SECONDS": ("shutdown_seconds", [("0", 0.0), ("2.5", 2.5)], NOT_SECONDS),
}
#: Attributes of the resource that are fields.
ATTRIBUTES = {
    "service.name": "service_name",
    "service.version": "service_version",
    "service.namespace": "service_namespace",
    "deployment.environment.name": "environment",
    "deployment.environment": "environment",
}
GOOD = [(v, f, text, value) for v, (f, good, _bad) in VARIABLES.items() for text, value in good]
BAD = [(v, f, text) for v, (f, _good, bad) in VARIABLES.items() for text in bad]


def numbered(rows):
    """Ids by name and number: the values are long, or cannot be printed."""
    return [f"{row[0]}-{number}" for number, row in enumerate(rows)]


def field_names():
    return [row.name for row in dataclasses.fields(Config) if row.init]


def test_the_fields_and_their_defaults_are_the_contracts():
    config = Config()
    assert {name: getattr(config, name) for name in field_names()} == DEFAULTS
    assert list(SETTINGS) == field_names()
    assert config.given == frozenset()
    assert config.warnings == ()
    assert Config.from_env({}) == config


def test_every_variable_of_the_table_is_tested_here():
    in_table = {variable for entry in SETTINGS.values() for variable in entry.variables}
    assert in_table == VARIABLES.keys() | {f"{RESOURCE}[{name}]" for name in ATTRIBUTES}


@pytest.mark.parametrize(("variable", "name", "text", "value"), GOOD, ids=numbered(GOOD))
def test_a_right_variable_gives_its_field(variable, name, text, value):
    config = Config.from_env({variable: text})
    assert getattr(config, name) == value
    assert config.warnings == ()
    assert config.given == {name}
    assert [n for n in DEFAULTS if getattr(config, n) != DEFAULTS[n] and n != name] == []


@pytest.mark.parametrize(("variable", "name", "text", "value"), GOOD, ids=numbered(GOOD))
def test_what_a_variable_gives_is_a_right_argument(variable, name, text, value):
    assert Config(**{name: value}) == Config.from_env({variable: text})


@pytest.mark.parametrize(("variable", "name", "text"), BAD, ids=numbered(BAD))
def test_a_wrong_variable_gives_one_warning_and_the_default(variable, name, text):
    config = Config.from_env({variable: text})
    assert config == Config()
    assert config.given == frozenset()
    [warning] = config.warnings
    assert variable in warning
    assert " must " in warning
    assert warning.endswith(SETTINGS[name].default_text())
    assert len(warning) < 500
    assert warning.isprintable()
    assert "s3cret" not in warning


@pytest.mark.parametrize("variable", [v for v in VARIABLES if not v.endswith("_PATH")])
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_variable_is_unset(variable, empty):
    config = Config.from_env({variable: empty})
    assert (config, config.given, config.warnings) == (Config(), frozenset(), ())


@pytest.mark.parametrize(("attribute", "name"), ATTRIBUTES.items())
def test_identity_comes_from_the_resource_attributes(attribute, name):
    config = Config.from_env({RESOURCE: f"{attribute}=a%20b,team=web"})
    assert getattr(config, name) == "a b"
    assert config.resource_attributes == {"team": "web"}
    assert config.given == {name, "resource_attributes"}


def test_the_service_name_variable_beats_the_resource_attribute():
    environ = {"OTEL_SERVICE_NAME": "orders", RESOURCE: "service.name=other"}
    assert Config.from_env(environ).service_name == "orders"
    assert Config.from_env(environ | {"OTEL_SERVICE_NAME": ""}).service_name == "other"


def test_the_newer_name_of_the_environment_wins():
    config = Config.from_env({RESOURCE: "deployment.environment=old,deployment.environment.name=new"})
    assert config.environment == "new"


@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
@pytest.mark.parametrize(
    "name", ["HEADERS", "TIMEOUT", "PROTOCOL", "COMPRESSION", "CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"]
)
def test_a_signals_variable_beats_the_general_one(signal, name):
    general, own = f"OTEL_EXPORTER_OTLP_{name}", f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}"
    _field, good, _bad = VARIABLES[own]
    (first, value), *_ = good
    other = {"HEADERS": "z=z", "TIMEOUT": "7", "PROTOCOL": "http/json", "COMPRESSION": "none"}.get(name, "/other.pem")

    def seen_by(which, **environ):
        return getattr(Config.from_env(environ).otlp(which), name.lower())

    assert seen_by(signal, **{general: other, own: first}) == value
    assert seen_by(signal, **{general: other, own: ""}) != value
    [another, _] = {"traces", "metrics", "logs"} - {signal}
    assert seen_by(another, **{own: first}) == seen_by(another)


def test_the_span_limits_beat_the_general_ones():
    config = Config.from_env({"OTEL_ATTRIBUTE_COUNT_LIMIT": "1", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "2"})
    assert config.attribute_count_limit == 2


# -- export, decided ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "exporter"),
    [
        ({}, "none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, "none"),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, "none"),
    ],
)
def test_where_spans_go(environ, exporter):
    assert Config.from_env(environ).span_exporter == exporter


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ({}, "http://localhost:4318/v1/traces"),
        ({"otlp_endpoint": "http://c:4318"}, "http://c:4318/v1/traces"),
        ({"otlp_endpoint": "http://c/"}, "http://c/v1/traces"),
        ({"otlp_endpoint": "https://c/base/?k=v"}, "https://c/base/v1/traces?k=v"),
        ({"otlp_endpoint": "http://c", "otlp_traces_endpoint": "http://t/here/"}, "http://t/here/"),
    ],
)
def test_the_url_of_traces(arguments, url):
    assert Config(**arguments).traces_url == Config(**arguments).otlp("traces").url == url


@pytest.mark.parametrize(
    ("signal", "arguments", "url"),
    [
        ("metrics", {}, "http://localhost:4318/v1/metrics"),
        ("logs", {"otlp_endpoint": "http://c/base"}, "http://c/base/v1/logs"),
        ("logs", {"otlp_endpoint": "http://c", "otlp_logs_endpoint": "http://l/here"}, "http://l/here"),
        ("metrics", {"otlp_endpoint": "http://c", "otlp_logs_endpoint": "http://l/here"}, "http://c/v1/metrics"),
        ("traces", {"otlp_protocol": "grpc"}, "http://localhost:4317"),
        ("logs", {"otlp_endpoint": "http://c:4317", "otlp_logs_protocol": "grpc"}, "http://c:4317"),
        ("metrics", {"otlp_endpoint": "http://c:4317", "otlp_logs_protocol": "grpc"}, "http://c:4317/v1/metrics"),
    ],
)
def test_the_url_of_each_signal(signal, arguments, url):
    assert Config(**arguments).otlp(signal).url == url


@pytest.mark.parametrize(
    ("environ", "metrics", "logs"),
    [
        ({}, (), ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, (), ()),
        ({"OTEL_METRICS_EXPORTER": "console,otlp", "OTEL_LOGS_EXPORTER": "console"}, ("otlp", "console"), ("console",)),
        ({"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_LOGS_EXPORTER": "otlp"}, (), ("otlp",)),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, (), ()),
    ],
)
def test_where_metrics_and_logs_are_pushed(environ, metrics, logs):
    config = Config.from_env(environ)
    assert (config.pushes("metrics"), config.pushes("logs")) == (metrics, logs)


@pytest.mark.parametrize(
    ("environ", "signals"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, "traces"),
        ({"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc", "OTEL_LOGS_EXPORTER": "otlp"}, "logs"),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_METRICS_EXPORTER": "otlp",
                "OTEL_LOGS_EXPORTER": "otlp",
            },
            "traces, metrics, logs",
        ),
    ],
)
def test_grpc_that_is_not_installed_is_one_warning_and_no_export(environ, signals, monkeypatch):
    monkeypatch.setattr("obskit.config.grpc_is_installed", lambda: False)
    config = Config.from_env(environ)
    [warning] = config.warnings
    assert warning.startswith(f"grpc for {signals} needs opentelemetry-exporter-otlp-proto-grpc")
    assert "4318" in warning
    assert config.pushes("traces") == config.pushes("metrics") == config.pushes("logs") == ()
    overruled = config.overlaid(Config(otlp_protocol="http/protobuf", otlp_logs_protocol="http/protobuf"))
    assert overruled.warnings == ()
    assert overruled.pushes(signals.split(",")[0]) == ("otlp",)


def test_contrib_by_a_variable_and_not_installed_is_one_warning_and_the_default(monkeypatch):
    environ = {"OBSKIT_SERVER_SPANS": "contrib"}
    assert Config.from_env(environ).server_spans == "contrib"
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.asgi", None)
    config = Config.from_env(environ)
    assert config.server_spans == "obskit"
    [warning] = config.warnings
    assert warning.startswith("OBSKIT_SERVER_SPANS='contrib' is ignored")
    assert "pip install 'obskit[contrib]'" in warning
    assert config.overlaid(Config(server_spans="native")).warnings == ()


def test_contrib_is_not_installed_without_the_package_above_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "opentelemetry.instrumentation.asgi", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation", None)
    assert Config.from_env({"OBSKIT_SERVER_SPANS": "contrib"}).server_spans == "obskit"


def test_a_list_of_pairs_says_which_entry_is_none():
    [warning] = Config.from_env({"OTEL_EXPORTER_OTLP_HEADERS": "a=b,c"}).warnings
    assert "it must be name=value, percent-encoded UTF-8, with commas between entries; entry 2 is not" in warning


def test_grpc_that_nothing_uses_is_no_warning(monkeypatch):
    monkeypatch.setattr("obskit.config.grpc_is_installed", lambda: False)
    assert Config.from_env({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}).warnings == ()


# -- wrong environments -------------------------------------------------------------------------------------------


def test_an_unknown_variable_is_named_with_the_one_that_may_be_meant():
    config = Config.from_env(
        {"OBSKIT_LOG_LEVLE": "s3cret", "OBSKIT_" + "Q" * 10_000: "1", "OBSKIT_UNSET": "", "OTHER": "x"}
    )
    typo, long = config.warnings
    assert "'OBSKIT_LOG_LEVLE'" in typo
    assert "did you mean OBSKIT_LOG_LEVEL?" in typo
    assert "s3cret" not in typo
    assert "did you mean" not in long
    assert len(long) < 200


def test_several_faults_are_several_warnings():
    environ = {variable: bad[0] for variable, (_field, _good, bad) in VARIABLES.items() if "TRACES_" not in variable}
    del environ["OTEL_ATTRIBUTE_COUNT_LIMIT"], environ["OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"]
    warnings = Config.from_env(environ).warnings
    assert len(warnings) == len(environ)
    for variable in environ:
        assert sum(warning.startswith(f"{variable}=") for warning in warnings) == 1


def test_a_long_value_is_cut_in_its_warning():
    [warning] = Config.from_env({"OBSKIT_SERIES_LIMIT": "q" * 10_000}).warnings
    assert "q" * 79 + "…" in warning
    assert len(warning) < 250


def test_paths_that_meet_fall_back():
    config = Config.from_env({"OBSKIT_LIVE_PATH": "/x", "OBSKIT_READY_PATH": "/x", "OBSKIT_HEALTH_PATH": "/h"})
    assert (config.live_path, config.ready_path, config.health_path) == ("/livez", "/readyz", "/h")
    [warning] = config.warnings
    for part in ("OBSKIT_LIVE_PATH", "OBSKIT_READY_PATH", "'/x'", "/livez", "/readyz"):
        assert part in warning
    assert config.given == {"health_path"}


def test_a_path_that_falls_back_onto_another_one_takes_that_with_it():
    # ready falls back because health is there already; its default is where live was put.
    config = Config.from_env({"OBSKIT_LIVE_PATH": "/readyz", "OBSKIT_READY_PATH": "/health"})
    assert config == Config()
    assert len(config.warnings) == 2


def test_paths_may_swap_and_several_may_be_off():
    config = Config.from_env({"OBSKIT_LIVE_PATH": "/readyz", "OBSKIT_READY_PATH": "/livez"})
    assert (config.live_path, config.ready_path, config.warnings) == ("/readyz", "/livez", ())
    assert Config(live_path="", ready_path="").live_path == ""


def test_the_batch_shrinks_with_the_queue_unless_it_is_given():
    assert Config(span_queue_size=100).span_batch_size == 100
    assert Config.from_env({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}).span_batch_size == 100
    assert Config(span_queue_size=100, span_batch_size=100).span_batch_size == 100
    assert (
        Config.from_env({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}).overlaid(Config(span_queue_size=4000)).span_batch_size
        == 512
    )


def test_a_batch_larger_than_the_queue_falls_back():
    config = Config.from_env({"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "101"})
    assert (config.span_queue_size, config.span_batch_size) == (2048, 512)
    [warning] = config.warnings
    for part in ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2048", "512"):
        assert part in warning


texts = st.one_of(
    st.text(st.characters(), max_size=40),
    st.text("0123456789.,=|%/:-_ enaifx\udcff\n", max_size=30),
    st.sampled_from(sorted({text for _v, _f, text, _value in GOOD} | {text for _v, _f, text in BAD})),
)
names = st.one_of(
    st.sampled_from(sorted(VARIABLES)),
    st.sampled_from(["OBSKIT_", "OBSKIT_\udcff", "OBSKIT_LIV_PATH", f"{RESOURCE}[service.name]"]),
    st.text(max_size=10),
)


@settings(max_examples=300, deadline=None, database=None)
@given(st.dictionaries(names, texts, max_size=12))
@example({"OBSKIT_LIVE_PATH": "/readyz", "OBSKIT_READY_PATH": "/health", "OBSKIT_HEALTH_PATH": "/metrics"})
def test_no_environment_raises(environ):
    config = Config.from_env(environ)
    assert len(config.warnings) <= 2 * len(environ)
    assert all(warning.isprintable() for warning in config.warnings)
    repr(config)
    again = Config(**{name: getattr(config, name) for name in config.given})
    assert again == config
    assert Config().overlaid(config) == config


@settings(max_examples=100, deadline=None, database=None)
@given(st.dictionaries(names, texts, max_size=8), st.dictionaries(names, texts, max_size=8))
def test_what_was_given_on_top_always_holds(below, above):
    top = Config.from_env(above)
    merged = Config.from_env(below).overlaid(top)
    assert all(getattr(merged, name) == getattr(top, name) for name in top.given)


@pytest.mark.parametrize("value", [None, 5, b"orders", ["x"]])
def test_what_is_no_text_in_an_environment_is_unset(value):
    assert Config.from_env({"OTEL_SERVICE_NAME": value, 7: "x"}) == Config()


def test_the_real_environment_is_read_only_when_it_is_passed(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "orders")
    assert Config().service_name is None
    assert Config.from_env(os.environ).service_name == "orders"


# -- arguments ----------------------------------------------------------------------------------------------------

WRONG = {
    "service_name": [5, "", " ", b"x", "\udcff"],
    "resource_attributes": ["a=b", {"a": 1}, {"a": None}, {1: "a"}, {"": "a"}, {"service.name": "x"}, [("a", "b")]],
    "enabled": ["true", 1, 0, None],
    "traces_exporter": ["zipkin", ["otlp"], "OTLP"],
    "metrics_exporter": ["prometheus", ("nope",), (), ("prometheus", "prometheus"), None, ([],), {"prometheus"}],
    "otlp_endpoint": ["collector:4318", 4318, b"http://c"],
    "otlp_headers": [
        "a=s3cret",
        {"a": 1},
        {"a b": "s3cret"},
        {"a": "s3cret\n"},
        {"a": "s3crét"},
        {b"a": "s3cret"},
        None,
    ],
    "otlp_timeout": ["10", True, 0, -1, 601, float("nan"), float("inf"), 10**400, None, 10_000],
    "otlp_protocol": ["HTTP/JSON", "udp", None],
    "otlp_client_key": [["s3cret"], ""],
    "span_queue_size": [0, 1.0, "5", True, None, 2**31, 10**5000],
    "trust_inbound": ["", "10.0.0.0/8;::1", (), (None,), ("",), (8,), 8],
    "propagators": ["baggage", ("jaeger",), (None,)],
    "propagate_to": ["stock", ("",), (5,), ("http://stock",), None],
    "sampler": ["ALWAYS_ON", None, "half"],
    "sampler_ratio": [2, "1", True, None],
    "response_trace_header": ["", "a b", 5],
    "log_level": [10, "loud", None, "Level 10"],
    "metric_fields": [
        {"a": "xy"},
        {"a": ()},
        {"a": (1,)},
        {1: ("a",)},
        {"a-b": ("x",)},
        {"q" * 1000 + "-": ("x",)},
        "a=b",
        {"http.route": ("/",)},
    ],
    "series_limit": [0, "x"],
    "duration_buckets": [(), (2, 1), ("1",), 5, (0,), (True,)],
    "redact": ["password", (1,), ("",)],
    "clients": ["httpx", ("pycurl",), ("none",), ([],)],
    "live_path": [None, "x", 5, "/ x"],
    "admin_port": [0, 65_536, "9464", True, 1.5],
    "worker_group": [5, "", b"x"],
    "drain_seconds": [-1, "5", 86_401],
    "shutdown_seconds": [-1, "5", 86_401],
}
ARGUMENTS = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), ARGUMENTS, ids=numbered(ARGUMENTS))
def test_a_wrong_argument_raises_and_names_the_field(name, value):
    with pytest.raises(ConfigError) as caught:
        Config(**{name: value})
    [problem] = caught.value.problems
    assert problem.startswith(f"{name}=")
    assert " must " in problem
    assert "s3cret" not in str(caught.value)
    assert len(problem) < 400


def test_every_wrong_argument_is_named_at_once():
    with pytest.raises(ConfigError) as caught:
        Config(**{name: values[0] for name, values in WRONG.items()})
    assert [problem.partition("=")[0] for problem in caught.value.problems] == [n for n in SETTINGS if n in WRONG]


def test_arguments_that_cannot_stand_together_are_named():
    with pytest.raises(ConfigError) as caught:
        Config(span_batch_size=3000, live_path="/x", ready_path="/x", health_path="/metrics", sampler="no")
    assert len(caught.value.problems) == 4
    text = str(caught.value)
    for part in (
        "span_batch_size=3000",
        "span_queue_size=2048",
        "live_path and ready_path",
        "health_path and metrics_path",
    ):
        assert part in text


def test_what_is_no_field_is_pythons_own_error():
    with pytest.raises(TypeError, match="servicename"):
        Config(servicename="orders")
    with pytest.raises(TypeError):
        Config("orders")


def test_lists_and_mappings_are_copied_and_cannot_change():
    buckets, headers, fields = [1, 2], {"A": "b"}, {"tier": ["a"]}
    config = Config(duration_buckets=buckets, otlp_headers=headers, metric_fields=fields)
    buckets.append(3)
    headers["c"] = "d"
    fields["tier"].append("b")
    assert config.duration_buckets == (1.0, 2.0)
    assert config.otlp_headers == {"a": "b"}
    assert config.metric_fields == {"tier": ("a",)}
    kept = Config(resource_attributes={"a": "b"}, otlp_headers=headers, metric_fields=fields)
    for name in ("resource_attributes", "otlp_headers", "metric_fields"):
        assert isinstance(getattr(kept, name), MappingProxyType)
        assert isinstance(getattr(Config(), name), MappingProxyType)
    with pytest.raises(TypeError):
        config.metric_fields["x"] = ("y",)


def test_a_config_is_immutable():
    config = Config()
    for name in (*field_names(), "given"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, name, None)
    with pytest.raises((AttributeError, TypeError)):
        config.unheard_of = 1
    assert not hasattr(config, "__dict__")


def test_equality_hash_and_copy_look_at_the_fields_only():
    explicit = Config(service_name=None, series_limit=500)
    assert explicit == Config()
    assert hash(explicit) == hash(Config())
    assert explicit.given == {"service_name", "series_limit"}
    assert Config(series_limit=1) != Config()
    assert Config(otlp_headers={"a": "b"}) != Config(otlp_headers={"a": "c"})
    assert copy.copy(explicit) == explicit
    assert copy.copy(explicit).given == explicit.given


def test_the_signature_is_typed_and_keyword_only():
    parameters = inspect.signature(Config.__init__).parameters.values()
    assert {p.kind for p in parameters if p.name != "self"} == {inspect.Parameter.KEYWORD_ONLY}
    hints = typing.get_type_hints(Config)
    assert hints.keys() >= set(field_names())
    assert typing.Any not in hints.values()


# -- precedence ---------------------------------------------------------------------------------------------------


def test_arguments_beat_the_environment_which_beats_defaults():
    environment = Config.from_env({"OBSKIT_SERIES_LIMIT": "7", "OBSKIT_LOG_LEVEL": "debug"})
    config = environment.overlaid(Config(log_level="ERROR"))
    assert (config.series_limit, config.log_level, config.log_format) == (7, "ERROR", "auto")
    assert config.given == {"series_limit", "log_level"}


def test_an_argument_that_equals_the_default_still_beats_the_environment():
    environment = Config.from_env({"OBSKIT_SERIES_LIMIT": "7", "OTEL_SERVICE_NAME": "orders"})
    config = environment.overlaid(Config(series_limit=500, service_name=None))
    assert (config.series_limit, config.service_name) == (500, None)


def test_a_warning_goes_with_the_argument_that_makes_it_moot():
    environment = Config.from_env({"OBSKIT_SERIES_LIMIT": "x", "OBSKIT_LOG_LEVEL": "x", "OBSKIT_NOPE": "x"})
    assert len(environment.warnings) == 3
    config = environment.overlaid(Config(series_limit=7))
    assert config.warnings == tuple(w for w in environment.warnings if "SERIES_LIMIT" not in w)
    assert Config(series_limit=7).overlaid(environment).warnings == environment.warnings


def test_a_variable_that_meets_an_argument_gives_way():
    config = Config.from_env({"OBSKIT_READY_PATH": "/live"}).overlaid(Config(live_path="/live"))
    assert (config.live_path, config.ready_path) == ("/live", "/readyz")
    [warning] = config.warnings
    assert warning.startswith("ready_path (OBSKIT_READY_PATH) is ignored")


def test_a_batch_that_exceeds_an_arguments_queue_gives_way():
    config = Config.from_env({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1000"}).overlaid(Config(span_queue_size=100))
    assert (config.span_queue_size, config.span_batch_size) == (100, 100)
    [warning] = config.warnings
    assert "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" in warning


# -- differences and secrets --------------------------------------------------------------------------------------


def test_differences_are_sentences():
    one = Config(series_limit=1, service_name="a", otlp_headers={"k": "s3cret"})
    other = Config(series_limit=2, otlp_headers={"k": "other"})
    assert one.differences(other) == [
        "service_name: 'a' != None",
        "otlp_headers: the parts that are not shown differ",
        "series_limit: 1 != 2",
    ]
    assert one.differences(one.overlaid(Config())) == []


def test_repr_shows_what_is_not_the_default():
    assert repr(Config()) == "Config()"
    shown = repr(Config(service_name="orders", resource_attributes={"a": "b"}, redact=["x"]))
    assert shown == "Config(service_name='orders', resource_attributes={'a': 'b'}, redact=('x',))"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:s3cret@host:4318/p", "http://***@host:4318/p"),
        ("https://s3cret@host", "https://***@host"),
        ("http://host/p?key=s3cret", "http://host/p?***"),
        ("http://user:a@s3cret@host/", "http://***@host/"),
        ("http://user:s3cret/x@host/", "http://***@host/"),
    ],
)
def test_secrets_are_nowhere(url, shown):
    config = Config(otlp_headers={"authorization": "Bearer s3cret"}, otlp_client_key="s3cret")
    located = Config.from_env(
        {"OTEL_EXPORTER_OTLP_HEADERS": "a=s3cret", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "s3cret"}
    )
    for secretive in (config, located):
        assert "s3cret" not in repr(secretive)
        assert "s3cret" not in str(secretive.differences(Config()))
    wrong = url.replace("http", "ftp")
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": wrong, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": wrong.partition("//")[2]}
    warnings = Config.from_env(environ).warnings
    assert len(warnings) == 2
    assert "s3cret" not in str(warnings)
    with pytest.raises(ConfigError) as caught:
        Config(otlp_endpoint=wrong)
    assert "s3cret" not in str(caught.value)
    assert shown.replace("http", "ftp") in str(caught.value)


# -- the reference ------------------------------------------------------------------------------------------------


def reference_row(name):
    """The row of the reference that documents a field; when it fails, paste what it says."""
    entry = SETTINGS[name]
    default = entry.default_text()
    plain = entry.default_doc or default == "unset"
    variables = "<br>".join(f"`{variable}`" for variable in entry.variables)
    meaning = entry.doc.replace("|", "\\|")
    return f"| `{name}` | {variables} | {default if plain else f'`{default}`'} | {meaning} |"


@pytest.mark.parametrize("name", SETTINGS)
def test_the_reference_documents_each_field(name):
    rows = [line for line in REFERENCE.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert rows == [reference_row(name)]


def test_the_reference_names_nothing_else():
    text = REFERENCE.read_text()
    fields = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(fields) == sorted(SETTINGS)
    variables = set(re.findall(r"\b(?:OBSKIT|OTEL)_[A-Z_]+[A-Z]\b", text))
    assert variables - VARIABLES.keys() - {"OTEL_BSP", "OTEL_BLRP", "OTEL_METRIC_EXPORT"} == set()
    assert "shared" not in text


def test_the_snippets_of_the_reference_run():
    [snippet] = re.findall(r"```python\n(.*?)```", REFERENCE.read_text(), re.DOTALL)
    exec(compile(snippet, str(REFERENCE), "exec"), {})  # noqa: S102  (our own document)


def test_the_buckets_are_the_conventions():
    assert DEFAULTS["duration_buckets"] == semconv.DURATION_BUCKETS


def test_importing_reads_no_environment_and_logs_nothing():
    code = "import obskit.config as c; c.Config()"
    environ = {**os.environ, "OBSKIT_SERIES_LIMIT": "x", "OTEL_PROPAGATORS": "tracecontext"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
