"""What accounts hold at a venue: the sum of all fills here, compared with what the venue says."""

import re
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from fleet_contracts import execution, venue
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS
from fleet_contracts.trading import SubmitOrder
from fleet_contracts.vocabulary import Side, VenueOrderStand, VenueStateWord
from fleet_execution.domain.reconciliation import compare_positions
from fleet_testkit.eventually import eventually
from hypothesis import given
from hypothesis import strategies as st

A, B = UUID(int=1), UUID(int=2)
MARKET_AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
held = st.dictionaries(st.sampled_from([A, B]), st.integers(-2, 2).map(D))


@given(held, held)
def test_whoever_holds_another_quantity_there_is_named(ours: dict[UUID, D], theirs: dict[UUID, D]) -> None:
    """nothing held and nothing said of it are the same"""
    found = compare_positions(ours, theirs)
    assert [d.account_id for d in found] == [a for a in (A, B) if ours.get(a, 0) != theirs.get(a, 0)]
    assert not any(d.kind != "position" or d.is_mended for d in found)


async def _begin(service: Any, order: SubmitOrder, symbol: str, **changed: Any) -> tuple[SubmitOrder, Any]:
    """An order in this symbol at a venue that can list, and the venue's view of it."""
    await service.status(VenueStateWord.CONNECTED, LISTS_OPEN_ORDERS)
    await service.lists(symbol)
    order = msgspec.structs.replace(order, order_id=uuid4(), symbol=symbol, **changed)
    await service.command(order)
    (place,) = await eventually(lambda: [p for p in _places(service, order) if p.side is order.side])
    return order, place


def _places(service: Any, order: SubmitOrder) -> list[venue.PlaceVenueOrder]:
    found: list[venue.PlaceVenueOrder] = service.sent(venue.PlaceVenueOrder, order.account_id)
    return found


async def _until_filled(service: Any, order: SubmitOrder, upto: int) -> None:
    def filled() -> bool:
        fills = [r for r in service.told(order.account_id) if isinstance(r, execution.OrderFilled)]
        return bool(fills) and fills[-1].cumulative_quantity == upto

    await eventually(filled)


async def test_a_position_that_differs_is_a_doubt_until_both_agree(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """filled 10 here, 4 there, and a stranger's 3 -> told, asked again and again, nothing new goes there -> agreed"""
    service, symbol = execution_service, "ETH/USD"
    order, place = await _begin(service, an_order, symbol)
    await service.report(service.filled(place, 10, 10), symbol=symbol)
    await _until_filled(service, order, 10)
    stranger = uuid4()
    asked = await service.asked(symbol, 1)
    for number in (2, 3, 4):
        await service.answer(asked, positions={order.account_id: 4, stranger: 3})
        if number == 4:
            break
        asked = await service.asked(symbol, number)
        assert asked.positions_after is None
    found = await service.compared(symbol)
    assert (found["outcome"], found["attempts"]) == ("unresolved", 3)
    assert {(d["kind"], d["account_id"], d["venue_order_ref"], d["is_mended"]) for d in found["differences"]} == {
        ("position", str(order.account_id), None, False),
        ("position", str(stranger), None, False),
    }
    assert "holds 4 there, was 10 here" in str(found["differences"])
    assert await service.is_in_doubt(order, symbol)
    service.clock.advance(seconds=60)
    await service.answer(await service.asked(symbol, 4), positions={order.account_id: 10})
    assert (await service.compared(symbol, 1))["outcome"] == "clean"
    assert not await service.is_in_doubt(order, symbol)


async def test_what_is_told_before_the_answer_is_in_both_and_counts_once(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """a fill said twice, right before the answer that has it; a sale, a correction, a bust -> no difference at any time"""
    service, symbol = execution_service, "NVDA/USD"
    order, place = await _begin(service, an_order, symbol)
    asked = await service.asked(symbol, 1)
    fill = service.filled(place, 10, 10)
    await service.report(fill, symbol=symbol)
    await service.report(fill, symbol=symbol)
    await service.answer(asked, positions={order.account_id: 10})
    assert (await service.compared(symbol))["outcome"] == "clean"
    _, sale = await _begin(service, order, symbol, side=Side.SELL)
    service.clock.advance(seconds=60)
    asked = await service.asked(symbol, 2)
    sold = service.filled(sale, 10, 10)
    await service.report(sold, symbol=symbol)
    await service.report(_corrected(fill, 9, 1), _corrected(sold, 0, 1), symbol=symbol)
    await service.answer(asked, positions={order.account_id: 9})
    found = await service.compared(symbol, 1)
    assert (found["outcome"], found["differences"]) == ("clean", [])


def _corrected(fill: venue.VenueOrderFilled, quantity: int, revision: int) -> venue.VenueTradeCorrected:
    figures = {"last_quantity": D(quantity), "cumulative_quantity": D(quantity)}
    return venue.VenueTradeCorrected(
        **(msgspec.structs.asdict(fill) | figures), revision=revision, code="trade_corrected", detail="Erroneous."
    )


async def test_a_fill_that_is_only_listed_is_no_difference(execution_service: Any, an_order: SubmitOrder) -> None:
    """fills on the pages of the answer, the first of which has positions already -> compared behind the last of them"""
    service, symbol = execution_service, "MSFT/USD"
    order, place = await _begin(service, an_order, symbol)
    asked = await service.asked(symbol, 1)
    first, second = service.filled(place, 4, 4), service.filled(place, 3, 7)
    open_still = venue.VenueOpenOrder(
        **{name: getattr(place, name) for name in ("venue_order_ref", "account_id", "user_id", "side", "order_type")},
        time_in_force=place.time_in_force,
        quantity=place.quantity,
        limit_price=None,
        cumulative_quantity=D(7),
    )
    await service.answer(asked, open_still, fills=(first,), has_more_fills=True, positions={order.account_id: 7})
    asked = await service.asked(symbol, 2)
    assert (asked.positions_after, asked.since_trade_id) == (None, first.venue_trade_id)
    await service.answer(asked, fills=(first, second), positions={order.account_id: 7})
    found = await service.compared(symbol)
    assert found["outcome"] == "mended"
    assert {d["kind"] for d in found["differences"]} == {"accept_missing", "fill_missing"}
    assert found["attempts"] == 1, "no doubt was had for it"


async def test_what_is_stood_in_for_is_held(execution_service: Any, an_order: SubmitOrder) -> None:
    """4 of 10 heard of; the venue counts 10 and names none any more -> a stand-in for 6, which both sides hold"""
    service, symbol = execution_service, "IBM/USD"
    order, place = await _begin(service, an_order, symbol)
    await service.report(service.filled(place, 4, 4), symbol=symbol)
    await _until_filled(service, order, 4)
    await service.answer(await service.asked(symbol, 1), positions={order.account_id: 10})
    (query,) = await eventually(lambda: service.sent(venue.QueryVenueOrders, order.account_id))
    counted: dict[str, Any] = {"cumulative_quantity": D(10), "cumulative_notional": D(1_000), "fees": D(3)}
    state = venue.VenueOrderState(
        venue_order_ref=query.venue_order_refs[0],
        account_id=order.account_id,
        market_at=MARKET_AT,
        stand=VenueOrderStand.FILLED,
        fills=(),
        **counted,
    )
    await service.report(state, state, symbol=symbol)
    await service.answer(await service.asked(symbol, 2), positions={order.account_id: 10})
    found = await service.compared(symbol)
    assert found["outcome"] == "mended"
    assert [(d["kind"], d["is_mended"]) for d in found["differences"]] == [("not_open_there", True), ("position", True)]
    told = [r for r in service.told(order.account_id) if isinstance(r, execution.OrderState)]
    assert [fill.venue_trade_id for fill in told[0].fills[1:]] == ["synthetic:4-10"]


async def test_positions_come_in_pages(execution_service: Any, an_order: SubmitOrder) -> None:
    """ours hold in two accounts, the venue lists one a page, and at the end the one that it forgot is missed"""
    service, symbol = execution_service, "JPM/USD"
    accounts = sorted(uuid4() for _ in range(3))
    for account_id in accounts:
        order, place = await _begin(service, an_order, symbol, account_id=account_id)
        await service.report(service.filled(place, 10, 10), symbol=symbol)
        await _until_filled(service, order, 10)
    await service.answer(await service.asked(symbol, 1), positions={accounts[0]: 10}, has_more_positions=True)
    second = await service.asked(symbol, 2)
    assert second.positions_after == accounts[0]
    await service.answer(second, positions={accounts[2]: 10})
    assert (await service.asked(symbol, 3)).positions_after is None, "asked anew"
    admin = service.keys.of_user("execution", uuid4(), "read", "admin", roles=["admin"])
    _, page = await service.get("reconciliations", admin)
    (found,) = [r for r in page["data"] if r["symbol"] == symbol]
    assert [(d["kind"], d["account_id"]) for d in found["differences"]] == [("position", str(accounts[1]))]


async def test_the_migration_counts_what_is_there(execution_service: Any) -> None:
    """the rows that are kept, made anew of all fills -> the same"""
    text = (Path(__file__).parents[1] / "migrations" / "0010_positions.sql").read_text()
    (insert,) = re.findall(r"INSERT INTO positions.*?;", text, re.DOTALL)
    connection = await asyncpg.connect(execution_service.settings.database_url.get_secret_value())
    try:
        query = "SELECT * FROM positions WHERE quantity <> 0 ORDER BY venue, symbol, account_id"
        kept = await connection.fetch(query)
        assert len(kept) > 5
        await connection.execute("DELETE FROM positions")
        await connection.execute(insert)
        assert await connection.fetch(query) == kept
    finally:
        await connection.close()
