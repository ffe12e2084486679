"""A server started by ``opentelemetry-instrument``, whose provider and exporters obskit keeps."""

import sys
from pathlib import Path

import pytest

from fresh_process import INSTRUMENT

UVICORN = str(Path(sys.executable).with_name("uvicorn"))
VARIABLES = {
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_BSP_SCHEDULE_DELAY": "60000",
}


@pytest.mark.parametrize("mode", ["obskit", "contrib", "native"])
def test_every_answered_request_has_one_server_span_after_sigterm(start_service, mode):
    """Its provider waits for an exit that SIGTERM never brings: what is queued leaves at the end of the lifespan."""
    stable = {} if mode == "obskit" else {"OTEL_SEMCONV_STABILITY_OPT_IN": "http"}
    command = (INSTRUMENT, UVICORN, "plain:app", "--fd", "{fd}")
    service = start_service(None, *command, variables={**VARIABLES, **stable, "OBSKIT_SERVER_SPANS": mode})
    service.ready()
    assert [service.get(f"/work/{number}")[0] for number in range(5)] == [200] * 5
    service.stop()
    printed = service.output.decode()
    assert printed.count('"kind": "SpanKind.SERVER"') == 5
    assert printed.count('"name": "GET /work/{number}"') == 5
    assert printed.count('"message":"GET /work/{number} 200"') == 5
    # With contrib in the app, FastAPI's own telemetry stands down, and obskit says that it has none to adopt.
    assert ("server_spans=native, but" in printed) == (mode == "native")
