"""Every file of collector-config/ and dashboards/ is read by a test as the program does that it is for; none is exempt.

`make e2e` prints the table. Tests under tests/stack run the real programs, in `make e2e`; the others run in `make test`.
"""

import ast
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest
from tables import show

ROOT = Path(__file__).parents[2]

OTELCOL = "stack/test_collector_files.py::test_each_file_is_read_by_the_collector"
PARTS = "stack/test_collector_files.py::test_a_part_belongs_to_the_whole"
BUILT = "stack/test_components.py::test_components_are_those_that_the_files_use"
SCHEMA = "deploy/test_k8s.py::test_it_is_of_the_schema_of_its_kind"
KUSTOMIZED = "stack/test_kustomize.py::test_everything_that_kustomize_makes_is_of_its_schema"
SCRAPED = "stack/test_prometheus.py::test_prometheus_reads_its_configuration"
PAGE = "test_docs.py::test_links_lead_somewhere"

#: Below a folder: which files (a star takes no slash), what reads them, and the test that has it do so.
VALIDATORS = {
    "collector-config": (
        ("README.md", "a page of the docs", PAGE),
        ("agent.yaml", "otelcol validate", OTELCOL),
        ("clickhouse.yaml", "otelcol validate", OTELCOL),
        ("gateway*.yaml", "otelcol validate", OTELCOL),
        ("honeycomb.yaml", "otelcol validate", OTELCOL),
        ("kafka-*.yaml", "otelcol validate", OTELCOL),
        ("otlp.yaml", "otelcol validate", OTELCOL),
        ("redaction.yaml", "otelcol validate, in the whole", PARTS),
        ("sampling.yaml", "otelcol validate, in the whole", PARTS),
        ("builder*.yaml", "the Collector's builder", BUILT),
        ("kustomization.yaml", "kustomize build", KUSTOMIZED),
        ("clickhouse/schema.sql", "ClickHouse's engine", "stack/test_clickhouse.py::test_what_the_schema_computes"),
        ("clickhouse/questions.sql", "ClickHouse's engine", "stack/test_clickhouse.py::test_the_other_questions_are_answered"),
        ("jaeger/jaeger.yaml", "jaeger", "stack/whole/test_agreeing_signals.py::test_a_trace_has_all_services_each_below_the_one_that_called_it"),
        ("loki/loki.yaml", "loki", "stack/whole/test_agreeing_signals.py::test_the_lines_of_a_trace_are_in_loki"),
    ),
    "collector-config/k8s": (
        ("README.md", "its example, by kustomize build", KUSTOMIZED),
        ("collector/[!k]*.yaml", "schemas of Kubernetes", SCHEMA),
        ("service/[!k]*.yaml", "schemas of Kubernetes", SCHEMA),
        ("two-tiers/[!k]*.yaml", "schemas of Kubernetes", SCHEMA),
        ("*/kustomization.yaml", "kustomize build", KUSTOMIZED),
        ("monitoring/service-monitors.yaml", "the operator's schema", KUSTOMIZED),
        ("monitoring/rules.py", "the operator's schema, of what it prints", "stack/test_kustomize.py::test_rules_are_objects_of_the_operator"),
    ),
    "collector-config/prometheus": (
        ("README.md", "a page of the docs", PAGE),
        ("prometheus.yaml", "promtool check config", SCRAPED),
        ("targets/*.yaml", "promtool check config", SCRAPED),
        ("targets/ha/*.yaml", "docker compose's services", "deploy/test_compose.py::test_prometheus_scrapes_what_the_stack_runs_and_nothing_else"),
        ("alertmanager.yaml", "amtool check-config", "stack/test_prometheus.py::test_alertmanager_reads_its_configuration"),
        ("webhook-url", "docker compose's services", "deploy/test_compose.py::test_alerts_go_to_the_listener"),
        ("rules/*.yaml", "promtool check rules", "stack/test_prometheus.py::test_prometheus_reads_the_rules"),
        ("tests/*.yaml", "promtool test rules", "stack/test_prometheus.py::test_alerts_fire_when_they_are_to"),
        ("slo.yaml", "obskit slo", "slo/test_slo.py::test_the_committed_rules_are_what_the_objectives_say"),
        ("runbooks.md", "a section an alert", "slo/test_alerts.py::test_each_section_of_the_runbooks_is_of_an_alert"),
    ),
    "dashboards": (
        ("README.md", "a page of the docs", PAGE),
        ("generate/*.py", "run: it writes what is in json/", "dashboards/test_generated.py::test_regenerating_changes_nothing"),
        ("json/*.json", "Grafana's own types", "dashboards/test_generated.py::test_grafana_s_types_decode_it_and_lose_nothing"),
        ("json/*.json", "prometheus and loki, each query", "stack/whole/test_dashboards.py::test_every_query_of_every_dashboard_has_an_answer"),
        ("provisioning/datasources/*.yaml", "promql-parser and links, each uid", "dashboards/test_provisioning.py::test_data_sources_have_fixed_uids_that_all_references_name"),
        ("provisioning/dashboards/*.yaml", "held to docker compose's mounts", "dashboards/test_provisioning.py::test_the_provider_reads_the_folder_and_nobody_changes_it"),
    ),
}  # fmt: skip
ROWS = [(f"{folder}/{glob}", what, test) for folder, rows in VALIDATORS.items() for glob, what, test in rows]


def files():
    """What is in the two folders, but for what running leaves there."""
    found = [each for folder in ("collector-config", "dashboards") for each in (ROOT / folder).rglob("*")]
    return sorted(
        each.relative_to(ROOT).as_posix() for each in found if each.is_file() and "__pycache__" not in each.parts
    )


def takes(glob, file):
    return len(PurePosixPath(glob).parts) == len(PurePosixPath(file).parts) and PurePosixPath(file).match(glob)


def unclaimed(names):
    return [file for file in names if not any(takes(glob, file) for glob, _, _ in ROWS)]


def test_every_file_has_its_validator():
    shown = [
        (file, what, "make e2e" if test.startswith("stack/") else "make test", test)
        for file in files()
        for glob, what, test in ROWS
        if takes(glob, file)
    ]
    show(f"What reads each of {len(files())} files, none exempt", ("file", "read by", "in", "tests/"), shown)
    assert unclaimed(files()) == []


def test_a_file_that_nobody_reads_is_found():
    assert unclaimed(["collector-config/new.yaml", "collector-config/k8s/service/a/b.yaml"]) == [
        "collector-config/new.yaml",
        "collector-config/k8s/service/a/b.yaml",
    ]


@pytest.mark.parametrize(("glob", "what", "test"), ROWS, ids=[f"{glob} {what}" for glob, what, _ in ROWS])
def test_each_row_is_of_files_and_a_test_that_are_there(glob, what, test):
    assert what
    assert any(takes(glob, file) for file in files())
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    assert Counter(node.name for node in tree.body if isinstance(node, ast.FunctionDef))[name] == 1
