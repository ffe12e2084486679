"""One CLIENT span a call, whoever else observes the same library; and libraries that are imported after init()."""

import contextlib
import os
from pathlib import Path

import pytest
from opentelemetry.instrumentation import utils
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor

import fresh_process
import obskit
from instrumentation.outbound import CLIENTS
from obskit import testing

TESTS = Path(__file__).parents[1]
EACH = pytest.mark.parametrize("client", CLIENTS, ids=repr)
CONTRIB = {
    "httpx": HTTPXClientInstrumentor,
    "httpx2": HTTPX2ClientInstrumentor,
    "aiohttp": AioHttpClientInstrumentor,
    "requests": RequestsInstrumentor,
    "urllib3": URLLib3Instrumentor,
}


@contextlib.contextmanager
def instrumented(names=CONTRIB):
    """Contrib's instrumentors, as opentelemetry-instrument switches them on."""
    on = [CONTRIB[name]() for name in names]
    for instrumentor in on:
        instrumentor.instrument(skip_dep_check=True)
    try:
        yield
    finally:
        for instrumentor in reversed(on):
            instrumentor.uninstrument()


def scopes(captured):
    return [span.instrumentation_scope.name for span in captured.spans if span.kind.name == "CLIENT"]


@EACH
@pytest.mark.parametrize("order", ["contrib first", "obskit first"])
async def test_one_client_span_a_call_beside_contribs_instrumentors(client, url, server, order):
    with contextlib.ExitStack() as stack:
        captured = None
        for step in order, "the other":
            if step == "contrib first" or (step == "the other" and order == "obskit first"):
                stack.enter_context(instrumented())
            else:
                captured = stack.enter_context(testing.capture())
        assert await client.send(f"{url}/redirect") == 200
        spans = [span for span in captured.spans if span.kind.name == "CLIENT"]
        assert scopes(captured) == ["obskit", "obskit"]
        sent = [headers["traceparent"].split("-")[2] for _, _, headers in server.seen]
        assert sent == [f"{span.context.span_id:016x}" for span in spans]


@EACH
async def test_contribs_instrumentor_alone_does_what_it_did_before(client, url):
    """Where obskit is told to leave a library alone, and after close()."""
    with instrumented(), testing.capture(config=obskit.Config(clients=())) as captured:
        await client.send(f"{url}/ok")
        assert scopes(captured) != []
        assert "obskit" not in scopes(captured)
    with testing.capture():
        pass
    with testing.capture(config=obskit.Config(clients=())) as captured, instrumented():
        await client.send(f"{url}/ok")
        assert len(scopes(captured)) == 1


@EACH
async def test_of_two_libraries_each_is_observed_by_who_is_to(client, url):
    """obskit observes one library only; contrib's instrumentors keep the others, and requests is urllib3's user."""
    library = client.name.removesuffix("-async")
    with instrumented(), testing.capture(config=obskit.Config(clients=(library,))) as captured:
        for other in CLIENTS:
            before = len(captured.spans)
            await other.send(f"{url}/ok")
            [scope] = scopes(captured)[before:]
            assert (scope == "obskit") == (other.name.removesuffix("-async") == library), other


def test_contribs_modules_have_their_own_gate_again():
    from opentelemetry.instrumentation import aiohttp_client, httpx, requests, urllib3

    with testing.capture():
        assert all(
            module.is_http_instrumentation_enabled is not utils.is_http_instrumentation_enabled
            for module in (aiohttp_client, httpx, requests, urllib3)
        )
    for module in (aiohttp_client, httpx, requests, urllib3):
        assert module.is_http_instrumentation_enabled is utils.is_http_instrumentation_enabled


# -- libraries that are imported after init() --------------------------------------------------------------------------

LATER = """
import json, sys
import obskit
from obskit import testing

libraries = {"httpx", "httpx2", "aiohttp", "requests", "urllib3"}
assert not libraries & sys.modules.keys()
finders = list(sys.meta_path)
with testing.capture() as captured:
    import asyncio
    from instrumentation.outbound import CLIENTS, serving
    CONTRIB

    def send(client, url):
        return asyncio.run(client.send(f"{url}/ok"))

    with serving() as server:
        for client in CLIENTS:
            assert send(client, server.url) == 200
        spans = [span for span in captured.spans if span.kind.name == "CLIENT"]
        assert {span.instrumentation_scope.name for span in spans} == {"obskit"}
        result = len(spans)
        loaders = [vars(sys.modules[name].__spec__.loader) for name in libraries]
        assert all("exec_module" not in loader for loader in loaders)
assert sys.meta_path == finders, sys.meta_path
with serving() as server:
    for client in CLIENTS:
        assert send(client, server.url) == 200
    assert not any("traceparent" in headers for _, _, headers in server.seen)
print(json.dumps(result))
"""


@pytest.mark.parametrize(
    "contrib",
    [
        "",
        """
    from opentelemetry.instrumentation import aiohttp_client, httpx, requests, urllib3
    aiohttp_client.AioHttpClientInstrumentor().instrument()
    httpx.HTTPXClientInstrumentor().instrument()
    httpx.HTTPX2ClientInstrumentor().instrument()
    requests.RequestsInstrumentor().instrument()
    urllib3.URLLib3Instrumentor().instrument()
""",
    ],
    ids=["alone", "with contrib's instrumentors"],
)
def test_libraries_imported_after_init_are_observed(contrib):
    code = LATER.replace("    CONTRIB\n", contrib)
    if contrib:  # which are still at work after close()
        code = code[
            : code.index(
                "with serving() as server:\n    for client in CLIENTS:\n        assert send(client, server.url) == 200\n    assert not"
            )
        ]
        code += "print(json.dumps(result))\n"
    assert fresh_process.run(code, PYTHONPATH=os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])) == len(
        CLIENTS
    )


def test_httpx2_in_the_place_of_httpx_is_observed_once():
    code = """
    import json
    import httpx2
    httpx2.alias_httpx()
    import httpx
    from obskit import testing

    with testing.capture() as captured:
        transport = httpx.MockTransport(lambda request: httpx.Response(204))
        with httpx.Client(transport=transport) as client:
            client.get("http://api.example/x")
        observed = httpx.Client._send_single_request
        print(json.dumps([len(captured.spans), hasattr(observed, "__wrapped__"), hasattr(observed.__wrapped__, "__wrapped__")]))
    """
    assert fresh_process.run(code) == [1, True, False]


def test_an_import_that_fails_fails_as_it_would(tmp_path, monkeypatch):
    code = f"""
    import json, sys
    sys.path.insert(0, {str(tmp_path)!r})
    from obskit import testing

    with testing.capture() as captured:
        try:
            import requests
        except ZeroDivisionError:
            print(json.dumps("requests" in sys.modules))
    """
    (tmp_path / "requests.py").write_text("1 / 0")
    assert fresh_process.run(code) is False


def test_a_library_that_is_something_else_is_left_alone(tmp_path):
    """What has the name but not the parts: contained, said once, and no harm to init()."""
    code = f"""
    import json, sys
    sys.path.insert(0, {str(tmp_path)!r})
    from obskit import _guard, testing

    with testing.capture() as captured:
        import httpx, requests
        print(json.dumps([dict(_guard.errors), hasattr(requests.Session.send, "__wrapped__")]))
    """
    (tmp_path / "httpx.py").write_text("class Client: ...")
    errors, others_are_observed = fresh_process.run(code)
    assert errors == {"httpx": 1}
    assert others_are_observed


@pytest.mark.parametrize(("library", "needs"), [("aiohttp", "3.12"), ("urllib3", "2.0")])
def test_a_library_that_is_too_old_is_named(library, needs, tmp_path):
    old = {
        "aiohttp": "class ClientSession:\n    async def _request(self, method, url): ...\n"
        "class ClientTimeout: ...\nclass ClientResponse: ...\nclass ClientRequest: ...\n",
        "urllib3": "__version__ = '1.26.20'\n",
    }
    code = f"""
    import json, sys
    sys.path.insert(0, {str(tmp_path)!r})
    from obskit import testing

    with testing.capture() as captured:
        import {library}
        print(json.dumps([line["message"] for line in captured.lines]))
    """
    package = tmp_path / library
    package.mkdir()
    (package / "__init__.py").write_text(old[library])
    (package / "helpers.py").write_text("sentinel = object()")
    (package / "connectionpool.py").write_text("class HTTPConnectionPool: ...")
    (package / "exceptions.py").write_text("class LocationParseError(Exception): ...")
    (package / "response.py").write_text("class HTTPResponse: ...")
    (package / "util.py").write_text("class Timeout: ...\nparse_url = None")
    [message] = fresh_process.run(code)[1:]
    assert message.startswith(f"calls by {library} are not observed")
    assert needs in message
