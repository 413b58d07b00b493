"""What an observer makes of what processes tell him: processes that restart, share partitions, fall silent or never stop."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from counting_service import NUMBERS
from fleet_bus.rest import RestVerdict, observing
from fleet_contracts.rest import RestPart
from fleet_contracts.topics import Reader, Reading

READ_BY_DATA = replace(NUMBERS, readers=(Reader("data", Reading.WORK),))
STARTED = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class Process:
    name: str
    ordinal: int


def part(ordinal: int = 0, at: dict[int, int] | None = None, **more: Any) -> RestPart:
    told: dict[str, Any] = {
        "service": "data",
        "ordinal": ordinal,
        "started_at": STARTED,
        "outbox": 0,
        "positions": {"data.bars": {"numbers": {0: 0, 1: 0} if at is None else at}},
        "due": 0,
        "busy": 0,
        "parked": (),
        "market_at": None,
        "version": 1,
    }
    return RestPart(**(told | more))


async def look(
    kafka: Any, prefix: str, tell: Callable[[int], RestPart], *, replicas: int = 1, wait_s: float = 0.0
) -> RestVerdict:
    async def ask(process: Any, wait_ms: int, version: int) -> RestPart:
        return tell(process.ordinal)

    processes = [Process("data", n) for n in range(replicas)]
    async with observing(
        kafka.url, "observer", ask, lambda: processes, topics=[READ_BY_DATA], topic_prefix=prefix
    ) as observer:
        return await (observer.wait_at_rest(wait_s) if wait_s else observer.look())


async def test_two_equal_readings_are_rest(kafka: Any, prefix: str) -> None:
    assert (await look(kafka, prefix, lambda ordinal: part())).at_rest


async def test_a_process_that_was_started_between_the_readings_is_not_rest(kafka: Any, prefix: str) -> None:
    starts = iter(range(10))
    verdict = await look(kafka, prefix, lambda ordinal: part(started_at=STARTED + timedelta(seconds=next(starts))))
    assert verdict == RestVerdict(False, ("something moved between two readings",), ())


async def test_replicas_share_the_partitions_and_the_slower_of_two_counts(kafka: Any, prefix: str) -> None:
    halves = [part(0, {0: 0}), part(1, {1: 0})]
    assert (await look(kafka, prefix, lambda ordinal: halves[ordinal], replicas=2)).at_rest
    verdict = await look(kafka, prefix, lambda ordinal: halves[0])
    assert verdict.waiting_for == ("data does not read numbers[1] yet",)
    overlapping = [part(0, {0: 0, 1: 5}), part(1, {1: -1})]
    verdict = await look(kafka, prefix, lambda ordinal: overlapping[ordinal], replicas=2)
    assert verdict.waiting_for == ("data is 1 records behind in numbers[1]",)


async def test_who_does_not_answer_is_not_at_rest(kafka: Any, prefix: str) -> None:
    def silent(ordinal: int) -> RestPart:
        raise ConnectionRefusedError

    verdict = await look(kafka, prefix, silent, wait_s=0.2)
    assert "data-0 does not answer" in verdict.waiting_for


async def test_a_fleet_that_never_rests_is_looked_at_until_the_time_is_over(kafka: Any, prefix: str) -> None:
    readings = iter(range(1_000_000))
    verdict = await look(kafka, prefix, lambda ordinal: part(outbox=next(readings) % 2), wait_s=1.5)
    assert not verdict.at_rest
    assert next(readings) > 2, "more than the two readings of one look"
