"""Trades that an operator of the paper venue corrects or busts."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID, uuid4

import pytest
from fleet_contracts import venue
from fleet_contracts.audit import AdminActed
from fleet_contracts.vocabulary import Liquidity, Side, VenueOrderStand
from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.corrections import CannotCorrect, Correction, Trade, correct
from fleet_exchange_connector.domain.instruments import offered
from fleet_exchange_connector.domain.orders import Fill, Stand, Status
from fleet_simulator import Liquidity as Took
from fleet_simulator import Side as Way
from fleet_simulator import models_of
from msgspec.structs import replace

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
ACCEPTED, FILLED, CORRECTED = venue.VenueOrderAccepted, venue.VenueOrderFilled, venue.VenueTradeCorrected


async def test_a_correction_and_a_bust_are_told_once_and_the_fills_add_up(simulated: Any) -> None:
    """ten bought -> eight at another price, said twice -> busted -> ten again: what the venue tells, lists and holds"""
    order = simulated.place("MSFT/USD")
    await simulated.command(order)
    _, fill = await simulated.told(order.venue_order_ref, ACCEPTED, FILLED)
    path = f"/paper/trades/{fill.venue_trade_id}"

    async def change(how: str, **body: str) -> tuple[int, Any]:
        found: tuple[int, Any] = await simulated.api(
            "POST", f"{path}/{how}", {"reason": "Clearly erroneous."} | body, scopes="admin"
        )
        return found

    price = fill.last_price - 1
    for _ in range(2):
        status, shown = await change("correct", quantity="8", price=f"{price:f}")
        assert (status, shown["quantity"], D(shown["price"]), shown["revision"]) == (200, "8", price, 1), shown
    assert (await change("bust"))[1]["revision"] == 2
    *_, corrected, busted = await simulated.told(order.venue_order_ref, ACCEPTED, FILLED, CORRECTED, CORRECTED)
    fee = (8 * price * D("0.001")).quantize(D("1e-8"))
    assert (corrected.last_quantity, corrected.last_price, corrected.fee) == (8, price, fee)
    assert (corrected.revision, corrected.code, corrected.detail) == (1, "trade_corrected", "Clearly erroneous.")
    assert (corrected.venue_trade_id, corrected.cumulative_quantity) == (fill.venue_trade_id, 8)
    assert (busted.last_quantity, busted.cumulative_quantity, busted.fee, busted.code) == (0, 0, 0, "trade_busted")
    assert fill.market_at <= corrected.market_at <= busted.market_at
    # Nothing is left that an order could reduce.
    sell = simulated.place("MSFT/USD", side=Side.SELL, reduce_only=True, account_id=order.account_id)
    await simulated.command(sell)
    _, ended = await simulated.told(sell.venue_order_ref, ACCEPTED, venue.VenueOrderCanceled)
    assert (ended.code, ended.cumulative_quantity) == ("reduce_only", 0)
    assert (await change("correct", quantity="10", price=f"{fill.last_price:f}"))[1]["revision"] == 3
    (held,) = await simulated.fetch("SELECT quantity FROM venue_positions WHERE account_id = $1", order.account_id)
    assert held["quantity"] == 10
    await simulated.command(simulated.query_of(order))
    *_, state = await simulated.told(order.venue_order_ref, ACCEPTED, FILLED, *[CORRECTED] * 3, venue.VenueOrderState)
    assert (state.stand, state.cumulative_quantity) == (VenueOrderStand.FILLED, 10)
    assert [(one.last_quantity, one.cumulative_quantity, one.fee) for one in state.fills] == [(10, 10, fill.fee)]
    assert state.fills[0].liquidity is Liquidity.TAKER
    rows = await simulated.fetch(
        "SELECT revision, quantity_before, quantity, reason FROM trade_corrections WHERE venue_order_ref = $1"
        " ORDER BY revision",
        order.venue_order_ref,
    )
    assert [(row["revision"], row["quantity_before"], row["quantity"]) for row in rows] == [
        (1, 10, 8),
        (2, 8, 0),
        (3, 0, 10),
    ]
    acts = [act for act in await simulated.heard(AdminActed, count=3) if act.target == f"trade:{fill.venue_trade_id}"]
    assert [act.action for act in acts] == ["trade.corrected", "trade.busted", "trade.corrected"]
    assert [(change.name, change.before, change.after) for change in acts[0].changes] == [
        ("quantity", "10", "8"),
        ("price", f"{fill.last_price:f}", f"{price:f}"),
    ]
    assert acts[0].reason == "Clearly erroneous."


async def test_what_is_not_the_venues_or_not_on_its_grid_is_refused(simulated: Any) -> None:
    order = simulated.place("MSFT/USD")
    await simulated.command(order)
    _, fill = await simulated.told(order.venue_order_ref, ACCEPTED, FILLED)

    async def refused(name: str, scopes: str = "admin", **body: str) -> tuple[int, str]:
        status, shown = await simulated.api(
            "POST", f"/paper/trades/{name}/correct", {"reason": "No."} | body, scopes=scopes
        )
        return status, shown["code"]

    for name in ("nothing", f"{uuid4()}-1", f"{order.venue_order_ref}-2", f"{order.venue_order_ref}-99999999999"):
        assert await refused(name, quantity="1") == (404, "trade_not_found")
    assert await refused(fill.venue_trade_id, "read trade", quantity="1") == (403, "insufficient_scope")
    assert await refused(fill.venue_trade_id, quantity="11") == (422, "invalid_quantity")
    assert await refused(fill.venue_trade_id, quantity="0.5") == (422, "invalid_quantity")
    assert await refused(fill.venue_trade_id, price="1.00001") == (422, "invalid_price")
    assert [type(report) for report in simulated.reports(order.venue_order_ref)] == [ACCEPTED, FILLED]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"order": Status(stand=Stand.WORKING, cumulative_quantity=D(10))}, "order_open"),
        ({"days": 31}, "trade_too_old"),
    ],
)
def test_trades_of_open_orders_and_old_ones_stay(changed: dict[str, Any], code: str) -> None:
    days = changed.pop("days", 0)
    fill = Fill(
        venue_order_ref=UUID(int=1),
        account_id=UUID(int=2),
        number=1,
        quantity=D(10),
        price=D(100),
        cumulative_quantity=D(10),
        fee=D(1),
        fee_currency="USD",
        liquidity=Took.TAKER,
        executed_at=NOW,
        market_at=NOW,
    )
    trade = Trade(fill=fill, symbol="AAPL/USD", side=Way.BUY, order=Status(stand=Stand.FILLED), first_quantity=D(10))
    wish = Correction(quantity=D(0), price=None, reason="No.", by=UUID(int=3))
    book = Book(offered("simulated")["AAPL/USD"], models_of())
    with pytest.raises(CannotCorrect) as refused:
        correct(replace(trade, **changed), wish, book, now=NOW + timedelta(days=days))
    assert refused.value.code == code
