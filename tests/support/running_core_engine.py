"""core-engine as it runs, on the real Kafka and PostgreSQL, with the rest of the fleet around it."""

import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
from fleet_contracts import data
from fleet_contracts.topics import (
    CORE_ENGINE_ALERTS,
    CORE_ENGINE_AUDIT,
    CORE_ENGINE_MARKET,
    CORE_ENGINE_ORDER_REQUESTS,
    CORE_ENGINE_SIGNAL_OUTCOMES,
    CORE_ENGINE_STATE,
    DATA_INSTRUMENTS,
    DATA_QUOTES,
    TOPICS,
)
from fleet_core_engine.app import create_app
from fleet_core_engine.settings import Settings
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import KafkaForTests, MakeDatabase
from fleet_testkit.http import served
from fleet_testkit.peers import BUS_MIGRATIONS, Keys, Peers, peers, ready

CALLED = ("core-engine", "gateway", "trading", "execution", "exchange-connector", "matching-engine")
ADMIN, OTHER_ADMIN = UUID(int=7), UUID(int=8)
MOST_SIGNALS = 5
WRITES = (
    CORE_ENGINE_ALERTS,
    CORE_ENGINE_AUDIT,
    CORE_ENGINE_MARKET,
    CORE_ENGINE_ORDER_REQUESTS,
    CORE_ENGINE_SIGNAL_OUTCOMES,
    CORE_ENGINE_STATE,
)


def unique(*names: str) -> list[str]:
    """A symbol of its own for each."""
    return [f"{name}{uuid4().hex[:6].upper()}/USD" for name in names]


def second_factor() -> dict[str, object]:
    """Of a caller who has just shown one."""
    return {"mfa_at": int(time.time())}


@dataclass
class CoreEngine:
    keys: Keys
    others: Peers
    settings: Settings
    url: str = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs it anew on the same database."""
        async with served(create_app(self.settings)) as self.url:
            await ready(self.url)
            yield

    def admin(self, user_id: UUID = ADMIN) -> dict[str, str]:
        return self.keys.of_user(
            "core-engine", user_id, "read", "trade", "admin", roles=["admin"], more=second_factor()
        )

    def trader(self) -> dict[str, str]:
        return self.keys.of_user("core-engine", uuid4(), "read", "trade")

    def list_instances(self, instances: dict[str, str]) -> None:
        """`{"trading-0": url, ...}` is the fleet from now on."""
        listed = []
        for name, url in instances.items():
            service, _, ordinal = name.rpartition("-")
            listed.append({"name": service, "ordinal": int(ordinal), "url": url})
        (self.keys.state.path / "instances.json").write_text(json.dumps({"instances": listed}))

    async def define(self, symbol: str, *, calendar: str = "24/7", stale_in: timedelta = timedelta(seconds=10)) -> None:
        instrument = data.InstrumentDefined(
            symbol=symbol,
            name=symbol,
            asset_class="stock",
            base=symbol.split("/")[0],
            quote="USD",
            tick_size=Decimal("0.0001"),
            lot_size=Decimal(1),
            min_quantity=Decimal(1),
            min_notional=Decimal(0),
            maker_fee=Decimal("0.001"),
            taker_fee=Decimal("0.001"),
            calendar=calendar,
            venues=("paper",),
            reference_venue="paper",
            simulated=True,
            version=1,
        )
        now = datetime.now(UTC)
        quote = data.BestQuote(
            symbol=symbol,
            venue="paper",
            bid=Decimal(99),
            bid_size=Decimal(10),
            ask=Decimal(100),
            ask_size=Decimal(10),
            last=Decimal(100),
            market_at=now,
            stale_after=now + stale_in,
        )
        await self.others.say((DATA_INSTRUMENTS, symbol, instrument), (DATA_QUOTES, symbol, quote))

    async def status(self, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """As a trader sees it, or whose headers they are."""
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{self.url}/api/v1/system/status", headers=headers or self.trader()) as response,
        ):
            assert response.status == 200
            told: dict[str, Any] = await response.json()
            return told

    async def kill_switch(self, by: UUID = ADMIN, **body: str) -> int:
        """The status with which it is answered; a symbol not known yet is asked for again."""

        async def answered() -> int:
            async with aiohttp.ClientSession() as client:
                response = await client.post(
                    f"{self.url}/api/v1/risk/kill-switch",
                    json={"reason": "a test", **body},
                    headers=self.admin(by),
                )
                return 0 if response.status == 422 else response.status

        return await eventually(answered)


@contextlib.asynccontextmanager
async def core_engine_at_rest(
    folder: Path, make_database: MakeDatabase, kafka: KafkaForTests
) -> AsyncIterator[CoreEngine]:
    """Its surroundings, with topics of its own; `folder` is for its keys."""
    keys = Keys.make(folder, *CALLED)
    prefix = kafka.unique("core-engine") + "."
    reads = [topic for topic in TOPICS if any(reader.service == "core-engine" for reader in topic.readers)]
    async with peers(await make_database([BUS_MIGRATIONS]), kafka.url, prefix, topics=reads, hears=WRITES) as others:
        url = await make_database("core-engine")
        more = {"core_engine_signals_a_minute": MOST_SIGNALS, "core_engine_heartbeat_s": 0.2}
        settings = Settings.model_validate(keys.settings("core-engine", url, kafka.url, topic_prefix=prefix, **more))
        yield CoreEngine(keys, others, settings)
