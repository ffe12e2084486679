"""Pushed metrics as a backend shows them: Prometheus' translation of OTLP, written down once more.

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#otlp-metric-points-to-prometheus, by
the strategy UnderscoreEscapingWithSuffixes. Not the code under test.
"""

import re

from loopback_collectors import attributes_of

UNITS = {"s": "seconds", "By": "bytes", "ms": "milliseconds"}


def series_of(pushed):
    """{(name, labels): value} of (metric, scope, resource) as a request has them, empty labels left out."""
    found = {}
    for metric, _scope, _resource in pushed:
        for name, labels, value in _samples(metric):
            key = name, tuple(sorted(labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = value
    return found


def _samples(metric):
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    counter = kind == "sum" and data.is_monotonic
    name = _name(metric.name, metric.unit, counter=counter, gauge=kind == "gauge")
    for point in data.data_points:
        labels = {re.sub(r"\W", "_", key): _text(value) for key, value in attributes_of(point.attributes).items()}
        if kind == "histogram":
            running = 0
            for bound, count in zip([*point.explicit_bounds, float("inf")], point.bucket_counts, strict=True):
                running += count
                yield f"{name}_bucket", {**labels, "le": "+Inf" if bound == float("inf") else str(bound)}, running
            yield f"{name}_count", labels, point.count
            yield f"{name}_sum", labels, point.sum
        elif kind == "exponential_histogram":
            yield f"{name}_count", labels, point.count
            yield f"{name}_sum", labels, point.sum
        else:
            yield name, labels, point.as_int if point.WhichOneof("value") == "as_int" else point.as_double


def _name(name, unit, *, counter, gauge):
    tokens = [token for token in re.split(r"[^A-Za-z0-9:]+", name) if token]
    suffix = "" if "{" in unit or unit in ("", "1") else UNITS[unit]
    if suffix and suffix not in tokens:
        tokens.append(suffix)
    if counter:
        tokens = [token for token in tokens if token != "total"] + ["total"]
    if gauge and unit == "1":
        tokens.append("ratio")
    return "_".join(tokens)


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def exemplars_of(pushed):
    """{(name, value): (trace id, span id)} of what is pushed."""
    return {
        (metric.name, exemplar.as_double): (exemplar.trace_id.hex(), exemplar.span_id.hex())
        for metric, _scope, _resource in pushed
        if metric.WhichOneof("data") in ("histogram", "exponential_histogram")
        for point in getattr(metric, metric.WhichOneof("data")).data_points
        for exemplar in point.exemplars
    }
