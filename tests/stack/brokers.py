"""A Kafka broker of a test: the real one, controller and broker in one process, on loopback, with its log in a folder."""

import base64
import socket
import uuid
from contextlib import suppress

from backends import program
from daemon import Daemon
from ports import free_port


class Broker(Daemon):
    """One KRaft node; `stop` and `start` keep what it has on disk."""

    def __init__(self, folder, partitions=4):
        super().__init__("kafka", folder)
        self.port, controller = free_port(), free_port()
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
        self.run(*self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", self._properties)).wait(60)

    @property
    def address(self):
        """What KAFKA_BROKERS is set to."""
        return f"127.0.0.1:{self.port}"

    def command(self):
        return self._java("kafka.Kafka", self._properties)

    def answers(self):
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def _java(self, *arguments):
        options = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{program('kafka')}/*")
        return ["java", *options, *arguments]
