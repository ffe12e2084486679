"""The admin port: ``/metrics`` and ``/health`` away from the app, on a port of their own.

A thread serves it, not the app's loop: a scrape is answered while the app is busy. Of a group of workers one listens,
for all of them; when it ends, another takes over within about a second.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import socket
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from obskit._guard import contained
from obskit.health.endpoints import Render, Report

Answer = tuple[int, str, bytes]
"""Status, content type, body."""

_JSON = "application/json"
_RETRY_SECONDS = 1.0
_POLL_SECONDS = 0.5
#: What a client gets for one request, and the checks for their answer.
_CLIENT_SECONDS = 10.0
_REPORT_SECONDS = 10.0
_MOST_CLIENTS = 16
#: IPv6 that is compiled in, and switched off.
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class Admin:
    """The listener, and the thread that keeps it or waits to take it over.

    Args:
        port: where, on all interfaces; 0 for any that is free.
        metrics: renders the exposition; None where there is none.
        report: the body of ``/health``; runs on the app's loop, since the checks are the app's.
        may_listen: whether this process is the one to listen; asked about once a second while it is not.
        metrics_path, health_path: an empty one is off.
    """

    def __init__(  # noqa: PLR0913  (what is served, and where)
        self,
        port: int,
        *,
        metrics: Render | None,
        report: Callable[[], Coroutine[Any, Any, Report]],
        may_listen: Callable[[], bool],
        metrics_path: str = "/metrics",
        health_path: str = "/health",
    ) -> None:
        self._port = port
        self._metrics = metrics
        self._report = report
        self._may_listen = may_listen
        answers: dict[str, Callable[[str | None], Answer]] = {health_path: self._health}
        if metrics is not None:
            answers[metrics_path] = self._exposition
        answers.pop("", None)
        self._answers: Mapping[str, Callable[[str | None], Answer]] = answers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._renew()
        _live.add(self)
        _follow_forks()

    def _renew(self) -> None:
        self._stopped = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._warned = False

    @property
    def port(self) -> int | None:
        """Where this process listens; None while it does not."""
        return None if self._server is None else int(self._server.server_address[1])

    def start(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Serve, or wait for the turn to; the checks run on `loop`. Again, it only takes the new loop."""
        self._loop = loop
        if self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(target=self._run, name="obskit-admin", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let the port go, for good."""
        self._stopped.set()
        server, thread = self._server, self._thread
        if server is not None:
            with suppress(OSError):  # wakes the thread
                server.socket.shutdown(socket.SHUT_RDWR)
        if thread is not None and thread is not threading.current_thread():
            thread.join(_RETRY_SECONDS)

    def answer(self, path: str, accept: str | None) -> Answer:
        """Answer a GET; never raises."""
        answer = self._answers.get(path)
        if answer is None:
            return 404, _JSON, b'{"status":"error"}'
        try:
            return answer(accept)
        except Exception as error:
            contained("health", error)
            return 500, _JSON, b'{"status":"error"}'

    def _exposition(self, accept: str | None) -> Answer:
        content_type, body = self._metrics(accept) if self._metrics is not None else ("", b"")
        return 200, content_type, body

    def _health(self, _accept: str | None) -> Answer:
        loop = self._loop
        if loop is None or not loop.is_running():
            return 503, _JSON, b'{"status":"error","reason":"the app is not running"}'
        asked = asyncio.run_coroutine_threadsafe(self._report(), loop)
        try:
            report = asked.result(_REPORT_SECONDS)
        except FutureTimeoutError:
            asked.cancel()
            return 503, _JSON, b'{"status":"error","reason":"the event loop is blocked"}'
        return 503 if report["status"] == "error" else 200, _JSON, orjson.dumps(report)

    # -- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                if self._may_listen():
                    self._serve()
            except OSError as error:
                self._warn(error)
            except Exception as error:
                contained("health", error)
            self._stopped.wait(_RETRY_SECONDS)

    def _serve(self) -> None:
        with _Server(_listener(self._port), functools.partial(_Handler, self)) as server:
            self._server = server
            while not self._stopped.is_set():
                server.handle_request()

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            logging.getLogger("obskit").warning(
                "the admin port %d cannot be had (%s): /metrics and /health are not served until it can",
                self._port,
                error,
            )

    def after_fork(self) -> None:
        """In the child: the listener is the parent's, and its thread stayed there."""
        if self._server is not None:
            self._server.socket.close()
        self._renew()


class _Server(ThreadingHTTPServer):
    """As many clients at once as there may be; one more is turned away."""

    timeout = _POLL_SECONDS
    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, handler: Any) -> None:
        super().__init__(listener.getsockname()[:2], handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_address = listener.getsockname()
        self._room = threading.BoundedSemaphore(_MOST_CLIENTS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves or sends no HTTP is no news."""


class _Handler(BaseHTTPRequestHandler):
    server_version = "obskit"
    sys_version = ""
    timeout = _CLIENT_SECONDS

    def __init__(self, admin: Admin, *connection: Any) -> None:
        self._admin = admin
        super().__init__(*connection)

    def do_GET(self) -> None:
        self._send(*self._admin.answer(self.path.partition("?")[0], self.headers.get("accept")))

    do_HEAD = do_GET  # noqa: N815  (the same)

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(HTTPStatus(status))
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Probes and scrapes leave no lines."""


def _listener(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return socket.create_server(("", port))


_live: weakref.WeakSet[Admin] = weakref.WeakSet()


@functools.cache
def _follow_forks() -> None:
    """Once a process: what is registered at fork cannot be taken back."""

    def renew() -> None:
        for admin in list(_live):
            admin.after_fork()

    os.register_at_fork(after_in_child=renew)
