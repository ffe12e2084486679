"""PostgreSQL and Redis, started on loopback for the tests of a session."""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from ports import free_port

SECONDS_TO_START = 30.0


def binary(name, elsewhere=""):
    """The program's path; it must be there: .ci/run installs it."""
    found = shutil.which(name) or next(map(str, sorted(Path("/").glob(elsewhere)) if elsewhere else ()), None)
    assert found, f"{name} is not installed: apt-get install postgresql redis-server"
    return found


def wait_until(answers):
    deadline = time.monotonic() + SECONDS_TO_START
    while not answers():
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.05)


@contextmanager
def running(command, answers, **given):
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **given)
    try:
        wait_until(lambda: server.poll() is None and answers())
        yield
    finally:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(10)
        server.kill()
        server.wait()


@pytest.fixture(scope="session")
def postgres():
    """The URL of a database of its own."""
    programs, port = Path(binary("initdb", "usr/lib/postgresql/*/bin/initdb")).resolve().parent, free_port()
    user = "postgres" if os.getuid() == 0 else getpass.getuser()  # the server refuses to be run by root
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="obskit-postgres-"))
        data = str(Path(folder) / "data")
        if os.getuid() == 0:
            shutil.chown(folder, user)
        given = {"user": user} if os.getuid() == 0 else {}
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "shop", "-A", "trust", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, **given,
        )  # fmt: skip
        options = ["-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        stack.enter_context(
            running(
                [programs / "postgres", "-D", data, *options],
                lambda: subprocess.run(ready, check=False).returncode == 0,
                cwd=folder,
                **given,
            )
        )
        yield f"postgresql://shop@127.0.0.1:{port}/postgres"


@pytest.fixture(scope="session")
def redis_port():
    port = free_port()

    def answers():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16) == b"+PONG\r\n"

    command = [binary("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running(command, answers):
        yield port
