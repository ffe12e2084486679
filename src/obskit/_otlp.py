"""OTLP as it is configured for one signal: its own options over those of all signals.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/#configuration-options
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from obskit._config_table import Compression, Protocol, Table

Signal = Literal["traces", "metrics", "logs"]
SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")

_HTTP_COLLECTOR = "http://localhost:4318"
_GRPC_COLLECTOR = "http://localhost:4317"
#: The package of the official exporter for gRPC, and its module.
GRPC_PACKAGE = "opentelemetry-exporter-otlp-proto-grpc"
_GRPC_MODULE = "opentelemetry.exporter.otlp.proto.grpc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Otlp:
    """Where and how one signal leaves by OTLP.

    Attributes:
        url: what takes it: over HTTP the whole URL, for gRPC the collector's.
        headers: of each export.
        headers_file: a file with more of them.
        timeout: seconds that one export may take.
        protocol: of the export.
        compression: of its body.
        certificate, client_key, client_certificate: paths of PEM files.
    """

    url: str
    headers: Mapping[str, str]
    headers_file: str | None
    timeout: float
    protocol: Protocol
    compression: Compression
    certificate: str | None
    client_key: str | None
    client_certificate: str | None


_FOR_ALL = ("url", "headers_file")
_OPTIONS = tuple(field.name for field in fields(Otlp) if field.name not in _FOR_ALL)


def otlp_of(table: Table, signal: Signal) -> Otlp:
    """OTLP for one signal: each of its options where it is given, else that of all signals."""
    options = {name: getattr(table, f"otlp_{signal}_{name}") for name in _OPTIONS}
    options |= {name: getattr(table, f"otlp_{name}") for name, value in options.items() if value is None}
    url = getattr(table, f"otlp_{signal}_endpoint") or _default_url(table.otlp_endpoint, signal, options["protocol"])
    return Otlp(url=url, headers_file=table.otlp_headers_file, **options)


def _default_url(base: str | None, signal: Signal, protocol: Protocol) -> str:
    """https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp."""
    if protocol == "grpc":
        return base or _GRPC_COLLECTOR
    parts = urlsplit(base or _HTTP_COLLECTOR)
    return parts._replace(path=f"{parts.path.rstrip('/')}/v1/{signal}").geturl()


@functools.cache
def grpc_is_installed() -> bool:
    """Whether the official exporter for gRPC can be imported."""
    try:
        return importlib.util.find_spec(_GRPC_MODULE) is not None
    except ImportError:  # of one of the packages around it
        return False
