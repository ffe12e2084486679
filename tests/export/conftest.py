"""Collectors on loopback, well-behaved and not."""

import socket
import threading
from contextlib import suppress

import pytest
from loopback_collectors import start_collector


@pytest.fixture
def collector():
    collector = start_collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


@pytest.fixture
def raw_server():
    """raw_server(talk) -> port: accepts connections and hands each to `talk(connection)` in a thread of its own."""
    listeners, accepted = [], []

    def start(talk):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def handle(connection):
            with connection, suppress(OSError):
                talk(connection)

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.settimeout(20)
                accepted.append(connection)
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for connection in accepted:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def dead_port():
    """A port on which nothing listens, held so that nothing else can."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]
