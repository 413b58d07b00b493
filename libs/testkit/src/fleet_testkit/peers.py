"""The rest of the fleet, as the service under test meets it: what it says on Kafka, hears there, and calls."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import aiohttp
import fleet_bus
from fleet_bus import Bus, Received, Watch
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_contracts import Message, Topic
from fleet_launcher.keys import ensure_keys
from fleet_launcher.places import StateDir

from fleet_testkit.eventually import eventually
from fleet_testkit.topics import topics_under

BUS_MIGRATIONS = Path(fleet_bus.__file__).with_name("migrations")

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Process:
    service: str
    kafka_url: str
    topic_prefix: str
    ordinal: int = 0
    feed: str = "simulated"


@dataclass(frozen=True)
class Keys:
    """A key pair for each named service and the command line, and the files a service is told of."""

    state: StateDir

    @classmethod
    def make(cls, folder: Path, *services: str) -> Keys:
        state = StateDir(folder)
        state.keys.mkdir(parents=True, exist_ok=True)
        ensure_keys(state, services)
        (folder / "instances.json").write_text(json.dumps({"instances": []}))
        return cls(state)

    def settings(self, service: str, database_url: str, kafka_url: str, **more: object) -> dict[str, object]:
        """The fields of a service's settings, without what its environment would add."""
        return {
            "service": service,
            "port": 0,
            "kafka_url": kafka_url,
            "database_url": database_url,
            "instances": self.state.path / "instances.json",
            "private_key_file": self.state.keys / f"{service}.pem",
            "public_keys_file": self.state.public_keys,
            **more,
        }

    def of_user(
        self,
        audience: str,
        user_id: UUID,
        *scopes: str,
        roles: Iterable[str] = ("trader",),
        more: Mapping[str, object] | None = None,
    ) -> dict[str, str]:
        """Headers of a request that the gateway forwards for this user; `more` are further claims."""
        claims = {"sub": user_id, "roles": sorted(roles), "scopes": sorted(scopes), "sid": "a-session"}
        return self.of_service("gateway", audience, {**claims, **(more or {})})

    def of_service(self, issuer: str, audience: str, claims: dict[str, Any] | None = None) -> dict[str, str]:
        """Headers of a call that this service makes."""
        signer = AssertionSigner(issuer, self.state.keys / f"{issuer}.pem")
        return {"Authorization": f"Bearer {signer.sign(audience, claims)}"}


@dataclass
class Peers:
    """Says what other services would say, through an outbox of its own, and remembers what is heard."""

    bus: Bus
    heard: list[Received[Any]] = field(default_factory=list)

    async def say(self, *said: tuple[Topic, str, Message], market_at: datetime | None = None) -> None:
        """Publishes (topic, key, message)s, in this order within a key."""
        async with self.bus.transaction() as tx:
            for topic, key, message in said:
                tx.publish(topic, key, message, market_at=market_at)

    def heard_of(self, message: type[M], key: str | None = None) -> list[M]:
        """The messages of this type, of this key, in the order they came."""
        return [
            received.message
            for received in self.heard
            if type(received.message) is message and key in (None, received.key)
        ]


@contextlib.asynccontextmanager
async def peers(
    database_url: str, kafka_url: str, prefix: str, *, topics: Sequence[Topic], hears: Sequence[Topic]
) -> AsyncIterator[Peers]:
    """Makes the topics under the prefix, runs until left, and deletes them. `database_url` has the bus's migrations."""
    async with (
        topics_under(prefix, kafka_url, (*topics, *hears)),
        Database(database_url, application_name="peers") as database,
    ):
        found = Peers(Bus(Process("peers", kafka_url, prefix), database))
        found.bus.add(Watch("hears", tuple(hears), found.heard.append))
        async with found.bus.running(Health()):
            await eventually(lambda: found.bus.ready() is None, 30)
            yield found


async def ready(url: str, timeout_s: float = 20.0) -> None:
    """Returns when the service says that it is ready."""

    async def answers() -> bool:
        async with aiohttp.ClientSession() as client, client.get(f"{url}/health/ready") as response:
            return response.status == 200

    await eventually(answers, timeout_s, what=f"{url} is ready")
