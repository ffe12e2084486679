"""The loopback server of the tests of outbound calls."""

import pytest


@pytest.fixture(scope="module")
def one_server():
    from instrumentation.outbound import serving  # it imports every client library

    with serving() as server:
        yield server


@pytest.fixture
def server(one_server):
    one_server.reset()
    yield one_server
    one_server.released.set()


@pytest.fixture
def url(server):
    return server.url
