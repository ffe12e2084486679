"""What compose.yaml tells each program, told to the real one: a flag, a file or a variable that it refuses fails here.

Each runs as the user that compose runs it as, who can write to its volumes and nowhere else, with the files that compose
mounts. Other than there: names of other services are 127.0.0.1, ports are free ones, and the programs are those of the tests.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress

import httpx
import pytest
from backends import program
from composed import ROOT, STACKS, as_user, services
from ports import free_port
from tables import show

PROGRAMS = {
    "otel/opentelemetry-collector-contrib": "otelcol",
    "jaegertracing/jaeger": "jaeger",
    "prom/prometheus": "prometheus",
    "prom/alertmanager": "alertmanager",
    "grafana/loki": "loki",
}
#: Why a service's command is not run here.
NOT_RUN = {
    "grafana": "cannot be built",
    "clickhouse": "cannot be built; its engine runs as chDB",
    "kafka": "by the image's own script; its variables are given to the broker below",
    "volume-owner": "a chown",
    "shop": "the image's own command, run in tests/deploy/test_image.py",
}
DEADLINE = 90


def runnable():
    """A service and the stack that it is of, once where both stacks run it alike."""
    found = {}
    for stack in STACKS:
        for name, made in services(stack).items():
            if made["image"].partition(":")[0] in PROGRAMS and name != "volume-owner":
                found.setdefault((name, str(made["command"])), (stack, name))
    return list(found.values())


class Service:
    """One service of compose, run without it."""

    def __init__(self, stack, name, folder):
        self.made = services(stack)[name]
        self.name = f"{name} of {stack}"
        self.starts = 0
        self.folder = folder
        self.log = folder / "log"
        binary = "otelcol-clickhouse" if name == "clickhouse-writer" else PROGRAMS[self.made["image"].partition(":")[0]]
        self.program, self.binary = binary, str(program(binary))
        self.places = {m["target"]: str(ROOT / m["source"]) for m in self.made["volumes"] if m["type"] == "bind"}
        for mount in self.made["volumes"]:
            if mount["type"] == "volume":
                self.places[mount["target"]] = str(self.owned(mount["source"]))

    def owned(self, name):
        """A folder of the user's own, as the volume is."""
        path = self.folder / name
        path.mkdir()
        if os.geteuid() == 0:
            os.chown(path, *map(int, self.made["user"].split(":")))
        return path

    def port(self, number):
        return self.ports.setdefault(number, free_port())

    def placed(self, text):
        """The paths of the container, as those here."""
        for target in sorted(self.places, key=len, reverse=True):
            text = re.sub(rf"(?<![\w/]){re.escape(target)}(?=/|$)", self.places[target], text)
        return text

    def here(self):
        """The command and the variables, on ports that are free at the moment."""
        self.ports, binary = {}, self.program
        command = [self.placed(each) for each in self.made["command"]]
        environ = {name: self.placed(str(value)) for name, value in self.made.get("environment", {}).items()}
        environ |= {"PATH": "/usr/bin:/bin", "HOSTNAME": self.made["hostname"], "HOME": "/"}
        grpc = f"127.0.0.1:{self.port(4317)}"
        if binary in ("prometheus", "alertmanager"):
            number = {"prometheus": 9090, "alertmanager": 9093}[binary]
            command += [f"--web.listen-address=127.0.0.1:{self.port(number)}"]
        elif binary == "loki":
            environ |= {"LOKI_HOST": "127.0.0.1", "LOKI_HTTP_PORT": str(self.port(3100))}
            environ |= {"LOKI_GRPC_PORT": str(self.port(9095)), "LOKI_DIRECTORY": self.places["/loki"]}
        else:
            environ |= {
                "OTLP_GRPC_ENDPOINT": grpc,
                "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{self.port(4318)}",
                "HEALTH_ENDPOINT": f"127.0.0.1:{self.port(13133)}",
                "SELF_METRICS_HOST": "127.0.0.1",
                "SELF_METRICS_PORT": str(self.port(8888)),
            }
            environ |= self.elsewhere(binary)
        return command, environ

    def elsewhere(self, binary):
        """What a Collector or Jaeger is not told by compose, for the defaults fit it: folders and the other services."""
        if binary == "jaeger":
            query = {"QUERY_HTTP_ENDPOINT": 16686, "QUERY_GRPC_ENDPOINT": 16685}
            found = {name: f"127.0.0.1:{self.port(number)}" for name, number in query.items()}
            return found | {"STORAGE_DIRECTORY": self.places["/var/lib/jaeger"]}
        nobody = f"127.0.0.1:{free_port()}"
        found = dict.fromkeys(("GATEWAY_ENDPOINT", "JAEGER_ENDPOINT", "KAFKA_BROKERS"), nobody)
        found |= dict.fromkeys(("PROMETHEUS_OTLP_ENDPOINT", "LOKI_OTLP_ENDPOINT"), f"http://{nobody}/otlp")
        found |= {"CLICKHOUSE_ENDPOINT": f"tcp://{nobody}", "OTLP_BACKEND_ENDPOINT": f"http://{nobody}"}
        found |= {
            "SAMPLING_RESOLVER": f"static: {{hostnames: ['{nobody}']}}",
            "CONFIG_DIRECTORY": self.places["/etc/otelcol"],
        }
        if queue := self.places.get("/var/lib/otelcol/queue"):
            found["QUEUE_DIRECTORY"] = queue
        return found

    def start(self):
        command, environ = self.here()
        self.starts += 1
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                as_user(self.made["user"], [self.binary, *command]),
                cwd="/",
                env=environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def ended(self):
        """Whether it has ended; if because somebody else had taken a port meanwhile, it is started again, on others."""
        if self.process.poll() is None:
            return False
        if self.starts < 3 and "address already in use" in self.log.read_text():
            self.start()
            return False
        return True

    def healthy(self):
        """What compose's own health check says; of a Collector, which has none, what its health extension does."""
        test = self.made.get("healthcheck", {}).get("test")
        if not test:
            test = ["CMD", "wget", "http://127.0.0.1:13133/"]
        command = [self.at_its_port(each) for each in test[1:]]
        if command[0] == "wget":
            with suppress(httpx.TransportError):
                return httpx.get(command[-1], timeout=5).is_success
            return False
        command[0] = str(program(command[0].rpartition("/")[2]))
        if "-health" in command:  # asks for the port that Loki has in compose
            command.append(f"-health.url=http://127.0.0.1:{self.port(3100)}/ready")
        return not subprocess.run(command, capture_output=True, timeout=20, check=False).returncode

    def at_its_port(self, text):
        return re.sub(r":(\d+)(?=/|$)", lambda match: f":{self.port(int(match[1]))}", text)

    def stop(self):
        """As docker stop does; gives its exit status."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        grace = int(re.match(r"\d+", self.made.get("stop_grace_period", "10s"))[0])
        try:
            return self.process.wait(grace + 20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            return "killed"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """All of them at once, side by side."""
    folder = tmp_path_factory.mktemp("compose")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    started = []
    try:
        for number, (stack, name) in enumerate(runnable()):
            place = folder / f"{number}-{name}"
            place.mkdir()
            started.append(Service(stack, name, place))
            started[-1].start()
        yield started
    finally:
        for each in started:
            each.stop()


def test_each_program_takes_its_command_as_its_user_and_is_healthy(running):
    waiting = {each.name: each for each in running}
    since, rows = time.monotonic(), []
    while waiting and time.monotonic() - since < DEADLINE:
        for name, each in list(waiting.items()):
            if each.process.poll() is not None or each.healthy():
                said = "ended" if each.process.poll() is not None else "healthy"
                rows.append((name, each.made["user"], said, shlex.join(each.made["command"])))
                del waiting[name]
        time.sleep(0.2)
    rows += [(name, each.made["user"], "not healthy", "") for name, each in waiting.items()]
    rows += [(name, "", "not run", why) for name, why in NOT_RUN.items()]
    show("Commands of compose, given to the real programs", ("service", "as", "is", "command"), rows)
    failed = {each.name for each in running if (each.name, "healthy") not in {(row[0], row[2]) for row in rows}}
    assert {each.name: each.log.read_text()[-2000:] for each in running if each.name in failed} == {}


def test_a_stream_of_loki_is_a_service_and_not_a_pod(running):
    (loki,) = (each for each in running if each.program == "loki")
    url = f"http://127.0.0.1:{loki.port(3100)}"
    identity = {"service.name": "orders", "service.namespace": "shop", "deployment.environment.name": "demo"}
    for pod in ("orders-1", "orders-2"):
        attributes = identity | {"k8s.pod.name": pod, "k8s.namespace.name": "shop", "service.instance.id": pod}
        record = {
            "timeUnixNano": str(time.time_ns()),
            "body": {"stringValue": "hello"},
            "traceId": "0af7651916cd43dd8448eb211c80319c",
        }
        resource = {"attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]}
        logs = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]}
        httpx.post(f"{url}/otlp/v1/logs", json=logs, timeout=10).raise_for_status()
    deadline, streams = time.monotonic() + 30, []
    while len(streams) < 1 and time.monotonic() < deadline:
        asked = {"match[]": '{service_name="orders"}'}
        streams = httpx.get(f"{url}/loki/api/v1/series", params=asked, timeout=10).json()["data"]
        time.sleep(0.2)
    assert streams == [{name.replace(".", "_"): value for name, value in identity.items()}]
    query = {"query": '{service_name="orders"} | k8s_pod_name="orders-2" | trace_id="0af7651916cd43dd8448eb211c80319c"'}
    found = httpx.get(f"{url}/loki/api/v1/query_range", params=query, timeout=10).json()["data"]["result"]
    assert sum(len(each["values"]) for each in found) == 1


def test_a_service_that_is_not_run_has_a_reason():
    names = {name for stack in STACKS for name in services(stack)} - {name for _, name in runnable()}
    assert {"shop" if name.startswith("shop-") else name for name in names} == set(NOT_RUN)


def test_each_ends_when_it_is_told_to(running):
    assert {each.name: code for each in running if (code := each.stop()) != 0} == {}


def test_a_flag_that_is_refused_would_be_seen(tmp_path):
    made = Service("compose.yaml", "prometheus", tmp_path)
    command = [made.binary, *made.here()[0], "--web.no-such-flag"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode != 0
    assert "no-such-flag" in run.stderr


def test_kafka_takes_its_variables(tmp_path):
    """As the image's script does: each is a property, KAFKA_LOG_DIRS is log.dirs. On loopback, as all here."""
    given = dict(services("compose.ha.yaml")["kafka"]["environment"])
    client, controller = str(free_port()), str(free_port())
    heap = given.pop("KAFKA_HEAP_OPTS").split()
    lines = []
    for name, value in given.items():
        here = str(value).replace("9092", client).replace("9093", controller).replace("kafka:", "127.0.0.1:")
        here = here.replace("//:", "//127.0.0.1:").replace("/var/lib/kafka/data", str(tmp_path / "data"))
        lines.append(f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={here}")
    (tmp_path / "server.properties").write_text("\n".join(lines))
    java = ["java", *heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{program('kafka')}/*"]
    settings = str(tmp_path / "server.properties")
    format_ = [*java, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c", settings]
    subprocess.run(format_, cwd=tmp_path, capture_output=True, timeout=60, check=True)
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*java, "kafka.Kafka", settings], cwd=tmp_path, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline, opened = time.monotonic() + DEADLINE, False
        while not opened and process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", int(client)), timeout=1):
                opened = True  # what `nc -z`, the health check, asks
            time.sleep(0.1)
        assert opened, log.read_text()[-2000:]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
    said = log.read_text()
    assert "Kafka Server started" in said
    assert "ERROR" not in said
    for line in lines:  # the broker lists what it has read, unknown names left out
        name, _, value = line.partition("=")
        assert re.search(rf"\b{re.escape(name)} = \[?{re.escape(value.split(',')[0])}", said), line


def test_tools_are_there():
    assert os.geteuid() != 0 or shutil.which("setpriv"), "to run each as its own user"
