"""What holds for every test: obskit contains its own errors, so a contained error fails the test that caused it."""

import pytest

from obskit import _guard


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def contained_errors():
    """The errors that obskit contained during the test; a test that expects some empties the list."""
    found: list[tuple[str, Exception]] = []
    seen = lambda component, error: found.append((component, error))  # noqa: E731
    _guard.observers.append(seen)
    yield found
    _guard.observers.remove(seen)
    _guard.forget_rate()
    if found:
        raise AssertionError(f"obskit contained: {found}") from found[0][1]
