"""What every venue adapter must pass (docs/venues.md): orders that wait for a price, and orders that hang together."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from fleet_contracts.exchange_connector import takes
from fleet_contracts.trading import Leg, SubmitOrder
from fleet_contracts.vocabulary import OrderClass, OrderType, Side
from fleet_testkit.venues import VenueUnderTest

pytestmark = pytest.mark.timeout(120)


async def test_15_a_stop_triggers(venue: VenueUnderTest) -> None:
    """not triggered → works; the market comes to its price → triggered and filled"""
    quantity, stop_price = venue.lot * 10, await venue.stop_price()
    stop: dict[str, Any] = {"order_type": OrderType.STOP, "stop_price": stop_price}
    order, canceled = venue.desk.order(quantity, **stop), venue.desk.order(quantity, **stop)
    await venue.desk.say(order, canceled)
    for each in (order, canceled):
        await venue.desk.until(each, "working")
    await venue.desk.cancel(canceled)
    await venue.desk.until(canceled, "canceled")
    await _is_triggered(venue, order)
    if takes(OrderType.STOP) in venue.capabilities:
        await venue.agrees(canceled)
    else:
        assert not venue.parts(canceled), "it has waited in execution"


async def test_16_a_bracket_takes_its_profit(venue: VenueUnderTest) -> None:
    """entry fills in two parts → legs no larger than that → the profit is taken → the stop is gone; all quantities equal"""
    entry, profit, stop = await _bracket(venue)
    await venue.desk.say(entry)
    await venue.desk.until(entry, "working")
    if venue.takes_amounts:
        await venue.trade(entry, venue.lot * 4)
        await venue.desk.until(entry, that=lambda known: known.filled == venue.lot * 4)
    await venue.trade(entry, venue.lot * 6)
    await venue.desk.until(entry, "filled")
    await venue.trade(profit, profit.quantity)
    assert (await venue.desk.until(profit, "filled")).filled == entry.quantity
    ended = await venue.desk.until(stop, "canceled")
    assert ended.filled == 0
    assert ended.code in ("oco", "parent_ended")
    for order in (entry, profit):
        await venue.agrees(order)


async def test_17_legs_end_with_an_entry_that_does_not_fill(venue: VenueUnderTest) -> None:
    """bracket rests → cancel → canceled, and its legs with it"""
    entry, profit, stop = await _bracket(venue)
    await venue.desk.say(entry)
    await venue.desk.until(entry, "working")
    await venue.desk.cancel(entry)
    await venue.desk.until(entry, "canceled")
    for leg in (profit, stop):
        known = await venue.desk.until(leg, "canceled", "rejected")
        assert (known.filled, known.code) == (Decimal(0), "parent_ended")


async def test_18_a_trailing_stop_triggers(venue: VenueUnderTest) -> None:
    """works → the market turns by its trail → triggered and filled"""
    trail: dict[str, Any] = {"order_type": OrderType.TRAILING_STOP, "trail_amount": venue.tick}
    order = venue.desk.order(venue.lot * 10, **trail)
    await venue.desk.say(order)
    await venue.desk.until(order, "working")
    await _is_triggered(venue, order)


async def test_19_a_bracket_is_stopped_out(venue: VenueUnderTest) -> None:
    """entry fills → the market comes to the stop → the profit's leg is gone, the stop's has sold all"""
    entry, profit, stop = await _bracket(venue, profit=await venue.price() * 2, stop=await venue.exit_price())
    await venue.desk.say(entry)
    await venue.trade(entry, entry.quantity)
    await venue.desk.until(entry, "filled")
    await _is_triggered(venue, stop)
    ended = await venue.desk.until(profit, "canceled")
    assert (ended.filled, ended.code) == (Decimal(0), "oco")
    await venue.agrees(entry)


async def _is_triggered(venue: VenueUnderTest, order: SubmitOrder) -> None:
    await venue.trigger(order)
    known = await venue.desk.until(order, "filled")
    assert known.is_triggered
    assert known.filled == order.quantity
    await venue.agrees(order)


async def _bracket(
    venue: VenueUnderTest, *, profit: Decimal | None = None, stop: Decimal | None = None
) -> tuple[SubmitOrder, SubmitOrder, SubmitOrder]:
    """An entry that rests, with its legs, each as the order that it is by itself."""
    profit_price, stop_price = profit or await venue.profit_price(), stop or await venue.far_price()
    plain = venue.desk.order(venue.lot * 10, await venue.resting_price())
    exits: dict[str, Any] = {"side": Side.SELL, "account_id": plain.account_id, "user_id": plain.user_id}
    profit_leg = venue.desk.order(plain.quantity, profit_price, **exits)
    stop_leg = venue.desk.order(plain.quantity, **exits, order_type=OrderType.STOP, stop_price=stop_price)
    entry = msgspec.structs.replace(plain, order_class=OrderClass.BRACKET, legs=(_leg(profit_leg), _leg(stop_leg)))
    return entry, profit_leg, stop_leg


def _leg(order: SubmitOrder) -> Leg:
    return Leg(**{name: getattr(order, name) for name in Leg.__struct_fields__})
