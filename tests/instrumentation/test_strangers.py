"""Each framework's app, observed in place, asked for what strangers may ask: paths, methods and headers at random."""

import asyncio

import pytest
from framework_apps import APPS, bare_app
from hypothesis import given
from opentelemetry.trace import SpanKind

import obskit.testing
from obskit import semconv
from obskit.config import Config
from test_bad_input import RELAXED, REQUESTS, answer, labels

#: Every label that a request gives its series, and what may stand in it: nothing that a stranger has said.
ROUTES = {"", "/items/{item_id}", "/items/<int:item_id>", "/boom", "/busy", "/moved"}


@pytest.mark.parametrize("framework", APPS)
def test_any_request_is_one_line_one_span_and_no_series_of_its_own(framework):
    app = APPS[framework]()
    asked = []
    config = Config(clients=())
    with (
        asyncio.Runner() as runner,
        obskit.testing.capture(None if app is bare_app else app, config=config) as captured,
    ):
        observed = captured.obs.wrap(app) if app is bare_app else app

        @RELAXED
        @given(scope=REQUESTS)
        def ask(scope):
            if scope["path"] != "/livez":
                runner.run(answer(observed, scope))
                asked.append(scope)

        ask()
        lines = [line for line in captured.lines if line.get("event.name") == "http.server.request"]
        spans = [span for span in captured.spans if span.kind is SpanKind.SERVER]
        found = labels(captured.obs)
    assert len(lines) == len(spans) == len(asked)
    assert found["http_request_method"] <= {*semconv.KNOWN_METHODS, "_OTHER"}
    assert found["http_route"] <= ROUTES
    assert found["url_scheme"] <= {"http", "https", "_other"}
    assert all(value == "" or value.isascii() for value in found["error_type"])
