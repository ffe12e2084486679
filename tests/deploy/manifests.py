"""Objects of Kubernetes: read, held to their schemas, and to what any of them must have."""

import re

import kubernetes_validate
import yaml
from composed import ROOT

K8S = ROOT / "collector-config/k8s"
#: The oldest that has all that is used (preStop's sleep), and the newest whose schemas there are.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
OPERATORS = "monitoring.coreos.com/"
KUSTOMIZE = "kustomize.config.k8s.io/"


def documents(text):
    return [each for each in yaml.safe_load_all(text) if each]


def files():
    return sorted(K8S.rglob("*.yaml"))


def shipped():
    """Every object as its file has it, kustomizations left out."""
    found = [each for file in files() for each in documents(file.read_text())]
    return [each for each in found if not each["apiVersion"].startswith(KUSTOMIZE)]


def name_of(document):
    return f"{document['kind']}/{document['metadata']['name']}"


def of_kind(documents, *kinds):
    return [each for each in documents if each["kind"] in kinds]


def workloads(documents):
    return of_kind(documents, "Deployment", "StatefulSet", "DaemonSet")


def pod(workload):
    return workload["spec"]["template"]


def container(workload):
    (only,) = pod(workload)["spec"]["containers"]
    return only


def environment(workload):
    """The variables of the container, in their order: a value, or the path that it comes from."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(workload).get("env", [])}


def wrong(document):
    """What the schemas of Kubernetes say against an object; fields that they do not know are wrong."""
    found = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            found.append(f"{name_of(document)} in {version}: {'.'.join(map(str, error.path))}: {error.message}")
    return found


def not_restricted(workload):
    """What the pod security standard `restricted`, and we, do not allow."""
    spec, only = pod(workload)["spec"], container(workload)
    allowed = {
        "configMap",
        "emptyDir",
        "persistentVolumeClaim",
        "projected",
        "secret",
        "downwardAPI",
        "csi",
        "ephemeral",
    }
    pods, its = spec["securityContext"], only["securityContext"]
    rules = {
        "runs as root": pods["runAsNonRoot"] and pods["runAsUser"] > 0,
        "has no seccomp profile": pods["seccompProfile"] == {"type": "RuntimeDefault"},
        "may become another": its["allowPrivilegeEscalation"] is False,
        "has capabilities": its["capabilities"] == {"drop": ["ALL"]},
        "writes to its image": its["readOnlyRootFilesystem"],
        "has the host's network or processes": not {"hostNetwork", "hostPID", "hostIPC"} & set(spec),
        "has a port of the host": not any("hostPort" in port for port in only["ports"]),
        "has a volume of another kind": all(set(each) - {"name"} <= allowed for each in spec["volumes"]),
        "has a token of the cluster": spec["automountServiceAccountToken"] is False,
        "has variables of services by accident": spec["enableServiceLinks"] is False,
    }
    return [f"{name_of(workload)} {rule}" for rule, holds in rules.items() if not holds]


def selects(selector, labels):
    return selector.items() <= labels.items()


def mebibytes(quantity):
    number, unit = re.fullmatch(r"(\d+)([MG]i)", quantity).groups()
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]
