"""Exponential buckets beside the explicit ones: each value in the bucket whose bounds hold it, as the SDK has it."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from prometheus_client import CollectorRegistry

from obskit.signals._exponential import MAX_BUCKETS, ExponentialSeries, index_of
from obskit.signals.metrics import Metrics

POSITIVE = st.floats(min_value=1e-9, max_value=1e6, allow_nan=False)


def series_of(values):
    series = ExponentialSeries({}, (0.1, 1.0))
    for value in values:
        series.observe(value)
    return series


def bound(index, scale):
    return 2.0 ** (index * 2.0**-scale)


@settings(max_examples=200)
@given(POSITIVE, st.integers(-8, 20))
@example(1.0, 20)
@example(1.0, 0)
@example(0.5, 3)
@example(4.0, -1)
def test_a_value_lies_within_the_bounds_of_its_bucket(value, scale):
    index = index_of(value, scale)
    slack = 1e-9  # of the float that a bound is
    assert bound(index, scale) <= value * (1 + slack)
    assert value <= bound(index + 1, scale) * (1 + slack)


@pytest.mark.parametrize("exponent", range(-5, 6))
@pytest.mark.parametrize("scale", [-2, 0, 1, 10, 20])
def test_a_power_of_two_is_the_upper_bound_of_its_bucket(exponent, scale):
    assert index_of(2.0**exponent, scale) == math.ceil(exponent * 2.0**scale) - 1


@settings(max_examples=50, deadline=None)
@given(st.lists(POSITIVE, min_size=1, max_size=60))
def test_no_more_buckets_than_the_limit_and_no_value_lost(values):
    exponential, total, _exemplars = series_of(values).read_exponential()
    assert len(exponential.counts) <= MAX_BUCKETS
    assert sum(exponential.counts) == len(values)
    assert exponential.counts[0]
    assert exponential.counts[-1]
    assert total == pytest.approx(sum(values))
    for value in (min(values), max(values)):
        index = index_of(value, exponential.scale)
        assert exponential.counts[index - exponential.offset]


def test_the_buckets_are_those_of_the_sdk():
    reader = InMemoryMetricReader(preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()})
    provider = MeterProvider([reader], shutdown_on_exit=False)
    histogram = provider.get_meter("m").create_histogram("h")
    values = [0.001, 0.0042, 0.25, 0.2500001, 1.0, 3.7, 12.0, 0.0, 0.5, 0.0013]
    for value in values:
        histogram.record(value)
    [point] = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    ours, _total, _exemplars = series_of(values).read_exponential()
    assert (ours.scale, ours.zero, ours.offset) == (point.scale, point.zero_count, point.positive.offset)
    theirs = list(point.positive.bucket_counts)
    while not theirs[-1]:  # the SDK's buckets may end in empty ones
        theirs.pop()
    assert ours.counts == theirs
    provider.shutdown()


def test_empty_and_zero():
    assert series_of([]).read_exponential()[0] == (20, 0, 0, [])
    assert series_of([0.0, 0.0]).read_exponential()[0] == (20, 2, 0, [])


def test_the_explicit_buckets_are_kept_as_well():
    counts, total, _exemplars = series_of([0.05, 0.5, 5.0]).read()
    assert (counts, total) == ([1, 1, 1], 5.55)


def test_metrics_keep_them_only_where_they_are_asked_for():
    for exponential in (False, True):
        metrics = Metrics(registry=CollectorRegistry(), exponential=exponential)
        series = metrics._server["GET", "/", "200", "http", ""]
        assert hasattr(series, "read_exponential") is exponential
