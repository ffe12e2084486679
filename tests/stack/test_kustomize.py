"""collector-config/k8s, built by kustomize; what comes out is held to schemas, those of the Prometheus operator too."""

import json
import re
import runpy
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from backends import program
from builds import _go
from composed import ROOT
from manifests import K8S, OPERATORS, container, documents, name_of, not_restricted, of_kind, pod, workloads, wrong
from tables import show

SHIPPED = ROOT / "collector-config"
#: Their definitions as the module has them; the sum is what Go's checksum database says of it.
DEFINITIONS = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
SUM = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="


def build(folder):
    run = subprocess.run(
        [program("kustomize"), "build", folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    return documents(run.stdout)


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    """The kustomization of the README, beside collector-config."""
    folder = tmp_path_factory.mktemp("overlay")
    (folder / "collector-config").symlink_to(SHIPPED)
    readme = (K8S / "README.md").read_text()
    example = re.search(r'```yaml title="kustomization.yaml"\n(.*?)```', readme, re.DOTALL)[1]
    # kustomize resolves the link, and wants paths below it as they are then.
    example = example.replace("- collector-config", f"- {SHIPPED}")
    (folder / "kustomization.yaml").write_text(relative(example, folder))
    return folder


def relative(text, folder):
    return text.replace(str(SHIPPED), "../" * (len(folder.parts) - 1) + str(SHIPPED).lstrip("/"))


@pytest.fixture(scope="module")
def built(overlay):
    """What kustomize makes, by what it was told to build."""
    return {
        "collector-config": build(SHIPPED),
        "collector-config/k8s/service": build(K8S / "service"),
        "the kustomization of k8s/README.md": build(overlay),
    }


def schema_of(kind):
    """The operator's schema of a kind, in which a field that it does not know is wrong."""
    command = [_go(), "mod", "download", "-json", DEFINITIONS]
    run = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    module = json.loads(run.stdout)
    assert module["Sum"] == SUM
    folder = Path(module["Dir"]) / "example/prometheus-operator-crd"
    definition = yaml.safe_load((folder / f"monitoring.coreos.com_{kind.lower()}s.yaml").read_text())
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object"}
    return closed(schema)


def closed(schema):
    if isinstance(schema, dict):
        made = {key: closed(value) for key, value in schema.items()}
        if isinstance(made.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in made:
            made.setdefault("additionalProperties", False)
        return made
    return [closed(each) for each in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module")
def operators():
    return {kind: jsonschema.Draft202012Validator(schema_of(kind)) for kind in ("ServiceMonitor", "PrometheusRule")}


def test_everything_that_kustomize_makes_is_of_its_schema(built, operators):
    rows, found = [], []
    for what, made in built.items():
        for document in made:
            if document["apiVersion"].startswith(OPERATORS):
                errors = [error.message for error in operators[document["kind"]].iter_errors(document)]
            else:
                errors = wrong(document)
            found += errors
            rows.append((what, name_of(document), "; ".join(errors) or "ok"))
    show("Objects that kustomize makes", ("of", "object", "schema"), rows)
    assert found == []
    assert {document["kind"] for made in built.values() for document in made} >= {"ServiceMonitor", "DaemonSet"}


def test_a_mistake_in_a_monitor_is_found(built, operators):
    (monitor, _) = of_kind(built["the kustomization of k8s/README.md"], "ServiceMonitor")
    monitor = json.loads(json.dumps(monitor))
    monitor["spec"]["endpoints"][0]["relabeling"] = []
    assert [error.message for error in operators["ServiceMonitor"].iter_errors(monitor)]


def test_rules_are_objects_of_the_operator(operators):
    files = sorted((SHIPPED / "prometheus/rules").glob("*.yaml"))
    assert files
    made = documents(runpy.run_path(str(K8S / "monitoring/rules.py"))["objects"](files))
    assert [error.message for each in made for error in operators["PrometheusRule"].iter_errors(each)] == []
    assert [each["spec"] for each in made] == [yaml.safe_load(file.read_text()) for file in files]


def test_config_maps_hold_the_very_files(built):
    for what in ("collector-config", "the kustomization of k8s/README.md"):
        maps = {each["metadata"]["name"]: each for each in of_kind(built[what], "ConfigMap")}
        for workload in workloads(built[what]):
            (config,) = (each for each in pod(workload)["spec"]["volumes"] if each["name"] == "config")
            data = maps[config["configMap"]["name"]]["data"]
            assert data == {name: (SHIPPED / name).read_text() for name in data}
            assert {each.rpartition("/")[2] for each in container(workload)["args"] if "=/etc" in each} <= set(data)
            for source in container(workload).get("envFrom", []):
                assert source["configMapRef"]["name"] in maps


def test_two_tiers(built):
    one = {name_of(each): each for each in built["collector-config"]}
    two = {name_of(each): each for each in built["the kustomization of k8s/README.md"]}
    assert one["StatefulSet/gateway"]["spec"]["replicas"] == 1
    gateway = two["StatefulSet/gateway"]
    assert "replicas" not in gateway["spec"]
    assert container(gateway)["args"] == ["--config=/etc/otelcol/gateway-lb.yaml"]
    assert two["HorizontalPodAutoscaler/gateway"]["spec"]["minReplicas"] == 2
    assert two["StatefulSet/gateway-sampling"]["spec"]["replicas"] == 3
    environment = next(each for name, each in two.items() if name.startswith("ConfigMap/otelcol-environment"))
    assert environment["data"]["SAMPLE_PERCENT"] == "5"
    assert environment["data"]["LOKI_OTLP_ENDPOINT"] == "http://loki:3100/otlp"
    assert {"ServiceMonitor/obskit", "ServiceMonitor/otelcol"} <= set(two)


def test_pods_are_restricted_still(built):
    assert [each for made in built.values() for workload in workloads(made) for each in not_restricted(workload)] == []


def test_pods_are_rolled_when_a_file_changes(tmp_path, built):
    copy = tmp_path / "collector-config"
    subprocess.run(["cp", "-r", SHIPPED, copy], check=True)
    (copy / "agent.yaml").write_text((copy / "agent.yaml").read_text() + "# changed\n")
    before, after = (
        next(each["configMap"]["name"] for each in pod(workload)["spec"]["volumes"] if each["name"] == "config")
        for made in (built["collector-config"], build(copy))
        for workload in of_kind(made, "DaemonSet")
    )
    assert before != after
