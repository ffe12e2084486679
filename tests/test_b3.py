"""B3: the specification's own cases, by each way in; what else may be sent; and how it stands beside W3C's headers."""

import json
import os
import tomllib
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import fresh_process
import obskit
import obskit.testing
import raw_asgi
from obskit._b3 import B3, Debug, Deferred, remote_span_context
from obskit.config import Config
from obskit.instrumentation._inbound import reader
from obskit.propagation import propagator

#: On a machine that has others to serve.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TRACE = "80f198ee56343ba864fe8b2a57d3eff7"
SHORT = "64fe8b2a57d3eff7"
SPAN = "e457b5a2e4d86bd1"
PARENT = "05e3ac9a4f6e3b90"
W3C_TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{W3C_TRACE}-b7ad6b7169203331-01"


def multi(**facts):
    """`multi(traceid=..., flags=...)` -> x-b3-traceid, x-b3-flags."""
    return {f"x-b3-{name}": value for name, value in facts.items()}


#: Headers -> the trace id and the sampling state that they stand for.
NAMED = {
    "single, accepted": ({"b3": f"{TRACE}-{SPAN}-1"}, TRACE, "1"),
    "single, denied": ({"b3": f"{TRACE}-{SPAN}-0"}, TRACE, "0"),
    "single, debug": ({"b3": f"{TRACE}-{SPAN}-d"}, TRACE, "d"),
    "single, deferred": ({"b3": f"{TRACE}-{SPAN}"}, TRACE, ""),
    "single, with its parent": ({"b3": f"{TRACE}-{SPAN}-1-{PARENT}"}, TRACE, "1"),
    "single, deferred, with its parent": ({"b3": f"{TRACE}-{SPAN}-{PARENT}"}, TRACE, ""),
    "single, of 64 bits": ({"b3": f"{SHORT}-{SPAN}-1"}, "0" * 16 + SHORT, "1"),
    "multi, accepted": (multi(traceid=TRACE, spanid=SPAN, sampled="1", parentspanid=PARENT), TRACE, "1"),
    "multi, denied": (multi(traceid=TRACE, spanid=SPAN, sampled="0"), TRACE, "0"),
    "multi, debug": (multi(traceid=TRACE, spanid=SPAN, flags="1"), TRACE, "d"),
    "multi, debug implies accepted": (multi(traceid=TRACE, spanid=SPAN, flags="1", sampled="0"), TRACE, "d"),
    "multi, deferred": (multi(traceid=TRACE, spanid=SPAN), TRACE, ""),
    "multi, of 64 bits": (multi(traceid=SHORT, spanid=SPAN, sampled="1"), "0" * 16 + SHORT, "1"),
    "multi, of old, accepted": (multi(traceid=TRACE, spanid=SPAN, sampled="true"), TRACE, "1"),
    "multi, of old, denied": (multi(traceid=TRACE, spanid=SPAN, sampled="false"), TRACE, "0"),
    "multi, no flags": (multi(traceid=TRACE, spanid=SPAN, sampled="1", flags="0"), TRACE, "1"),
    "multi, a malformed state is none": (multi(traceid=TRACE, spanid=SPAN, sampled="2"), TRACE, ""),
    "multi, a malformed parent is none": (multi(traceid=TRACE, spanid=SPAN, sampled="1", parentspanid="x"), TRACE, "1"),
    "both: the single header": ({"b3": f"{TRACE}-{SPAN}-0", **multi(traceid="1" * 32, spanid=SPAN)}, TRACE, "0"),
    "both: a malformed one is none": ({"b3": "x", **multi(traceid=TRACE, spanid=SPAN, sampled="1")}, TRACE, "1"),
    "twice: the first": ({"b3": [f"{TRACE}-{SPAN}-1", f"{'1' * 32}-{SPAN}-0"]}, TRACE, "1"),
}
MALFORMED = {
    "empty": {"b3": ""},
    "words": {"b3": "deny"},
    "upper case": {"b3": f"{TRACE.upper()}-{SPAN}-1"},
    "no span": {"b3": TRACE},
    "an empty span": {"b3": f"{TRACE}--1"},
    "a short trace": {"b3": f"{TRACE[:-1]}-{SPAN}-1"},
    "a trace of 17 digits": {"b3": f"{SHORT}0-{SPAN}-1"},
    "a short span": {"b3": f"{TRACE}-{SPAN[:-1]}-1"},
    "a long span": {"b3": f"{TRACE}-{SPAN}0-1"},
    "no such state": {"b3": f"{TRACE}-{SPAN}-2"},
    "an empty state": {"b3": f"{TRACE}-{SPAN}-"},
    "debug in upper case": {"b3": f"{TRACE}-{SPAN}-D"},
    "a bad parent": {"b3": f"{TRACE}-{SPAN}-1-x"},
    "more behind it": {"b3": f"{TRACE}-{SPAN}-1-{PARENT}-1"},
    "a line's end": {"b3": f"{TRACE}-{SPAN}-1\n"},
    "a space": {"b3": f" {TRACE}-{SPAN}-1"},
    "digits of another script": {"b3": f"{TRACE[:-1]}٣-{SPAN}-1"},
    "a trace of zeros": {"b3": f"{'0' * 32}-{SPAN}-1"},
    "a span of zeros": {"b3": f"{TRACE}-{'0' * 16}-1"},
    "multi, no span": multi(traceid=TRACE, sampled="1"),
    "multi, no trace": multi(spanid=SPAN, sampled="1"),
    "multi, upper case": multi(traceid=TRACE.upper(), spanid=SPAN),
    "multi, a short trace": multi(traceid=TRACE[1:], spanid=SPAN),
    "multi, a long span": multi(traceid=TRACE, spanid=SPAN * 2),
    "multi, zeros": multi(traceid="0" * 32, spanid=SPAN),
    "nothing": {},
    "only a parent": multi(parentspanid=PARENT),
}
ALONE = {
    "single, denied": ({"b3": "0"}, False),
    "single, accepted": ({"b3": "1"}, True),
    "single, debug": ({"b3": "d"}, True),
    "multi, denied": (multi(sampled="0"), False),
    "multi, accepted": (multi(sampled="1"), True),
    "multi, debug": (multi(flags="1"), True),
}
STATES = {"0": (False, None), "1": (True, None), "d": (True, Debug), "": (False, Deferred)}


def found(headers):
    return remote_span_context({n: v if isinstance(v, list) else [v] for n, v in headers.items()})


@pytest.mark.parametrize(("headers", "trace_id", "state"), NAMED.values(), ids=NAMED)
def test_what_names_a_span(headers, trace_id, state):
    context = found(headers)
    sampled, kind = STATES[state]
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}", context.is_remote) == (trace_id, SPAN, True)
    assert (context.trace_flags.sampled, type(context.trace_flags)) == (sampled, kind or trace.TraceFlags)


@pytest.mark.parametrize("headers", MALFORMED.values(), ids=MALFORMED)
def test_what_names_none(headers):
    assert found(headers) is None


@pytest.mark.parametrize(("headers", "sampled"), ALONE.values(), ids=ALONE)
def test_a_decision_may_come_alone(headers, sampled):
    context = found(headers)
    assert (context.is_valid, context.is_remote, context.trace_flags.sampled) == (False, True, sampled)


@UNHURRIED
@given(
    st.dictionaries(st.sampled_from(["b3", *multi(traceid="", spanid="", sampled="", flags="")]), st.text(), max_size=5)
)
def test_nothing_that_is_sent_raises(headers):
    context = found(headers)
    assert context is None or context.is_remote


@pytest.mark.parametrize("single", [True, False], ids=["single", "multi"])
@UNHURRIED
@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read(single, trace_id, span_id, sampled):
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else 0)
    written = trace.SpanContext(trace_id, span_id, is_remote=False, trace_flags=flags)
    carrier = {}
    B3(single=single).inject(carrier, trace.set_span_in_context(trace.NonRecordingSpan(written), Context()))
    back = found(carrier)
    assert (back.trace_id, back.span_id, back.trace_flags) == (trace_id, span_id, flags)
    assert set(carrier) <= B3(single=single).fields


@pytest.mark.parametrize("single", [True, False], ids=["single", "multi"])
def test_without_a_span_nothing_is_written(single):
    carrier = {}
    B3(single=single).inject(carrier, Context())
    assert carrier == {}


# -- which of several counts ------------------------------------------------------------------------------------------

OF_B3, OF_W3C = {"b3": f"{TRACE}-{SPAN}-1"}, {"traceparent": TRACEPARENT}


@pytest.mark.parametrize(
    ("names", "headers", "trace_id"),
    [
        (["tracecontext", "b3"], OF_B3 | OF_W3C, TRACE),
        (["b3", "tracecontext"], OF_B3 | OF_W3C, W3C_TRACE),
        (["b3", "tracecontext", "b3multi"], OF_B3 | OF_W3C, TRACE),
        (["tracecontext", "b3"], OF_W3C, W3C_TRACE),
        (["b3", "tracecontext"], OF_B3, TRACE),
        (["tracecontext", "b3"], OF_W3C | {"b3": "garbage"}, W3C_TRACE),
        (["tracecontext", "b3"], OF_W3C | {"b3": "0"}, W3C_TRACE),
        (["b3", "tracecontext"], OF_B3 | {"traceparent": "garbage"}, TRACE),
        (["tracecontext"], OF_B3, None),
        (["b3multi"], OF_B3, TRACE),
        (["baggage"], OF_B3 | OF_W3C, None),
        (["none"], OF_B3 | OF_W3C, None),
    ],
)
def test_the_last_one_named_that_finds_a_span_counts(names, headers, trace_id):
    """On the request path, by a reader; and as OpenTelemetry's own composite, whose order this is."""
    read, wanted = reader(names)
    remote = read({name: [value] for name, value in headers.items() if name in wanted})
    composite = trace.get_current_span(propagator(names).extract(headers, Context())).get_span_context()
    assert (f"{remote.trace_id:032x}" if remote else None) == trace_id
    if "b3" not in headers or headers["b3"] != "0":  # of which the API's extract knows no way to say it
        assert (f"{composite.trace_id:032x}" if composite.is_valid else None) == trace_id


# -- in a service -----------------------------------------------------------------------------------------------------


async def _outgoing(request):
    return JSONResponse(dict(request.headers))


async def _endpoint(_request):
    """What a call from within a request carries, and a message sent from there."""
    message = {}
    obskit.inject(message)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(_outgoing_app), base_url="http://next") as client:
        call = (await client.get("/")).json()
    return JSONResponse({"call": call, "message": message})


async def _outgoing_app(scope, receive, send):
    await JSONResponse({k.decode(): v.decode() for k, v in scope["headers"]})(scope, receive, send)


def serve(config, headers):
    """What one request with these headers becomes: what it carries on, and the capture."""
    app = Starlette(routes=[Route("/", _endpoint)])
    with obskit.testing.capture(app, config=config) as captured:
        response = raw_asgi.get(app, "/", headers)
        return (
            json.loads(response.body),
            captured.line("GET / 200"),
            [s for s in captured.spans if s.kind.name == "SERVER"],
        )


@pytest.mark.parametrize(("headers", "trace_id", "state"), NAMED.values(), ids=NAMED)
@pytest.mark.parametrize("names", [("b3",), ("b3multi",)], ids=["b3", "b3multi"])
def test_a_request_continues_the_trace_and_passes_it_on(names, headers, trace_id, state):
    headers = {n: v if isinstance(v, str) else v[0] for n, v in headers.items()}
    carried, line, spans = serve(Config(propagators=names), headers)
    sampled = state != "0"
    assert (line["trace_id"], line["trace_flags"]) == (trace_id, "01" if sampled else "00")
    assert [f"{span.parent.span_id:016x}" for span in spans] == [SPAN] * sampled
    for sent in carried.values():
        passed_on = {name: value for name, value in sent.items() if "b3" in name}
        assert passed_on.keys() <= B3(single=names == ("b3",)).fields
        context = found(passed_on)
        assert f"{context.trace_id:032x}" == trace_id
        assert context.trace_flags.sampled == sampled
        assert (type(context.trace_flags) is Debug) == (state == "d")
        assert "traceparent" not in sent


@pytest.mark.parametrize(("headers", "sampled"), ALONE.values(), ids=ALONE)
def test_a_decision_without_ids_decides_about_a_new_trace(headers, sampled):
    ratio = 0.0 if sampled else 1.0  # what this service would decide by itself
    config = Config(propagators=("b3",), sampler="parentbased_traceidratio", sampler_ratio=ratio)
    _, line, spans = serve(config, headers)
    assert line["trace_flags"] == ("03" if sampled else "02")
    assert [span.parent for span in spans] == [None] * sampled


@pytest.mark.parametrize(
    ("sampler", "sampled"),
    [
        ({}, True),
        ({"sampler": "parentbased_always_off"}, False),
        ({"sampler": "parentbased_traceidratio", "sampler_ratio": 1.0}, True),
        ({"sampler": "parentbased_traceidratio", "sampler_ratio": 0.0}, False),
        ({"sampler": "always_on"}, True),
        ({"sampler": "traceidratio", "sampler_ratio": 0.0}, False),
    ],
    ids=str,
)
def test_a_decision_that_is_deferred_is_taken_here(sampler, sampled):
    _, line, spans = serve(Config(propagators=("b3",), **sampler), {"b3": f"{TRACE}-{SPAN}"})
    assert (line["trace_id"], line["trace_flags"]) == (TRACE, "01" if sampled else "00")
    assert len(spans) == sampled


def test_where_it_is_not_asked_for_b3_is_not_read():
    _, line, [span] = serve(Config(), OF_B3)
    assert (line["trace_id"] == TRACE, span.parent) == (False, None)


def test_a_message_continues_the_trace_too():
    with obskit.testing.capture(config=Config(propagators=("b3",))) as captured:
        onward = {}
        with obskit.operation("consume", kind="consumer", parent=obskit.extract({"B3": f"{SHORT}-{SPAN}-d"})) as op:
            obskit.inject(onward)
        assert captured.span("consume").parent.span_id == int(SPAN, 16)
    assert onward == {"b3": f"{SHORT:0>32}-{op.span_id}-d"}


@pytest.mark.parametrize("first", ["fastapi", "obskit", "opentelemetry.propagate", "opentelemetry.sdk.trace"])
@pytest.mark.parametrize("names", ["b3", "b3multi", "tracecontext,b3,baggage"])
def test_whatever_is_imported_first_the_variable_is_understood(tmp_path, first, names):
    """OpenTelemetry's API looks propagators up as it is imported; FastAPI imports it."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    registered = project["entry-points"]["opentelemetry_propagator"]
    installed = tmp_path / "as_installed-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: as-installed\nVersion: 1.0\n")
    entries = "\n".join(f"{name} = {where}" for name, where in registered.items())
    (installed / "entry_points.txt").write_text(f"[opentelemetry_propagator]\n{entries}\n")

    ours = fresh_process.run(
        f"""
        import {first}
        import json, fastapi, obskit
        from opentelemetry import propagate
        before = propagate.get_global_textmap().fields
        with obskit.init() as obs:
            print(json.dumps([sorted(before), sorted(propagate.get_global_textmap().fields), obs.config.warnings]))
        """,
        OTEL_PROPAGATORS=names,
        OBSKIT_LOGS="off",
        PYTHONPATH=os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(tmp_path)]),
    )
    assert ours[0] == ours[1] == sorted(propagator(names.split(",")).fields)
    assert ours[2] == []
