"""compose.yaml and compose.ha.yaml: read by docker compose, and held to what the files promise."""

import json
import re
from importlib.resources import files

import jsonschema
import pytest
import yaml
from backends import versions
from composed import ROOT, STACKS, config, each_service, made, services, written

#: The image of each program that the tests of the stack run, and how it writes a version.
IMAGES = {
    "otel/opentelemetry-collector-contrib": ("otelcol", "{}"),
    "jaegertracing/jaeger": ("jaeger", "{}"),
    "prom/prometheus": ("prometheus", "v{}"),
    "prom/alertmanager": ("alertmanager", "v{}"),
    "grafana/loki": ("loki", "{}"),
    "apache/kafka": ("kafka", "{}"),
}
#: Images of programs that cannot be built here, so that no test has run them.
NOT_RUN = {
    "grafana/grafana": "cannot be built from modules; its dashboards and data sources are checked by its own types",
    "clickhouse/clickhouse-server": "its parser and engine run as chDB, in tests/stack/test_clickhouse.py",
}
#: What the images have that a health check can run, as their Dockerfiles at these versions say; the first are scratch or
#: distroless, without a shell.
HAS = {
    "otel/opentelemetry-collector-contrib": set(),
    "grafana/loki": {"/usr/bin/loki"},
    "jaegertracing/jaeger": {"wget"},  # alpine
    "prom/prometheus": {"promtool", "wget"},  # busybox
    "prom/alertmanager": {"amtool", "wget"},  # busybox
    "grafana/grafana": {"wget"},  # alpine
    "apache/kafka": {"nc"},  # alpine
    "clickhouse/clickhouse-server": {"clickhouse-client"},
}
#: Folders that an image brings, given to the user that it runs as: a new volume there takes over both.
OWNED = {
    "prom/prometheus": {"/prometheus": "65534"},
    "prom/alertmanager": {"/alertmanager": "65534"},
    "grafana/loki": {"/loki": "10001"},
    "grafana/grafana": {"/var/lib/grafana": "472"},
    "apache/kafka": {"/var/lib/kafka/data": "1000"},
    "clickhouse/clickhouse-server": {"/var/lib/clickhouse": "101"},
}
MIB = 2**20

service = pytest.mark.parametrize(("stack", "name"), each_service())


def image_of(this):
    repository, _, tag = this["image"].partition(":")
    return repository, tag


# -- docker compose itself --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_docker_compose_reads_it_and_has_nothing_to_say(stack):
    run = config(STACKS[stack], "--quiet")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("file", STACKS)
def test_it_is_of_the_schema_of_compose(file):
    schema = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(written(file))


def test_a_mistake_is_found(tmp_path):
    broken = tmp_path / "compose.yaml"
    broken.write_text((ROOT / "compose.yaml").read_text().replace("healthcheck:", "healthczech:"))
    run = config([broken], "--quiet")
    assert run.returncode != 0
    assert "healthczech" in run.stderr


def test_a_variable_without_a_value_would_be_said(tmp_path):
    broken = tmp_path / "compose.yaml"
    broken.write_text((ROOT / "compose.yaml").read_text().replace("${SAMPLE_PERCENT:-100}", "${SAMPLE_PERCENT}"))
    assert "SAMPLE_PERCENT" in config([broken], "--quiet").stderr


# -- images -----------------------------------------------------------------------------------------------------------


@service
def test_its_image_is_the_version_that_the_tests_of_the_stack_run(stack, name):
    repository, tag = image_of(services(stack)[name])
    if repository == "obskit-shop":
        builders = [each for each, this in services(stack).items() if "build" in this]
        assert builders == ["shop-gateway"]  # once, for all of them
        return
    assert re.search(r"\d+\.\d+\.\d+", tag), "not pinned to a version"
    if repository in NOT_RUN:
        return
    program, form = IMAGES[repository]
    program = "otelcol-clickhouse" if name == "clickhouse-writer" else program
    assert tag == form.format(versions()[program])


# -- what each service has --------------------------------------------------------------------------------------------


@service
def test_its_size_is_limited(stack, name):
    limits = services(stack)[name]["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= set(limits)


@service
def test_its_log_does_not_fill_the_disk(stack, name):
    assert services(stack)[name]["logging"] == {"driver": "local", "options": {"max-size": "10m", "max-file": "3"}}


@service
def test_it_starts_again_or_says_why_not(stack, name):
    this = services(stack)[name]
    assert this["restart"] == "unless-stopped" or (this["restart"] == "no" and this["x-no-restart"])


@service
def test_it_has_time_to_write_down_what_it_holds(stack, name):
    this = services(stack)[name]
    keeps = [m for m in this.get("volumes", []) if m["type"] == "volume" and this["restart"] != "no"]
    if keeps and name not in ("alertmanager", "grafana"):
        assert this["stop_grace_period"] in ("30s", "1m0s")


@service
def test_it_has_no_rights_that_it_does_not_need(stack, name):
    this = services(stack)[name]
    assert this["cap_drop"] == ["ALL"]
    assert this["security_opt"] == ["no-new-privileges:true"]
    if name == "volume-owner":
        assert this["network_mode"] == "none"
        assert this["cap_add"] == ["CHOWN", "DAC_OVERRIDE"]
    else:
        assert re.fullmatch(r"[1-9]\d*:\d+", this["user"])
        assert "cap_add" not in this


@service
def test_its_health_check_is_a_command_that_the_image_has(stack, name):
    this = services(stack)[name]
    repository, _ = image_of(this)
    check = this.get("healthcheck", {})
    if repository == "obskit-shop" and not check:
        return  # the image's own, see test_image.py
    if not check or check.get("disable"):
        assert this["x-no-healthcheck"]
        return
    assert check["test"][0] == "CMD", "there may be no shell"
    assert check["test"][1] in HAS[repository]
    assert check["start_interval"], "or `up` waits for a whole interval"


@service
def test_it_waits_for_health_where_there_is_a_check(stack, name):
    all_of = services(stack)
    for other, how in all_of[name].get("depends_on", {}).items():
        has_one = "x-no-healthcheck" not in all_of[other]
        ends = all_of[other]["restart"] == "no"
        expected = "service_completed_successfully" if ends else "service_healthy" if has_one else "service_started"
        assert how["condition"] == expected, other


@service
def test_its_ports_are_on_loopback_only(stack, name):
    for port in services(stack)[name].get("ports", []):
        assert port["host_ip"] == "127.0.0.1"


def test_no_port_is_published_twice():
    for stack in STACKS:
        published = [port["published"] for this in services(stack).values() for port in this.get("ports", [])]
        assert len(published) == len(set(published))


# -- files and volumes ------------------------------------------------------------------------------------------------


@service
def test_what_it_mounts_is_there_and_is_not_written_to(stack, name):
    for mount in services(stack)[name].get("volumes", []):
        if mount["type"] == "bind":
            assert mount["read_only"]
            assert (ROOT / mount["source"]).exists(), mount["source"]
            assert (ROOT / mount["source"]).is_relative_to(ROOT)


@service
def test_its_volumes_belong_to_its_user(stack, name):
    all_of = services(stack)
    given = {mount["source"] for mount in all_of["volume-owner"]["volumes"]}
    for mount in all_of[name].get("volumes", []):
        if mount["type"] != "volume" or name == "volume-owner":
            continue
        user = all_of[name]["user"].partition(":")[0]
        if mount["source"] in given:
            assert all_of["volume-owner"]["entrypoint"][2] == all_of[name]["user"]
            assert "volume-owner" in all_of[name]["depends_on"]
        else:
            assert OWNED[image_of(all_of[name])[0]][mount["target"]] == user


@service
def test_the_files_of_its_command_are_mounted(stack, name):
    this = services(stack)[name]
    binds = {m["target"]: m["source"] for m in this.get("volumes", []) if m["type"] == "bind"}
    for argument in this.get("command") or []:
        if found := re.match(r"--?config(?:\.file)?=(.+)", argument):
            folder, _, file = found[1].rpartition("/")
            assert (ROOT / binds[folder] / file).is_file(), argument


# -- variables --------------------------------------------------------------------------------------------------------

#: ${env:NAME} or ${env:NAME:-default} of the Collector and of Jaeger.
VARIABLE = re.compile(r"\$\{env:(\w+)(?::-((?:[^{}]|\{[^{}]*\})*))?\}")
ADDRESS = re.compile(r"(?:https?|tcp)://([\w-]+):(\d+)|([a-z][\w-]*):(\d+)$|hostname: ([\w-]+)$")


def configurations(this):
    """The files that a Collector or Jaeger is started with, and those that they name."""
    binds = {m["target"]: ROOT / m["source"] for m in this.get("volumes", []) if m["type"] == "bind"}
    for argument in this.get("command") or []:
        if argument.startswith("--config=/etc/"):
            folder, _, file = argument.removeprefix("--config=").rpartition("/")
            text = (binds[folder] / file).read_text()
            yield text
            yield from ((binds[folder] / part).read_text() for part in re.findall(r"\}/([\w-]+\.yaml)\}", text))


def uncommented(text):
    return re.sub(r"(^|\s)#.*", "", text)


@service
def test_each_variable_of_its_configuration_has_a_value(stack, name):
    this = services(stack)[name]
    for text in configurations(this):
        for variable, default in VARIABLE.findall(uncommented(text)):
            has_default = f"${{env:{variable}:-" in text
            assert has_default or variable in this["environment"], variable
            del default


@service
def test_what_it_sends_to_is_there(stack, name):
    all_of = services(stack)
    names = set(all_of) | {
        alias
        for each in all_of.values()
        for net in each.get("networks", {}).values()
        if net
        for alias in net["aliases"]
    }
    environment = all_of[name].get("environment", {})
    values = list(environment.values())
    for text in configurations(all_of[name]):
        values += [environment.get(variable, default) for variable, default in VARIABLE.findall(uncommented(text))]
    found = {next(filter(None, each.group(1, 3, 5))) for value in values if (each := ADDRESS.search(str(value)))}
    assert found - names - {"localhost"} == set()


@service
def test_each_variable_that_it_is_given_is_read(stack, name):
    """A name that is misspelt would be a setting that does nothing."""
    this = services(stack)[name]
    if "opentelemetry-collector" in this["image"]:
        text = "".join(configurations(this))
        idle = {"GOMEMLIMIT"} | ({"SAMPLE_PERCENT", "SAMPLING_QUEUE_BYTES"} if stack == "compose.ha.yaml" else set())
        assert {variable for variable in this["environment"] if f"env:{variable}" not in text} <= idle


@service
def test_a_collector_has_room_above_its_limit(stack, name):
    this = services(stack)[name]
    environment = this.get("environment", {})
    if limit := environment.get("MEMORY_LIMIT_MIB"):
        assert environment["GOMEMLIMIT"] == f"{limit}MiB"
        assert int(this["deploy"]["resources"]["limits"]["memory"]) >= (1.25 * int(limit) + 100) * MIB


def test_the_feature_gate_of_the_sampler_is_on():
    for stack in STACKS:
        for this in services(stack).values():
            if any("tail_sampling:" in text for text in configurations(this)):
                assert "--feature-gates=+processor.tailsamplingprocessor.usetracestate" in this["command"]


def test_grafana_has_each_variable_of_its_provisioning():
    environment = services("compose.yaml")["grafana"]["environment"]
    found = set()
    for file in (ROOT / "dashboards/provisioning").rglob("*.yaml"):
        found |= set(re.findall(r"(?<!\$)\$\{?([A-Z_]+)\}?", uncommented(file.read_text())))
    assert found
    assert found <= set(environment)


def test_grafana_finds_what_is_provisioned():
    grafana = services("compose.yaml")["grafana"]
    binds = {m["target"]: ROOT / m["source"] for m in grafana["volumes"] if m["type"] == "bind"}
    folders = {path.name for path in (ROOT / "dashboards/provisioning").iterdir()}
    assert {target.rpartition("/")[2] for target in binds if "/etc/grafana/provisioning/" in target} == folders
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    folder, _, file = home.rpartition("/")
    assert folder == grafana["environment"]["OBSKIT_DASHBOARDS"]
    assert (binds[folder] / file).is_file()


@pytest.mark.parametrize("stack", STACKS)
def test_prometheus_scrapes_what_the_stack_runs_and_nothing_else(stack):
    binds = {m["target"]: m["source"] for m in services(stack)["prometheus"]["volumes"] if m["type"] == "bind"}
    scraped = set()
    for name in ("services", "collectors", "backends", "alertmanagers"):
        file = binds.get(f"/etc/prometheus/targets/{name}.yaml", f"{binds['/etc/prometheus']}/targets/{name}.yaml")
        for block in yaml.safe_load((ROOT / file).read_text()):
            scraped |= {target.partition(":")[0] for target in block["targets"]}
    not_scraped = {"grafana", "kafka", "clickhouse", "volume-owner", "shop-load", "shop-alerts"}
    assert scraped == set(services(stack)) - not_scraped


def test_alerts_go_to_the_listener():
    address = (ROOT / "collector-config/prometheus/webhook-url").read_text().strip()
    assert address == "http://shop-alerts:8000/"
    assert services("compose.yaml")["shop-alerts"]["entrypoint"] == ["python", "-m", "examples.shop.alerts"]


def test_nobody_has_a_password():
    """Nothing to change and nothing to guess: Grafana has no administrator, and what has no login is on no port."""
    for stack in STACKS:
        for name, this in services(stack).items():
            assert not [each for each in this.get("environment", {}) if "PASSWORD" in each], name
        environment = services(stack)["grafana"]["environment"]
        assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
        assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    open_to_all = ("loki", "kafka", "clickhouse")
    assert not [name for name in open_to_all if "ports" in services("compose.ha.yaml")[name]]


def test_ports_and_the_share_can_be_chosen():
    chosen = made(STACKS["compose.yaml"], GRAFANA_PORT="3001", SAMPLE_PERCENT="10")
    assert chosen["grafana"]["ports"][0]["published"] == "3001"
    assert chosen["gateway"]["environment"]["SAMPLE_PERCENT"] == "10"


def test_the_first_tier_can_do_without_kafka():
    gateway = made(STACKS["compose.ha.yaml"], FIRST_TIER="gateway-lb")["gateway"]
    assert gateway["command"] == ["--config=/etc/otelcol/gateway-lb.yaml"]
    text = "".join(configurations(gateway))
    assert "SAMPLING_QUEUE_BYTES" in text
