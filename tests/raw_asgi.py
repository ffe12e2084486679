"""Requests as a server makes them, with no client library on the way that could be observed itself."""

import asyncio
from typing import NamedTuple


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def get(app, path, headers=None, client=("127.0.0.1", 1)):
    """One GET request on a loop of its own."""
    return asyncio.run(request(app, path, headers, client))


async def request(app, path, headers=None, client=("127.0.0.1", 1)):
    """One GET request: the response, or what the app raised where it sent none."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), *((k.encode(), v.encode()) for k, v in (headers or {}).items())],
        "client": client,
        "server": ("127.0.0.1", 80),
    }
    sent = []
    incoming = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(message):
        sent.append(message)

    try:
        await app(scope, incoming.get, send)
    except Exception:
        if not sent:
            raise
    start, *bodies = sent
    return Response(
        start["status"],
        {name.decode(): value.decode() for name, value in start.get("headers", ())},
        b"".join(message.get("body", b"") for message in bodies),
    )


async def lifespan(app, during=None):
    """Startup and shutdown as servers run them, and `during` between the two."""
    started, finished, incoming = asyncio.Event(), asyncio.Event(), asyncio.Queue()

    async def send(message):
        (started if message["type"].startswith("lifespan.startup") else finished).set()

    incoming.put_nowait({"type": "lifespan.startup"})
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    running = asyncio.create_task(app(scope, incoming.get, send))
    await started.wait()
    if during is not None:
        await during()
    incoming.put_nowait({"type": "lifespan.shutdown"})
    await finished.wait()
    await running
