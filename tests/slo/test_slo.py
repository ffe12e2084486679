"""``obskit slo``: what it writes, and what a person is told of a file that is wrong."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from obskit.cli.main import main
from obskit.slo.objectives import SloError, parse
from obskit.slo.rules import rules, text

FOLDER = Path(__file__).parents[2] / "collector-config" / "prometheus"
HEAD = "runbook_url: runbooks\ndashboard_url: board\nobjectives:\n"
GOOD = HEAD + "  - {name: orders, service: orders, route: /orders, availability: 99.9}\n"


def recorded(document):
    """What is recorded for each objective: {(series, slo): expression}."""
    found = [rule for group in document["groups"] for rule in group["rules"] if "record" in rule]
    return {(rule["record"], rule.get("labels", {}).get("slo")): rule["expr"] for rule in found}


def rules_of(objective):
    return recorded(rules(parse(HEAD + f"  - {objective}\n")))


def test_the_committed_rules_are_what_the_objectives_say(capsys):
    assert main(["slo", str(FOLDER / "slo.yaml")]) == 0
    assert capsys.readouterr().out == (FOLDER / "rules" / "slo.yaml").read_text()
    assert main(["slo", str(FOLDER / "slo.yaml"), "--check", str(FOLDER / "rules" / "slo.yaml")]) == 0


def test_prometheus_of_compose_keeps_as_much_as_the_budget_counts():
    (kept,) = re.findall(
        r"--storage[.]tsdb[.]retention[.]time=(\d+)d", (FOLDER.parents[1] / "compose.yaml").read_text()
    )
    assert int(kept) >= int(parse((FOLDER / "slo.yaml").read_text()).window.removesuffix("d"))


def test_of_availability_cancelled_requests_do_not_count():
    found = rules_of("{name: a, service: orders, namespace: shop, environment: prod, method: GET, availability: 99.9}")
    chosen = (
        'service_name="orders", service_namespace="shop", deployment_environment_name="prod", http_request_method="GET"'
    )
    by = "sum by (service_name, service_namespace, deployment_environment_name)"

    def rate(*more):
        return f"{by} (rate(http_server_request_duration_seconds_count{{{', '.join([chosen, *more])}}}[5m]))"

    cancelled = rate('http_response_status_code=""', 'error_type=""')
    assert found["slo:sli_requests:rate5m", "a"] == f"{rate()} - ({cancelled} or 0 * {rate()})"
    failed = rate('error_type!=""')
    assert found["slo:sli_errors:rate5m", "a"] == f"{failed} or 0 * {rate()}"
    assert found["slo:objective:ratio", "a"] == '0 * slo:sli_requests:rate5m{slo="a"} + 0.999'
    assert found["slo:error_budget:ratio", "a"] == '0 * slo:sli_requests:rate5m{slo="a"} + 0.001'


@pytest.mark.parametrize(
    ("threshold", "bound"),
    [("0.25", 'le="0.25"'), ("0.12345678", 'le="0.12345678"'), ("5", 'le=~"5|5[.]0"'), ("5.0", 'le=~"5|5[.]0"')],
)
def test_latency_is_of_requests_that_succeeded_by_a_bucket(threshold, bound):
    latency = f"buckets: [{threshold}], latency: {{objective: 95, threshold: {threshold}}}"
    found = rules_of(f"{{name: a, service: orders, {latency}}}")
    every, within = found["slo:sli_errors:rate5m", "a"].split(" - ")
    assert every == found["slo:sli_requests:rate5m", "a"]
    assert 'http_response_status_code!="", error_type=""' in every
    assert "_bucket{" in within
    assert bound in within
    assert found["slo:error_budget:ratio", "a"].endswith(" + 0.05")


def test_buckets_of_the_service_s_own():
    own = "{name: a, service: s, buckets: [0.1, 0.3], latency: {objective: 95, threshold: 0.3}}"
    assert 'le="0.3"' in rules_of(own)["slo:sli_errors:rate5m", "a"]


def test_alerts_have_what_a_person_needs_who_is_woken():
    (alerts,) = [group["rules"] for group in rules(parse(GOOD))["groups"] if group["name"] == "slo-alerts"]
    assert [(alert["alert"], alert["labels"]["severity"]) for alert in alerts] == [
        ("ErrorBudgetBurnsFast", "page"),
        ("ErrorBudgetBurnsSlowly", "ticket"),
    ]
    for alert in alerts:
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}
    factors = [re.findall(r"ratio_rate(\w+) > ([\d.]+) \*", alert["expr"]) for alert in alerts]
    assert factors == [
        [("1h", "14.4"), ("5m", "14.4"), ("6h", "6"), ("30m", "6")],
        [("1d", "3"), ("2h", "3"), ("3d", "1"), ("6h", "1")],
    ]


def test_a_budget_over_a_window_that_alerts_use_is_recorded_once():
    names = [name for name, _ in recorded(rules(parse("window: 3d\n" + GOOD)))]
    assert names.count("slo:sli_error:ratio_rate3d") == 1
    assert "slo:sli_error:ratio_rate30d" not in names
    assert "slo:sli_error:ratio_rate30d" in [name for name, _ in recorded(rules(parse(GOOD)))]


# -- what is wrong ---------------------------------------------------------------------------------------------------

CONVENTIONS = "0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10"
WRONG = {
    "no bucket": (
        HEAD + "  - {name: a, service: s, latency: {objective: 95, threshold: 0.3}}",
        f"line 4: objectives.0.latency: the threshold 0.3 is no bound of a bucket, so the histogram cannot tell who is slower; bounds are {CONVENTIONS} seconds",
    ),
    "both": (
        HEAD + "  - {name: a, service: s, availability: 99, latency: {objective: 95, threshold: 1}}",
        "line 4: objectives.0.latency: give either availability or latency",
    ),
    "neither": (HEAD + "  - {name: a, service: s}", "line 4: objectives.0.latency: give either availability or latency"),
    "all": (HEAD + "  - {name: a, service: s, availability: 100}", "line 4: objectives.0.availability: an objective is in percent, from 50 to less than 100, as 99.9"),
    "a ratio": (HEAD + "  - {name: a, service: s, latency: {objective: 0.99, threshold: 1}}", "line 4: objectives.0.latency.objective: an objective is in percent"),
    "not a number": (HEAD + "  - {name: a, service: s, availability: .nan}", "line 4: objectives.0.availability: "),
    "text": (HEAD + "  - {name: a, service: s, availability: '99'}", "line 4: objectives.0.availability: "),
    "unknown key": (HEAD + "  - {name: a, service: s, availabilty: 99}", "line 4: objectives.0.availabilty: there is no such key; keys are name, service, "),
    "name": (HEAD + "  - {name: A b, service: s, availability: 99}", "line 4: objectives.0.name: String should match"),
    "same name": (GOOD + "  - {name: orders, service: s, availability: 99}", "line 5: objectives.1.name: 'orders' is taken by objectives.0; each needs a name of its own"),
    "route": (HEAD + "  - {name: a, service: s, route: orders, availability: 99}", "line 4: objectives.0.route: "),
    "unknown key of latency": (
        HEAD + "  - name: a\n    service: s\n    latency: {objective: 95, treshold: 1}",
        "line 6: objectives.0.latency.treshold: there is no such key; keys are objective, threshold",
    ),
    "unknown key of the file": ("slos: []\n" + GOOD, "line 1: slos: there is no such key; keys are window, "),
    "no buckets": (HEAD + "  - {name: a, service: s, availability: 99, buckets: []}", "line 4: objectives.0.buckets: there are none"),
    "none": ("runbook_url: r\ndashboard_url: d\nobjectives: []\n", "line 3: objectives: there are none"),
    "missing": ("objectives:\n  - {name: a, service: s, availability: 99}\n", "line 1: runbook_url: is missing"),
    "window": ("window: 1h\n" + GOOD, "line 1: window: "),
    "a list": ("- 1\n", "line 1: the file: "),
    "empty": ("", "line 1: the file: "),
    "no YAML": ("a: [", "no YAML: "),
    "twice": ("window: 30d\nwindow: 7d\n" + GOOD, "no YAML: the key 'window' stands twice"),
    "a date that is none": ("window: 2026-99-99\n" + GOOD, "no YAML: "),
}  # fmt: skip


@pytest.mark.parametrize(("document", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_with_its_place(document, said):
    with pytest.raises(SloError) as raised:
        parse(document)
    assert any(problem.startswith(said) for problem in raised.value.problems), raised.value.problems


def test_every_problem_is_told_at_once(tmp_path, capsys):
    file = tmp_path / "slo.yaml"
    file.write_text(
        """\
window: x
runbook_url: r
objectives:
  - {name: a, service: s, availability: 0}
  - {name: a, latency: {objective: 95, threshold: 0.3}}
  - name: b
    service: s
    availability: 99
    latency: {objective: 95, threshold: 0.3}
    buckets: [-1]
"""
    )
    assert main(["slo", str(file)]) == 2
    out, error = capsys.readouterr()
    assert not out
    head, *problems = error.splitlines()
    assert head == f"obskit: {file} is wrong:"
    assert [tuple(problem.strip().split(": ")[:2]) for problem in problems] == [
        ("line 1", "dashboard_url"),
        ("line 1", "window"),
        ("line 4", "objectives.0.availability"),
        ("line 5", "objectives.1.latency"),
        ("line 5", "objectives.1.name"),
        ("line 5", "objectives.1.service"),
        ("line 9", "objectives.2.latency"),
        ("line 10", "objectives.2.buckets.0"),
    ]


def test_files_that_cannot_be_read_or_written(tmp_path, capsys):
    good, latin = tmp_path / "slo.yaml", tmp_path / "latin.yaml"
    good.write_text(GOOD)
    latin.write_bytes(b"# \xe9\n")
    assert main(["slo", str(tmp_path / "none.yaml")]) == 2
    assert capsys.readouterr().err == f"obskit: cannot read {tmp_path}/none.yaml: No such file or directory\n"
    assert main(["slo", str(latin)]) == 2
    assert capsys.readouterr().err == f"obskit: {latin} is no UTF-8: invalid continuation byte at byte 2\n"
    assert main(["slo", str(good), "--output", str(tmp_path / "no" / "rules.yaml")]) == 1
    assert capsys.readouterr().err == f"obskit: cannot write {tmp_path}/no/rules.yaml: No such file or directory\n"


def test_output_and_check(tmp_path, capsys):
    good, written = tmp_path / "slo.yaml", tmp_path / "rules.yaml"
    good.write_text(GOOD)
    assert main(["slo", str(good), "--check", str(written)]) == 1
    assert capsys.readouterr().err == (
        f"obskit: {written} is not what {good} says; write it anew: obskit slo {good} --output {written}\n"
    )
    assert main(["slo", str(good), "--output", str(written)]) == 0
    assert main(["slo", str(good), "--check", str(written)]) == 0
    assert written.read_text() == text(parse(GOOD))
    written.write_bytes(b"\xff")
    assert main(["slo", str(good), "--check", str(written)]) == 1


def test_without_the_extra_it_says_which(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    for name in ("obskit.slo.objectives", "obskit.slo.rules", "obskit.slo"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert main(["slo", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err
        == "obskit: yaml is not installed, which this command needs: pip install 'obskit[slo]'\n"
    )


# -- whatever a person writes ----------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTIVE = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "c"]) | st.text(), "service": st.text()},
    optional={
        "route": st.text().map(lambda text: "/" + text),
        "availability": st.floats(),
        "latency": st.fixed_dictionaries(
            {"objective": st.floats(0.1, 99.9), "threshold": st.sampled_from([0.5, 0.3, 5])}
        ),
        "other": JSON,
    },
)
FILE = st.fixed_dictionaries(
    {"runbook_url": st.text(), "dashboard_url": st.text(), "objectives": st.lists(OBJECTIVE, max_size=3)}
)


@settings(max_examples=100)
@example("? '\n\n'")  # a key of line ends
@given(st.text() | JSON.map(yaml.safe_dump) | FILE.map(yaml.safe_dump))
def test_any_text_is_rules_or_an_error_of_sentences(document):
    try:
        objectives = parse(document)
    except SloError as error:
        problems = error.problems
    else:
        assert yaml.safe_load(text(objectives)) == rules(objectives)
        return
    assert problems
    assert not [problem for problem in problems if len(problem.splitlines()) != 1]


#: What can be wrong in one objective beside all else: (key, value, where it is told).
SLIPS = [
    ("name", "A b", "name"),
    ("service", None, "service"),
    ("route", "orders", "route"),
    ("method", "get", "method"),
    ("extra", 1, "extra"),
    ("availability", 100, "availability"),
    ("latency", {"objective": 95, "threshold": 0.3}, "latency"),
]


@settings(max_examples=60)
@given(st.lists(st.sets(st.sampled_from(range(len(SLIPS)))), min_size=1, max_size=4))
def test_each_of_many_slips_is_told_with_its_line(slips):
    """However many there are, each is told, at the line of its objective; and nothing else is."""
    entries, expected = [], set()
    for at, chosen in enumerate(slips):
        entry = {"name": f"n{at}", "service": "s", "availability": 99}
        for key, value, where in (SLIPS[each] for each in chosen):
            entry[key] = value
            expected.add((f"line {4 + at}", f"objectives.{at}.{where}"))
        entries.append(f"  - {json.dumps(entry)}\n")
    try:
        parse(HEAD + "".join(entries))
    except SloError as error:
        told = {tuple(problem.split(": ")[:2]) for problem in error.problems}
    else:
        told = set()
    assert told == expected
