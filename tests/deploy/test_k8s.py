"""collector-config/k8s: each object against Kubernetes's schemas, and against the others that it names."""

import re
from pathlib import Path

import pytest
import yaml
from backends import versions
from composed import ROOT
from manifests import (
    K8S,
    KUSTOMIZE,
    OPERATORS,
    container,
    documents,
    environment,
    files,
    mebibytes,
    name_of,
    not_restricted,
    of_kind,
    pod,
    selects,
    shipped,
    workloads,
    wrong,
)

import obskit

OBJECTS = shipped()
CORE = [each for each in OBJECTS if not each["apiVersion"].startswith(OPERATORS)]
COLLECTORS = [each for each in workloads(OBJECTS) if each["metadata"].get("namespace") == "observability"]
SERVICES = [each for each in workloads(OBJECTS) if each not in COLLECTORS]
ROOT_KUSTOMIZATION = yaml.safe_load((ROOT / "collector-config/kustomization.yaml").read_text())


def test_each_file_has_a_validator():
    """And which: what is not validated here is by kustomize and the operator's schemas, in tests/stack/test_kustomize.py."""
    kinds = {each["apiVersion"].partition("/")[0] + "/" for file in files() for each in documents(file.read_text())}
    assert kinds & {OPERATORS, KUSTOMIZE} == {OPERATORS, KUSTOMIZE}
    others = {path.relative_to(K8S).as_posix() for path in K8S.rglob("*") if path.is_file()}
    others -= {path.relative_to(K8S).as_posix() for path in files()}
    assert {each for each in others if "__pycache__" not in each} == {"README.md", "monitoring/rules.py"}


@pytest.mark.parametrize("document", CORE, ids=name_of)
def test_it_is_of_the_schema_of_its_kind(document):
    assert wrong(document) == []


def test_a_mistake_is_found():
    deployment = of_kind(CORE, "Deployment")[0]
    spec = deployment["spec"] | {"strategie": {}}
    assert "strategie" in wrong(deployment | {"spec": spec})[0]


# -- pods -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", workloads(OBJECTS), ids=name_of)
def test_it_has_no_rights_that_it_does_not_need(workload):
    assert not_restricted(workload) == []


def test_namespaces_enforce_that():
    for namespace in of_kind(OBJECTS, "Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("workload", workloads(OBJECTS), ids=name_of)
def test_it_asks_for_what_it_needs_and_is_probed(workload):
    only = container(workload)
    assert {"cpu", "memory"} == set(only["resources"]["requests"])
    assert "memory" in only["resources"]["limits"]
    ports = {port["name"] for port in only["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert only[probe]["httpGet"]["port"] in ports
    assert only["startupProbe"]["periodSeconds"] * only["startupProbe"]["failureThreshold"] >= 30


@pytest.mark.parametrize("workload", workloads(OBJECTS), ids=name_of)
def test_its_volumes_are_there(workload):
    spec = pod(workload)["spec"]
    claims = [each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])]
    there = {each["name"] for each in spec["volumes"]} | set(claims)
    assert {mount["name"] for mount in container(workload)["volumeMounts"]} == there


# -- Collectors -------------------------------------------------------------------------------------------------------


def read(workload):
    """The files that the Collector is started with and those that they name, as one text."""
    names = [each.rpartition("/")[2] for each in container(workload)["args"] if each.startswith("--config=")]
    texts = [(ROOT / "collector-config" / name).read_text() for name in names]
    parts = [part for text in texts for part in re.findall(r"\}/([\w-]+\.yaml)\}", text)]
    return {*names, *parts}, "".join([*texts, *((ROOT / "collector-config" / part).read_text() for part in parts)])


@pytest.mark.parametrize("workload", COLLECTORS, ids=name_of)
def test_a_collector_runs_the_files_that_ship_at_the_version_that_is_tested(workload):
    assert container(workload)["image"] == f"otel/opentelemetry-collector-contrib:{versions()['otelcol']}"
    names, text = read(workload)
    assert names <= set(ROOT_KUSTOMIZATION["configMapGenerator"][0]["files"])
    gate = "--feature-gates=+processor.tailsamplingprocessor.usetracestate"
    assert ("tail_sampling:" in text) == (gate in container(workload)["args"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container(workload)["volumeMounts"]}
    assert mounts == {"config": "/etc/otelcol", "queue": "/var/lib/otelcol/queue"}


@pytest.mark.parametrize("workload", COLLECTORS, ids=name_of)
def test_a_collector_has_room_above_its_limit_and_for_its_queues(workload):
    variables = environment(workload)
    limit = int(variables["MEMORY_LIMIT_MIB"])
    assert variables["GOMEMLIMIT"] == f"{limit}MiB"
    assert mebibytes(container(workload)["resources"]["limits"]["memory"]) >= 1.25 * limit + 100
    claims = workload["spec"].get("volumeClaimTemplates")
    room = (
        claims[0]["spec"]["resources"]["requests"]["storage"]
        if claims
        else next(each for each in pod(workload)["spec"]["volumes"] if each["name"] == "queue")["emptyDir"]["sizeLimit"]
    )
    assert mebibytes(room) > 3 * 1024  # traces, metrics and logs, 1 GiB each


@pytest.mark.parametrize("workload", COLLECTORS, ids=name_of)
def test_each_variable_that_it_is_given_is_read(workload):
    _, text = read(workload)
    assert {name for name in environment(workload) if f"env:{name}" not in text} == {"GOMEMLIMIT"}


def test_gateways_are_told_where_the_backends_are():
    literals = dict(each.split("=", 1) for each in ROOT_KUSTOMIZATION["configMapGenerator"][1]["literals"])
    gateway = next(each for each in COLLECTORS if each["metadata"]["name"] == "gateway")
    _, text = read(gateway)
    assert {name for name in literals if f"env:{name}" not in text} == set()
    for workload in COLLECTORS:
        named = [each["configMapRef"]["name"] for each in container(workload).get("envFrom", [])]
        assert named == ([] if workload["kind"] == "DaemonSet" else ["otelcol-environment"])


def test_the_second_tier_is_found_by_a_headless_service():
    text = (ROOT / "collector-config/gateway-lb.yaml").read_text()
    name = re.search(r"hostname: ([\w-]+)", text[text.index("SAMPLING_RESOLVER:-") :])[1]
    service = next(each for each in of_kind(OBJECTS, "Service") if each["metadata"]["name"] == name)
    assert service["spec"]["clusterIP"] == "None"
    workload = next(each for each in COLLECTORS if each["metadata"]["name"] == name)
    assert workload["spec"]["serviceName"] == name
    assert workload["spec"]["replicas"] > 1


# -- what names another -----------------------------------------------------------------------------------------------


def selector_of(document):
    if document["kind"] == "Service":
        return document["spec"]["selector"]
    key = "podSelector" if document["kind"] == "NetworkPolicy" else "selector"
    return document["spec"][key]["matchLabels"]


@pytest.mark.parametrize(
    "document",
    of_kind(OBJECTS, "Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment", "StatefulSet", "DaemonSet"),
    ids=name_of,
)
def test_what_it_selects_is_one_workload_of_its_namespace(document):
    space = document["metadata"].get("namespace")
    selected = [
        each
        for each in workloads(OBJECTS)
        if each["metadata"].get("namespace") == space
        and selects(selector_of(document), pod(each)["metadata"]["labels"])
    ]
    assert len(selected) == 1
    ports = {port["name"] for port in container(selected[0])["ports"]}
    if document["kind"] == "Service":
        assert {port["targetPort"] for port in document["spec"]["ports"]} <= ports
    if document["kind"] == "NetworkPolicy":
        open_ports = {port["port"] for rule in document["spec"]["ingress"] for port in rule["ports"]}
        assert open_ports <= ports
        assert "health" not in open_ports, "the kubelet asks from the node, which no policy keeps out"


def test_every_pod_has_a_policy_and_no_other_namespace_may_come_in_but_by_intent():
    policies = of_kind(OBJECTS, "NetworkPolicy")
    assert len(policies) == len(workloads(OBJECTS))
    for policy in policies:
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        for rule in policy["spec"]["ingress"]:
            everyone = [each for each in rule["from"] if each == {"namespaceSelector": {}}]
            assert not everyone or {port["port"] for port in rule["ports"]} == {"otlp-grpc", "otlp-http"}


def test_an_autoscaler_scales_what_is_there_and_fixes_no_number_beside():
    for scaler in of_kind(OBJECTS, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        workload = next(each for each in workloads(OBJECTS) if each["metadata"]["name"] == target["name"])
        assert (workload["kind"], workload["apiVersion"]) == (target["kind"], target["apiVersion"])
        assert scaler["spec"]["minReplicas"] >= 2
        patched = (K8S / "two-tiers/kustomization.yaml").read_text()
        assert "replicas" not in workload["spec"] or "path: /spec/replicas" in patched


# -- a service --------------------------------------------------------------------------------------------------------


def expanded(workload):
    """The environment as the kubelet makes it: fields of the pod, and $(NAME) of variables before."""
    labels = pod(workload)["metadata"]["labels"]
    values = {}
    for name, value in environment(workload).items():
        if isinstance(value, dict):
            path = value["fieldRef"]["fieldPath"]
            label = re.fullmatch(r"metadata\.labels\['(.+)'\]", path)
            values[name] = labels[label[1]] if label else f"<{path}>"
        else:
            values[name] = re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], value)
    return values


@pytest.mark.parametrize("workload", SERVICES, ids=name_of)
def test_the_pod_and_obskit_have_one_identity(workload):
    labels = pod(workload)["metadata"]["labels"]
    config = obskit.Config.from_env(expanded(workload))
    assert config.service_name == labels["app.kubernetes.io/name"]
    assert config.service_namespace == labels["app.kubernetes.io/part-of"]
    assert config.service_version == labels["app.kubernetes.io/version"]
    assert config.environment == labels["environment"]
    module = container(workload)["args"][0].partition(":")[0]
    source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()
    assert f'service_name="{config.service_name}"' in source, "and the code says the same"


@pytest.mark.parametrize("workload", SERVICES, ids=name_of)
def test_what_is_scraped_has_the_same_identity(workload):
    monitor = next(each for each in of_kind(OBJECTS, "ServiceMonitor") if each["metadata"]["name"] == "obskit")
    made = {}
    for rule in monitor["spec"]["endpoints"][0]["relabelings"]:
        source = rule.get("sourceLabels", [""])[0].removeprefix("__meta_kubernetes_pod_label_")
        for label, value in pod(workload)["metadata"]["labels"].items():
            if re.sub(r"\W", "_", label) == source:
                made[rule["targetLabel"]] = value
    config = obskit.Config.from_env(expanded(workload))
    assert made == {
        "service_name": config.service_name,
        "service_namespace": config.service_namespace,
        "deployment_environment_name": config.environment,
    }
    (service,) = [
        each
        for each in of_kind(OBJECTS, "Service")
        if selects(monitor["spec"]["selector"]["matchLabels"], each["metadata"]["labels"])
    ]
    port = monitor["spec"]["endpoints"][0]["port"]
    target = next(each["targetPort"] for each in service["spec"]["ports"] if each["name"] == port)
    ports = {each["name"]: each["containerPort"] for each in container(workload)["ports"]}
    assert ports[target] == config.admin_port
    assert monitor["spec"]["endpoints"][0]["path"] == config.metrics_path


@pytest.mark.parametrize("workload", SERVICES, ids=name_of)
def test_its_probes_are_obskits(workload):
    config, only = obskit.Config.from_env(expanded(workload)), container(workload)
    asked = [only[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe", "startupProbe")]
    assert asked == [config.live_path, config.ready_path, config.startup_path]
    assert {only[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe", "startupProbe")} == {"http"}


@pytest.mark.parametrize("workload", SERVICES, ids=name_of)
def test_the_stop_fits_into_the_grace_period(workload):
    config, spec = obskit.Config.from_env(expanded(workload)), pod(workload)["spec"]
    sleep = container(workload)["lifecycle"]["preStop"]["sleep"]["seconds"]
    text = (K8S / "service/deployment.yaml").read_text()
    said = re.search(r"preStop (\d+) \+ .* (\d+) \+ the longest request (\d+) \+ .* (\d+) = (\d+)", text)
    assert [int(each) for each in said.groups()[:2]] == [sleep, config.drain_seconds]
    assert int(said[4]) == config.shutdown_seconds
    assert int(said[5]) == sum(map(int, said.groups()[:4])) <= spec["terminationGracePeriodSeconds"]
    # Long enough for a probe to have failed, and for whoever watches endpoints to have heard of it.
    ready = container(workload)["readinessProbe"]
    assert sleep + config.drain_seconds >= ready["periodSeconds"] * ready["failureThreshold"]


@pytest.mark.parametrize("workload", SERVICES, ids=name_of)
def test_its_spans_go_to_the_agent_of_its_node(workload):
    agent = next(each for each in of_kind(OBJECTS, "Service") if each["metadata"]["name"] == "agent")
    assert agent["spec"]["internalTrafficPolicy"] == "Local"
    port = next(each["port"] for each in agent["spec"]["ports"] if each["name"] == "otlp-http")
    endpoint = expanded(workload)["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert endpoint == f"http://agent.{agent['metadata']['namespace']}:{port}"
