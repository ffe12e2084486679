"""The queue: every span is accounted for, and no call outlasts its deadline, whatever the exporter does."""

import io
import logging
import os
import signal
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback_collectors import drip_body, drip_head, hang, make_span, make_spans
from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import TraceFlags
from own_process import run_script

from obskit import _guard
from obskit.export import _queue, otlp
from obskit.export._encodings import SPANS
from obskit.export._exporter import ExportResult, SdkExporter
from obskit.export.otlp import OtlpExporter
from obskit.export.spans import SPAN_REASONS, SpanQueue


class Gate:
    """An exporter that waits to be let through; it records each batch when it arrives."""

    def __init__(self, results=()):
        self.arrived = threading.Semaphore(0)
        self.let = threading.Semaphore(0)
        self.batches = []
        self.deadlines = []
        self.closed = False
        self.results = iter(results)

    def export(self, spans, deadline):
        self.batches.append([span.name for span in spans])
        self.deadlines.append(deadline - time.monotonic())
        self.arrived.release()
        self.let.acquire(timeout=20)
        result = next(self.results, ExportResult())
        if isinstance(result, Exception):
            raise result
        return result

    def close(self):
        self.closed = True
        self.let.release()


def opened(results=()):
    gate = Gate(results)
    gate.let.release(10_000)
    return gate


@pytest.fixture
def queue_of():
    made = []

    def make(exporter, **given):
        made.append(SpanQueue(exporter, **given))
        return made[-1]

    yield make
    for queue in made:
        queue.close(0)


def put(queue, count):
    for span in make_spans(count):
        queue.on_end(span)


def nonzero(tally):
    return {reason: count for reason, count in tally.dropped.items() if count}


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# -- batching ----------------------------------------------------------------------------------------------------


def test_spans_are_exported_in_order_and_in_batches(queue_of):
    gate = opened()
    queue = queue_of(gate, max_batch_size=4)
    put(queue, 10)
    assert queue.flush(5)
    assert [len(batch) for batch in gate.batches] == [4, 4, 2]
    assert [name for batch in gate.batches for name in batch] == [f"span {n}" for n in range(1, 11)]
    assert (queue.tally.produced, queue.tally.exported, queue.tally.queued) == (10, 10, 0)


def test_a_full_batch_leaves_at_once(queue_of):
    gate = opened()
    queue = queue_of(gate, max_batch_size=3, schedule_delay=60)
    put(queue, 2)
    assert not gate.arrived.acquire(timeout=0.2)
    put(queue, 1)
    assert gate.arrived.acquire(timeout=5)
    assert len(gate.batches[0]) == 3


def test_a_batch_that_is_not_full_leaves_after_the_delay(queue_of):
    gate = opened()
    queue = queue_of(gate, schedule_delay=0.1)
    started = time.monotonic()
    put(queue, 2)
    assert gate.arrived.acquire(timeout=5)
    assert time.monotonic() - started >= 0.1
    assert len(gate.batches[0]) == 2


def test_a_batch_never_waits_for_more_than_the_queue_holds(queue_of):
    gate = opened()
    queue = queue_of(gate, max_queue_size=3, max_batch_size=512, schedule_delay=60)
    put(queue, 3)
    assert gate.arrived.acquire(timeout=5)


def test_the_thread_starts_with_the_first_span_and_sleeps_while_there_is_none(queue_of, monkeypatch):
    queue = queue_of(opened(), schedule_delay=0.01)
    assert queue._thread is None
    put(queue, 1)
    until(lambda: queue.tally.exported == 1)
    time.sleep(0.05)
    waits = []
    wait = queue._changed.wait
    monkeypatch.setattr(queue._changed, "wait", lambda *given: waits.append(given) or wait(*given))
    time.sleep(0.15)
    assert waits == []
    assert queue._thread.is_alive()
    assert queue._thread.daemon


def test_what_is_not_sampled_is_no_span_of_ours(queue_of):
    queue = queue_of(opened())
    queue.on_end(make_span(flags=TraceFlags.DEFAULT))
    queue.on_end(make_span(flags=TraceFlags.RANDOM_TRACE_ID))
    no_context = make_span()
    no_context._context = None
    queue.on_end(no_context)
    assert queue.tally.produced == 0


def test_behind_a_provider(queue_of):
    gate = opened()
    queue = queue_of(gate)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    with provider.get_tracer("t").start_as_current_span("a"):
        pass
    assert provider.force_flush(5000)
    assert gate.batches == [["a"]]
    provider.shutdown()
    assert gate.closed
    off = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    off.add_span_processor(queue)
    off.get_tracer("t").start_span("b").end()
    assert queue.tally.produced == 1


def test_exports_run_with_instrumentation_suppressed(queue_of):
    seen = []

    class Looking(Gate):
        def export(self, spans, deadline):
            seen.append(otel_context.get_value(_SUPPRESS_INSTRUMENTATION_KEY))
            return ExportResult()

    queue = queue_of(Looking())
    put(queue, 1)
    assert queue.flush(5)
    assert seen == [True]
    assert otel_context.get_value(_SUPPRESS_INSTRUMENTATION_KEY) is None


def test_an_export_has_the_export_timeout(queue_of):
    gate = opened()
    queue = queue_of(gate, export_timeout=7)
    put(queue, 1)
    queue.flush(5)
    assert 6 < gate.deadlines[0] <= 7


# -- losses ------------------------------------------------------------------------------------------------------


def test_a_full_queue_drops_and_counts(queue_of):
    gate = Gate()
    queue = queue_of(gate, max_queue_size=5, max_batch_size=2)
    put(queue, 2)
    assert gate.arrived.acquire(timeout=5)
    put(queue, 9)
    assert nonzero(queue.tally) == {"queue_full": 4}
    assert queue.tally.queued == 7
    gate.let.release(100)
    assert queue.flush(5)
    assert (queue.tally.produced, queue.tally.exported) == (11, 7)


def test_every_reason_is_there_from_the_start(queue_of):
    assert queue_of(opened()).tally.dropped == dict.fromkeys(SPAN_REASONS, 0)


def test_what_the_exporter_dropped_is_counted_by_its_reasons(queue_of):
    queue = queue_of(
        opened([ExportResult({"rejected": 2, "encode": 1}, "refused"), ExportResult({"own": 1})]), max_batch_size=5
    )
    put(queue, 6)
    assert queue.flush(5)
    assert nonzero(queue.tally) == {"rejected": 2, "encode": 1, "own": 1}
    assert queue.tally.exported == 2


@pytest.mark.parametrize("result", [ValueError("boom"), None, (1, 2, 3), ({"rejected": "x"}, "")])
def test_an_exporter_that_breaks_costs_its_batch_only(queue_of, contained_errors, result):
    queue = queue_of(opened([result]), max_batch_size=2)
    put(queue, 4)
    assert queue.flush(5)
    assert nonzero(queue.tally) == {"error": 2}
    assert queue.tally.exported == 2
    assert [component for component, _ in contained_errors] == ["spans"]
    contained_errors.clear()


def test_an_exporter_whose_close_breaks_is_contained(queue_of, contained_errors):
    class Broken(Gate):
        def close(self):
            raise ValueError("boom")

    assert queue_of(Broken()).close(1)
    assert [component for component, _ in contained_errors] == ["spans"]
    contained_errors.clear()


def test_without_a_thread_spans_are_kept_and_counted(queue_of, contained_errors, monkeypatch):
    def no_more_threads(_):
        raise RuntimeError("can't start new thread")

    queue = queue_of(opened())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more_threads)
        put(queue, 1)
        assert not queue.flush(0.05)
    assert queue.tally.queued == 1
    assert queue.flush(5)
    assert queue.tally.exported == 1
    assert {component for component, _ in contained_errors} == {"spans"}
    contained_errors.clear()


def test_a_thread_that_could_not_be_started_is_started_with_a_later_span(queue_of, contained_errors, monkeypatch):
    def no_more_threads(_):
        raise RuntimeError("can't start new thread")

    gate = opened()
    queue = queue_of(gate, schedule_delay=0.01)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_more_threads)
        put(queue, 2)
    put(queue, 1)
    assert gate.arrived.acquire(timeout=5)
    until(lambda: queue.tally.exported == 3)
    contained_errors.clear()


def test_without_a_thread_nobody_is_held_up_by_what_is_logged_of_it(queue_of, contained_errors, monkeypatch):
    queue, done = queue_of(opened()), []
    start = threading.Thread.start

    def no_more_threads(thread):
        if thread.name == "obskit-spans":
            raise RuntimeError("can't start new thread")
        start(thread)

    def sends(_component, _error):
        """As a handler that sends records does, in another thread that waits for the same lock."""
        _guard.observers.remove(sends)
        other = threading.Thread(target=lambda: done.append(queue.tally.queued and put(queue, 1)), daemon=True)
        other.start()
        other.join(10)

    monkeypatch.setattr(threading.Thread, "start", no_more_threads)
    _guard.observers.append(sends)
    put(queue, 1)
    assert done == [None]
    contained_errors.clear()


def test_a_filter_that_raises_does_not_end_the_exports(queue_of, contained_errors, monkeypatch):
    def breaks(record):
        raise ValueError(record)

    gate = opened([ExportResult({"http": 1}, "refused")])
    queue = queue_of(gate, max_batch_size=1)
    monkeypatch.setattr(logging.getLogger("obskit"), "filters", [breaks])
    put(queue, 1)
    until(lambda: contained_errors)
    thread = queue._thread
    put(queue, 1)
    assert queue.flush(5)
    assert queue._thread is thread
    assert [component for component, _ in contained_errors] == ["spans"] * 1
    contained_errors.clear()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 30), max_size=8),
    st.integers(1, 20),
    st.integers(1, 20),
    st.booleans(),
)
def test_produced_is_exported_and_dropped_and_queued(rounds, max_queue_size, max_batch_size, flush):
    sink = InMemorySpanExporter()
    queue = SpanQueue(SdkExporter(sink), max_queue_size=max_queue_size, max_batch_size=max_batch_size, schedule_delay=0)
    for count in rounds:
        put(queue, count)
        if flush:
            assert queue.flush(5)
    assert queue.close(5)
    put(queue, 3)
    tally = queue.tally
    assert tally.produced == sum(rounds) + 3
    assert tally.exported == len(sink.get_finished_spans())
    assert tally.queued == 0
    assert tally.dropped["shutdown"] == 3


def test_many_threads_lose_no_count(queue_of):
    queue = queue_of(opened(), max_queue_size=100, max_batch_size=10, schedule_delay=0)
    threads = [threading.Thread(target=put, args=(queue, 2000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert queue.close(10)
    assert queue.tally.produced == 8000
    assert queue.tally.queued == 0
    assert set(nonzero(queue.tally)) <= {"queue_full"}


def test_a_signal_handler_may_end_a_span_while_a_span_ends():
    # In a process of its own: coverage's tracer holds a lock of its own that is not reentrant.
    script = """
        import signal
        from loopback_collectors import make_span, make_spans
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from obskit.export._exporter import SdkExporter
        from obskit.export.spans import SpanQueue

        sink = InMemorySpanExporter()
        queue = SpanQueue(SdkExporter(sink), max_queue_size=10**6)
        signal.signal(signal.SIGALRM, lambda *_: queue.on_end(make_span()))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for span in make_spans(20_000):
            queue.on_end(span)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert queue.tally.produced > 20_000
        assert queue.close(20)
        assert queue.tally.exported == len(sink.get_finished_spans()) == queue.tally.produced
    """
    done = run_script(script)
    assert (done.returncode, done.stderr) == (0, b"")


# -- flush and close ---------------------------------------------------------------------------------------------


def test_flush_waits_for_what_was_queued_then_not_for_what_came_later(queue_of):
    gate = Gate()
    queue = queue_of(gate, max_batch_size=2)
    put(queue, 2)
    assert gate.arrived.acquire(timeout=5)
    put(queue, 1)
    assert not queue.flush(0.1)
    gate.let.release(2)
    assert queue.flush(5)
    put(queue, 1)
    assert queue.tally.queued == 1
    assert queue.force_flush(100) is False
    gate.let.release()


def test_flush_of_nothing_is_done(queue_of):
    assert queue_of(Gate()).flush(0)
    assert queue_of(Gate()).force_flush()


def test_close_exports_the_rest_stops_the_thread_and_closes_the_exporter(queue_of):
    gate = opened()
    queue = queue_of(gate, max_batch_size=2)
    put(queue, 5)
    thread = queue._thread
    assert queue.close(5)
    assert not thread.is_alive()
    assert gate.closed
    assert queue.tally.exported == 5
    queue.on_end(make_span())
    assert nonzero(queue.tally) == {"shutdown": 1}
    assert queue.close(5)
    assert queue.flush(5)


def test_close_cuts_the_deadline_of_what_it_exports(queue_of):
    gate = opened()
    queue = queue_of(gate, max_batch_size=2)
    put(queue, 1)
    queue.close(3)
    assert gate.deadlines[0] <= 3


def test_close_abandons_a_hung_export_at_its_deadline(queue_of, caplog):
    gate = Gate()
    gate.endpoint = "http://collector:4318/v1/traces"
    gate.close = lambda: None
    queue = queue_of(gate, max_batch_size=2)
    put(queue, 5)
    assert gate.arrived.acquire(timeout=5)
    started = time.monotonic()
    assert not queue.close(0.2)
    assert 0.15 < time.monotonic() - started < 2
    assert nonzero(queue.tally) == {"shutdown": 5}
    assert [record.getMessage() for record in caplog.records] == [
        "spans not exported before the process stopped, and lost: 5 (http://collector:4318/v1/traces has not taken them)"
    ]
    gate.let.release()
    queue._thread.join(5)
    assert not queue._thread.is_alive()
    assert (queue.tally.exported, queue.tally.queued) == (0, 0)


@pytest.mark.parametrize("talk", [hang, drip_head, drip_body], ids=lambda talk: talk.__name__)
def test_flush_and_close_keep_their_deadlines_against(raw_server, queue_of, talk):
    queue = queue_of(OtlpExporter(SPANS, endpoint=f"http://127.0.0.1:{raw_server(talk)}/v1/traces"), max_batch_size=4)
    put(queue, 10)
    started = time.monotonic()
    assert not queue.flush(0.3)
    assert not queue.close(0.3)
    assert time.monotonic() - started < 2
    assert nonzero(queue.tally) == {"shutdown": 10}
    queue._thread.join(5)
    assert not queue._thread.is_alive()
    assert queue.tally.queued == 0


def test_close_keeps_its_deadline_against_a_dead_collector(dead_port, queue_of):
    queue = queue_of(OtlpExporter(SPANS, endpoint=f"http://127.0.0.1:{dead_port}/v1/traces"))
    put(queue, 10)
    started = time.monotonic()
    assert queue.close(0.3) is False
    assert time.monotonic() - started < 2
    queue._thread.join(5)  # what it says belongs to this test
    assert nonzero(queue.tally) == {"shutdown": 10}


def test_an_export_that_gives_up_at_the_deadline_of_close_is_lost_by_the_stop(queue_of, caplog):
    """Just before close() does, or just after: it is counted and said the same."""
    gate = opened([ExportResult({"unreachable": 2, "encode": 1}, "collector: timed out")])
    gate.endpoint = "http://collector:4318/v1/traces"
    queue = queue_of(gate, schedule_delay=60)
    put(queue, 4)
    assert queue.close(5) is False
    assert nonzero(queue.tally) == {"shutdown": 2, "encode": 1}
    assert (queue.tally.exported, queue.tally.queued) == (1, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "spans not exported before the process stopped, and lost: 2 (http://collector:4318/v1/traces has not taken them)"
    ]


# -- what is said ------------------------------------------------------------------------------------------------


def test_an_outage_is_said_once_and_its_end_once(queue_of, caplog):
    caplog.set_level("INFO", logger="obskit")
    failure = ExportResult({"unreachable": 1}, "http://c:4318/v1/traces: ConnectionRefusedError")
    queue = queue_of(opened([failure, failure, failure, ExportResult(), ExportResult()]))
    for _ in range(5):
        put(queue, 1)
        assert queue.flush(5)
    queue.close(5)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "spans are being lost: http://c:4318/v1/traces: ConnectionRefusedError; 1 dropped so far"),
        ("INFO", "spans are exported again; 3 were dropped in all"),
    ]


def test_a_collector_that_comes_back_gets_what_waited(collector, queue_of, monkeypatch):
    monkeypatch.setattr(otlp, "_FIRST_WAIT", 0.05)
    collector.answers += [(503, {}, b"")] * 3
    queue = queue_of(OtlpExporter(SPANS, endpoint=collector.endpoint))
    put(queue, 3)
    assert queue.flush(10)
    assert queue.tally.exported == 3
    assert collector.names == ["span 1", "span 2", "span 3"] * 4


# -- other exporters ---------------------------------------------------------------------------------------------


def test_an_exporter_of_the_sdk(queue_of):
    out = io.StringIO()
    queue = queue_of(SdkExporter(ConsoleSpanExporter(out=out)))
    put(queue, 2)
    assert queue.close(5)
    assert '"name": "span 2"' in out.getvalue()


def test_an_exporter_of_the_sdk_that_fails(queue_of):
    sink = InMemorySpanExporter()
    sink.shutdown()
    queue = queue_of(SdkExporter(sink))
    put(queue, 2)
    assert queue.flush(5)
    assert nonzero(queue.tally) == {"rejected": 2}


# -- fork --------------------------------------------------------------------------------------------------------


def test_a_forked_child_begins_empty_and_exports_its_own(collector, queue_of):
    queue = queue_of(OtlpExporter(SPANS, endpoint=collector.endpoint), schedule_delay=60)
    queue.on_end(make_span(1))
    assert queue.flush(5)
    queue.on_end(make_span(2))
    child = os.fork()
    if not child:
        tally = queue.tally
        fresh = (tally.produced, tally.exported, tally.queued) == (0, 0, 0) and not nonzero(tally)
        queue.on_end(make_span(3))
        os._exit(not (fresh and queue.close(5) and (tally.produced, tally.exported) == (1, 1)))
    assert os.waitpid(child, 0)[1] == 0
    assert queue.close(5)
    assert (queue.tally.produced, queue.tally.exported) == (2, 2)
    assert sorted(collector.names) == ["span 1", "span 2", "span 3"]


def test_a_fork_in_the_middle_of_an_export_leaves_the_child_able(raw_server, collector, queue_of):
    talking = threading.Event()

    def announce(connection):
        talking.set()
        hang(connection)

    queue = queue_of(
        OtlpExporter(SPANS, endpoint=f"http://127.0.0.1:{raw_server(announce)}/v1/traces"), max_batch_size=1
    )
    queue.on_end(make_span(1))
    assert talking.wait(5)
    child = os.fork()
    if not child:
        signal.alarm(10)  # a deadlock must not hang the suite
        queue.on_end(make_span(2))
        os._exit(not (queue.close(0.3) is False and nonzero(queue.tally) == {"shutdown": 1}))
    assert os.waitpid(child, 0)[1] == 0
    assert queue.tally.queued == 1


def test_what_a_child_resets(queue_of):
    gate = Gate()
    queue = queue_of(gate, max_queue_size=2, max_batch_size=1)
    put(queue, 1)
    assert gate.arrived.acquire(timeout=5)
    put(queue, 3)
    thread = queue._thread
    _queue._after_fork_in_child()
    assert (queue.tally.produced, queue.tally.exported, queue.tally.queued) == (0, 0, 0)
    assert not nonzero(queue.tally)
    gate.let.release(100)
    put(queue, 1)
    assert queue.flush(5)
    assert queue._thread is not thread
    assert (queue.tally.produced, queue.tally.exported) == (1, 1)


def test_a_queue_that_is_gone_is_no_business_of_a_fork():
    queue = SpanQueue(opened())
    queue.close(1)
    del queue
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_thousand_queues_leave_no_thread():
    before = threading.enumerate()
    for _ in range(1000):
        queue = SpanQueue(opened())
        queue.on_end(make_span())
        assert queue.close(5)
    assert not [t for t in threading.enumerate() if t.name == "obskit-spans" and t not in before]


# -- on the way out ------------------------------------------------------------------------------------------------


def test_from_export_through_on_a_span_is_out_when_its_end_returns(queue_of):
    gate = opened()
    queue = queue_of(gate, schedule_delay=60)
    put(queue, 3)
    queue.export_through()
    assert queue.tally.exported == 3
    put(queue, 1)
    assert queue.tally.exported == 4


def test_export_through_waits_no_longer_than_there_is_time(queue_of):
    queue = queue_of(Gate(), schedule_delay=60)
    began = time.monotonic()
    queue.export_through()
    put(queue, 2)
    assert time.monotonic() - began < 5
    assert queue.tally.queued == 2
