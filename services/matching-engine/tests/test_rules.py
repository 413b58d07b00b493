"""Bands, rates, halts, operators; and what everybody may see of a book."""

from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest_asyncio
from fleet_contracts.audit import AdminActed
from fleet_contracts.core_engine import Heartbeat
from fleet_contracts.matching_engine import BookDelta, BookSnapshot
from fleet_contracts.order_books import FollowedBook
from fleet_contracts.topics import CORE_ENGINE_STATE
from fleet_contracts.venue import (
    CancelVenueOrder,
    ReplaceVenueOrder,
    VenueOrderAccepted,
    VenueOrderCanceled,
    VenueOrderFilled,
    VenueOrderRejected,
    VenueReplaceRejected,
)
from fleet_contracts.vocabulary import OrderType, StateScope, TradingStateWord
from fleet_testkit.clock import ShiftedClock
from fleet_testkit.eventually import eventually

A, R, F, C = VenueOrderAccepted, VenueOrderRejected, VenueOrderFilled, VenueOrderCanceled
SYMBOL = "AAPL/USD"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ruled(open_engine: Any) -> AsyncIterator[Any]:
    """An engine that takes five messages a second of an account, and prices 10 % around 100."""
    async with open_engine(matching_engine_rate_messages=5) as found, found.running():
        await found.lists(found.instrument(), found.instrument("IBM/USD"))
        await found.quotes(SYMBOL, "100")

        async def is_banded() -> bool:
            probe = found.order("buy", "1", "50")
            await found.command(probe)
            await eventually(lambda: found.reports(probe.venue_order_ref), 10)
            return isinstance(found.reports(probe.venue_order_ref)[0], R)

        await eventually(is_banded, 20)
        yield found


async def test_a_price_out_of_the_band_is_refused_and_a_market_order_ends_there(ruled: Any) -> None:
    account = uuid4()
    low, high = ruled.order("buy", "1", "89.99"), ruled.order("sell", "1", "110.01")
    edge = ruled.order("sell", "5", "110", account_id=account)
    await ruled.command(low, high, edge)
    assert [(await ruled.told(one.venue_order_ref, R))[0].code for one in (low, high)] == ["price_band"] * 2
    await ruled.command(ruled.of(edge, ReplaceVenueOrder, limit_price=Decimal(111)))
    assert (await ruled.told(edge.venue_order_ref, A, VenueReplaceRejected))[1].code == "price_band"
    sweep = ruled.order("buy", "8", None, protection_price=Decimal(200))
    await ruled.command(sweep)
    *_, filled, canceled = await ruled.told(sweep.venue_order_ref, A, F, C)
    assert (filled.last_price, canceled.cumulative_quantity) == (110, 5)


async def test_what_no_price_can_measure_is_refused(ruled: Any) -> None:
    """no reference, no trade yet, nobody on the other side: a market order could be of any size -> refused; with a price to go
    to, or with an offer there, it is measured"""
    ibm: dict[str, Any] = {"symbol": "IBM/USD"}
    market = ruled.order("buy", "1", None, **ibm)
    trailing = ruled.order("sell", "1", None, order_type=OrderType.TRAILING_STOP, trail_amount=Decimal(1), **ibm)
    large = ruled.order("buy", "100000", None, protection_price=Decimal(101), **ibm)
    protected = ruled.order("buy", "1", None, protection_price=Decimal(101), **ibm)
    await ruled.command(market, trailing, large, protected)
    codes = [(await ruled.told(one.venue_order_ref, R))[0].code for one in (market, trailing, large)]
    assert codes == ["no_reference", "no_reference", "max_order_notional"]
    assert (await ruled.told(protected.venue_order_ref, A, C))[1].code == "no_liquidity"
    offer, too_large = ruled.order("sell", "1", "100", **ibm), ruled.order("buy", "200000", None, **ibm)
    taken = ruled.order("buy", "1", None, **ibm)
    await ruled.command(offer, too_large, taken)
    assert (await ruled.told(too_large.venue_order_ref, R))[0].code == "max_order_notional"
    assert (await ruled.told(taken.venue_order_ref, A, F))[1].last_price == 100


async def test_the_band_follows_its_reference(ruled: Any) -> None:
    ibm = {"symbol": "IBM/USD"}
    free = ruled.order("buy", "1", "1", **ibm)
    await ruled.command(free)
    await ruled.told(free.venue_order_ref, A)  # nothing is known of its price yet
    await ruled.quotes("IBM/USD", "200")

    async def is_refused() -> bool:
        one = ruled.order("buy", "1", "100", **ibm)
        await ruled.command(one)
        await eventually(lambda: ruled.reports(one.venue_order_ref), 10)
        return isinstance(ruled.reports(one.venue_order_ref)[0], R)

    await eventually(is_refused, 10)


async def test_an_account_has_a_rate(ruled: Any) -> None:
    account = uuid4()
    many = [ruled.order("buy", "1", "95", account_id=account) for _ in range(8)]
    await ruled.command(*many)
    await eventually(lambda: all(ruled.reports(one.venue_order_ref) for one in many), 10)
    codes = [ruled.reports(one.venue_order_ref)[0] for one in many]
    taken = sum(isinstance(report, A) for report in codes)
    assert 5 <= taken < 8
    assert {report.code for report in codes if isinstance(report, R)} == {"rate_limited"}
    # Another account is not held up, and cancels always pass.
    other = ruled.order("buy", "1", "95")
    await ruled.command(other, *(ruled.of(one, CancelVenueOrder) for one in many[:5]))
    await ruled.told(other.venue_order_ref, A)
    for one in many[:5]:
        await ruled.told(one.venue_order_ref, A, C)


async def test_a_halt_takes_out_what_is_open_and_refuses_what_is_new(ruled: Any) -> None:
    account = uuid4()
    mine, others = ruled.order("buy", "1", "94", account_id=account), ruled.order("buy", "1", "94")
    await ruled.command(mine, others)
    await ruled.told(mine.venue_order_ref, A)
    await ruled.told(others.venue_order_ref, A)
    await ruled.say_state(ruled.state(StateScope.ACCOUNT, str(account), TradingStateWord.HALTED))
    assert (await ruled.told(mine.venue_order_ref, A, C))[1].code == "market_halted"
    late = ruled.order("buy", "1", "94", account_id=account)
    await ruled.command(late)
    assert (await ruled.told(late.venue_order_ref, R))[0].code == "market_halted"
    # The direct way, as core-engine calls it: what is claimed after the answer meets the halt.
    halt = ruled.state(StateScope.SYMBOL, SYMBOL, TradingStateWord.HALTED)
    body = {name: str(getattr(halt, name)) for name in ("scope", "target", "state", "by", "reason", "changed_at")}
    status, _ = await ruled.internal("POST", "/state", body | {"epoch": halt.epoch, "version": halt.version})
    assert status == 200
    refused = ruled.order("buy", "1", "94")
    await ruled.command(refused)
    assert (await ruled.told(refused.venue_order_ref, R))[0].code == "market_halted"
    assert (await ruled.told(others.venue_order_ref, A, C))[1].code == "market_halted"
    await ruled.say_state(ruled.state(StateScope.SYMBOL, SYMBOL, TradingStateWord.ACTIVE))

    async def is_taken() -> bool:
        one = ruled.order("buy", "1", "94")
        await ruled.command(one)
        await eventually(lambda: ruled.reports(one.venue_order_ref), 10)
        return isinstance(ruled.reports(one.venue_order_ref)[0], A)

    await eventually(is_taken, 10)


async def test_in_reduce_only_nothing_that_increases_is_taken(ruled: Any) -> None:
    await ruled.say_state(ruled.state(StateScope.VENUE, "internal", TradingStateWord.REDUCING))

    async def is_refused() -> bool:
        one = ruled.order("buy", "1", "94")
        await ruled.command(one)
        await eventually(lambda: ruled.reports(one.venue_order_ref), 10)
        [report] = ruled.reports(one.venue_order_ref)
        return isinstance(report, R) and report.code == "market_reducing"

    await eventually(is_refused, 10)
    sell = ruled.order("sell", "1", "106")
    await ruled.command(sell)
    await ruled.told(sell.venue_order_ref, A)
    await ruled.command(ruled.of(sell, CancelVenueOrder))
    await ruled.say_state(ruled.state(StateScope.VENUE, "internal", TradingStateWord.ACTIVE))


async def test_without_core_engines_heartbeat_nothing_that_increases_is_taken(open_engine: Any) -> None:
    """a heartbeat is heard, and then none for longer than ten seconds -> buys are refused, sells and cancels go on -> it
    beats again -> buys are taken"""
    ahead = ShiftedClock()
    async with open_engine() as engine:
        engine.clock = ahead
        async with engine.running():
            await engine.lists(engine.instrument())
            resting = engine.order("buy", "1", "94")
            await engine.command(resting)
            await engine.told(resting.venue_order_ref, A)  # a heartbeat that never came is not missed
            await engine.peers.say((CORE_ENGINE_STATE, "heartbeat", Heartbeat(at=ahead.now())))

            async def is_refused() -> bool:
                ahead.shift += timedelta(seconds=11)  # before the heartbeat is heard it counts from then
                return await answer_to_a_buy(engine) == "market_reducing"

            await eventually(is_refused, 20)
            sell = engine.order("sell", "1", "106")
            await engine.command(sell, engine.of(resting, CancelVenueOrder))
            await engine.told(sell.venue_order_ref, A)
            await engine.told(resting.venue_order_ref, A, C)
            await engine.peers.say((CORE_ENGINE_STATE, "heartbeat", Heartbeat(at=ahead.now())))

            async def is_taken() -> bool:
                return await answer_to_a_buy(engine) is None

            await eventually(is_taken, 20)


async def answer_to_a_buy(engine: Any) -> str | None:
    """The code with which it is refused."""
    one = engine.order("buy", "1", "94")
    await engine.command(one)
    await eventually(lambda: engine.reports(one.venue_order_ref), 10)
    return getattr(engine.reports(one.venue_order_ref)[0], "code", None)


async def test_an_operator_takes_out_orders(ruled: Any) -> None:
    one, other = ruled.order("buy", "1", "93"), ruled.order("buy", "1", "93")
    await ruled.command(one, other)
    await ruled.told(other.venue_order_ref, A)
    body = {"account_id": str(one.account_id), "by": "an operator", "reason": "asked for"}
    status, answer = await ruled.internal("POST", "/mass-cancel", body)
    assert (status, answer["partitions"]) == (200, [0, 1, 2, 3])
    [act] = await eventually(lambda: ruled.peers.heard_of(AdminActed))
    assert (act.action, act.actor, act.reason) == ("orders.mass_canceled", "core-engine:an operator", "asked for")
    assert [(change.name, change.after) for change in act.changes] == [("account_id", str(one.account_id))]
    assert (await ruled.told(one.venue_order_ref, A, C))[1].code == "mass_cancel"
    await ruled.command(ruled.of(other, CancelVenueOrder))
    assert (await ruled.told(other.venue_order_ref, A, C))[1].code == "requested"


async def test_deltas_and_snapshots_make_the_same_book(ruled: Any) -> None:
    """A reader that follows the deltas from a snapshot has the book that the API shows, checksum by checksum."""
    for n in range(30):
        side, price = ("buy", 96 - n % 3) if n % 2 else ("sell", 99 + n % 4)
        placed = ruled.order(side, str(1 + n), str(price))
        await ruled.command(placed)
        if n % 5 == 0:
            await ruled.command(ruled.of(placed, CancelVenueOrder))
    crossing = ruled.order("buy", "40", "100")
    await ruled.command(crossing)
    await eventually(lambda: any(isinstance(r, F) for r in ruled.reports(crossing.venue_order_ref)), 15)
    status, shown = await ruled.api("/api/v1/books/AAPL-USD?depth=1000")
    assert status == 200

    def is_there() -> bool:
        return any(delta.sequence >= shown["sequence"] for delta in ruled.peers.heard_of(BookDelta, SYMBOL))

    await eventually(is_there, 10)
    snapshot = ruled.peers.heard_of(BookSnapshot, SYMBOL)[0]
    book = FollowedBook()
    deltas = [
        delta
        for delta in ruled.peers.heard_of(BookDelta, SYMBOL)
        if snapshot.sequence < delta.sequence <= shown["sequence"]
    ]
    for message in (snapshot, *deltas):
        book.take(message)
        book.check(tick=Decimal("0.01"), lot=Decimal(1))
        assert (book.is_whole, book.sequence) == (True, message.sequence)
    assert [(Decimal(p), Decimal(q)) for p, q in shown["bids"]] == sorted(book.bids.items(), reverse=True)
    assert [(Decimal(p), Decimal(q)) for p, q in shown["asks"]] == sorted(book.asks.items())
    assert shown["checksum"] == book.checksum
