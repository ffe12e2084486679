"""obskit.testing: what users' tests see."""

import asyncio
import logging

import pytest
from fastapi import FastAPI

import obskit
import raw_asgi
from obskit import Config
from obskit._pipeline import current_pipeline
from obskit.exceptions import ConfigError
from obskit.testing import Captured, capture


@pytest.fixture
def app():
    app = FastAPI(title="Orders")

    @app.get("/orders/{order_id}")
    async def order(order_id: int):
        obskit.annotate({"user.tier": "gold"})
        logging.getLogger("shop").warning("stock is low")

    return app


def test_the_example_of_the_module(app):
    with capture(app) as captured:
        raw_asgi.get(app, "/orders/7")
    assert captured.line("GET /orders/{order_id} 200")["user.tier"] == "gold"


def test_lines_spans_and_metrics(app):
    with capture(app) as captured:
        assert isinstance(captured, Captured)
        for number in (1, 2):
            raw_asgi.get(app, f"/orders/{number}")
        raw_asgi.get(app, "/nowhere")
        messages = [line["message"] for line in captured.lines]
        assert messages[1:3] == ["stock is low", "GET /orders/{order_id} 200"]
        assert captured.span("GET").attributes["http.response.status_code"] == 404
        assert [span.name for span in captured.spans] == ["GET /orders/{order_id}"] * 2 + ["GET"]
        count = "http_server_request_duration_seconds_count"
        assert captured.metric(count) == 3
        assert captured.metric(count, http_route="/orders/{order_id}") == 2
        assert captured.metric(count, http_route="/orders/{order_id}", http_response_status_code="500") == 0
        assert captured.metric("no_such_metric") == 0


def test_what_is_not_one_says_what_there_is(app):
    with capture(app) as captured:
        for _ in range(2):
            raw_asgi.get(app, "/orders/7")
        with pytest.raises(LookupError, match=r"0 of 'nothing'; there are: \[.*stock is low"):
            captured.line("nothing")
        with pytest.raises(LookupError, match=r"2 of 'stock is low'"):
            captured.line("stock is low")
        with pytest.raises(LookupError, match=r"2 of .* there are: \['GET /orders/\{order_id\}', "):
            captured.span("GET /orders/{order_id}")
        with pytest.raises(LookupError, match="0 of 'x'"):
            captured.span("x")


def test_nothing_leaves_the_process_and_the_environment_decides_nothing(app, capfd, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "of the environment")
    monkeypatch.setenv("OBSKIT_LOG_FORMAT", "console")
    with capture(app, config=Config(log_format="console")) as captured:
        raw_asgi.get(app, "/orders/7")
        assert captured.obs.config.service_name == "test"
        assert captured.lines
        assert captured.obs.flush(2.0)
    assert capfd.readouterr() == ("", "")


def test_the_config_is_the_tests_own(app):
    with capture(app, config=Config(service_name="mine", series_limit=1, live_path="/alive")) as captured:
        assert captured.line(captured.lines[0]["message"])["service.name"] == "mine"
        assert raw_asgi.get(app, "/alive").status == 200


def test_checks_are_taken(app):
    with capture(app, checks={"db": lambda: False}) as captured:
        assert raw_asgi.get(app, "/health").status == 503
        assert set(asyncio.run(captured.obs.health.run())) == {"db"}


def test_other_apps_are_wrapped():
    async def bare(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with capture() as captured:
        assert raw_asgi.get(captured.obs.wrap(bare), "/").status == 204
        assert captured.line("GET 204")["http.response.body.size"] == 0


def test_all_is_restored_also_after_a_failing_test(app):
    cls, handlers = type(app), list(logging.root.handlers)
    with pytest.raises(ZeroDivisionError), capture(app):  # noqa: PT012  (the body is what is tested)
        assert type(app) is not cls
        1 / 0  # noqa: B018
    assert type(app) is cls
    assert logging.root.handlers == handlers
    assert current_pipeline().signals == ()


def test_it_must_be_alone(app):
    with capture() as outer:
        with pytest.raises(ConfigError) as caught, capture():
            pass
        assert str(caught.value).count(__file__) == 2
        assert "it must be the only one" in str(caught.value)
        assert not outer.obs.closed
    with capture():  # and again, once that is closed
        pass


def test_what_was_captured_can_be_read_after_the_block(app):
    with capture(app) as captured:
        raw_asgi.get(app, "/orders/7")
    assert captured.span("GET /orders/{order_id}").attributes["user.tier"] == "gold"
    assert captured.line("stock is low")["level"] == "warning"
    assert captured.metric("obskit_log_lines_exported_total") == len(captured.lines)
