"""The books follow from the journal alone: killed and started again, they are those of a naive replay of log and facts."""

import asyncio
import json
import os
import random
import signal
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from fleet_bus.journal_partition import JournalPartition, replayed
from fleet_bus.journal_store import JournalStore, Place
from fleet_bus.kafka import consumer, partitions_of, read, started
from fleet_bus.received import Record
from fleet_chassis.database import Database
from fleet_contracts import Topic
from fleet_contracts.topics import MATCHING_ENGINE_MARKET_DATA, VENUE_INTERNAL_COMMANDS, VENUE_INTERNAL_REPORTS
from fleet_contracts.venue import CancelVenueOrder, ReplaceVenueOrder, VenueOrderExpired, VenueOrderFilled
from fleet_contracts.vocabulary import TimeInForce
from fleet_matching_engine.app import engine_of
from fleet_matching_engine.service import VenueMachine
from fleet_testkit.eventually import eventually

SYMBOLS = ("AAPL/USD", "IBM/USD", "GOOG/USD")
KILLS = 2


@pytest.mark.long
async def test_killed_again_and_again_the_books_are_those_of_a_naive_replay(open_engine: Any) -> None:
    chance = random.Random(11)
    async with open_engine(matching_engine_snapshot_every=1_000_000, matching_engine_rate_messages=10_000) as engine:
        async with engine.running():
            await engine.lists(*(engine.instrument(symbol) for symbol in SYMBOLS))
        sent: list[Any] = []
        for _ in range(KILLS):
            process = await _spawn(engine)
            heard = len(engine.reports())
            await _send_at_random(engine, chance, sent, 60)
            # Killed in the middle of it: it has begun to answer, and there is more to come.
            await eventually(lambda: len(engine.reports()) > heard, 30)  # noqa: B023
            await _send_at_random(engine, chance, sent, chance.randint(1, 20))
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await _send_at_random(engine, chance, sent, 20)
        async with engine.running():
            ends = [engine.order("buy", "1", "50", symbol=symbol) for symbol in SYMBOLS]
            await engine.command(*ends)
            await eventually(lambda: all(_is_said(engine, one) for one in ends), 30)
            # What is shown and what is replayed are the same moment once no order comes to its end in between.
            await eventually(lambda: _nothing_ends_later(engine), 30)
            shown = {
                symbol: await engine.api(f"/api/v1/books/{symbol.replace('/', '-')}?depth=1000") for symbol in SYMBOLS
            }
        said, naive, machines = await _said(engine), *(await _naive(engine))
        assert said == naive
        for symbol, (status, book) in shown.items():
            assert status == 200
            (replayed_book,) = [m.venue.books[symbol] for m in machines if symbol in m.venue.books]
            assert (book["orders"], book["sequence"]) == (len(replayed_book.orders), replayed_book.deltas)
            assert book["checksum"] == replayed_book.checksum()
            assert Decimal(book["last_price"] or 0) == replayed_book.scale.price(replayed_book.price)


@pytest.mark.long
async def test_an_owner_stopped_past_its_session_and_an_orders_end_does_no_harm_when_it_wakes(open_engine: Any) -> None:
    """ordinal 0 is stopped with an order that ends later -> its session runs out and 1 owns the books -> the end is said,
    once -> 0 wakes, more is sent -> what was said is what the naive book says"""
    async with open_engine(matching_engine_snapshot_every=1_000_000) as engine:
        async with engine.running():
            await engine.lists(*(engine.instrument(symbol) for symbol in SYMBOLS))
        holder = await _spawn(engine)
        try:
            here = engine.order("buy", "1", "50")
            await engine.command(here)
            await eventually(lambda: _is_said(engine, here), 60)
            # Longer than a session: it ends while nobody can end it but the one that takes over.
            ends_at = datetime.now(UTC) + timedelta(seconds=30)
            ending = [
                engine.order("buy", "2", "90", symbol=symbol, time_in_force=TimeInForce.GTD, expires_at=ends_at)
                for symbol in SYMBOLS
            ]
            await engine.command(*ending)
            await eventually(lambda: all(_is_said(engine, one) for one in ending), 30)
            holder.send_signal(signal.SIGSTOP)
            assert datetime.now(UTC) < ends_at
            meanwhile = [engine.order("sell", "1", "95", symbol=symbol) for symbol in SYMBOLS]
            await engine.command(*meanwhile)
            async with engine.running(ordinal=1):
                await eventually(lambda: all(_is_said(engine, one) for one in meanwhile), 90)
                await eventually(lambda: len(_expired(engine)) == len(ending), 60)
                # It would meet the orders that have ended, wherever they still stood.
                met = [engine.order("sell", "1", "90", symbol=symbol) for symbol in SYMBOLS]
                await engine.command(*met)
                holder.send_signal(signal.SIGCONT)
                chance, sent = random.Random(3), [*meanwhile]
                await _send_at_random(engine, chance, sent, 60)
                last = [engine.order("buy", "1", "50", symbol=symbol) for symbol in SYMBOLS]
                await engine.command(*last)
                await eventually(lambda: all(_is_said(engine, one) for one in (*met, *last)), 90)
                holder.terminate()
                assert await asyncio.wait_for(holder.wait(), 60) == 0
                after = [engine.order("buy", "1", "50", symbol=symbol) for symbol in SYMBOLS]
                await engine.command(*after)
                await eventually(lambda: all(_is_said(engine, one) for one in after), 90)
                await eventually(lambda: _nothing_ends_later(engine), 30)
        finally:
            if holder.returncode is None:
                holder.kill()
        said, (naive, _) = await _said(engine), await _naive(engine)
        assert said == naive
        expired = [report.venue_order_ref for report in _expired(engine)]
        assert [expired.count(one.venue_order_ref) for one in ending] == [1] * len(ending)
        assert not any(
            isinstance(report, VenueOrderFilled) for one in ending for report in engine.reports(one.venue_order_ref)
        )


def _expired(engine: Any) -> list[VenueOrderExpired]:
    return [report for report in engine.reports() if isinstance(report, VenueOrderExpired)]


async def _nothing_ends_later(engine: Any) -> bool:
    books = [book for machine in (await _naive(engine))[1] for book in machine.venue.books.values()]
    return all(book.exchange.expires_at() is None for book in books)


async def _send_at_random(engine: Any, chance: random.Random, sent: list[Any], count: int) -> None:
    for _ in range(count):
        if sent and chance.random() < 0.3:
            kind = chance.choice([CancelVenueOrder, ReplaceVenueOrder])
            more: dict[str, Any] = {"quantity": Decimal(chance.randint(1, 20))} if kind is ReplaceVenueOrder else {}
            await engine.command(engine.of(chance.choice(sent), kind, **more))
            continue
        more = {}
        if chance.random() < 0.2:
            ends_at = datetime.now(UTC) + timedelta(seconds=chance.random() * 3)
            more = {"time_in_force": TimeInForce.GTD, "expires_at": ends_at}
        side, price = chance.choice(["buy", "sell"]), str(chance.randint(95, 105))
        placed = engine.order(side, str(chance.randint(1, 20)), price, symbol=chance.choice(SYMBOLS), **more)
        sent.append(placed)
        await engine.command(placed)


async def _spawn(engine: Any) -> asyncio.subprocess.Process:
    """The service as a process of its own, starting."""
    fields = json.loads(engine.settings.model_dump_json())
    fields["database_url"] = engine.database_url
    fields["port"] = 0
    environment = {f"FLEET_{name.upper()}": str(value) for name, value in fields.items()}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "fleet_matching_engine"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


def _is_said(engine: Any, placed: Any) -> bool:
    return bool(engine.reports(placed.venue_order_ref))


async def _log(engine: Any, topic: Topic) -> list[Record]:
    client = consumer(engine.settings.kafka_url, "test")
    client.assign(partitions_of([topic], engine.settings.topic_prefix))
    async with started(client):
        ends = await client.end_offsets(client.assignment())
        places = dict.fromkeys(ends, 0)
        for place in places:
            client.seek(place, 0)
        found: list[Record] = []
        while any(places[place] < end for place, end in ends.items()):
            for place, raws in (await client.getmany(timeout_ms=200)).items():
                records = [read(raw, engine.settings.topic_prefix) for raw in raws]
                found += [record for record in records if isinstance(record, Record)]
                places[place] = raws[-1].offset + 1
        return found


Words = dict[tuple[str, str, int], tuple[UUID, datetime, bytes | None]]


async def _said(engine: Any) -> Words:
    """All that is in Kafka; what was said again must be the same word for word, and no number is missing."""
    found: Words = {}
    for topic in (VENUE_INTERNAL_REPORTS, MATCHING_ENGINE_MARKET_DATA):
        highest: dict[str, int] = {}
        for record in await _log(engine, topic):
            words = (record.event_id, record.occurred_at, record.payload)
            assert found.setdefault((topic.name, record.key, record.sequence), words) == words
            assert record.sequence <= highest.get(record.key, 0) + 1
            highest[record.key] = max(highest.get(record.key, 0), record.sequence)
    return found


async def _naive(engine: Any) -> tuple[Words, list[VenueMachine]]:
    """The naive book, driven by log and facts once."""
    found: Words = {}
    machines = []

    def say(record: Record) -> None:
        found[(record.topic, record.key, record.sequence)] = (record.event_id, record.occurred_at, record.payload)

    records = await _log(engine, VENUE_INTERNAL_COMMANDS)
    async with Database(engine.database_url, application_name="naive") as database:
        for number in range(VENUE_INTERNAL_COMMANDS.partitions):
            machine = VenueMachine(engine_of("naive"), number)
            journal = JournalPartition(VENUE_INTERNAL_COMMANDS, number, "matching-engine", 1, machine)
            facts = await JournalStore(database, VENUE_INTERNAL_COMMANDS.name, number).facts_after(Place(0, 0))
            replayed(journal, [record for record in records if record.partition == number], facts, say)
            machines.append(machine)
    return found, machines
