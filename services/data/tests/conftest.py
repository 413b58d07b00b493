"""data as it runs: its own database, the real Kafka; venues and readers played by the test."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from fleet_contracts import Message, Topic
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.exchange_connector import (
    VenueInstrument,
)
from fleet_contracts.topics import (
    DATA_BARS,
    DATA_INSTRUMENTS,
    DATA_QUOTES,
    EXCHANGE_CONNECTOR_INSTRUMENTS,
    MATCHING_ENGINE_INSTRUMENTS,
    TOPICS,
)
from fleet_data.app import create_app
from fleet_data.settings import Settings
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import KafkaForTests, MakeDatabase
from fleet_testkit.http import served
from fleet_testkit.peers import BUS_MIGRATIONS, Keys, Peers, peers, ready


def instrument(
    symbol: str, *, venue: str = "paper", tick_size: str = "0.0001", calendar: str = "XNYS"
) -> tuple[Topic, str, Message]:
    told = VenueInstrument(
        symbol=symbol,
        venue=venue,
        name=symbol,
        asset_class="stock",
        base=symbol.split("/")[0],
        quote="USD",
        tick_size=Decimal(tick_size),
        lot_size=Decimal(1),
        min_quantity=Decimal(1),
        min_notional=Decimal(0),
        maker_fee=Decimal("0.001"),
        taker_fee=Decimal("0.001"),
        calendar=calendar,
        simulated=True,
    )
    topic = EXCHANGE_CONNECTOR_INSTRUMENTS if venue == "paper" else MATCHING_ENGINE_INSTRUMENTS
    return topic, f"{symbol},{venue}", told


@dataclass
class Data:
    url: str
    keys: Keys
    others: Peers
    instrument = staticmethod(instrument)

    async def get(self, path: str, *scopes: str) -> tuple[int, Any]:
        headers = self.keys.of_user("data", UUID(int=7), *(scopes or ("read",)))
        async with aiohttp.ClientSession() as client:
            response = await client.get(f"{self.url}/api/v1/markets{path}", headers=headers)
            return response.status, await response.json()

    async def parked(self) -> list[dict[str, Any]]:
        async with aiohttp.ClientSession(headers=self.keys.of_service("cli", "data")) as client:
            found: list[dict[str, Any]] = (await (await client.get(f"{self.url}/internal/parked")).json())["data"]
            return found

    async def define(self, *names: str) -> list[str]:
        """New symbols, defined at the paper venue."""
        symbols = [f"{name}{uuid4().hex[:6].upper()}/USD" for name in names]
        await self.others.say(*(instrument(symbol) for symbol in symbols))
        await eventually(lambda: all(self.others.heard_of(InstrumentDefined, symbol) for symbol in symbols))
        return symbols


async def run(
    feed: str, make_database: MakeDatabase, kafka: KafkaForTests, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Data]:
    keys = Keys.make(tmp_path_factory.mktemp("data"), "data", "gateway", "cli")
    prefix = kafka.unique("data") + "."
    reads = [topic for topic in TOPICS if any(reader.service == "data" for reader in topic.readers)]
    writes = [DATA_INSTRUMENTS, DATA_QUOTES, DATA_BARS]
    async with peers(await make_database([BUS_MIGRATIONS]), kafka.url, prefix, topics=reads, hears=writes) as others:
        url = await make_database("data")
        settings = keys.settings("data", url, kafka.url, topic_prefix=prefix, feed=feed)
        async with served(create_app(Settings.model_validate(settings))) as base_url:
            await ready(base_url)
            yield Data(base_url, keys, others)


@pytest.fixture(scope="module")
async def data(
    make_database: MakeDatabase, kafka: KafkaForTests, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Data]:
    async for running in run("simulated", make_database, kafka, tmp_path_factory):
        yield running


@pytest.fixture(scope="module")
async def replayed_data(
    make_database: MakeDatabase, kafka: KafkaForTests, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Data]:
    async for running in run("replay", make_database, kafka, tmp_path_factory):
        yield running
