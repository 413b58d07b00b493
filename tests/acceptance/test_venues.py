"""What every venue adapter must pass; docs/venues.md lists the cases and says how an adapter comes to run them. Cases 15 to
19 are in test_venue_groups.py.

Whatever happens at a venue or on the way to it: in the end trading has been told the truth, each fill exactly once, no
order is doubled and none is forgotten."""

from decimal import Decimal
from functools import partial
from itertools import accumulate
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from fleet_contracts import venue as contract
from fleet_contracts.execution import AnyReport, OrderFilled, OrderReports, OrderState
from fleet_contracts.trading import SubmitOrder
from fleet_contracts.vocabulary import Side, VenueOrderStand
from fleet_testkit.desk import Believed
from fleet_testkit.eventually import eventually
from fleet_testkit.venues import VenueUnderTest

pytestmark = pytest.mark.timeout(120)


async def test_24_the_first_fill_in_a_symbol_is_of_an_order_that_we_did_not_send(venue: VenueUnderTest) -> None:
    """compared before anything has filled → somebody trades at the venue himself, and that order ends → told. It comes
    before the other cases, which fill"""
    await _compared(venue)
    assert (await venue.listing()).positions == ()
    strange = await venue.place_unasked(venue.lot * 2)
    await venue.fill_unasked(strange, venue.lot * 2)
    await eventually(lambda: _filled(venue, strange) == [venue.lot * 2], 20)
    await _takes_orders(venue)


async def test_01_a_market_order_buys(venue: VenueUnderTest) -> None:
    """supply → buy at the market → filled, with fees, told once"""
    order = venue.desk.order(venue.lot * 10, protection_price=await venue.price() * 2)
    await venue.supply(order.quantity)
    await venue.desk.say(order)
    await venue.trade(order, order.quantity)
    known = await venue.desk.until(order, "filled")
    assert known.filled == order.quantity
    assert sum(fill.fee for fill in known.fills.values()) > 0
    await venue.agrees(order)


async def test_02_a_limit_rests(venue: VenueUnderTest) -> None:
    """a limit that the market does not reach → working, listed, not filled while others trade"""
    order, other = venue.desk.order(venue.lot, await venue.far_price()), await _resting(venue)
    await venue.desk.say(order)
    await venue.desk.until(order, "working")
    await venue.trade(other, other.quantity)
    await venue.desk.until(other, "filled")
    assert await _stand(venue, order) is VenueOrderStand.WORKING
    await _cancel(venue, order)


async def test_03_an_order_fills_in_parts(venue: VenueUnderTest) -> None:
    """4 of 10 → still working → 6 of 10 → filled; two fills, each with its own name and its part of the fee; more of them at
    a market that trades as much as it shows"""
    order = await _resting(venue, lots=venue.parts_lots)
    await venue.trade(order, order.quantity * 4 / 10)
    part = await venue.desk.until(order, that=lambda known: known.filled > 0)
    assert part.stand == "working"
    assert part.filled == order.quantity * 4 / 10 or not venue.takes_amounts
    first = filled = part.filled
    await venue.agrees(order)
    while filled < order.quantity:
        await venue.trade(order, order.quantity - filled)
        filled = (await venue.desk.until(order, that=partial(_has_more_than, filled))).filled
    known = await venue.desk.until(order, "filled")
    fills = list(known.fills.values())
    assert len(fills) == 2 or not venue.takes_amounts
    assert [f.cumulative_quantity for f in fills] == list(accumulate(f.last_quantity for f in fills))
    assert (fills[0].cumulative_quantity, fills[-1].cumulative_quantity) == (first, order.quantity)
    assert all(f.fee > 0 for f in fills)
    await venue.agrees(order)


async def test_04_a_cancel_ends_an_order(venue: VenueUnderTest) -> None:
    """rests → cancel → canceled on request; a second cancel changes nothing"""
    order = await _resting(venue)
    await _cancel(venue, order)
    assert venue.desk.believed(order).code == "requested"
    await venue.desk.cancel(order)
    known = await venue.desk.until(order, that=lambda known: bool(known.refused))
    assert (known.stand, known.filled, known.answered) == ("canceled", Decimal(0), venue.desk.wishes)
    assert await _stand(venue, order) is VenueOrderStand.CANCELED


async def test_05_a_replace_changes_an_order(venue: VenueUnderTest) -> None:
    """price and quantity changed, under the same reference → works on the new terms; a bad replace leaves it as it was"""
    venue.needs("replace")
    order, far = await _resting(venue, lots=10), await venue.far_price()
    await venue.desk.replace(order, quantity=venue.lot * 7, limit_price=far)
    known = await venue.desk.until(order, "working", that=lambda known: known.quantity == venue.lot * 7)
    assert (known.limit_price, known.answered) == (far, venue.desk.wishes)
    await venue.agrees(order)
    await venue.desk.replace(order, limit_price=far + venue.tick / 10)
    known = await venue.desk.until(order, "working", that=lambda known: bool(known.refused))
    assert (known.quantity, known.limit_price, known.answered) == (venue.lot * 7, far, venue.desk.wishes)
    near = await venue.resting_price()
    await venue.desk.replace(order, limit_price=near)
    await venue.desk.until(order, "working", that=lambda known: known.limit_price == near)
    await venue.trade(order, venue.lot * 7)
    assert (await venue.desk.until(order, "filled")).filled == venue.lot * 7
    await venue.agrees(order)


async def test_06_a_bad_order_is_rejected(venue: VenueUnderTest) -> None:
    """a price and a quantity off the grid → rejected with a code; nothing is open"""
    price = await venue.far_price()
    off_price, off_lot = venue.desk.order(venue.lot, price + venue.tick / 10), venue.desk.order(venue.lot / 10, price)
    await venue.desk.say(off_price, off_lot)
    for order in (off_price, off_lot):
        assert (await venue.desk.until(order, "rejected")).code
        assert await _stand(venue, order) is VenueOrderStand.REJECTED


async def test_07_the_connection_is_cut_in_the_middle(venue: VenueUnderTest) -> None:
    """cut → a cancel, a new order and (where it can) fills meanwhile → back: all of it is known, each fill once"""
    canceled, filled, part = [await _resting(venue, lots=10) for _ in range(3)]
    late = venue.desk.order(venue.lot, await venue.far_price())
    async with venue.away():
        has_traded = await venue.trade_while_away(filled, venue.lot * 10)
        await venue.trade_while_away(part, venue.lot * 3)
        await venue.desk.cancel(canceled)
        await venue.desk.say(late)
    await venue.desk.until(canceled, "canceled")
    if has_traded:
        await venue.desk.until(filled, "filled")
        await venue.desk.until(part, "working", that=lambda known: known.filled == venue.lot * 3)
    # It went to the venue when that was back, or was refused; it is not forgotten.
    if (await venue.desk.until(late, "working", "rejected")).stand == "working":
        await venue.agrees(late)
        await _cancel(venue, late)
    for order in (canceled, filled, part):
        await venue.agrees(order)
    await _takes_orders(venue)
    for order in (part,) if has_traded else (filled, part):
        await _cancel(venue, order)


async def test_08_what_is_said_again_is_not_done_again(venue: VenueUnderTest) -> None:
    """the same order at the venue three times, each report as often as it can be → one order, each fill once"""
    venue.repeat_reports()
    order = await _resting(venue, lots=10)
    place = await venue.placed(order)
    await venue.command(place)
    await venue.trade(order, venue.lot * 10)
    await venue.desk.until(order, "filled")
    await venue.command(msgspec.structs.replace(place, command_sequence=place.command_sequence + 1))
    (state,) = await venue.agrees(order)
    assert state.cumulative_quantity == venue.lot * 10
    assert len(venue.reports_of(place.venue_order_ref, contract.VenueOrderFilled)) >= len(state.fills)


async def test_09_a_fill_comes_after_the_cancel(venue: VenueUnderTest) -> None:
    """canceled with nothing filled → a fill all the same → canceled, with the fill"""
    order = await _resting(venue, lots=10)
    await _cancel(venue, order)
    await venue.fill_after_cancel(order, venue.lot * 4)
    known = await venue.desk.until(order, that=lambda known: bool(known.fills))
    assert (known.stand, known.filled) == ("canceled", venue.lot * 4)
    await venue.agrees(order)


async def test_10_a_cancel_is_refused(venue: VenueUnderTest) -> None:
    """the venue does not cancel → refused, and the order goes on to be filled"""
    order = await _resting(venue, lots=10)
    await venue.refuse_cancel(order)
    await venue.desk.cancel(order)
    refused = await venue.desk.until(order, that=lambda known: bool(known.refused))
    assert refused.answered == venue.desk.wishes
    await venue.trade(order, venue.lot * 10)
    known = await venue.desk.until(order, "filled")
    assert known.filled == venue.lot * 10
    place = await venue.placed(order)
    await venue.command(_cancel_of(place))
    assert await eventually(lambda: venue.reports_of(place.venue_order_ref, contract.VenueCancelRejected))
    await venue.agrees(order)


async def test_11_an_unknown_order_is_said_to_be_unknown(venue: VenueUnderTest) -> None:
    """a question and a cancel about what never was, and another account's order → unknown, refused"""
    order = await _resting(venue)
    place = await venue.placed(order)
    assert (await venue.state(place.venue_order_ref, uuid4())).stand is VenueOrderStand.UNKNOWN
    await venue.command(_cancel_of(place, account_id=uuid4()))
    refused = await eventually(lambda: venue.reports_of(place.venue_order_ref, contract.VenueCancelRejected))
    assert len(refused) == 1
    never = venue.desk.order(venue.lot, await venue.far_price())
    await venue.desk.query(never)
    assert (await venue.desk.until(never, "rejected")).code == "never_sent"
    await venue.desk.say(never)
    assert await _stand(venue, order) is VenueOrderStand.WORKING
    assert not [p for p in venue.desk.peers.heard_of(contract.PlaceVenueOrder) if p.account_id == never.account_id]
    await _cancel(venue, order)


async def test_12_an_answer_is_lost(venue: VenueUnderTest) -> None:
    """taken, and nothing heard of it; the question fails too → asked again, the truth; nothing is sent twice"""
    venue.lose_answers(1)
    venue.fail_queries(1)
    order = venue.desk.order(venue.lot * 10)
    await venue.desk.say(order)
    await venue.placed(order)
    for attempt in (1, 2):
        await venue.desk.query(order, attempt)
    known = await venue.desk.until(order, "filled")
    assert known.filled == venue.lot * 10
    await venue.agrees(order)
    await venue.placed(order)


async def test_13_answers_come_in_the_wrong_order(venue: VenueUnderTest) -> None:
    """the second fill, the first, the acceptance → filled, each fill once"""
    venue.mix_reports()
    order = venue.desk.order(venue.lot * 10)
    await venue.desk.say(order)
    known = await venue.desk.until(order, "filled", that=lambda known: len(known.fills) == 2)
    assert known.filled == venue.lot * 10
    await venue.agrees(order)


async def test_14_an_order_that_we_did_not_send_is_adopted(venue: VenueUnderTest) -> None:
    """somebody trades at the venue himself → told once the venue is compared with; our own orders go on"""
    await _compared(venue)
    open_still, ended = await venue.place_unasked(venue.lot * 5), await venue.place_unasked(venue.lot * 2)
    ours = await _resting(venue)
    for strange in (open_still, ended):
        await venue.fill_unasked(strange, venue.lot * 2)
    await venue.trade(ours, ours.quantity)
    await eventually(lambda: _filled(venue, open_still) == _filled(venue, ended) == [venue.lot * 2], 20)
    await venue.desk.until(ours, "filled")
    await _takes_orders(venue)
    await venue.fill_unasked(open_still, venue.lot * 3)
    await eventually(lambda: _filled(venue, open_still) == [venue.lot * 2, venue.lot * 3])


async def _compared(venue: VenueUnderTest) -> None:
    """execution asks for the fills since an answer that it agreed with. What has filled before the first it is not told."""
    asked = contract.QueryVenueOpenOrders
    await eventually(
        lambda: any(query.since_trade_id is not None for query in venue.desk.peers.heard_of(asked, venue.desk.symbol)),
        20,
        what="a comparison that goes on from one before",
    )


def _filled(venue: VenueUnderTest, strange: contract.VenueOpenOrder) -> list[Decimal]:
    """What has been told of the fills of an order that is the only one of its account."""
    records = venue.desk.peers.heard_of(OrderReports, str(strange.account_id))
    return [r.last_quantity for record in records for r in record.reports if isinstance(r, OrderFilled)]


async def test_20_a_venue_forgets_its_fills(venue: VenueUnderTest) -> None:
    """3 of 10 heard of; 4 more while it cannot be reached, and then it names no fill any more, only what they come to → one
    stand-in; quantity, average price and P&L are the venue's; the real fills come after all → counted once; filled"""
    order = await _resting(venue, lots=10)
    venue.forget_fills()
    await venue.trade(order, venue.lot * 3)
    await venue.desk.until(order, that=lambda known: known.filled == venue.lot * 3)
    async with venue.away():
        for _ in range(2):
            await venue.trade_while_away(order, venue.lot * 2)
    await venue.desk.until(order, "working", that=lambda known: known.filled == venue.lot * 7)
    await _comes_to_the_same(venue, order)
    for _ in range(2):
        await _ask(venue, order)
    await venue.tell_forgotten(order)
    await venue.trade(order, venue.lot * 3)
    known = await venue.desk.until(order, "filled")
    assert [name for name in known.fills if name.startswith("synthetic:")] == ["synthetic:3-7"]
    await _comes_to_the_same(venue, order)


async def _comes_to_the_same(venue: VenueUnderTest, order: SubmitOrder) -> None:
    """Quantity, average price and P&L (by the sums that they are of) are the venue's to the last digit."""
    state = await venue.state((await venue.placed(order)).venue_order_ref, order.account_id)
    fills = venue.desk.believed(order).fills.values()
    assert state.fills == ()
    assert sum(f.last_quantity for f in fills) == state.cumulative_quantity
    assert sum(f.last_quantity * f.last_price for f in fills) == state.cumulative_notional
    assert sum(f.fee for f in fills) == state.fees


async def _ask(venue: VenueUnderTest, order: SubmitOrder) -> None:
    """Where the order stands, until trading has been told."""

    def states() -> list[AnyReport]:
        return [r for r in venue.desk.told(order.account_id, order.order_id) if isinstance(r, OrderState)]

    before = len(states())
    await venue.desk.query(order)
    await eventually(lambda: len(states()) > before, what="the answer to a question")


async def test_21_a_command_fails_with_an_error_of_the_server(venue: VenueUnderTest) -> None:
    """an order, and a cancel, that the venue never took → asked about: the truth, and it can be said again"""
    venue.fail_commands(1)
    order = venue.desk.order(venue.lot, await venue.far_price())
    await venue.desk.say(order)
    await venue.placed(order)
    await venue.desk.query(order)
    assert (await venue.desk.until(order, "rejected")).code == "unknown_at_venue"
    assert (await venue.placed(order)).venue_order_ref not in await venue.open_orders()
    order = await _resting(venue)
    venue.fail_commands(1)
    await venue.desk.cancel(order)
    await _ask(venue, order)
    assert venue.desk.believed(order).stand == "working"
    await _cancel(venue, order)
    await venue.agrees(order)


async def test_22_reports_of_several_commands_change_places(venue: VenueUnderTest) -> None:
    """an end before the beginning, the last fill before the first, orders among each other → the truth, each fill once"""
    venue.mix_causes(4)
    bought, rests, canceled = (
        venue.desk.order(venue.lot * 10, price) for price in (None, *[await venue.resting_price()] * 2)
    )
    await venue.desk.say(bought, rests, canceled)
    await venue.desk.cancel(canceled)
    for order, stand in ((bought, "filled"), (rests, "working"), (canceled, "canceled")):
        await venue.desk.until(order, stand)
    venue.mix_causes(2)
    for lots in (4, 6):
        await venue.trade(rests, venue.lot * lots)
    await venue.desk.until(rests, "filled", that=lambda known: len(known.fills) == 2)
    for order in (bought, rests, canceled):
        await venue.agrees(order)


async def test_23_what_accounts_hold_is_what_was_told(venue: VenueUnderTest) -> None:
    """all the cases above → by each account's fills, as trading was told of them, it holds what the venue says"""
    listed = await venue.listing()
    if listed.positions is None:
        venue.cannot("it does not tell what is held there")
    assert not listed.has_more_positions
    theirs = {position.account_id: position.quantity for position in listed.positions}

    def ours() -> dict[UUID, Decimal]:
        fills: dict[UUID, dict[UUID, Decimal]] = {}
        for record in venue.desk.peers.heard_of(OrderReports):
            for report in record.reports:
                for fill in report.fills if isinstance(report, OrderState) else [report]:
                    if isinstance(fill, OrderFilled):
                        signed = fill.last_quantity if fill.side is Side.BUY else -fill.last_quantity
                        fills.setdefault(record.account_id, {})[fill.trade_id] = signed
        held = {account_id: sum(trades.values(), Decimal(0)) for account_id, trades in fills.items()}
        return {account_id: quantity for account_id, quantity in held.items() if quantity}

    await eventually(lambda: ours() == theirs, what=f"{theirs} is held")
    assert theirs


def _has_more_than(filled: Decimal, known: Believed) -> bool:
    return known.filled > filled


async def _resting(venue: VenueUnderTest, lots: int = 1) -> SubmitOrder:
    order = venue.desk.order(venue.lot * lots, await venue.resting_price())
    await venue.desk.say(order)
    await venue.desk.until(order, "working")
    return order


async def _stand(venue: VenueUnderTest, order: SubmitOrder) -> VenueOrderStand:
    (state,) = await venue.agrees(order)
    return state.stand


async def _cancel(venue: VenueUnderTest, order: SubmitOrder) -> None:
    await venue.desk.cancel(order)
    await venue.desk.until(order, "canceled")


async def _takes_orders(venue: VenueUnderTest) -> None:
    """Once no doubt is left, new orders are taken."""

    async def is_taken() -> bool:
        order = venue.desk.order(venue.lot, await venue.far_price())
        await venue.desk.say(order)
        known = await venue.desk.until(order, "working", "rejected")
        if known.stand == "rejected":
            assert known.code == "venue_in_doubt"
            return False
        await _cancel(venue, order)
        return True

    await eventually(is_taken, 20, what="an order is taken")


def _cancel_of(place: contract.PlaceVenueOrder, **changed: Any) -> contract.CancelVenueOrder:
    fields = {name: getattr(place, name) for name in ("venue_order_ref", "account_id", "user_id", "symbol")}
    return contract.CancelVenueOrder(**(fields | {"command_sequence": 0, "send_by": None} | changed))
