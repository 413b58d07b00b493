"""A log that is its reader's journal: whoever is killed, stopped or replaced, what was said is what a naive replay says."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from counting_service import NUMBERS, ProcessSettings, Service
from fleet_bus import Bus, Fact
from fleet_bus.admin import create_topics
from fleet_bus.journal_partition import JournalPartition, replayed
from fleet_bus.journal_store import JournalStore, Place
from fleet_bus.kafka import consumer, partitions_of, read, started
from fleet_bus.received import Record, decode
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_contracts import Topic
from fleet_contracts.core_engine import SignalAccepted
from fleet_testkit.eventually import eventually
from journal_process import ENDS, REST, SUMS, WISH, Sums, journaled

KEYS = ("a", "b", "d")
PROGRAM = "journal_process.py"


@dataclass
class Summing:
    """The journal's processes on one database, what is written for them, and what they said."""

    kafka_url: str
    prefix: str
    url: str
    writer: Service
    sent: int = 0

    async def send(self, count: int) -> None:
        """Several transactions, so that a reader gets several batches."""
        for n in range(self.sent, self.sent + count):
            await self.writer.send(*((key, n) for key in KEYS))
            await asyncio.sleep(0)
        self.sent += count

    @contextlib.asynccontextmanager
    async def running(
        self, *, ordinal: int = 0, wish: int = 0, snapshot_every: int = 1_000_000, max_batch: int = 500
    ) -> AsyncIterator[Any]:
        async with Database(self.url, application_name="summing") as database:
            bus = Bus(ProcessSettings("summing", self.kafka_url, self.prefix, ordinal), database)
            bus.settings = replace(bus.settings, max_batch=max_batch)
            reading = bus.journal(journaled(wish, snapshot_every=snapshot_every))
            async with bus.running(Health()):
                await eventually(lambda: bus.ready() is None, 30)
                yield reading

    async def log(self, topic: Topic) -> list[Record]:
        """All records of a topic, as they lie there."""
        client = consumer(self.kafka_url, "test")
        client.assign(partitions_of([topic], self.prefix))
        async with started(client):
            ends = await client.end_offsets(client.assignment())
            places = await client.beginning_offsets(client.assignment())
            for place, offset in places.items():
                client.seek(place, offset)
            found: list[Record] = []
            while any(places[place] < end for place, end in ends.items()):
                for place, raws in (await client.getmany(timeout_ms=200)).items():
                    records = [read(raw, self.prefix) for raw in raws]
                    found += [record for record in records if isinstance(record, Record)]
                    places[place] = raws[-1].offset + 1
            return found

    async def said(self) -> dict[tuple[str, int], Record]:
        """By key and number, what was said; what was said again must be the same word for word."""
        found: dict[tuple[str, int], Record] = {}
        highest: dict[str, int] = {}
        for record in await self.log(SUMS):
            place = (record.key, record.sequence)
            known = found.setdefault(place, record)
            assert _words(known) == _words(record)
            # A reader sees no gap: a number is repeated, or the next one.
            assert record.sequence <= highest.get(record.key, 0) + 1
            highest[record.key] = max(highest.get(record.key, 0), record.sequence)
        return found

    async def naive(self) -> dict[tuple[str, int], Record]:
        """What one machine a partition says that reads the log and the stored facts once."""
        found: dict[tuple[str, int], Record] = {}
        records = await self.log(NUMBERS)
        async with Database(self.url, application_name="naive") as database:
            for number in range(NUMBERS.partitions):
                journal = JournalPartition(NUMBERS, number, "summing", 1, Sums())
                facts = await JournalStore(database, NUMBERS.name, number).facts_after(Place(0, 0))
                of_partition = [record for record in records if record.partition == number]
                replayed(journal, of_partition, facts, lambda said: found.update({(said.key, said.sequence): said}))
        return found

    async def is_all_said(self) -> bool:
        """Every number has been answered, and every rest has ended: so many ends for each that divides by 5."""
        records = await self.log(SUMS)
        fives = (self.sent + 4) // 5
        ends = {r.event_id for r in records if _value(r) >= ENDS}
        last = {r.event_id for r in records if _value(r) == sum(range(self.sent))}
        return len(ends) == len(KEYS) * fives and len(last) >= len(KEYS)


def _value(record: Record) -> int:
    message = decode(record).message
    assert isinstance(message, SignalAccepted)
    return message.signal_id.int


def _words(record: Record) -> tuple[object, ...]:
    return record.event_id, record.type, record.epoch, record.sequence, record.occurred_at, record.payload


async def assert_as_naive(summing: Summing) -> None:
    said, naive = await summing.said(), await summing.naive()
    assert {place: _words(record) for place, record in said.items()} == {
        place: _words(record) for place, record in naive.items()
    }


@pytest.fixture
async def summing(kafka: Any, prefix: str, new_database: Any, make_service: Any) -> AsyncIterator[Summing]:
    await create_topics(kafka.url, [SUMS], prefix=prefix)
    writer = await make_service("writer")
    async with writer.running():
        yield Summing(kafka.url, prefix, await new_database(), writer)


async def ended(process: asyncio.subprocess.Process) -> int:
    return await asyncio.wait_for(process.wait(), 30)


STEPS: tuple[tuple[str, int], ...] = (
    ("before claim", 2),
    ("after claim", 2),
    ("while obeying", 7),
    ("after acknowledgement", 2),
    ("after offset", 1),
    ("before chunk", 1),
    ("after chunk", 1),
    ("before snapshot", 1),
    ("after snapshot", 1),
)


@pytest.mark.long
async def test_killed_between_any_two_steps(summing: Summing, spawn: Callable[..., Any]) -> None:
    for n, (step, after) in enumerate(STEPS):
        await summing.send(25)
        killed = await spawn(summing.url, step=step, after=after, program=PROGRAM, wish=n)
        assert await ended(killed) == -signal.SIGKILL, step
    async with summing.running():
        await eventually(summing.is_all_said, 30)
    # Behind the snapshots the log and the facts are gone; what is left of them says the same of what came after.
    said = await summing.said()
    for key in KEYS:
        numbers = sorted(sequence for found, sequence in said if found == key)
        assert numbers == list(range(1, len(numbers) + 1))


async def test_what_is_said_is_what_a_naive_replay_says(summing: Summing, spawn: Callable[..., Any]) -> None:
    """Killed without snapshots, so that all of log and facts is there to be replayed."""
    for n, step in enumerate(("before claim", "after claim", "while obeying", "after acknowledgement")):
        await summing.send(4)  # fewer than a snapshot's worth in all
        assert await ended(await spawn(summing.url, step=step, after=2, program=PROGRAM, wish=n)) == -signal.SIGKILL
    async with summing.running(wish=9):
        await eventually(summing.is_all_said, 30)
        await assert_as_naive(summing)


async def test_a_former_owner_can_claim_nothing(summing: Summing) -> None:
    """Another raises the epoch while the first is still at it: it gives up, and says nothing that was not claimed."""
    async with summing.running() as reading:
        await summing.send(5)
        await eventually(summing.is_all_said, 20)
        async with Database(summing.url, application_name="other") as database:
            for number in range(NUMBERS.partitions):
                epoch, _ = await JournalStore(database, NUMBERS.name, number).take_over()
                assert epoch == 2
            await summing.send(5)
            # It is still the group's owner, so it asks anew, takes over in its turn, and goes on.
            await eventually(summing.is_all_said, 30)
            assert {owned.epoch for owned in reading._owned.values()} == {3}
        await assert_as_naive(summing)


async def test_a_fact_is_learned_everywhere_and_has_its_place(summing: Summing) -> None:
    async with summing.running() as reading:
        await summing.send(3)
        assert await reading.tell(Fact(WISH, b"7")) == [0, 1]
        assert {machine.state.wish for machine in reading.machines()} <= {0, 7}
        await summing.send(3)
        await eventually(summing.is_all_said, 20)
        await assert_as_naive(summing)


async def test_a_snapshot_stands_in_for_the_log_behind_it(summing: Summing) -> None:
    """The log is cut behind the last two, and who starts anew reads only the rest."""
    async with summing.running(snapshot_every=10):
        for _ in range(4):
            await summing.send(10)
            await eventually(summing.is_all_said, 20)
    offsets = {number: [r.offset for r in await summing.log(NUMBERS) if r.partition == number] for number in (0, 1)}
    assert any(found and found[0] > 0 for found in offsets.values())
    async with summing.running():
        await summing.send(10)
        await eventually(summing.is_all_said, 20)
    await summing.said()


async def test_what_comes_later_is_obeyed_when_all_has_ended_that_ends_before(summing: Summing) -> None:
    """more rests than are ended at a time, then numbers that come after their end -> they are summed after all the ends"""
    await summing.send(20)

    async def relayed() -> list[Record]:
        found = await summing.log(NUMBERS)
        return found if len(found) == 20 * len(KEYS) else []

    rested = max(record.occurred_at for record in await eventually(relayed, 30)) + REST
    await eventually(lambda: datetime.now(UTC) > rested)
    earlier = summing.sent
    await summing.send(5)
    async with summing.running(max_batch=5):
        await eventually(summing.is_all_said, 30)
        await assert_as_naive(summing)
    said = await summing.said()
    for key in KEYS:
        values = [_value(said[place]) for place in sorted(said) if place[0] == key]
        ends = {ENDS + n for n in range(0, earlier, 5)}
        assert ends <= set(values[: values.index(sum(range(earlier + 1)))])


@pytest.mark.long
async def test_a_second_owner_shares_the_partitions_and_gives_them_back(summing: Summing) -> None:
    async with summing.running() as first:
        await summing.send(10)
        async with summing.running(ordinal=1) as second:
            await eventually(lambda: len(first.places) == len(second.places) == 1, 30)
            await summing.send(10)
            await eventually(summing.is_all_said, 30)
        await eventually(lambda: len(first.places) == 2, 40)
        await summing.send(10)
        await eventually(summing.is_all_said, 30)
        await assert_as_naive(summing)


@pytest.mark.long
async def test_a_stopped_owner_is_replaced_and_does_no_harm_when_it_wakes(
    summing: Summing, spawn: Callable[..., Any]
) -> None:
    """Stopped past the session's time-out, and past the end of what rests: the other owner ends it, once."""
    holder = await spawn(summing.url, program=PROGRAM, ordinal=0)
    async with asyncio.timeout(30):
        while await holder.stdout.readline() != b"ready\n":
            pass
    await summing.send(6)
    holder.send_signal(signal.SIGSTOP)
    try:
        await summing.send(6)
        async with summing.running(ordinal=1):
            await eventually(summing.is_all_said, 60)
            holder.send_signal(signal.SIGCONT)
            await summing.send(6)
            await eventually(summing.is_all_said, 60)
            holder.terminate()
            assert await ended(holder) == 0
            await summing.send(6)
            await eventually(summing.is_all_said, 60)
            await assert_as_naive(summing)
    finally:
        if holder.returncode is None:
            holder.send_signal(signal.SIGCONT)
