"""The metrics signal: RED series of operations, with exemplars.

Names are the Prometheus translation of the semantic conventions
(https://opentelemetry.io/docs/specs/semconv/http/http-metrics/). Labels are fields of the operation, dots as
underscores; which label sets are kept when they are too many is :mod:`obskit.signals.cardinality`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from obskit import semconv
from obskit._fields import Value
from obskit.exceptions import ConfigError
from obskit.operation import Operation
from obskit.signals._exponential import ExponentialSeries
from obskit.signals._families import Gauge, Histogram, HistogramSeries, Keep, Level, Seen, in_lists
from obskit.signals.cardinality import NO_FOLDING, CappedSeries, Folding, Labels

_HTTP_SERVER_LABELS = (
    semconv.LABEL_HTTP_REQUEST_METHOD,
    semconv.LABEL_HTTP_ROUTE,
    semconv.LABEL_HTTP_RESPONSE_STATUS_CODE,
    semconv.LABEL_URL_SCHEME,
    semconv.LABEL_ERROR_TYPE,
)
_HTTP_CLIENT_LABELS = (
    semconv.LABEL_HTTP_REQUEST_METHOD,
    semconv.LABEL_SERVER_ADDRESS,
    semconv.LABEL_SERVER_PORT,
    semconv.LABEL_HTTP_RESPONSE_STATUS_CODE,
    semconv.LABEL_ERROR_TYPE,
)
_DB_CLIENT_LABELS = (
    semconv.LABEL_DB_SYSTEM_NAME,
    semconv.LABEL_DB_NAMESPACE,
    semconv.LABEL_DB_OPERATION_NAME,
    semconv.LABEL_ERROR_TYPE,
)
_OPERATION_LABELS = (
    semconv.LABEL_OPERATION_NAME,
    semconv.LABEL_OPERATION_KIND,
    semconv.LABEL_OUTCOME,
    semconv.LABEL_ERROR_TYPE,
)
_WEBSOCKET_LABELS = (semconv.LABEL_HTTP_ROUTE, semconv.LABEL_CLOSE_CODE)
_ACTIVE_LABELS = (semconv.LABEL_HTTP_REQUEST_METHOD, semconv.LABEL_URL_SCHEME)
_RESERVED_LABELS = {*_HTTP_SERVER_LABELS, *_OPERATION_LABELS, semconv.LABEL_OVERFLOW, "le"}

_HELP = {
    semconv.METRIC_HTTP_SERVER_DURATION: "Duration of HTTP requests served; of streams, the time to the first byte.",
    semconv.METRIC_HTTP_SERVER_ACTIVE: "HTTP requests being served.",
    semconv.METRIC_HTTP_CLIENT_DURATION: "Duration of HTTP requests sent.",
    semconv.METRIC_DB_CLIENT_DURATION: "Duration of calls to databases and caches.",
    semconv.METRIC_OPERATION_DURATION: "Duration of operations other than HTTP and databases.",
    semconv.METRIC_STREAM_DURATION: "Duration of streamed HTTP responses, first to last byte of the exchange.",
    semconv.METRIC_WEBSOCKET_DURATION: "Duration of WebSocket connections.",
    semconv.METRIC_WEBSOCKET_ACTIVE: "Open WebSocket connections.",
}

_SCHEMES = ("http", "https", "ws", "wss", "")
_STATUS: dict[int | None, str] = {None: "", **{code: str(code) for code in range(100, 600)}}
_PROTOCOL_CLOSE_CODES = {str(code) for code in range(1000, 1016)}  # RFC 6455, section 7.4.1
_METHOD_NOT_ALLOWED = "405"


class Metrics:
    """The signal. It owns the RED families of one registry.

    Args:
        registry: where they show; never prometheus_client's default one.
        metric_fields: fields that become labels of server and operation metrics, each with its allowed values.
        series_limit: label sets a metric may have, the overflow set apart.
        buckets: upper bounds of the duration buckets in seconds, rising, without infinity.
        keep: says where the numbers of the histograms are kept.
        exponential: whether histograms keep exponential buckets as well, for what pushes them.

    Raises:
        ConfigError: two labels would have the same name.
    """

    name = "metrics"

    def __init__(  # noqa: PLR0913  (each is a choice of its own)
        self,
        *,
        registry: CollectorRegistry,
        metric_fields: Mapping[str, Sequence[str]] | None = None,
        series_limit: int = 500,
        buckets: Sequence[float] = semconv.DURATION_BUCKETS,
        keep: Keep = in_lists,
        exponential: bool = False,
    ) -> None:
        self._registry = registry
        self._keep = keep
        self._limit = series_limit
        self._buckets = tuple(buckets)
        self._series = ExponentialSeries if exponential else HistogramSeries
        self._capped: list[CappedSeries[Any]] = []
        fields = metric_fields or {}
        self._fields = tuple((name, frozenset(allowed)) for name, allowed in fields.items())
        promoted = _promoted_labels(fields)
        server = (*_HTTP_SERVER_LABELS, *promoted)
        folding = _server_folding(promoted)
        self._server = self._histogram(semconv.METRIC_HTTP_SERVER_DURATION, server, folding)
        self._stream = self._histogram(semconv.METRIC_STREAM_DURATION, server, folding)
        self._client = self._histogram(semconv.METRIC_HTTP_CLIENT_DURATION, _HTTP_CLIENT_LABELS)
        self._database = self._histogram(semconv.METRIC_DB_CLIENT_DURATION, _DB_CLIENT_LABELS)
        self._work = self._histogram(
            semconv.METRIC_OPERATION_DURATION, (*_OPERATION_LABELS, *promoted), Folding(steps=_present(promoted))
        )
        self._socket = self._histogram(semconv.METRIC_WEBSOCKET_DURATION, _WEBSOCKET_LABELS, _WEBSOCKET_FOLDING)
        self._active = self._gauge(semconv.METRIC_HTTP_SERVER_ACTIVE, _ACTIVE_LABELS)
        self._open_sockets = self._gauge(semconv.METRIC_WEBSOCKET_ACTIVE, ())

    def series_counts(self) -> dict[str, int]:
        """How many label sets each metric of the signal has, the overflow set included."""
        return {series.metric: len(series) for series in self._capped}

    def start(self, op: Operation) -> None:
        """Count the operation as under way, where its kind has such a gauge."""
        if op.event == semconv.EVENT_HTTP_SERVER:
            method: Any = op.fields.get(semconv.HTTP_REQUEST_METHOD, "")
            self._active[method, _scheme(op)].add(1)
        elif op.event == semconv.EVENT_WEBSOCKET:
            self._open_sockets[()].add(1)

    def finish(self, op: Operation) -> None:
        """Record the operation's duration under its labels."""
        if op.event == semconv.EVENT_HTTP_SERVER:
            self._http_server(op)
        elif op.event == semconv.EVENT_HTTP_CLIENT:
            self._http_client(op)
        elif op.event == semconv.EVENT_DB_CLIENT:
            self._db_client(op)
        elif op.event == semconv.EVENT_WEBSOCKET:
            self._websocket(op)
        else:
            self._operation(op)

    def _http_server(self, op: Operation) -> None:
        fields = op.fields
        get: Any = fields.get
        method, scheme = get(semconv.HTTP_REQUEST_METHOD, ""), _scheme(op)
        self._active[method, scheme].add(-1)
        status = _STATUS.get(get(semconv.HTTP_RESPONSE_STATUS_CODE), semconv.VALUE_OTHER)
        labels: Labels = (method, get(semconv.HTTP_ROUTE, ""), status, scheme, get(semconv.ERROR_TYPE, ""))
        if self._fields:
            labels += self._promoted(fields)
        seconds = op.duration_ns / 1e9
        if op.stream:
            self._stream[labels].observe(seconds, _exemplar(op, seconds))
            seconds = get(semconv.TIME_TO_FIRST_BYTE_MS, op.duration_ns / 1e6) / 1e3
        self._server[labels].observe(seconds, _exemplar(op, seconds))

    def _http_client(self, op: Operation) -> None:
        get: Any = op.fields.get
        labels = (
            get(semconv.HTTP_REQUEST_METHOD, ""),
            get(semconv.SERVER_ADDRESS, ""),
            str(get(semconv.SERVER_PORT, "")),
            _STATUS.get(get(semconv.HTTP_RESPONSE_STATUS_CODE), semconv.VALUE_OTHER),
            get(semconv.ERROR_TYPE, ""),
        )
        seconds = op.duration_ns / 1e9
        self._client[labels].observe(seconds, _exemplar(op, seconds))

    def _db_client(self, op: Operation) -> None:
        get: Any = op.fields.get
        labels = (
            get(semconv.DB_SYSTEM_NAME, ""),
            get(semconv.DB_NAMESPACE, ""),
            get(semconv.DB_OPERATION_NAME, ""),
            get(semconv.ERROR_TYPE, ""),
        )
        seconds = op.duration_ns / 1e9
        self._database[labels].observe(seconds, _exemplar(op, seconds))

    def _websocket(self, op: Operation) -> None:
        self._open_sockets[()].add(-1)
        get: Any = op.fields.get
        labels = (get(semconv.HTTP_ROUTE, ""), str(get(semconv.WEBSOCKET_CLOSE_CODE, "")))
        seconds = op.duration_ns / 1e9
        self._socket[labels].observe(seconds, _exemplar(op, seconds))

    def _operation(self, op: Operation) -> None:
        # What is known of the request, such as its user's tier, holds for the work below it too.
        fields = op.fields if op.parent is None else {**op.root.fields, **op.fields}
        labels = (op.name, op.kind.name.lower(), op.outcome, op.error_type or "", *self._promoted(fields))
        seconds = op.duration_ns / 1e9
        self._work[labels].observe(seconds, _exemplar(op, seconds))

    def _promoted(self, fields: Mapping[str, Value]) -> Labels:
        """The values of the metric fields as labels: an allowed one as it is, any other ``_other``, absent empty."""
        labels = []
        for name, allowed in self._fields:
            value = fields.get(name, "")
            text = value if type(value) is str else str(value).lower() if type(value) is bool else str(value)
            labels.append(text if text in allowed or text == "" else semconv.VALUE_OTHER)
        return tuple(labels)

    def _histogram(self, name: str, labels: Labels, folding: Folding = NO_FOLDING) -> CappedSeries[HistogramSeries]:
        make = partial(self._series, bounds=self._buckets, metric=name, keep=self._keep)
        series = CappedSeries(name, labels, self._limit, make, folding)
        Histogram(series, _HELP[name], self._buckets, self._registry)
        self._capped.append(series)
        return series

    def _gauge(self, name: str, labels: Labels) -> CappedSeries[Level]:
        series = CappedSeries(name, labels, self._limit, Level)
        Gauge(series, _HELP[name], self._registry)
        self._capped.append(series)
        return series


def _scheme(op: Operation) -> Any:
    scheme = op.fields.get(semconv.URL_SCHEME, "")
    return scheme if scheme in _SCHEMES else semconv.VALUE_OTHER


def _exemplar(op: Operation, seconds: float) -> Seen | None:
    return (op.trace_id, op.span_id, seconds, op.start_ns + op.duration_ns) if op.sampled else None


def _present(promoted: Labels) -> tuple[Labels, ...]:
    return (promoted,) if promoted else ()


def _server_folding(promoted: Labels) -> Folding:
    route = (*promoted, semconv.LABEL_HTTP_ROUTE)
    return Folding(
        steps=(*_present(promoted), route),
        # A request that no route of the app took, or that a route refused for its method.
        strange=lambda labels: not labels[1] or labels[2] == _METHOD_NOT_ALLOWED or labels[0] == semconv.METHOD_OTHER,
        strange_steps=((*route, semconv.LABEL_ERROR_TYPE),),
    )


_WEBSOCKET_FOLDING = Folding(
    steps=((semconv.LABEL_HTTP_ROUTE,),),
    # Codes of 3000 and more are for applications to define, and a client may send any of them.
    strange=lambda labels: not labels[0] or labels[1] not in _PROTOCOL_CLOSE_CODES,
    strange_steps=((semconv.LABEL_CLOSE_CODE,), _WEBSOCKET_LABELS),
)


def _promoted_labels(metric_fields: Mapping[str, Sequence[str]]) -> Labels:
    """The label names of the metric fields."""
    labels = tuple(re.sub(r"\W", "_", name, flags=re.ASCII) for name in metric_fields)
    problems = [
        f"metric field {name!r} would be a second label {label!r}; give the field another name"
        for name, label in zip(metric_fields, labels, strict=True)
        if label in _RESERVED_LABELS or labels.count(label) > 1
    ]
    if problems:
        raise ConfigError(problems)
    return labels
