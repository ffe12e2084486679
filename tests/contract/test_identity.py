"""The resource, the same in all signals; and the names that stand on every line."""

import importlib.metadata
import logging
import uuid

import pytest

import obskit
from obskit import Config
from obskit.testing import capture

GIVEN = {
    "service_name": "orders",
    "service_version": "1.4.2",
    "service_namespace": "shop",
    "environment": "staging",
    "resource_attributes": {"team": "web", "host.name": "h1"},
}
FIXED = {
    "service.name": "orders",
    "service.version": "1.4.2",
    "service.namespace": "shop",
    "deployment.environment.name": "staging",
    "team": "web",
    "host.name": "h1",
    "telemetry.distro.name": "obskit",
    "telemetry.distro.version": obskit.__version__,
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": importlib.metadata.version("opentelemetry-sdk"),
}


def resource_of(captured):
    with obskit.operation("job"):
        pass
    return dict(captured.span("job").resource.attributes)


def target_info(captured):
    [found] = [s.labels for f in captured.obs.registry.collect() for s in f.samples if s.name == "target_info"]
    return found


def test_the_resource_is_what_is_given_and_what_obskit_adds():
    with capture(config=Config(**GIVEN)) as captured:
        resource = resource_of(captured)
        assert target_info(captured) == {name.replace(".", "_"): value for name, value in resource.items()}
    assert uuid.UUID(resource.pop("service.instance.id")).version == 4
    assert resource == FIXED


def test_what_is_not_given_is_not_in_the_resource():
    with capture(config=Config(service_name="not installed anywhere")) as captured:
        resource = resource_of(captured)
    added = {name for name in FIXED if name.startswith("telemetry.")}
    assert set(resource) == {"service.name", "service.instance.id"} | added


def test_each_init_is_another_instance_unless_one_is_given():
    seen = []
    for _ in range(2):
        with capture() as captured:
            seen.append(resource_of(captured)["service.instance.id"])
    assert seen[0] != seen[1]
    with capture(config=Config(resource_attributes={"service.instance.id": "pod-7"})) as captured:
        assert resource_of(captured)["service.instance.id"] == "pod-7"


def test_the_older_name_of_the_environment_is_read_and_never_written():
    config = Config.from_env({"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=old"})
    with capture(config=config) as captured:
        resource = resource_of(captured)
    assert resource["deployment.environment.name"] == "old"
    assert "deployment.environment" not in resource


@pytest.mark.parametrize("log", [obskit.get_logger, logging.getLogger])
def test_each_line_says_whose_it_is(log):
    with capture(config=Config(**GIVEN)) as captured:
        log("shop").warning("hello")
        with obskit.operation("job"):
            pass
        lines = [captured.line("hello"), captured.line("job ok")]
    for line in lines:
        said = {name: line[name] for name in FIXED if name in line}
        assert said == {
            name: FIXED[name] for name in ("service.name", "service.version", "deployment.environment.name")
        }


def test_names_that_are_not_given_are_not_on_lines():
    with capture() as captured:
        logging.getLogger("shop").warning("hello")
        line = captured.line("hello")
    assert not {"service.version", "deployment.environment.name"} & set(line)
