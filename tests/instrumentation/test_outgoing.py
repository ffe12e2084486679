"""Which hosts baggage is sent to."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage

from obskit.config import Config
from obskit.instrumentation import _outgoing
from obskit.instrumentation._outgoing import Outgoing


def sends(patterns, host):
    op = SimpleNamespace(trace_id="", context=baggage.set_baggage("customer", "42"), span=None)
    headers = {}
    assert Outgoing(("tracecontext", "baggage"), patterns).write(op, host, headers) == ("baggage" in headers)
    return "baggage" in headers


HOSTS = [
    ("stock", "stock", True),
    ("Stock", "sTOCK", True),
    ("stock", "stock.evil.example", False),
    ("stock", "my-stock", False),
    ("*.internal", "a.b.internal", True),
    ("*.internal", "internal", False),
    ("*.internal", "x.internal.evil.example", False),
    ("a.internal", "a-internal", False),
    ("10.0.*", "10.0.3.4", True),
    ("10.0.*", "110.0.3.4", False),
    ("fd00:*", "fd00::1", True),
    ("*", "anybody.example", True),
]


@pytest.mark.parametrize(("pattern", "host", "sent"), HOSTS, ids=[f"{pattern} {host}" for pattern, host, _ in HOSTS])
def test_patterns(pattern, host, sent):
    [kept] = Config(propagate_to=(pattern,)).propagate_to
    assert sends((kept,), host) is sent
    assert sends(("elsewhere", kept), host) is sent


@given(st.from_regex(r"[a-z0-9.\-]+", fullmatch=True), st.text(max_size=20))
def test_a_pattern_without_a_star_is_one_host_whoever_is_called(pattern, host):
    assert sends((pattern,), host) is (host.lower() == pattern)
    assert sends((pattern,), pattern.upper())


def test_hosts_that_strangers_choose_are_not_kept_for_ever():
    outgoing = Outgoing(("baggage",), ("*.internal",))
    for n in range(3 * _outgoing._MAX_DECISIONS):
        outgoing._is_listed(f"host-{n}")
    assert len(outgoing._decisions) <= _outgoing._MAX_DECISIONS
