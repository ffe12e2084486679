"""Each file of collector-config/ that a Collector reads, read by the Collector."""

import json
import re
import subprocess

import pytest
from backends import program
from collectors import FEATURE_GATES, Collector, running
from daemon import CONFIG
from ports import free_port
from tables import show

#: The files that make one Collector, and the program that reads them.
ROLES = {
    "agent.yaml": ("otelcol", ["agent.yaml"]),
    "gateway.yaml": ("otelcol", ["gateway.yaml"]),
    "gateway-lb.yaml": ("otelcol", ["gateway-lb.yaml"]),
    "gateway-sampling.yaml": ("otelcol", ["gateway-sampling.yaml"]),
    "kafka-in.yaml": ("otelcol", ["kafka-in.yaml"]),
    "kafka-out.yaml": ("otelcol", ["kafka-out.yaml"]),
    "clickhouse.yaml": ("otelcol-clickhouse", ["clickhouse.yaml"]),
    "honeycomb.yaml": ("otelcol", ["gateway.yaml", "honeycomb.yaml"]),
    "honeycomb.yaml, two tiers": ("otelcol", ["gateway-sampling.yaml", "honeycomb.yaml"]),
    "otlp.yaml": ("otelcol", ["gateway.yaml", "otlp.yaml"]),
    "otlp.yaml, two tiers": ("otelcol", ["gateway-sampling.yaml", "otlp.yaml"]),
}
#: Read as a part of others, by ${file:…}.
PARTS = {"sampling.yaml": "gateway.yaml", "redaction.yaml": "gateway.yaml"}
#: Not a Collector's configuration: what one is built of. Whatever reads them builds the programs above.
MANIFESTS = {"builder.yaml", "builder-clickhouse.yaml", "kustomization.yaml"}


@pytest.fixture
def environ(tmp_path):
    headers = tmp_path / "headers.yaml"
    headers.write_text("authorization: Bearer abc\n")
    return {"CONFIG_DIRECTORY": str(CONFIG), "OTLP_HEADERS_FILE": str(headers)}


def validate(binary, files, environ):
    command = [program(binary), "validate", *(f"--config={CONFIG / file}" for file in files)]
    command += [FEATURE_GATES] if binary == "otelcol" else []
    return subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=60)


def test_each_file_is_read_by_the_collector(environ):
    found = {role: validate(*made, environ) for role, made in ROLES.items()}
    rows = [
        (role, f"{ROLES[role][0]} validate", "ok" if not run.returncode else run.stderr) for role, run in found.items()
    ]
    rows += [(part, f"otelcol validate {whole}", "ok") for part, whole in PARTS.items()]
    show("Files that the Collector reads", ("file", "validator", "result"), rows)
    assert {role: run.stderr for role, run in found.items() if run.returncode} == {}


@pytest.mark.parametrize("role", ["agent", "gateway"])
def test_it_starts_without_a_complaint(tmp_path, role):
    collector = Collector(f"{role}.yaml", folder=tmp_path)
    with running(collector):
        levels = {json.loads(line)["level"] for line in collector.tail(1000).splitlines() if line.startswith("{")}
    assert levels == {"info"}


def test_no_file_is_left_out():
    named = {file for _, files in ROLES.values() for file in files} | set(PARTS) | MANIFESTS
    assert {file.name for file in CONFIG.glob("*.yaml")} == named


def test_a_mistake_is_found(environ, tmp_path):
    broken = tmp_path / "agent.yaml"
    broken.write_text((CONFIG / "agent.yaml").read_text().replace("sending_queue", "sending_cue"))
    assert "sending_cue" in validate("otelcol", [broken], environ).stderr


@pytest.mark.parametrize("part", PARTS)
def test_a_part_belongs_to_the_whole(environ, tmp_path, part):
    for file in PARTS:
        (tmp_path / file).write_text((CONFIG / file).read_text() + ("nonsense: 1\n" if file == part else ""))
    run = validate("otelcol", [PARTS[part]], environ | {"CONFIG_DIRECTORY": str(tmp_path)})
    assert "nonsense" in run.stderr


@pytest.mark.parametrize("slow", ["1s", "slow", ""])
def test_a_threshold_that_is_no_number_is_refused_at_start(environ, tmp_path, slow):
    """Not taken for one that no request reaches. (`validate` does not look into conditions.)"""
    environ |= {
        name: f"127.0.0.1:{free_port()}" for name in ("OTLP_GRPC_ENDPOINT", "OTLP_HTTP_ENDPOINT", "HEALTH_ENDPOINT")
    }
    environ |= {"SELF_METRICS_HOST": "127.0.0.1", "SELF_METRICS_PORT": str(free_port())}
    environ |= {"QUEUE_DIRECTORY": str(tmp_path), "SLOW_MS": slow}
    command = [program("otelcol"), f"--config={CONFIG / 'gateway.yaml'}", FEATURE_GATES]
    run = subprocess.run(command, check=False, env=environ, capture_output=True, text=True, timeout=60)
    assert run.returncode != 0
    assert 'policy evaluator for "slow"' in run.stderr


def test_the_readme_names_each_variable_that_the_files_read():
    files = {file: file.read_text() for file in CONFIG.glob("*.yaml")}
    read = {name for text in files.values() for name in re.findall(r"\$\{env:(\w+)", text)}
    table = [line.split("|")[1] for line in (CONFIG / "README.md").read_text().splitlines() if line.startswith("| `")]
    named = {name for cell in table for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", cell)}
    assert read <= named
