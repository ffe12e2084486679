"""The few facts that obskit reads from a request's headers and addresses, each bounded."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from time import time

#: What is read of every request, beside what propagators ask for.
FACTS = ("host", "user-agent", "x-request-id", "x-request-start")
#: Longer than an IPv6 address with its zone: what is longer is no address.
MAX_ADDRESS = 64
_MAX_VALUE = 1024
_MAX_CONTEXT_VALUE = 8192
_CONTEXT = frozenset({"tracestate", "baggage"})
_MAX_VALUES = 64
_MAX_QUEUE_MS = 3_600_000.0
_CLOCK_SKEW_MS = 1_000.0


def wanted_headers(headers: Iterable[tuple[bytes, bytes]], names: Mapping[bytes, str]) -> dict[str, list[str]]:
    """The headers that obskit reads, by name, each value cut to what may be kept.

    Bytes outside ASCII are read as latin-1, as HTTP does, and white space around a value is not part of it
    (https://www.rfc-editor.org/rfc/rfc9110#section-5.5), though some servers leave it there. Nothing a client sends
    raises here.

    Args:
        headers: a request's.
        names: those to find, lower case, by their bytes.
    """
    received = headers if type(headers) is list else list(headers)
    by_name = dict(received)
    if len(by_name) == len(received):  # each came once, as a rule: the few that are wanted are found without a loop
        received = [(name, by_name[name]) for name in names.keys() & by_name.keys()]
    found: dict[str, list[str]] = {}
    for name, value in received:
        wanted = names.get(name)
        if wanted is None:
            continue
        text = value[: _MAX_CONTEXT_VALUE if wanted in _CONTEXT else _MAX_VALUE].decode("latin-1").strip(" \t")
        values = found.get(wanted)
        if values is None:
            found[wanted] = [text]
        elif len(values) < _MAX_VALUES:
            values.append(text)
    return found


def without_port(host: str) -> str:
    """The host of a ``Host`` header: ``[::1]:80`` gives ``::1``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def truncated(address: str) -> str:
    """An address without its last part: IPv4 to /24, IPv6 to /48; what is no IP address becomes empty."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    keep = 24 if parsed.version == 4 else 48  # noqa: PLR2004  (the versions of IP)
    return str(ipaddress.ip_network((parsed, keep), strict=False).network_address)


def queue_ms(header: str) -> float | None:
    """Milliseconds that a request waited before the server, from ``x-request-start``; None when it cannot be told.

    Proxies write seconds, milliseconds or microseconds since the epoch, some after ``t=``; the magnitude tells.
    """
    try:
        stamp = float(header.removeprefix("t=")[:24])
    except ValueError:
        return None
    for ticks_per_second in (1.0, 1e3, 1e6):
        waited = (time() - stamp / ticks_per_second) * 1e3
        if -_CLOCK_SKEW_MS < waited < _MAX_QUEUE_MS:
            return max(0.0, round(waited, 3))
    return None
