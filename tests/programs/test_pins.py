"""That what is committed pins what the table of programs says."""

import backends
import builds
import pytest
import yaml

MODULES = builds.MODULES
MANIFESTS = {build.name: build for build in backends.BUILDS if build.manifest}


@pytest.mark.parametrize("name", MANIFESTS)
def test_go_mod_pins_what_the_manifest_names(name):
    manifest = yaml.safe_load(MANIFESTS[name].manifest.read_text())
    assert manifest["dist"]["name"] == name
    assert manifest["dist"]["version"] == MANIFESTS[name].version
    wanted = {entry["gomod"] for kind, entries in manifest.items() if kind != "dist" for entry in entries}
    pinned = {" ".join(line.split()[:2]) for line in (MODULES / name / "go.mod").read_text().splitlines()}
    assert wanted <= pinned, "see tests/stack/README.md for how go.mod follows the manifest"


def test_each_build_is_pinned_and_none_is_left_over():
    assert {build.name for build in backends.BUILDS} == {path.name for path in MODULES.iterdir()}
    for build in backends.BUILDS:
        files = {path.name for path in (MODULES / build.name).iterdir()}
        assert files == ({"pom.xml", "SHA256SUMS"} if build.make is builds.jars else {"go.mod", "go.sum"})


# Where a module is tagged otherwise than the release that is made of it.
TAGS = {"prometheus": "v0.314.0", "jaeger": "v1.76.0"}


@pytest.mark.parametrize("build", backends.BUILDS, ids=lambda build: build.name)
def test_versions_are_those_of_the_pins(build):
    assert backends.versions().keys() >= build.packages.keys()
    if build.manifest:
        return  # compared above
    if build.make is builds.jars:
        assert f"<version>{build.version}</version>" in (build.folder / "pom.xml").read_text()
        return
    required = (MODULES / build.name / "go.mod").read_text()
    for package in build.packages.values():
        module = package.partition("/cmd/")[0]
        assert f"\t{module} {TAGS.get(build.name, f'v{build.version}')}" in required


def test_the_table_of_the_readme_is_that_of_the_programs():
    lines = (MODULES.parent / "README.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines if line.startswith("|")]
    said = {name: version for names, version in cells for name in names.split(", ")}
    assert {name: said.get(name) for name in backends.versions()} == backends.versions()
