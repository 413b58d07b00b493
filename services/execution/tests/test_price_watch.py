"""What the watch of prices tells of what comes while it tells of something else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import cast
from uuid import UUID

from fleet_bus import GroupCommitter, Received, Transaction
from fleet_bus.activity import Activity
from fleet_contracts.exchange_connector import Trade
from fleet_execution.domain import Conditions, OrderKey, Prices, Terms, Trigger, VenueOrder, submit, triggers
from fleet_execution.service.triggers import Look
from fleet_execution.watching import PriceWatch
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
KEY = OrderKey.of(UUID(int=1), UUID(int=8), UUID(int=9), "AAPL/USD", "outside")


def a_trailing_stop(number: int = 1) -> VenueOrder:
    """Sells once the price has fallen by 1 from its best."""
    terms = Terms("sell", "trailing_stop", D(10), None, D(50), "gtc", None, Conditions(trail_amount=D(1)))
    key = OrderKey.of(UUID(int=number), KEY.account_id, KEY.user_id, KEY.symbol, KEY.venue)
    order, _ = submit(key, terms, command_sequence=7, market_at=AT, now=AT, refusal=None)
    return triggers.begin(order, Trigger(AT, D("0.01")), now=AT)[0]


def a_trade(price: int, *, after_s: float) -> Received[Trade]:
    at = AT + timedelta(seconds=after_s)
    trade = Trade(symbol=KEY.symbol, venue=KEY.venue, venue_trade_id="1", price=D(price), quantity=D(1), market_at=at)
    return Received(trade, "market", KEY.symbol, 0, 0, "exchange-connector", 1, 1, UUID(int=3), at, at, None)


@contextlib.asynccontextmanager
async def running(watch: PriceWatch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Committer:
    """While it hears of the best price so far, the one comes that triggers the order, and none after that."""

    def __init__(self) -> None:
        self.watch: PriceWatch | None = None
        self.told: list[Look] = []

    async def submit_all(self, looks: Sequence[Look]) -> list[None]:
        if self.watch is not None:
            self.watch.take(a_trade(103, after_s=2))
            self.watch = None
        self.told += looks
        return [None] * len(looks)


async def test_a_price_that_triggers_counts_also_while_the_best_one_is_being_kept() -> None:
    order, committer = a_trailing_stop(), Committer()

    reads = 0

    async def read() -> list[VenueOrder]:
        nonlocal reads
        reads += 1
        return [order]

    watch = PriceWatch(FakeClock(AT + timedelta(seconds=2)), read, cast("GroupCommitter[Look, None]", committer))
    async with running(watch):
        await eventually(lambda: reads > 1)
        committer.watch = watch
        watch.take(a_trade(105, after_s=1))
        await eventually(lambda: committer.told)
        assert committer.told[0] == Look(KEY.ref, AT, D(105))
        await eventually(lambda: len(committer.told) > 1, what="it is triggered")
    assert committer.told[1] == Look(KEY.ref, AT, D(105), Prices(AT + timedelta(seconds=2), D(103), D(103)))


class Unit:
    """Whose transactions are of nothing."""

    async def lock(self, ids: Sequence[str]) -> None: ...

    async def flush(self) -> None: ...


async def test_more_orders_than_may_wait_for_a_transaction_are_triggered_at_once() -> None:
    """10,001 wait, a committer takes 10,000 at a time -> one price triggers all"""
    orders, triggered, reads = [a_trailing_stop(number) for number in range(10_001)], set[UUID](), 0

    @contextlib.asynccontextmanager
    async def nothing() -> AsyncIterator[Transaction]:
        yield cast("Transaction", None)

    async def decide(_: Unit, looks: Sequence[Look]) -> list[None]:
        triggered.update(look.ref for look in looks if look.prices is not None)
        return [None] * len(looks)

    async def read() -> list[VenueOrder]:
        nonlocal reads
        reads += 1
        return orders

    committer: GroupCommitter[Look, None] = GroupCommitter(
        nothing, Activity(), unit_of_work=lambda _: Unit(), touches=lambda _: (), decide=decide, most_waiting=10_000
    )
    watch = PriceWatch(FakeClock(AT + timedelta(seconds=2)), read, committer)
    async with running(watch):
        await eventually(lambda: reads > 1)
        watch.take(a_trade(105, after_s=1))
        watch.take(a_trade(103, after_s=2))
        await eventually(lambda: len(triggered) == len(orders), what="all are triggered")
