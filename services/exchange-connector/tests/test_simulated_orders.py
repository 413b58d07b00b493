"""Orders on the simulated feed, through Kafka and PostgreSQL."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from fleet_contracts import venue
from fleet_contracts.exchange_connector import Quote
from fleet_contracts.vocabulary import Liquidity, Side, TimeInForce, VenueOrderStand
from fleet_testkit.eventually import eventually

ACCEPTED, FILLED, CANCELED = venue.VenueOrderAccepted, venue.VenueOrderFilled, venue.VenueOrderCanceled
REJECTED, STATE = venue.VenueOrderRejected, venue.VenueOrderState
REPLACE_REJECTED = venue.VenueReplaceRejected


async def test_a_market_order_fills_at_the_quote_that_stands(simulated: Any) -> None:
    order = simulated.place()
    await simulated.command(order)
    accepted, filled = await simulated.told(order.venue_order_ref, ACCEPTED, FILLED)
    assert filled.market_at <= datetime.now(UTC)
    assert filled.last_quantity == filled.cumulative_quantity == 10
    assert filled.fee == (filled.last_price * 10 * Decimal("0.001")).quantize(Decimal("1e-8"))
    assert (filled.fee_currency, filled.liquidity) == ("USD", Liquidity.TAKER)
    assert accepted.market_at <= filled.market_at
    records = [r for r in simulated.peers.heard_of(venue.VenueReports) if order.venue_order_ref in _refs(r)]
    assert len(records) == 1, "one record per cause and symbol"

    def quotes() -> list[Quote]:
        """Of the symbol, once one is heard that came after the fill: the one that stood then is heard, too."""
        heard: list[Quote] = simulated.peers.heard_of(Quote, "AAPL/USD")
        return heard if heard and heard[-1].market_at > filled.market_at else []

    stood = [quote for quote in await eventually(quotes) if quote.market_at <= filled.market_at]
    assert filled.last_price == stood[-1].ask


async def test_open_orders_and_fills_since_are_listed_in_pages(simulated: Any) -> None:
    near = await _quote(simulated, "ETH/USD")
    far = [
        simulated.place("ETH/USD", limit_price=near.bid / 2 // 1, quantity=Decimal("0.0001"), account_id=uuid4())
        for _ in range(3)
    ]
    taken = [simulated.place("ETH/USD", quantity=Decimal("0.0002")) for _ in range(2)]
    short = simulated.place("ETH/USD", quantity=Decimal("0.0003"), side=Side.SELL)

    def listing(after: Any, since: str | None, most: int, holding: Any = None) -> Any:
        return venue.QueryVenueOpenOrders(
            query_id=uuid4(),
            symbol="ETH/USD",
            after=after,
            since_trade_id=since,
            most=most,
            positions_after=holding,
        )

    async def answer(query: Any) -> Any:
        await simulated.command(query)
        found = await simulated.heard(venue.VenueOpenOrders, "ETH/USD", count=1)
        return await eventually(
            lambda: next(
                (
                    one
                    for one in simulated.peers.heard_of(venue.VenueOpenOrders, "ETH/USD")
                    if one.query_id == query.query_id
                ),
                None,
            ),
            what=f"one of {len(found)}",
        )

    # Orders and question in one batch or not: the answer has all that came before it.
    await simulated.command(*far, *taken, short)
    first = await answer(listing(None, None, 2))
    refs = sorted(order.venue_order_ref for order in far)
    assert [order.venue_order_ref for order in first.orders] == refs[:2]
    assert (first.has_more_orders, first.fills) == (True, ())
    assert {order.user_id for order in first.orders} <= {order.user_id for order in far}
    for order in taken:
        await simulated.told(order.venue_order_ref, ACCEPTED, FILLED)
    rest = await answer(listing(refs[1], f"{taken[0].venue_order_ref}-1", 1))
    assert [order.venue_order_ref for order in rest.orders] == refs[2:]
    assert (rest.orders[0].cumulative_quantity, rest.has_more_orders, len(rest.fills)) == (0, False, 1)
    both = {fill.venue_order_ref for fill in (await answer(listing(None, rest.fills[0].venue_trade_id, 5))).fills}
    assert taken[0].venue_order_ref in both
    nothing = await answer(listing(None, "no such fill", 5))
    assert nothing.fills == ()
    await simulated.told(short.venue_order_ref, ACCEPTED, FILLED)
    # Others of this module have traded, too.
    pages = [await answer(listing(None, None, 1))]
    while pages[-1].has_more_positions:
        pages.append(await answer(listing(None, None, 1, pages[-1].positions[-1].account_id)))
    held = {position.account_id: position.quantity for page in pages for position in page.positions}
    assert len(pages) == len(held) > 2
    assert list(held) == sorted(held)
    assert {order.account_id: held[order.account_id] for order in (*taken, short)} == {
        **{order.account_id: Decimal("0.0002") for order in taken},
        short.account_id: Decimal("-0.0003"),
    }
    assert not held.keys() & {order.account_id for order in far}
    await simulated.command(*(simulated.cancel_of(order) for order in far))


async def test_a_limit_rests_until_the_quote_comes_to_it(simulated: Any) -> None:
    near = await _quote(simulated, "BTC/USD")
    # The far ones are never reached; the near one within moments, for BTC moves by many increments a second.
    far = simulated.place("BTC/USD", limit_price=near.bid / 2 // 1 * 1, quantity=Decimal("0.00001"))
    close = simulated.place("BTC/USD", limit_price=near.bid, quantity=Decimal("0.00001"))
    too_dear = simulated.place("BTC/USD", side=Side.SELL, limit_price=near.ask * 2 // 1, quantity=Decimal("0.00001"))
    await simulated.command(far, close, too_dear)
    await simulated.told(far.venue_order_ref, ACCEPTED)
    await simulated.told(too_dear.venue_order_ref, ACCEPTED)
    cancel = simulated.cancel_of(far)
    await simulated.command(cancel, simulated.cancel_of(too_dear))
    _, canceled = await simulated.told(far.venue_order_ref, ACCEPTED, CANCELED)
    assert (canceled.code, canceled.cumulative_quantity) == ("requested", 0)
    await simulated.command(msgspec.structs.replace(simulated.cancel_of(far), request=3))
    *_, refused = await simulated.told(far.venue_order_ref, ACCEPTED, CANCELED, venue.VenueCancelRejected)
    assert (refused.code, refused.request) == ("unknown_order", 3)
    kinds = [type(r) for r in simulated.reports(close.venue_order_ref)]
    assert kinds in ([ACCEPTED], [ACCEPTED, FILLED])
    for report in simulated.reports(close.venue_order_ref)[1:]:
        assert report.last_price <= near.bid


async def test_a_resting_limit_is_filled_by_time_alone(simulated: Any) -> None:
    quote = await _quote(simulated, "ETH/USD")
    # One on each side, an increment away from the quote: whichever way the price walks, it comes to one of them.
    tick, quantity = Decimal("0.01"), Decimal("0.01")
    buy = simulated.place("ETH/USD", limit_price=quote.ask - tick, quantity=quantity)
    sell = simulated.place("ETH/USD", side=Side.SELL, limit_price=quote.bid + tick, quantity=quantity)
    await simulated.command(buy, sell)

    def filled() -> venue.VenueOrderFilled | None:
        said = simulated.reports(buy.venue_order_ref) + simulated.reports(sell.venue_order_ref)
        return next((report for report in said if isinstance(report, FILLED)), None)

    await eventually(filled, 20)
    fill = filled()
    assert fill is not None
    first = buy if fill.venue_order_ref == buy.venue_order_ref else sell
    assert fill.last_price <= buy.limit_price if first is buy else fill.last_price >= sell.limit_price
    rows = await simulated.fetch("SELECT * FROM venue_orders WHERE venue_order_ref = $1", first.venue_order_ref)
    assert (rows[0]["stand"], rows[0]["open"]) == ("filled", None)


async def test_an_order_is_taken_once_and_a_query_tells_its_fills(simulated: Any) -> None:
    order = simulated.place("IBM/USD")
    again = msgspec.structs.replace(order, command_sequence=order.command_sequence + 100)
    unknown = simulated.place("IBM/USD", account_id=order.account_id)
    await simulated.command(order, again, simulated.query_of(order, unknown))
    _, filled, repeated, answer = await simulated.told(order.venue_order_ref, ACCEPTED, FILLED, STATE, STATE)
    for state in (repeated, answer):
        assert (state.stand, state.cumulative_quantity, state.fills) == (VenueOrderStand.FILLED, 10, (filled,))
    (nothing,) = await simulated.told(unknown.venue_order_ref, STATE)
    assert (nothing.stand, nothing.fills) == (VenueOrderStand.UNKNOWN, ())
    stranger = msgspec.structs.replace(simulated.query_of(order), account_id=uuid4())
    await simulated.command(stranger)
    *_, told = await simulated.told(order.venue_order_ref, ACCEPTED, FILLED, STATE, STATE, STATE)
    assert told.stand is VenueOrderStand.UNKNOWN, "another account's order is not told"
    count = await simulated.fetch(
        "SELECT count(*) AS n FROM venue_fills WHERE venue_order_ref = $1", order.venue_order_ref
    )
    assert count[0]["n"] == 1


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"send_by": datetime(2026, 1, 1, tzinfo=UTC)}, "too_late"),
        ({"symbol": "XYZ/USD"}, "unknown_symbol"),
        ({"quantity": Decimal("0.5")}, "invalid_quantity"),
        ({"quantity": Decimal("-1")}, "invalid_quantity"),
        ({"limit_price": Decimal("400.00001")}, "invalid_price"),
    ],
)
async def test_what_cannot_be_taken_is_rejected(simulated: Any, changed: dict[str, Any], code: str) -> None:
    order = simulated.place(**changed)
    await simulated.command(order, simulated.query_of(order))
    rejected, state = await simulated.told(order.venue_order_ref, REJECTED, STATE)
    assert (rejected.code, state.stand, state.code) == (code, VenueOrderStand.REJECTED, code)


async def test_beyond_its_protection_price_a_market_order_is_canceled(simulated: Any) -> None:
    order = simulated.place("MSFT/USD", protection_price=Decimal(1))
    await simulated.command(order)
    _, canceled = await simulated.told(order.venue_order_ref, ACCEPTED, CANCELED)
    assert canceled.code == "price_protection"
    ioc = simulated.place("MSFT/USD", limit_price=Decimal(1), time_in_force=TimeInForce.IOC)
    await simulated.command(ioc)
    _, canceled = await simulated.told(ioc.venue_order_ref, ACCEPTED, CANCELED)
    assert canceled.code == "ioc"


async def test_a_halt_refuses_orders_and_lets_cancels_and_queries_through(simulated: Any) -> None:
    resting = simulated.place("GOOG/USD", limit_price=Decimal(1))
    await simulated.command(resting)
    await simulated.told(resting.venue_order_ref, ACCEPTED)
    await simulated.set_state("halted")
    # Nobody asked for this cancel.
    _, canceled = await simulated.told(resting.venue_order_ref, ACCEPTED, CANCELED)
    assert canceled.code == "market_halted"
    refused, elsewhere = simulated.place("GOOG/USD"), simulated.place("IBM/USD")
    late = simulated.cancel_of(resting)
    await simulated.command(refused, late, simulated.query_of(resting), elsewhere)
    (rejected,) = await simulated.told(refused.venue_order_ref, REJECTED)
    assert rejected.code == "market_halted"
    *_, state = await simulated.told(resting.venue_order_ref, ACCEPTED, CANCELED, venue.VenueCancelRejected, STATE)
    assert state.stand is VenueOrderStand.CANCELED
    await simulated.told(elsewhere.venue_order_ref, ACCEPTED, FILLED)
    await simulated.set_state("active")
    order = simulated.place("GOOG/USD")
    await simulated.command(order)
    await simulated.told(order.venue_order_ref, ACCEPTED, FILLED)


async def test_in_reduce_only_the_venue_takes_what_reduces_and_leaves_what_rests(simulated: Any) -> None:
    resting = simulated.place("GOOG/USD", limit_price=Decimal(1))
    await simulated.command(resting)
    await simulated.told(resting.venue_order_ref, ACCEPTED)
    await simulated.set_state("reducing")
    buy, sell = simulated.place("GOOG/USD"), simulated.place("GOOG/USD", side=Side.SELL, protection_price=Decimal(1))
    await simulated.command(buy, sell, _raised(simulated, resting))
    assert (await simulated.told(buy.venue_order_ref, REJECTED))[0].code == "market_reducing"
    await simulated.told(sell.venue_order_ref, ACCEPTED, FILLED)
    _, refused = await simulated.told(resting.venue_order_ref, ACCEPTED, REPLACE_REJECTED)
    assert refused.code == "market_reducing"
    await simulated.set_state("active")
    await simulated.command(simulated.cancel_of(resting))


async def test_a_halt_takes_out_what_is_open_within_two_seconds(simulated: Any) -> None:
    orders = [simulated.place("GOOG/USD", limit_price=Decimal(1)) for _ in range(20)]
    await simulated.command(*orders)
    for order in orders:
        await simulated.told(order.venue_order_ref, ACCEPTED)
    await simulated.set_state("halted")
    refs = [order.venue_order_ref for order in orders]

    async def are_out() -> bool:
        rows = await simulated.fetch("SELECT venue_order_ref, stand FROM venue_orders WHERE open IS NOT NULL")
        return not {row["venue_order_ref"] for row in rows} & set(refs)

    await eventually(are_out, timeout_s=2)
    await simulated.set_state("active")


async def test_a_halt_takes_a_large_book_out_in_several_transactions(simulated: Any) -> None:
    """In one it would be undone when it takes longer than a transaction may, and begun again, for ever."""
    orders = [simulated.place("GOOG/USD", limit_price=Decimal(1)) for _ in range(600)]
    await simulated.command(*orders)
    refs = {order.venue_order_ref for order in orders}

    def records(kind: type[Any]) -> list[set[Any]]:
        found = simulated.peers.heard_of(venue.VenueReports, "GOOG/USD")
        named = [{r.venue_order_ref for r in one.reports if isinstance(r, kind)} & refs for one in found]
        return [each for each in named if each]

    await eventually(lambda: sum(map(len, records(ACCEPTED))) == 600)
    await simulated.set_state("halted")
    await eventually(lambda: sum(map(len, records(CANCELED))) == 600)
    assert [len(each) for each in records(CANCELED)] == [500, 100]
    await simulated.set_state("active")


async def test_two_processes_are_one_venue(simulated: Any) -> None:
    async with simulated.running(ordinal=1):
        symbols = "AAPL/USD", "FB/USD", "GOOG/USD", "IBM/USD"
        orders = [simulated.place(symbol, quantity=Decimal(1)) for symbol in symbols for _ in range(8)]
        await simulated.command(*orders)
        for order in orders:
            await simulated.told(order.venue_order_ref, ACCEPTED, FILLED, timeout_s=30)
    epochs = await simulated.fetch("SELECT epoch FROM feed_epoch")
    assert epochs[0]["epoch"] == 1, "one of them holds the feed"


def _raised(simulated: Any, order: venue.PlaceVenueOrder) -> venue.ReplaceVenueOrder:
    cancel = simulated.cancel_of(order)
    fields = {name: getattr(cancel, name) for name in cancel.__struct_fields__}
    return venue.ReplaceVenueOrder(**fields | {"quantity": None, "limit_price": Decimal(2)})


async def _quote(simulated: Any, symbol: str) -> Quote:
    heard = len(simulated.peers.heard_of(Quote, symbol))
    await eventually(lambda: len(simulated.peers.heard_of(Quote, symbol)) > heard)
    quote: Quote = simulated.peers.heard_of(Quote, symbol)[-1]
    return quote


def _refs(record: venue.VenueReports) -> set[Any]:
    return {report.venue_order_ref for report in record.reports}
