"""That the lean Collectors have the components that the files use, and no others."""

import subprocess
from pathlib import Path

import pytest
import yaml
from backends import BUILDS, program

CONFIG = Path(__file__).resolve().parents[2] / "collector-config"
KINDS = ("receivers", "processors", "exporters", "connectors", "extensions")
MANIFESTS = {build.name: build.manifest for build in BUILDS if build.manifest}
#: Used by none, and why it is there.
BESIDES = {("exporters", "debug"): "to look into a pipeline"}


def documents(text):
    """The mappings of a file, and of the files that a ConfigMap holds."""
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict):
            yield document
            if document.get("kind") == "ConfigMap":
                for name, inner in document.get("data", {}).items():
                    yield from documents(inner) if name.endswith((".yaml", ".yml")) else ()


def used(paths):
    """(kind, type) of each component of the Collectors' files among `paths`."""
    collectors = [
        each for path in paths for each in documents(path.read_text()) if "service" in each and "spec" not in each
    ]
    return {(kind, name.partition("/")[0]) for each in collectors for kind in KINDS for name in each.get(kind) or {}}


@pytest.mark.parametrize("name", MANIFESTS)
def test_components_are_those_that_the_files_use(name):
    said = subprocess.run([program(name), "components"], capture_output=True, check=True, timeout=60).stdout
    has = {(kind, each["name"]) for kind in KINDS for each in yaml.safe_load(said).get(kind) or []}
    clickhouse = CONFIG / "clickhouse.yaml"
    found = {*CONFIG.glob("*.yaml"), *CONFIG.glob("k8s/**/*.yaml")}  # Jaeger is built on a Collector of its own
    files = {path for path in found if path != clickhouse and path not in MANIFESTS.values()}
    assert has - set(BESIDES) == used({clickhouse} if name == "otelcol-clickhouse" else files)
