"""A broker that takes its clients over TLS only, as one given by URL may: the fleet's users, their rights, their buses."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from fleet_bus import Bus, Received, Watch
from fleet_bus.address import KafkaAddress
from fleet_bus.admin import create_topics
from fleet_bus.probe import broker_answers
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_contracts.audit import AdminActed
from fleet_contracts.topics import TRADING_AUDIT
from fleet_launcher.environment import kafka_url
from fleet_launcher.jars import ensure_jars
from fleet_launcher.kafka import Kafka
from fleet_launcher.kafka_access import ensure_access
from fleet_launcher.places import JARS, StateDir
from fleet_launcher.ports import kept_ports
from fleet_launcher.stack import Endpoints
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import MakeDatabase
from fleet_testkit.peers import BUS_MIGRATIONS, Process

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


class KafkaOverTls(Kafka):
    """The launcher's broker, with a certificate of an authority that nobody else knows."""

    def __init__(self, state: StateDir) -> None:
        ports = kept_ports(state, ["kafka", "kafka-controller"])
        super().__init__(state, ensure_jars(JARS), ports["kafka"], ports["kafka-controller"], secrets.token_urlsafe())
        authority = trustme.CA()
        self._trusted, self._own = state.path / "ca.pem", state.path / "broker.pem"
        authority.cert_pem.write_to_path(self._trusted)
        certificate = authority.issue_cert("127.0.0.1")
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        chain = b"".join(one.bytes() for one in certificate.cert_chain_pems)
        self._own.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain)
        self.url = self.url.replace("kafka://", "kafkas://") + f"&ca={self._trusted}"

    def _properties(self) -> str:
        stores = {"keystore": self._own, "truststore": self._trusted}
        lines = [f"ssl.{name}.{key}={value}\n" for name, file in stores.items() for key, value in pem(file)]
        return super()._properties().replace("CLIENT:SASL_PLAINTEXT", "CLIENT:SASL_SSL") + "".join(lines)


def pem(file: Path) -> list[tuple[str, object]]:
    return [("type", "PEM"), ("location", file)]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StateDir, str]]:
    state = StateDir(tmp_path_factory.mktemp("tls"))
    state.prepare()
    kafka = KafkaOverTls(state)
    kafka.start()
    try:
        yield state, kafka.url
    finally:
        kafka.stop()


async def test_services_speak_to_it_as_themselves(broker: tuple[StateDir, str], make_database: MakeDatabase) -> None:
    """topics and users made over TLS → trading's outbox goes out → auth hears it; each by the URL that the launcher gives"""
    state, url = broker
    endpoints = Endpoints(url, "", "")
    await create_topics(url, [TRADING_AUDIT])
    await ensure_access(url, {name: state.secret(f"kafka {name}") for name in ("trading", "auth")}, prefix="")
    urls = {name: kafka_url(state, endpoints, name, "") for name in ("trading", "auth")}
    assert KafkaAddress.parse(urls["auth"]).protocol == "SASL_SSL"
    heard: list[Received[Any]] = []
    reader = Bus(Process("auth", urls["auth"], ""), None)
    reader.add(Watch("hears", (TRADING_AUDIT,), heard.append))
    acted = AdminActed(
        actor="cli:ada",
        action="limits.set",
        target="system",
        changes=(),
        reason=None,
        request_id=None,
        at=datetime.now(UTC),
    )
    async with Database(await make_database([BUS_MIGRATIONS]), application_name="tls") as database:
        writer = Bus(Process("trading", urls["trading"], ""), database)
        async with writer.running(Health()), reader.running(Health()):
            await eventually(lambda: reader.ready() is None, 20)
            async with writer.transaction() as tx:
                tx.publish(TRADING_AUDIT, acted.target, acted)
            await eventually(lambda: [one.message for one in heard] == [acted], 20)


async def test_who_does_not_know_its_authority_or_speaks_no_tls_gets_nothing(broker: tuple[StateDir, str]) -> None:
    _, url = broker
    strangers = [url.partition("&ca=")[0], url.partition("&ca=")[0].replace("kafkas://", "kafka://")]
    answers = await asyncio.gather(*(broker_answers(stranger, timeout_s=5) for stranger in strangers))
    assert answers == [False, False]
