"""A venue says of a trade that it was another one, or none."""

from decimal import Decimal as D
from typing import Any
from uuid import UUID

import msgspec
from fleet_contracts import execution, venue
from fleet_contracts.trading import QueryOrder, SubmitOrder
from fleet_testkit.eventually import eventually


def corrected(fill: venue.VenueOrderFilled, quantity: int, revision: int, upto: int) -> venue.VenueTradeCorrected:
    figures = {"last_quantity": D(quantity), "cumulative_quantity": D(upto), "fee": D(0)}
    return venue.VenueTradeCorrected(
        **(msgspec.structs.asdict(fill) | figures), revision=revision, code="trade_corrected", detail="Erroneous."
    )


async def test_a_correction_is_told_once_whatever_comes_again(execution_service: Any, an_order: SubmitOrder) -> None:
    """two fills -> the first corrected, busted; all of it again, and the fills -> the order is asked about"""
    place = await execution_service.placed(an_order)
    fills = [execution_service.filled(place, 4, 4), execution_service.filled(place, 6, 10)]
    first, second = corrected(fills[0], 3, 1, 9), corrected(fills[0], 0, 2, 6)
    await execution_service.report(*fills)
    for _ in range(2):
        await execution_service.report(first, second)
    await execution_service.report(*fills, first)
    await execution_service.some(lambda: execution_service.told(an_order.account_id), 4)
    query = QueryOrder(
        order_id=an_order.order_id,
        account_id=an_order.account_id,
        user_id=an_order.user_id,
        symbol=an_order.symbol,
        venue=an_order.venue,
        attempt=1,
    )
    await execution_service.command(query)
    told = await execution_service.some(lambda: execution_service.told(an_order.account_id), 5)
    one, _, *changes, state = told
    assert [type(report) for report in told[2:]] == [execution.TradeCorrected] * 2 + [execution.OrderState]
    assert {report.trade_id for report in changes} == {one.trade_id}
    assert [(c.last_quantity, c.cumulative_quantity, c.revision) for c in changes] == [(3, 9, 1), (0, 6, 2)]
    assert (changes[0].code, changes[0].detail, changes[0].symbol) == ("trade_corrected", "Erroneous.", "AAPL/USD")
    assert (state.stand, state.cumulative_quantity) == ("filled", 6)
    assert [(fill.trade_id, fill.last_quantity) for fill in state.fills] == [(one.trade_id, 0), (told[1].trade_id, 6)]


async def test_a_bust_of_all_that_filled_is_remembered(execution_service: Any, an_order: SubmitOrder) -> None:
    """filled -> busted -> the fill again, the bust again -> the trade after all: what is told is 0 and then 10"""
    place = await execution_service.placed(an_order)
    fill = execution_service.filled(place, 10, 10)
    await execution_service.report(fill, corrected(fill, 0, 1, 0))
    await eventually(lambda: len(execution_service.told(an_order.account_id)) == 2)
    await execution_service.report(fill)
    await execution_service.report(corrected(fill, 0, 1, 0), corrected(fill, 10, 2, 10))
    told = await execution_service.some(lambda: execution_service.told(an_order.account_id), 3)
    assert [(report.last_quantity, getattr(report, "revision", 0)) for report in told] == [(10, 0), (0, 1), (10, 2)]


async def test_of_a_trade_never_heard_of_the_venue_is_asked(execution_service: Any, an_order: SubmitOrder) -> None:
    place = await execution_service.placed(an_order)
    await execution_service.report(corrected(execution_service.filled(place, 10, 10), 8, 1, 8))
    (query,) = await eventually(lambda: execution_service.sent(venue.QueryVenueOrders, an_order.account_id))
    refs: tuple[UUID, ...] = query.venue_order_refs
    assert refs == (place.venue_order_ref,)
    assert execution_service.told(an_order.account_id) == []
