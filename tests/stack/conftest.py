"""The stack that tests share; what a run shows and leaves is in leftovers."""

import pytest
from leftovers import pytest_sessionfinish, pytest_sessionstart, pytest_terminal_summary

from stack import started

__all__ = ["pytest_sessionfinish", "pytest_sessionstart", "pytest_terminal_summary"]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items):
    """Which process of `make e2e` runs what: all that need the stack the same one, in the order of their files."""
    for item in items:
        group = "stack" if "stack" in item.fixturenames else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """The stack, for all tests of a run that need the whole of it; what they kill they start again."""
    with started(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="session")
def traffic(stack):
    """Twenty seconds of customers, all of it arrived everywhere; their answers by status."""
    seen = stack.drive(20)
    stack.settle()
    return seen
