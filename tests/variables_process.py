"""Run by test_bad_variables.py: serves one request in a fresh interpreter for each environment that standard input lists.

What obskit and OpenTelemetry's SDK do when they are imported is part of what is asked for, so each environment has a fork
that was made before either was; only what they import besides is there already.
"""

import asyncio  # noqa: F401  (imported for the forks)
import importlib.metadata  # noqa: F401
import json
import logging  # noqa: F401
import os
import sys
import traceback
import typing  # noqa: F401

import httpx  # noqa: F401
import orjson  # noqa: F401
import prometheus_client  # noqa: F401
import structlog  # noqa: F401


async def hello(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def serve(environ):
    """What became of a process with these variables."""
    os.environ.update(environ)
    import obskit
    import raw_asgi
    from obskit import _guard

    contained = []
    _guard.observers.append(lambda component, error: contained.append(f"{component}: {error!r}"))
    with obskit.init() as obs:
        response = raw_asgi.get(obs.wrap(hello), "/", {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"})
        with obskit.operation("job"):
            obskit.inject({})
        changed = [
            name for name in obs.asked_for.given if getattr(obs.asked_for, name) != getattr(type(obs.config)(), name)
        ]
        warnings = obs.asked_for.warnings
    return {"status": response.status, "warnings": warnings, "changed": changed, "contained": contained}


def in_fork(environ):
    read, write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(write)
        with os.fdopen(read, "rb") as answer:
            told = answer.read()
        os.waitpid(pid, 0)
        return json.loads(told) if told else {"died": True}
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        told = serve(environ)
    except BaseException:
        told = {"raised": traceback.format_exc()}
    os.write(write, json.dumps(told).encode())
    os._exit(0)


assert not [name for name in sys.modules if name.startswith(("opentelemetry", "obskit"))]
json.dump([in_fork(environ) for environ in json.load(sys.stdin)], sys.stdout)
