"""The load that the stack is measured with is what it is said to be, and the arithmetic follows from the figures."""

import re
from pathlib import Path

import pytest
from benchmarks.plan import COLUMNS, COST_COLUMNS, SPANS, Plan, costs, rows
from benchmarks.stack_load import BATCH, ERRORS, SLOW, exports, exposition, templates
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import plan

FIGURES = {
    "agent_cpu": 2.0,
    "gateway_cpu": 6.0,
    "balancer_cpu": 4.0,
    "sampling_cpu": 3.0,
    "held_bytes": 2000.0,
    "span_bytes": 500.0,
}


def spans(bodies):
    requests = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    return [each for request in requests for rs in request.resource_spans for ss in rs.scope_spans for each in ss.spans]


def test_a_batch_is_traces_of_ten_spans_of_which_some_are_to_be_kept():
    sent = spans(exports(templates()))
    assert len(sent) == BATCH * SPANS
    assert len({each.trace_id for each in sent}) == BATCH
    errors = {each.trace_id for each in sent if each.status.code == each.status.STATUS_CODE_ERROR}
    slow = {each.trace_id for each in sent if each.end_time_unix_nano - each.start_time_unix_nano > 1e9}
    assert (len(errors), len(slow), len(errors | slow)) == (ERRORS, SLOW, round(plan.EXCEPTIONAL * BATCH))


def test_each_batch_is_of_new_traces():
    bodies = templates()
    first, second = ({each.trace_id for each in spans(exports(bodies))} for _ in range(2))
    assert not first & second


def test_a_target_has_the_series_that_are_asked_for():
    lines = [line for line in exposition(2500).decode().splitlines() if not line.startswith("#")]
    assert len(set(lines)) == len(lines) == 2500
    assert all(line.endswith(" @") for line in lines)


@pytest.mark.parametrize(
    ("tail", "came", "kept", "gigabytes"), [(True, 10_000, 1270, 54.864), (False, 1000, 1000, 43.2)]
)
def test_what_is_kept_of_a_thousand_requests(tail, came, kept, gigabytes):
    each = Plan(1000, tail, FIGURES)
    assert (each.spans_in, each.kept, each.gb_a_day) == pytest.approx((came, kept, gigabytes))


@pytest.mark.parametrize(
    ("rate", "figures", "gateways"),
    [
        (10, {}, "1"),
        (4000, {}, "1"),  # 40,000 spans a second are 2.4 cores, 60 % of 4
        (4100, {}, "1 + 1"),  # of two tiers, neither does all
        (100_000, {}, "17 + 13"),
        (1000, {"held_bytes": 100_000}, "1 + 3"),  # memory is scarcer than the processor
        (11_000, {"gateway_cpu": 0.1, "sampling_cpu": 0.1}, "2 + 2"),  # and so are the traces that are held
    ],
)
def test_gateways_are_as_many_as_the_scarcest_needs(rate, figures, gateways):
    assert Plan(rate, tail=True, figures=FIGURES | figures).gateways == gateways


def test_the_tables_have_a_figure_for_each_column():
    table, cost = rows(FIGURES), costs(FIGURES)
    assert [row[0] for row in table[:2]] == ["10, head", "10, tail"]
    assert len(table) == 2 * len(plan.RATES)
    assert {len(row) for row in table} == {len(COLUMNS)}
    assert {len(row) for row in cost} == {len(COST_COLUMNS)}
    assert [row[-1] for row in table] == ["10,000", "10,000", "50,000", "50,000", "5,000,000", "5,000,000"]  # series
    assert cost[1] == ("tail", "200", "600", "700", "0.64")  # 1.27 million spans of 500 bytes


def number(cell):
    """A figure, to 2 %, as the page has rounded what it is computed from; or the words."""
    return pytest.approx(float(cell.replace(",", "")), rel=0.02) if re.fullmatch(r"[\d,.]+", cell) else cell


def test_the_page_computes_from_what_it_says_was_measured():
    text = (Path(__file__).parents[2] / "docs/scale.md").read_text()
    shown = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    titles = {"agent": "agent", "gateway": "gateway, one", "balancer": "first tier", "sampling": "second tier"}
    figures = {
        f"{name}_cpu": float(row[1]) for name, title in titles.items() for row in shown if row[0].startswith(title)
    }
    figures["span_bytes"] = int(re.search(r"A span is (\d+) bytes", text)[1])
    figures["held_bytes"] = float(re.search(r"it is ([\d,]+) bytes of the gateway", text)[1].replace(",", ""))
    for row in rows(figures) + costs(figures):
        same = next(each for each in shown if each[0] == row[0])
        said = [float(cell.replace(",", "")) if re.fullmatch(r"[\d,.]+", cell) else cell for cell in same[1:]]
        assert said == [number(cell.replace("%", " %")) for cell in row[1:]]
