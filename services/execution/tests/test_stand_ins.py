"""What stands in for fills that were never told, by the venue's totals: the account ends with the same."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID

from fleet_execution.domain import Filled, OrderKey, Stand, Stated, Terms, Totals, VenueOrder, submit
from hypothesis import given
from hypothesis import strategies as st

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
KEY = OrderKey.of(UUID(int=1), UUID(int=2), UUID(int=3), "BTC/USD", "paper")


@st.composite
def histories(draw: st.DrawFn) -> tuple[str, list[Filled], list[Filled], list[Filled]]:
    """A side, the venue's fills, those of them that we heard, and those that come late after all, in any order."""
    fills, cumulative = [], D(0)
    for n, (lots, cents, fee) in enumerate(
        draw(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 10**6), st.integers(0, 999)), max_size=8))
    ):
        quantity = D(lots).scaleb(-3)
        cumulative += quantity
        fills.append(
            Filled(AT, f"t{n}", quantity, D(cents).scaleb(-2), cumulative, D(fee).scaleb(-8), "USD", "taker", AT)
        )
    heard = [fill for fill in fills if draw(st.booleans())]
    late = draw(st.permutations(fills))
    return draw(st.sampled_from(["buy", "sell"])), fills, heard, list(late)


def cash(side: str, totals: Totals) -> D:
    """What the fills did to the account's cash: the P&L they leave is the same where this is."""
    return (totals.notional if side == "sell" else -totals.notional) - totals.fees


@given(histories())
def test_with_stand_ins_quantity_average_price_and_pnl_are_the_venues(history: Any) -> None:
    side, fills, heard, late = history
    terms = Terms(side, "limit", D(1000), D(1), None, "gtc", None)
    order, _ = submit(KEY, terms, command_sequence=1, market_at=AT, now=AT, refusal=None)
    for fill in heard:
        order, _ = order.learn(fill, now=AT)
    # The naive side: all the fills there were.
    naive = VenueOrder(KEY, terms, 1, Stand.WORKING, AT, AT, AT, fills=tuple(fills)).totals
    told = Stated(AT, Stand.CANCELED, naive.quantity, (), "requested", "", Totals(*_sums(naive), "USD"))
    mended, _ = order.learn(told, now=AT)
    assert mended.totals.quantity == naive.quantity
    assert cash(side, mended.totals) == cash(side, naive), "to the last digit"
    if naive.quantity:
        assert abs(mended.totals.notional - naive.notional) / naive.quantity < D("1e-11")
    again, _ = order.learn(told, now=AT + timedelta(hours=1))
    assert [f.venue_trade_id for f in again.fills] == [f.venue_trade_id for f in mended.fills], "the same whenever made"
    for fill in late:
        mended, outcomes = mended.learn(fill, now=AT)
        assert outcomes == (), "what a stand-in counts is not counted again"
    assert mended.totals.quantity == naive.quantity


def _sums(totals: Totals) -> tuple[D, D, D]:
    return totals.quantity, totals.notional, totals.fees
