"""Each row of the reference is pinned by tests that exist; :mod:`reference_rows` says by which."""

import ast
import functools
import re
from pathlib import Path

import pytest

from reference_rows import ROWS

TESTS = Path(__file__).parent
REFERENCE = TESTS.parent / "docs/reference"
PAGES = sorted(page.name for page in REFERENCE.glob("*.md"))


def names_of(page):
    """The names in the first column of a page's tables, in their order."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    for head, body in re.findall(r"^(\|.*)\n\|[-| :]+\|\n((?:\|.*\n?)+)", prose, re.MULTILINE):
        for row in body.splitlines():
            first = re.split(r"(?<!\\)\|", row)[1]
            names = re.findall(r"`([^`]+)`", first)
            assert names, f"a row without a name in backticks, under {head!r}: {row}"
            yield from names


@functools.cache
def named_in(path):
    """The tests of a file below this folder, as ``test_function`` or ``TestClass::test_method``."""
    if not (TESTS / path).is_file():
        return frozenset()
    tree = ast.parse((TESTS / path).read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test")]
    methods = {f"{each.name}::{name}" for each in classes for name in functions_of(each)}
    return frozenset({*functions_of(tree), *methods})


def functions_of(node):
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [each.name for each in node.body if isinstance(each, kinds) and each.name.startswith("test")]


def problems_of(name, page, rows):
    """What is wrong with the rows of one page, one sentence each."""
    shown = list(names_of(page))
    yield from (f"{name}: the row `{row}` stands there twice" for row in set(shown) if shown.count(row) > 1)
    yield from (f"{name}: no test is named for the row `{row}`" for row in shown if not rows.get(row))
    yield from (f"{name}: there is no row `{row}`" for row in rows if row not in shown)
    for row, tests in rows.items():
        for test in tests:
            path, _, function = test.partition("::")
            if function not in named_in(path):
                yield f"{name}: there is no test {test}, named for the row `{row}`"
        if len(set(tests)) < len(tests):
            yield f"{name}: a test is named twice for the row `{row}`"


@pytest.mark.parametrize("name", PAGES)
def test_each_row_is_pinned_by_tests(name):
    assert not list(problems_of(name, (REFERENCE / name).read_text(), ROWS.get(name, {})))


def test_each_page_of_the_reference_is_in_the_map():
    assert sorted(ROWS) == PAGES


def test_the_whole_reference_is_read():
    rows = {name: len(list(names_of((REFERENCE / name).read_text()))) for name in PAGES}

    assert sum(rows.values()) >= 290
    assert rows == {name: len(rows) for name, rows in ROWS.items()}
    assert len(PAGES) == 10


# -- it can fail ------------------------------------------------------------------------------------------------------

PAGE = """
| value | becomes |
|---|---|
| `int`, `float` | itself \\| or so |

```text
| `no row` | of a table |
|---|---|
| `nor this` | |
```

| path | |
|---|:--|
| `/livez` | `ok` |
"""
TEST = "test_reference.py::test_the_whole_reference_is_read"
RIGHT = {"int": (TEST,), "float": (TEST,), "/livez": (TEST,)}


def test_a_page_is_read_row_by_row():
    assert list(names_of(PAGE)) == ["int", "float", "/livez"]
    assert list(problems_of("p.md", PAGE, RIGHT)) == []


@pytest.mark.parametrize(
    ("more", "rows", "problem"),
    [
        ("| `new` | a row that nobody has mapped |\n", {}, "p.md: no test is named for the row `new`"),
        ("", {"int": ()}, "p.md: no test is named for the row `int`"),
        ("| `int` | again |\n", {}, "p.md: the row `int` stands there twice"),
        ("", {"gone": (TEST,)}, "p.md: there is no row `gone`"),
        ("", {"int": (TEST, TEST)}, "p.md: a test is named twice for the row `int`"),
        ("", {"int": ("test_reference.py::test_nothing",)}, "there is no test test_reference.py::test_nothing, named"),
        (
            "",
            {"int": ("test_no_such.py::test_x",)},
            "there is no test test_no_such.py::test_x, named for the row `int`",
        ),
        ("", {"int": ("health/test_checks.py::test_at_most_four_at_once",)}, "there is no test health/test_checks.py"),
    ],
)
def test_what_is_wrong_is_found_out(more, rows, problem):
    [found] = problems_of("p.md", PAGE + more, RIGHT | rows)

    assert problem in found


def test_a_method_is_found_by_its_class():
    rows = RIGHT | {"int": ("health/test_checks.py::TestDeadline::test_at_most_four_at_once",)}

    assert list(problems_of("p.md", PAGE, rows)) == []


def test_a_row_without_a_name_is_found_out():
    with pytest.raises(AssertionError, match="without a name"):
        list(names_of(PAGE + "| no backticks | |\n"))
