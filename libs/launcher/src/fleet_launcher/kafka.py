"""Apache Kafka as one KRaft node on 127.0.0.1, that asks everybody who he is.

The one user named here, by his password in the broker's own settings, is the broker itself, its controller and the
launcher, who may do everything; the services' users and rights are made by him (`kafka_access`).
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import time
import uuid
from pathlib import Path

from fleet_launcher import processes
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.java import find_java
from fleet_launcher.places import StateDir, write_private
from fleet_launcher.ports import HOST

# What one node on a small machine needs; with these it stays at about 320 MB and starts in 2 to 6 s.
_JVM = (
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)
CLASS_ARCHIVE = "kafka.jsa"
_SUPER_USER = "fleet"
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 20.0


class Kafka:
    """The broker of one state folder. `start` returns when a topic could be made and a message read back."""

    name = "kafka"

    def __init__(
        self,
        state: StateDir,
        jars: list[Path],
        port: int,
        controller_port: int,
        password: str,
        *,
        jvm: tuple[str, ...] | None = None,
    ) -> None:
        """`jvm`: more options of the JVM; by default the class archive beside the jars, where there is one."""
        archive = jars[0].parent / CLASS_ARCHIVE
        use_archive = (f"-XX:SharedArchiveFile={archive}",) if archive.exists() else ()
        self._jvm = (*_JVM, *(use_archive if jvm is None else jvm))
        self._state = state
        self._jars = jars
        self._folder = state.path / "kafka"
        self._log = state.logs / "kafka.log"
        self._ports = (port, controller_port)
        self._password = password
        self.url = f"kafka://{_SUPER_USER}:{password}@{HOST}:{port}?mechanism=PLAIN"

    @property
    def pid(self) -> int | None:
        process = processes.running(self._state, self.name)
        return process.pid if process else None

    def start(self) -> None:
        properties, settings = self._folder / "server.properties", self._properties()
        if self.pid is not None:
            if properties.read_text() == settings:
                self._wait_ready()
                return
            self.stop()  # it was started by an earlier version of us, with settings that clients do not fit any more
        java = find_java()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        write_private(properties, settings)
        if not (self._folder / "data" / "meta.properties").exists():
            self._format(java, properties)
        processes.spawn(
            self._state,
            self.name,
            [java, *self._jvm, "-cp", self._class_path(), "kafka.Kafka", properties],
            log=self._log,
        )
        self._wait_ready()

    def stop(self) -> None:
        processes.stop(self._state, self.name, timeout_s=_STOP_TIMEOUT_S)

    def _format(self, java: Path, properties: Path) -> None:
        # Begins with an A, since the tool takes an id that begins with "-" (one of 64 does) for an option.
        cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        command: list[str | Path] = [java, *_JVM, "-cp", self._class_path(), "kafka.tools.StorageTool", "format"]
        done = subprocess.run(  # noqa: S603 - our own words
            [*command, "-t", cluster, "-c", properties], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0:
            self._log.write_text(done.stdout + done.stderr)
            raise LaunchFailure(
                f"Kafka's data folder could not be made: {processes.last_lines(self._log, 1)}", f"See {self._log}"
            )

    def _wait_ready(self) -> None:
        # Here, not above: its import takes half a second, and by now Kafka uses that time to start.
        from fleet_bus.probe import broker_answers

        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.pid is None:
                raise LaunchFailure(
                    f"Kafka ended while it started: {processes.last_lines(self._log)}",
                    f"See {self._log}; `fleet reset` starts from nothing",
                )
            if asyncio.run(broker_answers(self.url, timeout_s=10.0)):
                return
            time.sleep(0.1)
        raise LaunchFailure(f"Kafka did not answer within {_START_TIMEOUT_S:.0f} s", f"See {self._log}")

    def _class_path(self) -> str:
        return ":".join(str(jar) for jar in self._jars)

    def _properties(self) -> str:
        port, controller_port = self._ports
        user = f'username="{_SUPER_USER}" password="{self._password}" user_{_SUPER_USER}="{self._password}"'
        plain = f"org.apache.kafka.common.security.plain.PlainLoginModule required {user};"
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{controller_port}",
            "listeners": f"CLIENT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
            "advertised.listeners": f"CLIENT://{HOST}:{port}",
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": plain,
            "listener.name.controller.plain.sasl.jaas.config": plain,
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.client.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": f"User:{_SUPER_USER}",
            "log.dirs": self._folder / "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # After a kill -9 the controller takes the broker back only when its old session has ended (9 s by default).
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 1000,
            # A group of one member need not wait for others before its first assignment.
            "group.initial.rebalance.delay.ms": 0,
            "num.network.threads": 2,
            "num.io.threads": 4,
            # The defaults (128 MB for the cleaner, 10 MB of index a segment) are meant for a large broker.
            "log.cleaner.dedupe.buffer.size": 8 << 20,
            "log.index.size.max.bytes": 1 << 20,
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())
