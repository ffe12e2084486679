"""What the tests of outbound calls share: a real server on loopback, and each client library driven the same way."""

import asyncio
import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import httpx2
import requests
import urllib3
from urllib3.util import Retry

BODY = b"x" * 10


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a body after its head would wait for the client's delayed acknowledgement
    statuses = {"/missing": 404, "/broken": 503}  # noqa: RUF012

    def do_GET(self):
        self.server.seen.append(
            (self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        )
        if length := int(self.headers.get("content-length") or 0):
            self.rfile.read(length)
        path = self.path.partition("?")[0]
        getattr(self, "at_" + path[1:].replace("-", "_"), self.answer)()

    def answer(self, status=None, length=10, **headers):
        self.send_response(status or self.statuses.get(self.path.partition("?")[0], 200))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(length))
        self.end_headers()
        self.wfile.write(BODY[:length] if self.command != "HEAD" else b"")

    def at_redirect(self):
        self.answer(302, length=0, location="/ok")

    def at_to_flaky(self):
        self.answer(302, length=0, location="/flaky")

    def at_elsewhere(self):  # another name of the same host
        self.answer(302, length=0, location=f"http://localhost:{self.server.server_port}/ok")

    def at_flaky(self):
        self.answer(503 if len(self.server.seen) < self.server.good_from else 200)

    def at_digest(self):
        challenge = 'Digest realm="r", nonce="n", qop="auth"'
        authorized = "Authorization" in self.headers
        self.answer(200 if authorized else 401, **({} if authorized else {"www_authenticate": challenge}))

    def at_cut(self):
        self.answer(length=20)
        self.close_connection = True

    def at_dropped(self):
        self.close_connection = True

    def at_silent(self):
        self.server.released.wait(20)
        self.close_connection = True

    def at_half(self):
        self.send_response(200)
        self.send_header("content-length", str(2 * len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)
        self.wfile.flush()
        self.server.released.wait(20)
        self.close_connection = True

    do_BREW = do_POST = do_HEAD = do_GET

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.reset()

    def reset(self):
        self.seen = []
        self.good_from = 2
        self.released = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def headers(self, n=0):
        return self.seen[n][2]

    def handle_error(self, request, client_address):
        """Clients that leave early are what is tested."""


@contextlib.contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


# -- the clients -------------------------------------------------------------------------------------------------------


def kept(client):
    """The client of somebody else's, not to be closed, if there is one."""
    return contextlib.nullcontext(client) if client is not None else None


class Client:
    """One way to make calls.

    ``send`` makes a call and reads its body, ``stream`` hands over the answer with its body still to come: an object
    with ``read()``, ``close()``, and ``drop()``, which forgets it.
    """

    asynchronous = True

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


class HTTPX(Client):
    def __init__(self, name, library, *, asynchronous):
        super().__init__(name)
        self.library = library
        self.asynchronous = asynchronous
        self.refused, self.slow, self.broken_off = (
            f"{library.__name__}.{error}" for error in ("ConnectError", "ReadTimeout", "RemoteProtocolError")
        )

    def make(self, **options):
        cls = self.library.AsyncClient if self.asynchronous else self.library.Client
        return cls(trust_env=False, follow_redirects=True, **options)

    async def send(self, url, method="GET", *, seconds=5, client=None, **options):
        if not self.asynchronous:
            with kept(client) or self.make() as chosen:
                return chosen.request(method, url, timeout=seconds, **options).status_code
        async with kept(client) or self.make() as chosen:
            return (await chosen.request(method, url, timeout=seconds, **options)).status_code

    @contextlib.asynccontextmanager
    async def stream(self, url, seconds=5):
        if not self.asynchronous:
            with self.make() as client:
                yield Streamed(client.send(client.build_request("GET", url, timeout=seconds), stream=True))
            return
        async with self.make() as client:
            request = client.build_request("GET", url, timeout=seconds)
            yield Streamed(await client.send(request, stream=True), read="aread", close="aclose")


class AioHTTP(Client):
    refused = "aiohttp.client_exceptions.ClientConnectorError"
    slow = "aiohttp.client_exceptions.SocketTimeoutError"
    broken_off = "aiohttp.client_exceptions.ClientPayloadError"

    def make(self):
        return aiohttp.ClientSession()

    async def send(self, url, method="GET", *, seconds=5, client=None, **options):
        limit = None if seconds is None else aiohttp.ClientTimeout(sock_connect=seconds, sock_read=seconds)
        async with (
            kept(client) or self.make() as session,
            session.request(method, url, timeout=limit, **options) as answer,
        ):
            await answer.read()
            return answer.status

    @contextlib.asynccontextmanager
    async def stream(self, url, seconds=5):
        async with self.make() as session:
            yield Streamed(await session.get(url, timeout=aiohttp.ClientTimeout(sock_read=seconds)))


class Requests(Client):
    asynchronous = False
    refused = "requests.exceptions.ConnectionError"
    slow = "requests.exceptions.ReadTimeout"
    broken_off = "requests.exceptions.ChunkedEncodingError"

    def make(self):
        session = requests.Session()
        session.trust_env = False
        return session

    async def send(self, url, method="GET", *, seconds=5, client=None, **options):
        with kept(client) or self.make() as session:
            return session.request(method, url, timeout=seconds, **options).status_code

    @contextlib.asynccontextmanager
    async def stream(self, url, seconds=5):
        with self.make() as session:
            yield Streamed(session.get(url, timeout=seconds, stream=True), read=lambda answer: answer.content)


class URLLib3(Client):
    asynchronous = False
    refused = "urllib3.exceptions.NewConnectionError"
    slow = "urllib3.exceptions.ReadTimeoutError"
    broken_off = "urllib3.exceptions.ProtocolError"

    def make(self):
        return urllib3.PoolManager()

    async def send(self, url, method="GET", *, seconds=5, client=None, **options):
        limit = urllib3.Timeout(connect=seconds, read=seconds)
        options.setdefault("retries", Retry(connect=False, read=False, redirect=5))
        with kept(client) or self.make() as pools:
            return pools.request(method, url, timeout=limit, **options).status

    @contextlib.asynccontextmanager
    async def stream(self, url, seconds=5):
        with self.make() as pools:
            yield Streamed(pools.request("GET", url, timeout=seconds, preload_content=False, retries=False))


class Streamed:
    def __init__(self, answer, read="read", close="close"):
        self.answer = answer
        self._read = read if callable(read) else lambda answer: getattr(answer, read)()
        self._close = close

    async def read(self):
        return await _maybe(self._read(self.answer))

    async def close(self):
        await _maybe(getattr(self.answer, self._close)())

    def drop(self):
        self.answer = None


async def _maybe(result):
    return await result if asyncio.iscoroutine(result) else result


CLIENTS = [
    HTTPX("httpx", httpx, asynchronous=False),
    HTTPX("httpx-async", httpx, asynchronous=True),
    HTTPX("httpx2", httpx2, asynchronous=False),
    HTTPX("httpx2-async", httpx2, asynchronous=True),
    AioHTTP("aiohttp"),
    Requests("requests"),
    URLLib3("urllib3"),
]
BY_NAME = {client.name: client for client in CLIENTS}
