"""Who may do what at the broker and at Valkey: the owner writes, the named readers read, nobody else does anything."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
from fleet_bus.address import KafkaAddress
from fleet_bus.admin import admin_client, create_topics, delete_records, delete_topics
from fleet_bus.kafka import TopicPartition, consumer, errors, producer, started
from fleet_contracts.topics import (
    STRATEGY_SIGNALS,
    TOPICS,
    TRADING_ORDER_COMMANDS,
    VENUE_INTERNAL_COMMANDS,
    VENUE_PAPER_COMMANDS,
    Reading,
)
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.kafka_access import admin_of, bindings, ensure_access, remove_access, wait_known
from fleet_launcher.keys import COMMAND_KEY
from fleet_launcher.places import StateDir
from fleet_launcher.ports import kept_ports
from fleet_launcher.services import SERVICES
from fleet_launcher.stack import Endpoints
from fleet_launcher.valkey import Valkey
from fleet_testkit.eventually import eventually
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ResponseError

NAMES = [*(service.name for service in SERVICES), COMMAND_KEY]


@dataclass(frozen=True)
class Broker:
    """The shared broker with all topics, users and rights of a fleet under a prefix."""

    url: str
    prefix: str
    passwords: dict[str, str]

    def of(self, name: str, password: str | None = None) -> str:
        return str(KafkaAddress.parse(self.url).of(self.prefix + name, password or self.passwords[name]))

    def place(self, topic: str) -> TopicPartition:
        return TopicPartition(self.prefix + topic, 0)

    async def write(self, name: str, topic: str) -> None:
        async with producer(self.of(name), "test") as client:
            await (await client.send(self.prefix + topic, b"{}", partition=0))

    async def read(self, name: str, topic: str, group: str | None = None) -> None:
        client = consumer(self.of(name), "test", group=group and self.prefix + group)
        client.assign([self.place(topic)])
        async with started(client):
            if group:
                await client.commit({self.place(topic): 0})
            else:
                client.seek(self.place(topic), 0)
            await client.getmany(timeout_ms=500)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def broker(native_stack: Endpoints) -> AsyncIterator[Broker]:
    made = Broker(
        native_stack.kafka_url,
        f"access-{secrets.token_hex(4)}.",
        {name: secrets.token_urlsafe() for name in NAMES},
    )
    await create_topics(made.url, TOPICS, prefix=made.prefix)
    await ensure_access(made.url, made.passwords, prefix=made.prefix)
    yield made
    await remove_access(made.url, NAMES, prefix=made.prefix)
    await delete_topics(made.url, TOPICS, prefix=made.prefix)


@pytest.mark.parametrize("name", NAMES)
def test_the_broker_lets_each_service_do_what_the_contracts_say_and_no_more(broker: Broker, name: str) -> None:
    """Asked of the broker itself, as that service."""
    admin = admin_of(KafkaAddress.parse(broker.of(name)))
    asked = admin.describe_topics(
        TopicCollection([broker.prefix + topic.name for topic in TOPICS]), include_authorized_operations=True
    )
    for topic in TOPICS:
        reading = {reader.reading for reader in topic.readers if reader.service == name}
        expected = {AclOperation.WRITE, AclOperation.DESCRIBE} if topic.owner == name else set()
        expected |= {AclOperation.READ, AclOperation.DESCRIBE} if reading else set()
        if Reading.WORK in reading and topic is VENUE_INTERNAL_COMMANDS:
            expected.add(AclOperation.DELETE)  # the journal, behind its snapshots
        if name in ("exchange-connector", "cli"):
            expected.add(AclOperation.DESCRIBE)  # who asks whether the fleet is at rest
        answer = asked[broker.prefix + topic.name]
        if expected:
            assert set(answer.result(10).authorized_operations) == expected, topic.name
        else:
            with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
                answer.result(10)


async def test_only_the_owner_writes(broker: Broker) -> None:
    await broker.write("trading", TRADING_ORDER_COMMANDS.name)
    for other in ("strategy", "execution"):  # a stranger, and the reader
        with pytest.raises(errors.TopicAuthorizationFailedError):
            await broker.write(other, TRADING_ORDER_COMMANDS.name)
    with pytest.raises(errors.ClusterAuthorizationFailedError):  # it may write nothing, so it is no producer at all
        await broker.write(COMMAND_KEY, TRADING_ORDER_COMMANDS.name)


async def test_only_the_named_readers_read_each_in_groups_of_its_own(broker: Broker) -> None:
    await broker.read("core-engine", STRATEGY_SIGNALS.name)
    await broker.read("core-engine", STRATEGY_SIGNALS.name, group="core-engine.signals")
    with pytest.raises(errors.TopicAuthorizationFailedError):
        await broker.read("gateway", STRATEGY_SIGNALS.name)
    with pytest.raises(errors.GroupAuthorizationFailedError):
        await broker.read("core-engine", STRATEGY_SIGNALS.name, group="execution.signals")


async def test_only_the_journals_reader_trims_it(broker: Broker) -> None:
    await delete_records(broker.of("matching-engine"), {broker.place(VENUE_INTERNAL_COMMANDS.name): 0})
    await broker.write("execution", VENUE_PAPER_COMMANDS.name)
    with pytest.raises(errors.NotLeaderForPartitionError):  # the client's word for a topic that it may not see
        await delete_records(broker.of("matching-engine"), {broker.place(VENUE_PAPER_COMMANDS.name): 1})
    client = consumer(broker.of("exchange-connector"), "test")
    async with started(client):
        assert await client.beginning_offsets([place := broker.place(VENUE_PAPER_COMMANDS.name)]) == {place: 0}


async def test_no_service_makes_topics(broker: Broker) -> None:
    with pytest.raises(errors.TopicAuthorizationFailedError):
        await create_topics(broker.of("trading"), [replace(TRADING_ORDER_COMMANDS, name="trading.more")])


async def test_who_does_not_say_who_he_is_or_lies_gets_nothing(broker: Broker) -> None:
    plain = KafkaAddress.parse(broker.url).servers
    for url in (plain, broker.of("trading", "a guess"), broker.of("nobody", "a guess")):
        with pytest.raises(errors.KafkaConnectionError):
            async with admin_client(url):
                pass


async def test_rights_that_are_not_wanted_any_more_are_taken_away(broker: Broker) -> None:
    admin = admin_of(KafkaAddress.parse(broker.url))
    wrong = next(iter(bindings(["strategy"], broker.prefix)))
    wrong.name = broker.prefix + TRADING_ORDER_COMMANDS.name
    for done in admin.create_acls([wrong]).values():
        done.result(10)
    await ensure_access(broker.url, broker.passwords, prefix=broker.prefix)
    there = admin.describe_acls(
        AclBindingFilter(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            wrong.principal,
            None,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
    )
    assert set(there.result(10)) == bindings(["strategy"], broker.prefix)


async def test_a_user_who_may_not_give_rights_is_told_so_in_one_line(broker: Broker) -> None:
    with pytest.raises(LaunchFailure, match=f"{broker.prefix}trading, the user of FLEET_KAFKA_URL, must be allowed"):
        await ensure_access(broker.of("trading"), broker.passwords, prefix=broker.prefix)


async def test_users_that_the_broker_does_not_learn_of_end_the_launch(broker: Broker) -> None:
    admin = admin_of(KafkaAddress.parse(broker.url))
    with pytest.raises(LaunchFailure, match="does not know nobody after"):
        wait_known(admin, {"nobody", f"{broker.prefix}trading"}, timeout_s=0)


async def test_each_service_has_its_own_corner_of_valkey(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    port = kept_ports(state, ["valkey"])["valkey"]
    server = Valkey(state, port, "everything", {"gateway": "one", "auth": "two"})
    server.start()
    try:
        async with Redis.from_url(f"redis://gateway:one@127.0.0.1:{port}/0") as gateway:
            await gateway.set("gateway:a", 1)
            assert await gateway.eval("return redis.call('GET', KEYS[1])", 1, "gateway:a") == b"1"
            for forbidden in (
                lambda: gateway.get("auth:a"),
                lambda: gateway.eval("return redis.call('GET', 'auth:a')", 0),
                lambda: gateway.publish("auth:news", "x"),
                gateway.flushall,
                lambda: gateway.config_get("*"),
                lambda: gateway.keys("*"),
                gateway.shutdown,
            ):
                with pytest.raises(ResponseError, match=r"No permissions|has no permissions"):
                    await forbidden()
        for stranger in ("", ":everything@", "auth:one@", "nobody:x@"):
            async with Redis.from_url(f"redis://{stranger}127.0.0.1:{port}/0") as client:
                with pytest.raises(AuthenticationError):
                    await client.ping()
        assert "everything" not in (tmp_path / "valkey" / "valkey.conf").read_text()
        before = server.pid
        Valkey(state, port, "everything", {"gateway": "one"}).start()  # other users: it is started anew
        await eventually(lambda: server.pid not in (None, before))
    finally:
        server.stop()
