"""A line's names as a vendor's pipeline knows them: severity, trace, exception and duration, without parsers.

Datadog: https://docs.datadoghq.com/standard-attributes/, the attributes that its pipelines read by themselves, and
https://docs.datadoghq.com/tracing/other_telemetry/connect_logs_and_traces/opentelemetry/ for the ids.
Google Cloud: https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields,
https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#HttpRequest and, for the stack trace,
https://cloud.google.com/error-reporting/docs/formatting-error-messages.
Elastic: https://www.elastic.co/docs/reference/ecs and https://github.com/elastic/ecs-logging/blob/main/spec/spec.json.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from obskit import semconv
from obskit.signals._encoding import encode

LogProfile = Literal["otel", "datadog", "gcp", "ecs"]

Encode = Callable[[dict[str, Any]], bytes]

_ECS_VERSION: Final = "9.3.0"
_GCP_TRACE: Final = "logging.googleapis.com/trace"
_GCP_REQUEST: Final = "httpRequest"
#: A vendor's name that is ours too, and says the same: nobody's field has to give way for it.
_OWN: Final = frozenset({semconv.ERROR_TYPE})


class _Renamed(NamedTuple):
    """What a name of ours becomes.

    Attributes:
        name: the vendor's.
        convert: the value as the vendor has it, where that differs; None for what is no such value and keeps our name.
    """

    name: str
    convert: Callable[[Any], Any] | None = None


def encoder(profile: LogProfile, gcp_project: str | None = None) -> Encode:
    """What turns a line into bytes, its names those of `profile`.

    Args:
        profile: `otel` leaves every name as it is, and costs nothing.
        gcp_project: the project that traces belong to, if it is known.
    """
    if profile == "otel":
        return encode
    if profile == "datadog":
        return _named(_DATADOG)
    if profile == "ecs":
        return _named(_ECS, extra={"ecs.version": _ECS_VERSION})
    prefix = f"projects/{gcp_project}/traces/" if gcp_project else ""
    trace = {semconv.TRACE_ID: _Renamed(_GCP_TRACE, lambda value: prefix + value)}
    return _named({**trace, **_GCP}, _with_http_request, taken=(_GCP_REQUEST,))


def _named(
    names: Mapping[str, _Renamed],
    finish: Callable[[dict[str, Any], dict[str, Any]], None] = lambda _line, _theirs: None,
    *,
    extra: Mapping[str, str] | None = None,
    taken: tuple[str, ...] = (),
) -> Encode:
    """An encoder that renames, adds `extra`, and has `finish` do what takes more than one field.

    Fields of the user's that have a vendor's name give way, as those do that have one of ours.
    """
    added = dict(extra or {})
    targets = {renamed.name for renamed in names.values()} | added.keys() | set(taken)
    collisions = {name: _collision(name) for name in targets - _OWN}
    changes = {**collisions, **names}

    def render(line: dict[str, Any]) -> bytes:
        theirs: dict[str, Any] = {}
        for name, value in line.items():
            change = changes.get(name)
            if change is None:
                theirs[name] = value
                continue
            renamed, convert = change
            if convert is None:
                theirs[renamed] = value
                continue
            converted = convert(value)
            fits = converted is not None or value is None
            theirs[renamed if fits else name] = converted if fits else value
        theirs.update(added)
        finish(line, theirs)
        return encode(theirs)

    return render


def _collision(name: str) -> _Renamed:
    kept = semconv.RESERVED_PREFIX + name
    told: list[bool] = []

    def tell_once(value: Any) -> Any:
        if not told:
            told.append(True)
            logging.getLogger("obskit").warning("field %r is a name of the profile's; yours is kept as %r", name, kept)
        return value

    return _Renamed(kept, tell_once)


def _nanoseconds(ms: Any) -> int | None:
    if type(ms) is int:
        return ms * 1_000_000
    return round(ms * 1e6) if type(ms) is float and math.isfinite(ms * 1e6) else None


# -- Datadog ----------------------------------------------------------------------------------------------------------


def _low_half_decimal(trace_id: str) -> str:
    return str(int(trace_id[-16:], 16))  # as text: more digits than a JSON reader's float keeps


_DATADOG: Final = {
    semconv.LEVEL: _Renamed("status"),
    semconv.LOGGER: _Renamed("logger.name"),
    semconv.TRACE_ID: _Renamed("dd.trace_id", _low_half_decimal),
    semconv.SPAN_ID: _Renamed("dd.span_id", _low_half_decimal),
    semconv.SERVICE_NAME: _Renamed("service"),
    semconv.SERVICE_VERSION: _Renamed("version"),
    semconv.DEPLOYMENT_ENVIRONMENT_NAME: _Renamed("env"),
    semconv.EXCEPTION_TYPE: _Renamed("error.kind"),
    semconv.EXCEPTION_MESSAGE: _Renamed("error.message"),
    semconv.EXCEPTION_STACKTRACE: _Renamed("error.stack"),
    semconv.DURATION_MS: _Renamed("duration", _nanoseconds),
    semconv.HTTP_REQUEST_METHOD: _Renamed("http.method"),
    semconv.HTTP_RESPONSE_STATUS_CODE: _Renamed("http.status_code"),
    semconv.NETWORK_PROTOCOL_VERSION: _Renamed("http.version"),
    semconv.URL_PATH: _Renamed("http.url_details.path"),
    semconv.URL_SCHEME: _Renamed("http.url_details.scheme"),
    semconv.SERVER_ADDRESS: _Renamed("http.url_details.host"),
    semconv.USER_AGENT_ORIGINAL: _Renamed("http.useragent"),
    semconv.REQUEST_ID: _Renamed("http.request_id"),
    semconv.CLIENT_ADDRESS: _Renamed("network.client.ip"),
    semconv.HTTP_REQUEST_BODY_SIZE: _Renamed("network.bytes_read"),
    semconv.HTTP_RESPONSE_BODY_SIZE: _Renamed("network.bytes_written"),
}

# -- Google Cloud -----------------------------------------------------------------------------------------------------

_SEVERITIES: Final = frozenset({"DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"})


def _severity(level: str) -> str:
    return upper if (upper := level.upper()) in _SEVERITIES else "DEFAULT"


_GCP: Final = {
    semconv.TIMESTAMP: _Renamed("time"),
    semconv.LEVEL: _Renamed("severity", _severity),
    semconv.SPAN_ID: _Renamed("logging.googleapis.com/spanId"),
    semconv.TRACE_FLAGS: _Renamed("logging.googleapis.com/trace_sampled", lambda flags: bool(int(flags, 16) & 1)),
    semconv.EXCEPTION_STACKTRACE: _Renamed("stack_trace"),
}
#: What moves into the request, by its names there; 64-bit numbers are text, as in Google's JSON.
_MOVED: Final = {
    semconv.HTTP_REQUEST_METHOD: _Renamed("requestMethod"),
    semconv.HTTP_RESPONSE_STATUS_CODE: _Renamed("status"),
    semconv.HTTP_REQUEST_BODY_SIZE: _Renamed("requestSize", str),
    semconv.HTTP_RESPONSE_BODY_SIZE: _Renamed("responseSize", str),
    semconv.USER_AGENT_ORIGINAL: _Renamed("userAgent"),
    semconv.CLIENT_ADDRESS: _Renamed("remoteIp"),
    semconv.NETWORK_PROTOCOL_VERSION: _Renamed("protocol", "HTTP/{}".format),
}
_URL: Final = (semconv.URL_SCHEME, semconv.SERVER_ADDRESS, semconv.URL_PATH)


def _with_http_request(line: dict[str, Any], theirs: dict[str, Any]) -> None:
    if line.get(semconv.EVENT_NAME) != semconv.EVENT_HTTP_SERVER:
        return
    request = {}
    for name, (key, convert) in _MOVED.items():
        if name in line:
            value = theirs.pop(name)
            request[key] = value if convert is None else convert(value)
    scheme, host, path = (str(theirs.pop(name, "")) for name in _URL)
    host = f"[{host}]" if ":" in host else host
    request["requestUrl"] = f"{scheme}://{host}{path}" if host else path
    request["latency"] = f"{line[semconv.DURATION_MS] / 1e3:.6f}s"
    theirs[_GCP_REQUEST] = request


# -- Elastic ----------------------------------------------------------------------------------------------------------

_OUTCOMES: Final = {
    semconv.OUTCOME_OK: "success",
    semconv.OUTCOME_ERROR: "failure",
    semconv.OUTCOME_CANCELLED: "unknown",
}
_ECS: Final = {
    semconv.TIMESTAMP: _Renamed("@timestamp"),
    semconv.LEVEL: _Renamed("log.level"),
    semconv.LOGGER: _Renamed("log.logger"),
    semconv.TRACE_ID: _Renamed("trace.id"),
    semconv.SPAN_ID: _Renamed("span.id"),
    semconv.DEPLOYMENT_ENVIRONMENT_NAME: _Renamed("service.environment"),
    semconv.EXCEPTION_TYPE: _Renamed("error.type"),
    semconv.EXCEPTION_MESSAGE: _Renamed("error.message"),
    semconv.EXCEPTION_STACKTRACE: _Renamed("error.stack_trace"),
    semconv.EVENT_NAME: _Renamed("event.action"),
    semconv.DURATION_MS: _Renamed("event.duration", _nanoseconds),
    semconv.OUTCOME: _Renamed("event.outcome", lambda value: _OUTCOMES.get(value) if type(value) is str else None),
    semconv.HTTP_REQUEST_BODY_SIZE: _Renamed("http.request.body.bytes"),
    semconv.HTTP_RESPONSE_BODY_SIZE: _Renamed("http.response.body.bytes"),
    semconv.NETWORK_PROTOCOL_VERSION: _Renamed("http.version"),
    semconv.REQUEST_ID: _Renamed("http.request.id"),
}
