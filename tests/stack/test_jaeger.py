"""Jaeger by the file that ships: it stops when it is told to."""

import httpx

from programs import Jaeger


def test_it_waits_for_no_spans_of_itself_when_it_stops(tmp_path):
    jaeger = Jaeger(tmp_path).start()
    for _ in range(20):
        assert httpx.get(f"{jaeger.url}/api/services").json()["data"] == []
    jaeger.stop()
    assert "Lifetime L0 stalled" in jaeger.log.read_text()  # its storage was closed
    assert "traces export" not in jaeger.log.read_text()
