"""One HTTP connection on which every exchange ends by a deadline, whatever the server does.

It stands on http.client and not on a full client because the deadline needs hold of the socket: other clients bound
each read, so that a server which drips its answer holds its caller for ever. Also, no instrumentation observes it, and
it adds no dependency.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

#: A collector's answer is a few bytes; more than this is not read.
MAX_BODY = 64 * 1024


class Answer(NamedTuple):
    """An HTTP response: the header values are empty when absent, the body is cut at :data:`MAX_BODY` bytes."""

    status: int
    retry_after: str
    content_type: str
    body: bytes


class Connection:
    """A keep-alive connection to one URL, for one thread at a time; only `close` may come from another.

    Args:
        url: scheme http or https; user information becomes basic authentication. The proxy is the environment's:
            ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``, ``NO_PROXY``; https goes through a CONNECT tunnel.
        tls: for https.

    Raises:
        ValueError: the URL or the proxy's has an impossible port.
    """

    def __init__(self, url: SplitResult, tls: ssl.SSLContext | None) -> None:
        self._deadline = 0.0
        self._busy = False
        self._closed = False
        #: A second descriptor of the socket: it can be shut down while another thread reads, or wraps it in TLS.
        self._handle: socket.socket | None = None
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        self._headers = _basic("authorization", url)
        self._target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        proxy = _proxy(url.scheme, host, port)
        near, near_port = (proxy.hostname or "", proxy.port or 80) if proxy else (host, port)
        if url.scheme == "https":
            self._http: http.client.HTTPConnection = http.client.HTTPSConnection(near, near_port, context=tls)
            if proxy:
                self._http.set_tunnel(host, port, _basic("proxy-authorization", proxy))
        else:
            self._http = http.client.HTTPConnection(near, near_port)
            if proxy:
                self._headers |= _basic("proxy-authorization", proxy)
                self._target = f"http://{url.netloc.rpartition('@')[2]}{self._target}"
        self._http._create_connection = self._dial  # type: ignore[attr-defined]  # noqa: SLF001  (the seam it has)
        self._http.response_class = self._timed_response  # type: ignore[assignment]

    def post(self, body: bytes, headers: Mapping[str, str], deadline: float) -> Answer:
        """Send one request and read its answer by `deadline`, on the clock of ``time.monotonic``.

        Raises:
            OSError: no connection, or it broke; TimeoutError when the deadline passed.
            http.client.HTTPException: what came is not HTTP.
        """
        self._deadline = deadline
        self._busy = True
        try:
            return self._exchange(body, headers)
        except BaseException:
            self._disconnect()
            raise
        finally:
            self._busy = False
            if self._closed or self._http.sock is None:
                self._disconnect()

    def close(self) -> None:
        """Disconnect for good; an exchange in another thread fails now."""
        self._closed = True
        handle = self._handle
        if handle is not None:
            with suppress(OSError):  # the server was first
                handle.shutdown(socket.SHUT_RDWR)
        if not self._busy:
            self._disconnect()

    def abandon(self) -> None:
        """In a forked child: close this process's descriptors, and touch no lock that a parent's thread may hold."""
        for sock in (self._http.sock, self._handle):
            if sock is not None and (descriptor := sock.detach()) >= 0:
                os.close(descriptor)

    def _exchange(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        if self._http.sock is not None:
            try:
                return self._request(body, headers)
            except ConnectionError:  # it was closed while it lay idle, which says nothing of the server
                self._disconnect()
        return self._request(body, headers)

    def _request(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        if self._http.sock is not None:
            self._http.sock.settimeout(self._remaining())
        self._http.request("POST", self._target, body, {**self._headers, **headers})
        response = self._http.getresponse()
        content = response.read(MAX_BODY)
        if response.length and len(content) < MAX_BODY:
            raise http.client.IncompleteRead(content, response.length)
        if not response.isclosed():
            self._disconnect()
            response.close()
        return Answer(
            response.status, response.getheader("retry-after", ""), response.getheader("content-type", ""), content
        )

    def _disconnect(self) -> None:
        self._http.close()
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

    def _remaining(self) -> float:
        remaining = self._deadline - monotonic()
        if remaining <= 0:
            msg = "the deadline has passed"
            raise TimeoutError(msg)
        return remaining

    def _dial(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect to the first of the host's addresses that answers, each given its share of the time."""
        failure: OSError = ConnectionError("the name has no address")
        addresses = [info[4] for info in socket.getaddrinfo(*address, type=socket.SOCK_STREAM)]
        for left, candidate in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                sock = socket.create_connection(candidate[:2], self._remaining() / left)  # type: ignore[arg-type]
            except OSError as error:
                failure = error
            else:
                return self._connected(sock)
        raise failure

    def _connected(self, sock: socket.socket) -> socket.socket:
        try:
            self._handle = sock.dup()
            if self._closed:
                msg = "closed while it connected"
                raise ConnectionAbortedError(msg)
            sock.settimeout(self._remaining())
        except OSError:
            sock.close()
            raise
        return sock

    def _timed_response(self, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(_TimedSocket(sock, self._remaining), *args, **kwargs)  # type: ignore[arg-type]


class _TimedSocket:
    """What HTTPResponse needs of a socket: a file to read from, here one that keeps the deadline."""

    def __init__(self, sock: socket.socket, remaining: Callable[[], float]) -> None:
        self._sock = sock
        self._remaining = remaining

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._remaining))


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, remaining: Callable[[], float]) -> None:
        self._sock = sock
        self._remaining = remaining
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._remaining())
        count = self._file.readinto(buffer)
        self._sock.settimeout(self._remaining())  # for the TLS handshake that follows a proxy's answer
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _proxy(scheme: str, host: str, port: int) -> SplitResult | None:
    proxies = urllib.request.getproxies()
    address = proxies.get(scheme) or proxies.get("all")
    if not address or urllib.request.proxy_bypass(f"{host}:{port}"):
        return None
    return urlsplit(address if "://" in address else f"http://{address}")


def _basic(header: str, url: SplitResult) -> dict[str, str]:
    if url.username is None:
        return {}
    credentials = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
    return {header: f"Basic {b64encode(credentials).decode()}"}
