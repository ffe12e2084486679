"""A Kafka broker of a test: the real one, controller and broker in one process, on loopback, with its log in a folder."""

import base64
import os
import signal
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path

from backends import program
from collectors import free_port


class Broker:
    """One KRaft node; `stop` and `start` keep what it has on disk."""

    def __init__(self, folder, partitions=4):
        self.port, controller = free_port(), free_port()
        self.folder = Path(folder) / "kafka"
        self.folder.mkdir(parents=True)
        self.log = self.folder / "log"
        self.process = None
        self._properties = self.folder / "server.properties"
        self._properties.write_text(
            "\n".join(
                (
                    "process.roles=broker,controller",
                    "node.id=1",
                    f"controller.quorum.voters=1@127.0.0.1:{controller}",
                    f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
                    "controller.listener.names=CONTROLLER",
                    f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}",
                    f"log.dirs={self.folder / 'data'}",
                    f"num.partitions={partitions}",
                    "offsets.topic.num.partitions=1",
                    "offsets.topic.replication.factor=1",
                    "transaction.state.log.replication.factor=1",
                    "transaction.state.log.min.isr=1",
                    "group.initial.rebalance.delay.ms=0",
                )
            )
        )
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties)).wait(60)

    @property
    def address(self):
        """What KAFKA_BROKERS is set to."""
        return f"127.0.0.1:{self.port}"

    def _java(self, *arguments):
        command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{program('kafka')}/*"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*command, *arguments],
                env={"PATH": os.environ["PATH"]},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(self, within=60):
        self.process = self._java("kafka.Kafka", str(self._properties))
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            time.sleep(0.1)
        msg = f"Kafka did not start: {self.log.read_text(errors='replace')[-3000:]}"
        raise RuntimeError(msg)

    def stop(self):
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        self.process = None
