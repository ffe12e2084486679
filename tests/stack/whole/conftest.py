"""The stack that these tests share."""

import pytest

from stack import started


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
