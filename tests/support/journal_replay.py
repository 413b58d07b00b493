"""The internal venue's journal of a running fleet, and what the naive book makes of it in one go."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fleet_bus.journal_partition import JournalPartition, replayed
from fleet_bus.journal_store import JournalStore, Place
from fleet_bus.kafka import consumer, partitions_of, read, started
from fleet_bus.received import Record
from fleet_chassis.database import Database
from fleet_contracts import Topic, encode
from fleet_contracts.topics import MATCHING_ENGINE_MARKET_DATA, VENUE_INTERNAL_COMMANDS, VENUE_INTERNAL_REPORTS
from fleet_matching_engine.app import engine_of
from fleet_matching_engine.service import VenueMachine

Words = dict[tuple[str, str, int], tuple[UUID, datetime, bytes | None]]
"""What was said, by topic, key and sequence."""


def record_of(message: Any, offset: int, at: datetime) -> Record:
    """A command in the journal, told by the number of its place."""
    return Record(
        topic=VENUE_INTERNAL_COMMANDS.name,
        partition=0,
        offset=offset,
        key=message.symbol,
        writer="execution",
        type=message.type_name(),
        event_id=UUID(int=offset),
        epoch=1,
        sequence=offset + 1,
        occurred_at=at,
        market_at=at,
        traceparent=None,
        payload=encode(message),
    )


async def log(kafka_url: str, topic: Topic) -> list[Record]:
    """All records of a topic; fails where its beginning is not there any more."""
    client = consumer(kafka_url, "journal-replay")
    client.assign(partitions_of([topic], ""))
    async with started(client):
        beginnings = await client.beginning_offsets(client.assignment())
        assert not any(beginnings.values()), f"{topic.name} was trimmed: {beginnings}"
        ends = await client.end_offsets(client.assignment())
        places = dict.fromkeys(ends, 0)
        for place in places:
            client.seek(place, 0)
        found: list[Record] = []
        while any(places[place] < end for place, end in ends.items()):
            for place, raws in (await client.getmany(timeout_ms=200)).items():
                records = [read(raw, "") for raw in raws]
                found += [record for record in records if isinstance(record, Record)]
                places[place] = raws[-1].offset + 1
        return found


async def said(kafka_url: str) -> Words:
    """What the venue has said; what was said again must be the same word for word, and no number is missing."""
    found: Words = {}
    for topic in (VENUE_INTERNAL_REPORTS, MATCHING_ENGINE_MARKET_DATA):
        highest: dict[str, int] = {}
        for record in await log(kafka_url, topic):
            words = (record.event_id, record.occurred_at, record.payload)
            first = found.setdefault((topic.name, record.key, record.sequence), words)
            assert first == words, f"{topic.name} {record.key} {record.sequence} was said twice"
            assert record.sequence <= highest.get(record.key, 0) + 1
            highest[record.key] = max(highest.get(record.key, 0), record.sequence)
    return found


async def naive_replay(commands: list[Record], database_url: str) -> tuple[Words, list[VenueMachine]]:
    """What the naive book says to the log and the facts between its records, and the books it ends with."""
    found: Words = {}
    machines = []

    def say(record: Record) -> None:
        found[(record.topic, record.key, record.sequence)] = (record.event_id, record.occurred_at, record.payload)

    async with Database(database_url, application_name="naive-replay") as database:
        for number in range(VENUE_INTERNAL_COMMANDS.partitions):
            machine = VenueMachine(engine_of("naive"), number)
            journal = JournalPartition(VENUE_INTERNAL_COMMANDS, number, "matching-engine", 1, machine)
            facts = await JournalStore(database, VENUE_INTERNAL_COMMANDS.name, number).facts_after(Place(0, 0))
            replayed(journal, [record for record in commands if record.partition == number], facts, say)
            machines.append(machine)
    return found, machines
