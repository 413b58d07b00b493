"""Messages of one transaction, kind and key share a record, and each keeps its own number, id and fate."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from counting_service import HEARD, NUMBERS, Effects, Service, number, record, work
from fleet_bus import Live, Received
from fleet_bus.reading import Reading
from fleet_bus.received import Record, UnreadableRecord, packed, unpacked
from fleet_bus.transaction import _MOST_PACKED_BYTES
from fleet_contracts import encode
from fleet_contracts.core_engine import SignalAccepted
from fleet_testkit.eventually import eventually
from opentelemetry import trace


async def stored(service: Service) -> list[tuple[str, int, int]]:
    """(key, number of the first, messages) of each record to be sent."""
    async with service.database.connection() as connection:
        rows = await connection.fetch("SELECT key, sequence, messages FROM outbox ORDER BY id")
    return [(row["key"], row["sequence"], row["messages"]) for row in rows]


async def test_a_record_holds_what_follows_in_its_key(make_service: Any) -> None:
    writer = await make_service("writer")
    await writer.send(("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3))
    await writer.send(("a", 4))
    assert await stored(writer) == [("a", 1, 3), ("b", 1, 2), ("a", 4, 1)]


async def test_other_times_and_other_traces_are_other_records(make_service: Any) -> None:
    writer = await make_service("writer")
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    traced = trace.SpanContext(trace_id=7, span_id=9, is_remote=False, trace_flags=trace.TraceFlags(1))
    async with writer.bus.transaction() as tx:
        for at in (None, noon, noon):
            tx.publish(NUMBERS, "a", number(1), market_at=at)
        with trace.use_span(trace.NonRecordingSpan(traced)):
            tx.publish(NUMBERS, "a", number(1), market_at=noon)
        tx.publish(NUMBERS, "a", number(1), market_at=noon)
    assert await stored(writer) == [("a", 1, 1), ("a", 2, 2), ("a", 4, 1), ("a", 5, 1)]


async def test_a_record_stays_short(make_service: Any) -> None:
    writer = await make_service("writer")
    size = len(encode(number(1))) + 1
    await writer.send(*(("a", n) for n in range(2 * _MOST_PACKED_BYTES // size)))
    found = await stored(writer)
    assert len(found) == 3
    assert all(messages * size <= _MOST_PACKED_BYTES for _, _, messages in found)
    ends = itertools.accumulate((messages for _, _, messages in found), initial=1)
    assert [first for _, first, _ in found] == list(ends)[:-1]


async def test_who_goes_by_places_in_the_log_reads_them_one_by_one(make_service: Any) -> None:
    writer = await make_service("writer")
    async with writer.bus.transaction() as tx:
        for n in (1, 2):
            tx.publish(HEARD, "a", number(n))
    assert await stored(writer) == [("a", 1, 1), ("a", 2, 1)]
    with pytest.raises(TypeError, match="several messages to a record"):
        writer.bus.add(Live("eyes", (NUMBERS,), Effects, {}, touches=lambda message: []))


async def test_a_long_record_is_read_in_many_transactions(make_service: Any) -> None:
    writer, reader = await make_service("writer"), await make_service("reader")
    reader.bus.settings = replace(reader.bus.settings, max_batch=10)
    sizes: list[int] = []

    class Counted(Effects):
        async def flush(self) -> None:
            sizes.append(len(self.rows))
            await super().flush()

    reader.bus.add(replace(work(), unit_of_work=Counted))
    async with writer.running(), reader.running():
        await writer.send(*(("a", n) for n in range(35)))
        await eventually(lambda: _count(reader, 35))
    assert await reader.effects("a") == list(range(35))
    assert sizes == [10, 10, 10, 5]


async def test_of_a_record_only_what_is_bad_waits_for_an_operator(make_service: Any) -> None:
    writer, reader = await make_service("writer"), await make_service("reader")
    is_mended = False

    async def choosy(uow: Effects, received: Received[SignalAccepted]) -> None:
        if received.message.signal_id.int == 3 and not is_mended:
            raise ValueError("three")
        await record(uow, received)

    reader.bus.add(work(choosy))
    async with writer.running(), reader.running():
        await writer.send(*(("a", n) for n in range(1, 6)), ("b", 1))
        await eventually(lambda: _parked(reader, 3))
        assert await reader.effects("a") == [1, 2]
        assert await reader.effects("b") == [1]
        await reader.bus.parked_skip("reader.numbers", NUMBERS.name, "a", by="an operator", reason="three")
        assert await reader.effects("a") == [1, 2, 4, 5]


async def test_a_record_of_which_some_was_applied_goes_on_behind_it(make_service: Any) -> None:
    """As when the process dies between two of its messages that were applied one by one."""
    reader = await make_service("reader")
    reader.bus.add(work())
    applier = next(r for r in reader.bus._readings if isinstance(r, Reading))._applier
    singles = unpacked(_record([number(n) for n in range(5)]))
    await applier.apply(singles[:2])
    await applier.apply(singles)
    assert await reader.effects("a") == list(range(5))


def test_each_message_has_its_number_and_id() -> None:
    singles = unpacked(_record([number(n) for n in range(3)]))
    assert [single.sequence for single in singles] == [7, 8, 9]
    assert [single.event_id.int for single in singles] == [100, 101, 102]
    assert [single.payload for single in singles] == [encode(number(n)) for n in range(3)]


@pytest.mark.parametrize("payload", [None, b"{}", b"[{}]", b"[{},{},{},{}]", b"not JSON"])
def test_a_record_that_holds_other_than_it_says_is_refused(payload: bytes | None) -> None:
    with pytest.raises(UnreadableRecord):
        unpacked(_record([number(n) for n in range(3)], payload=payload))


def _record(messages: list[SignalAccepted], **other: Any) -> Record:
    values: dict[str, Any] = {
        "topic": NUMBERS.name,
        "partition": 0,
        "offset": 0,
        "key": "a",
        "writer": "writer",
        "type": SignalAccepted.type_name(),
        "event_id": UUID(int=100),
        "epoch": 1,
        "sequence": 7,
        "messages": len(messages),
        "occurred_at": datetime(2026, 1, 2, tzinfo=UTC),
        "market_at": None,
        "traceparent": None,
        "payload": packed([encode(message) for message in messages]),
    }
    return Record(**(values | other))


async def _count(service: Service, count: int) -> bool:
    return len(await service.effects()) == count


async def _parked(service: Service, messages: int) -> bool:
    return sum(key.messages for key in await service.bus.parked() if not key.is_not_yet) == messages
