"""Any value ends as something readable, in one physical line of valid JSON of at most 64 KiB."""

import datetime as dt
import decimal
import enum
import json
import logging
import math
import numbers
import pathlib
import uuid
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.redaction import Redactor
from obskit.signals._encoding import MAX_LINE, encode, exception_of, readable, text_of


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Login:
    user: str
    password: str


class Unprintable:
    def __str__(self):
        raise ValueError("no")


class Hostile(dict):
    def items(self):
        raise RuntimeError("no")


class Float32:
    """As numpy's scalars: no float, but registered as a real number."""

    def __float__(self):
        return 1.5


numbers.Real.register(Float32)


class Int64:
    def __int__(self):
        return 7


numbers.Integral.register(Int64)


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "another"


def decoded(value):
    line = encode({"value": value})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)["value"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        ([1.0, math.nan], [1.0, "NaN"]),
        (2**63, 2**63),
        (2**64, str(2**64)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (10**5000, hex(10**5000)),
        ("a\nb\r\x00\x1b[31m\u2028\u2029\x85", "a\nb\r\x00\x1b[31m\u2028\u2029\x85"),
        ("\ud800x", "\\ud800x"),
        (b"caf\xc3\xa9 \xff", "café \\xff"),
        (bytearray(b"x"), "x"),
        (memoryview(b"x"), "x"),
        ({3}, [3]),
        (frozenset(), []),
        ((1, "b"), [1, "b"]),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), "2026-01-02T03:04:05.000006+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.time(1, 2), "01:02:00"),
        (dt.timedelta(seconds=1), "0:00:01"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.10"), "1.10"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Text("mine"), "mine"),
        (Float32(), 1.5),
        (Int64(), 7),
        (Login("ann", "x"), {"user": "ann", "password": "x"}),
        (Unprintable(), "<unreadable Unprintable: ValueError>"),
        (Hostile(a=1), "<unreadable Hostile: RuntimeError>"),
        (KeyError("k"), "KeyError: 'k'"),
        ({1: "a", None: "b", Text("t"): "c"}, {"1": "a", "None": "b", "another": "c"}),
        ({"\ud800": 1}, {"\\ud800": 1}),
        (Login, "<class 'test_encoding.Login'>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_value_becomes(value, expected):
    assert readable("value", value) == expected
    if not isinstance(value, Hostile):  # orjson reads a dict's contents without calling it
        assert decoded(readable("value", value)) == expected


@pytest.mark.parametrize("value", [math.nan, "\ud800", 10**30, {"k": math.inf}, {1: 2}, object])
def test_a_line_that_orjson_refuses_or_nulls_is_written_all_the_same(value):
    assert decoded(value) not in (None, {"k": None})


def test_none_stays_null():
    assert decoded(None) is None
    assert decoded("null") == "null"


def test_circular_and_deep_structures_end():
    circle: list[object] = []
    circle.append(circle)
    ring: dict[str, object] = {}
    ring["ring"] = ring
    assert "…" in json.dumps(readable("v", circle), ensure_ascii=False)
    assert "…" in json.dumps(readable("v", ring), ensure_ascii=False)


def test_a_small_value_that_unfolds_into_a_huge_one_is_bounded():
    bomb: object = "x"
    for _ in range(7):
        bomb = [bomb] * 100
    assert len(json.dumps(readable("v", bomb))) < 100_000
    wide = readable("v", {str(i): i for i in range(100_000)})
    assert len(wide) < 3_000
    assert wide["…"] == "…"


def test_a_text_is_cut_before_it_is_searched_for_secrets():
    lengths = []
    readable("v", "x" * 1_000_000, lambda _name, value: value and lengths.append(len(value)))
    readable("v", [b"x" * 1_000_000], lambda _name, value: value and lengths.append(len(value)))
    assert lengths == [MAX_LINE, MAX_LINE]


def test_secrets_are_found_by_name_at_any_depth():
    redact = Redactor()
    value = {"user": "ann", "password": "hunter2", "deep": [{"api_key": 1}], "login": Login("bob", "x")}
    assert readable("v", value, redact) == {
        "user": "ann",
        "password": "[REDACTED]",
        "deep": [{"api_key": "[REDACTED]"}],
        "login": {"user": "bob", "password": "[REDACTED]"},
    }


def test_what_a_secret_name_holds_is_hidden_as_a_whole():
    assert readable("credentials", {"count": 1}, Redactor()) == "[REDACTED]"
    assert readable("tokens", ["a"], Redactor(["tokens"])) == "[REDACTED]"


def test_an_unreadable_part_leaves_the_rest_readable():
    assert readable("v", {"ok": 1, "bad": [Hostile(a=1)]}) == {"ok": 1, "bad": ["<unreadable Hostile: RuntimeError>"]}


def test_text_is_redacted_inside_what_has_no_json_form():
    assert "hunter2" not in readable("v", ValueError("postgres://me:hunter2@db/x"), Redactor())
    assert "hunter2" not in readable("v", b"https://me:hunter2@db/x", Redactor())


def test_a_value_whose_text_logs_the_value_ends():
    class Loop:
        def __str__(self):
            return text_of(self) + text_of(self)

    assert text_of(Loop()).count("logs itself") == 8
    assert text_of(1) == "1", "the depth is given back"


@pytest.mark.parametrize(
    "line",
    [
        {"message": "m", "value": "x" * 1_000_000},
        {"message": "m", "value": "\x00" * 100_000},
        {"message": "m", "value": "\U0001f600" * 100_000},
        {"message": "m", "value": ["y" * 50_000, "y" * 50_000]},
        {"message": "m", "value": {"k": list(range(100_000))}},
        {"message": "m", **{f"field{i}": "z" * 3_000 for i in range(100)}},
        {"message": "m", **{f"field{i}": "z" for i in range(20_000)}},
        {"message": "m", "k" * 200_000: 1},
        {"message": "m", **{f"{i}" + "\x00" * 200: "\x01" * 5_000 for i in range(200)}},
    ],
    ids=lambda line: f"{len(line)}-{len(str(line))}",
)
def test_a_long_line_is_cut_to_64_kib_and_says_so(line):
    encoded = encode(line)
    assert len(encoded) <= MAX_LINE
    found = json.loads(encoded)
    assert found["message"] == "m"
    assert found["truncated"] is True


def test_a_cut_keeps_as_much_as_fits_and_leaves_short_values_alone():
    found = json.loads(encode({"a": ["short", 1], "long": "x" * 100_000}))
    assert found["a"] == ["short", 1]
    assert found["long"] == "x" * 16_384 + "…"


def test_a_line_of_just_the_limit_is_not_touched():
    line = {"v": "x" * (MAX_LINE - len('{"v":""}\n'))}
    assert len(encode(line)) == MAX_LINE
    assert "truncated" not in json.loads(encode(line))


def test_exception_of():
    error = ValueError()
    assert exception_of(error) is error
    assert exception_of((ValueError, error, None)) is error
    assert exception_of((None, None, None)) is None
    assert exception_of(True) is None
    assert exception_of(None) is None


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.datetimes()
    | st.decimals()
    | st.builds(Unprintable)
    | st.just(logging),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.one_of(st.text(st.characters(exclude_categories=())), st.integers(), st.none()), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=())), anything, max_size=6))
def test_any_dict_is_one_line_of_json(line):
    encoded = encode(line)
    assert encoded.count(b"\n") == 1
    assert encoded.endswith(b"\n")
    assert b"\r" not in encoded
    assert len(json.loads(encoded)) == len({text_of(key).encode("utf-8", "backslashreplace") for key in line})


@settings(deadline=None)
@given(anything)
def test_any_value_is_readable(value):
    json.loads(json.dumps(readable("v", value, Redactor()), allow_nan=False))
