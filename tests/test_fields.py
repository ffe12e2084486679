"""What becomes of a user's fields on their way into an operation."""

import decimal
import enum
import json
import logging
from collections import OrderedDict
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

import obskit
from obskit import Config, semconv
from obskit._fields import FieldPolicy, RecurringValues
from obskit.testing import capture


class Tier(enum.StrEnum):
    GOLD = "gold"


class Level(enum.IntEnum):
    HIGH = 3


class Plain(enum.Enum):
    A = 1


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "not what it holds"


class Unprintable:
    def __str__(self):
        raise RuntimeError("the user's own")


NINE_DEEP = {"d": {"d": {"d": {"d": {"d": {"d": {"d": {"d": {"d": 1}}}}}}}}}

#: A value and what is kept of it.
VALUES = [
    ("text", "text"),
    ("", ""),
    (True, True),
    (7, 7),
    (1.5, 1.5),
    (float("inf"), float("inf")),
    (2**63 - 1, 2**63 - 1),
    (-(2**63), -(2**63)),
    (2**63, str(2**63)),
    (-(2**63) - 1, str(-(2**63) - 1)),
    ("x" * 5000, "x" * 4096),
    (10**4000, str(10**4000)[:4096]),
    (["a", "b"], ["a", "b"]),
    ((1, 2), [1, 2]),
    ({3}, [3]),
    (frozenset({"a"}), ["a"]),
    ([True, False], [True, False]),
    ([1.5, 2.5], [1.5, 2.5]),
    ([1, 2.5], ["1", "2.5"]),
    ([1, True], ["1", "True"]),
    ([1, None, 2], [1, 2]),
    ([], []),
    (["x" * 5000], ["x" * 4096]),
    ([1] * 500, [1] * 128),
    ([[1], [2]], ["[1]", "[2]"]),
    ([{"a": 1}], ["{'a': 1}"]),
    (Tier.GOLD, "gold"),
    (Level.HIGH, 3),
    (Plain.A, "Plain.A"),
    (Text("held"), "held"),
    (decimal.Decimal("1.50"), "1.50"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
    (b"bytes", "b'bytes'"),
    (ValueError("no"), "no"),
    (Unprintable(), "<Unprintable>"),
    ([Unprintable(), Unprintable()], ["<Unprintable>", "<Unprintable>"]),
    (1 + 2j, "(1+2j)"),
]


@pytest.mark.parametrize(("value", "kept"), VALUES, ids=[str(i) for i in range(len(VALUES))])
def test_values(value, kept):
    fields = {}
    assert FieldPolicy().add(fields, {"f": value}) == 0
    assert fields == {"f": kept}
    assert type(fields["f"]) is type(kept)


@pytest.mark.parametrize(
    ("given_fields", "kept"),
    [
        ({"a": None}, {}),
        ({"a": {"b": 1, "c": {"d": "x"}}}, {"a.b": 1, "a.c.d": "x"}),
        ({"a": {}}, {}),
        ({"a": {"b": None}}, {}),
        ({"a": MappingProxyType({"b": 1})}, {"a.b": 1}),
        ({"a": OrderedDict(b=1)}, {"a.b": 1}),
        ({1: "x", (2, 3): "y", None: "z"}, {"1": "x", "(2, 3)": "y", "None": "z"}),
        ({Unprintable(): 1}, {"<Unprintable>": 1}),
        ({"n" * 300: 1}, {"n" * 255: 1}),
        ({"a.b": 1, "a": {"b": 2}}, {"a.b": 2}),
        (NINE_DEEP, {"d.d.d.d.d.d.d.d.d": 1}),
        ({"d": NINE_DEEP}, {"d.d.d.d.d.d.d.d.d": "{'d': 1}"}),
    ],
)
def test_names_and_mappings(given_fields, kept):
    fields = {}
    FieldPolicy().add(fields, given_fields)
    assert fields == kept


def test_a_mapping_that_holds_itself_ends():
    loop = {}
    loop["self"] = loop
    fields = {}
    assert FieldPolicy().add(fields, {"a": loop}) == 0
    ((name, value),) = fields.items()
    assert (name.count("self"), type(value)) == (8, str)


def test_what_does_not_fit_is_dropped_and_counted():
    policy, fields = FieldPolicy(max_fields=3, max_length=4), {}
    assert policy.add(fields, {"a": 1, "b": {"c": 2, "d": "too long", "e": 4}, "f": 5}) == 2
    assert fields == {"a": 1, "b.c": 2, "b.d": "too "}
    assert policy.add(fields, {"a": "new", "g": 1, "h": None}) == 1
    assert fields["a"] == "new"


def test_each_value_is_redacted_by_its_name_once_it_is_clean():
    seen = []

    def redact(name, value):
        seen.append((name, value))
        return "***" if "secret" in name else value

    fields = {}
    FieldPolicy(redact).add(fields, {"a": {"secret": 1}, "b": Tier.GOLD})
    assert fields == {"a.secret": "***", "b": "gold"}
    assert seen == [("a.secret", 1), ("b", "gold")]


@pytest.mark.parametrize("name", sorted(semconv.RESERVED_FIELDS))
def test_reserved_names_are_kept_under_a_prefix_and_told_once(name, caplog):
    policy, fields = FieldPolicy(), {name: "obskit's"}
    for value in (1, 2):
        policy.add(fields, {name: value})
    assert fields == {name: "obskit's", f"fields.{name}": 2}
    assert [(r.levelno, name in r.getMessage(), f"fields.{name}" in r.getMessage()) for r in caplog.records] == [
        (logging.WARNING, True, True)
    ]


def test_a_nested_name_can_collide_as_well(caplog):
    fields = {}
    FieldPolicy().add(fields, {"service": {"name": "mine"}})
    assert fields == {"fields.service.name": "mine"}
    assert len(caplog.records) == 1


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def is_clean(value):
    if isinstance(value, list):
        return len({type(item) for item in value}) <= 1 and all(
            type(item) is not list and is_clean(item) for item in value
        )
    return type(value) in (bool, float) or (type(value) is str and len(value) <= 4096) or (
        type(value) is int and -(2**63) <= value < 2**63
    )  # fmt: skip


@given(st.dictionaries(st.text() | st.integers() | st.none(), ANY, max_size=8))
def test_whatever_comes_is_clean_and_bounded(given_fields):
    policy, fields = FieldPolicy(max_fields=10), {}
    dropped = policy.add(fields, given_fields)
    assert dropped >= 0
    assert len(fields) <= 10
    assert all(type(name) is str and len(name) <= 255 and is_clean(value) for name, value in fields.items())
    assert not fields.keys() & semconv.RESERVED_FIELDS


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), ANY, max_size=6))
def test_whatever_comes_leaves_as_a_line_and_as_a_span(given_fields):
    """No value of a user's, surrogates and NUL included, costs the line or the span."""
    with capture() as captured:
        with obskit.operation("any", fields=given_fields) as op:
            names = set(op.fields)
        (span,) = captured.spans
        (raw,) = [line for line in captured._writer.lines if b'"any ok"' in line]
    assert raw.count(b"\n") == 1
    line = json.loads(raw)
    assert (line["message"], line["outcome"]) == ("any ok", "ok")
    assert len([name for name in names if any(0xD800 <= ord(c) < 0xE000 for c in name) or name in line]) == len(names)
    if all(_utf8(value) for value in (*names, *span.attributes.values())):
        assert encode_spans([span]).ByteSize()


def _utf8(value):
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize(("limit", "kept"), [(0, 0), (1, 1), (128, 50)])
def test_the_configured_limit_is_kept_by_operations(limit, kept):
    with capture(config=Config(attribute_count_limit=limit)) as captured:
        with obskit.operation("many") as op:
            for index in range(50):
                op.annotate({f"f{index}": index})
            assert len(op.fields) == kept
        assert captured.metric("obskit_fields_dropped_total") == 50 - kept


def test_what_recurs_is_made_safe_once():
    asked = []

    def safe(text):
        asked.append(text)
        return text.upper()

    values = RecurringValues(safe)

    assert [values[text] for text in ("a", "b", "a", "a")] == ["A", "B", "A", "A"]
    assert asked == ["a", "b"]


def test_what_is_remembered_is_bounded_in_number_and_length():
    values = RecurringValues(str.upper)

    assert values["x" * 257] == "X" * 257
    assert not values
    for number in range(3000):
        assert values[f"agent {number}"] == f"AGENT {number}"
    assert 0 < len(values) <= 1024
