"""When trades settle, and what may be done with their proceeds before."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID

import pytest
from account_commands import a_fill, an_account, an_order, conditions, denial, done, entries_of
from fleet_contracts import execution
from fleet_contracts.topics import DATA_INSTRUMENTS, DATA_QUOTES
from fleet_simulator import Side
from fleet_testkit.eventually import eventually
from fleet_trading.domain import BoughtUnsettledSold
from fleet_trading.domain.risk.limits import Limit
from fleet_trading.domain.settlement import settles_on, unsettled
from hypothesis import given, settings
from hypothesis import strategies as st

MONDAY = datetime(2026, 1, 5, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("calendar", "traded", "settled"),
    [
        ("24/7", MONDAY, date(2026, 1, 5)),
        ("XNYS", MONDAY, date(2026, 1, 6)),
        ("XNYS", datetime(2026, 1, 16, 15, tzinfo=UTC), date(2026, 1, 20)),  # A weekend and Martin Luther King Day.
        ("XADS", datetime(2026, 1, 8, 8, tzinfo=UTC), date(2026, 1, 12)),  # Thursday to Monday.
        ("XNYS", datetime(2200, 1, 3, 15, tzinfo=UTC), date(2200, 1, 6)),  # Past all tables: weekdays.
        ("unheard of", MONDAY, date(2026, 1, 5)),
    ],
)
def test_trades_settle_by_their_exchanges_calendar(calendar: str, traded: datetime, settled: date) -> None:
    assert settles_on(calendar, traded) == settled


def sold(account: Any, number: int, quantity: int, price: int, at: datetime, days: int = 1) -> list[Any]:
    done(account, an_order(number, Side.SELL, quantity))
    return done(account, a_fill(number, number, quantity, price, market_at=at, settles_on=at.date() + timedelta(days)))


def bought(account: Any, number: int, quantity: int, price: int, at: datetime, days: int = 1) -> list[Any]:
    done(account, an_order(number, Side.BUY, quantity, price))
    return done(account, a_fill(number, number, quantity, price, market_at=at, settles_on=at.date() + timedelta(days)))


def test_what_proceeds_on_their_way_have_bought_is_not_sold_before_they_come() -> None:
    account = an_account(1_000)
    bought(account, 10, 10, 100, MONDAY)
    sold(account, 11, 10, 110, MONDAY)
    assert unsettled(account.balances["USD"], MONDAY.date()) == 1_100
    bought(account, 12, 10, 100, MONDAY)  # With what is on its way.
    _, violated = sold(account, 13, 4, 100, MONDAY)
    assert isinstance(violated, BoughtUnsettledSold)
    assert account.orders[UUID(int=13)].reason is not None
    (_,) = sold(account, 14, 6, 100, MONDAY + timedelta(days=1))
    entry = entries_of(account)[-1]
    assert entry.settles_on == date(2026, 1, 7)
    assert unsettled(account.balances["USD"], date(2026, 1, 7)) == 0


@pytest.mark.parametrize(("quantity", "price", "held"), [(5, 110, 550), (10, 120, 1_200), (0, 110, 0)])
def test_what_a_sale_is_corrected_to_is_what_is_on_its_way(quantity: int, price: int, held: int) -> None:
    account = an_account(1_001)
    bought(account, 10, 10, 100, MONDAY)
    sold(account, 11, 10, 110, MONDAY)
    settles = date(2026, 1, 6)
    done(account, a_fill(11, 11, quantity, price, revision=1, market_at=MONDAY, settles_on=settles))
    assert unsettled(account.balances["USD"], MONDAY.date()) == held
    # After it has settled a correction is cash at once.
    done(account, a_fill(11, 11, 1, 110, revision=2, market_at=MONDAY + timedelta(days=1)))
    assert unsettled(account.balances["USD"], settles) == 0


def test_what_was_not_bought_after_all_is_not_held_back() -> None:
    account = an_account(1_001)
    bought(account, 10, 10, 100, MONDAY)
    sold(account, 11, 10, 110, MONDAY)
    bought(account, 12, 10, 100, MONDAY)  # With what is on its way.
    assert unsettled(account.balances["AAPL"], MONDAY.date()) == 10
    done(account, a_fill(12, 12, 4, 100, revision=1, market_at=MONDAY))
    assert unsettled(account.balances["AAPL"], MONDAY.date()) == 4
    done(account, a_fill(12, 12, 0, 100, revision=2, market_at=MONDAY))
    assert account.balances["AAPL"].unsettled == {}


def limited(account: Any, limit: int, at: datetime) -> Any:
    """A buy of 1,000 and its fee, where so many good faith violations are let pass."""
    limits = {Limit.GOOD_FAITH_VIOLATIONS: D(limit)}
    world = conditions(now=at, market_at=at, limits=limits, day=at.date())
    return denial(account, an_order(90, Side.BUY, 10, 100, conditions=world))


def test_each_order_that_sells_early_is_counted_for_a_year_and_a_limit_then_asks_for_settled_cash() -> None:
    account = an_account(1_001)
    bought(account, 10, 10, 100, MONDAY)
    sold(account, 11, 10, 200, MONDAY)
    bought(account, 12, 10, 100, MONDAY)
    done(account, an_order(13, Side.SELL, 10))
    for trade in (1, 2):  # One order, in two fills: one violation.
        done(account, a_fill(13, trade + 50, 5, 100, market_at=MONDAY, settles_on=date(2026, 1, 6)))
    day = MONDAY.date()
    assert account.risk.violations_by(day) == 1
    assert limited(account, 2, MONDAY) is None
    assert limited(account, 1, MONDAY) == "good_faith_violations", "all of its 2,000 are on their way"
    assert limited(account, 1, MONDAY + timedelta(days=1)) is None, "they have come"
    assert account.risk.violations_by(day + timedelta(days=364)) == 1
    assert account.risk.violations_by(day + timedelta(days=365)) == 0


def test_settled_cash_pays_the_fee_too() -> None:
    account = an_account(1_001)
    assert limited(account, 0, MONDAY) is None
    assert limited(an_account("1000.9999"), 0, MONDAY) == "good_faith_violations"


@dataclass
class Naive:
    """Lots by the day on which they are free; what is free is sold first, then what is free soonest."""

    cash: D = D(1_000)
    coming: list[tuple[date, D]] = field(default_factory=list)
    lots: list[list[Any]] = field(default_factory=list)  # free on, quantity

    def on_its_way(self, day: date) -> D:
        return sum((amount for until, amount in self.coming if until > day), D(0))

    def buy(self, quantity: int, price: int, day: date) -> None:
        cost = D(quantity * price)
        is_paid = cost <= self.cash - self.on_its_way(day)
        self.lots.append([day if is_paid else max(until for until, _ in self.coming if until > day), quantity])
        self.cash -= cost

    def sell(self, quantity: int, price: int, day: date) -> bool:
        is_early = bool(quantity > sum(lot[1] for lot in self.lots if lot[0] <= day))
        left = quantity
        for lot in sorted(self.lots, key=lambda lot: max(lot[0], day)):
            taken = min(left, lot[1])
            lot[1] -= taken
            left -= taken
        self.cash += quantity * price
        self.coming.append((day + timedelta(2), D(quantity * price)))
        return is_early


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(1, 12) | st.just(1_000), st.integers(80, 120), st.integers(0, 1)),
        max_size=25,
    )
)
def test_settlement_is_that_of_a_naive_book_of_lots(steps: list[tuple[bool, int, int, int]]) -> None:
    account, naive, at, number = an_account(1_000), Naive(), MONDAY, 100
    for is_buy, wanted, price, days in steps:
        at, number, day = at + timedelta(days=days), number + 1, (at + timedelta(days=days)).date()
        held = sum(lot[1] for lot in naive.lots)
        quantity = min(wanted, int(naive.cash // (price + 1))) if is_buy else min(wanted, held)
        if quantity == 0:
            continue
        events = (bought if is_buy else sold)(account, number, quantity, price, at, 2)
        if is_buy:
            naive.buy(quantity, price, day)
        else:
            assert any(isinstance(event, BoughtUnsettledSold) for event in events) == naive.sell(quantity, price, day)
        assert account.balance("USD").total == naive.cash
        assert unsettled(account.balances["USD"], day) == naive.on_its_way(day)
        if "AAPL" in account.balances:
            held_back = sum(lot[1] for lot in naive.lots if lot[0] > day)
            assert unsettled(account.balances["AAPL"], day) == held_back


async def test_proceeds_may_be_spent_but_not_leave_the_account(run_trading: Any) -> None:
    """buy and sell US stock → cash says what is settled → a transfer of more is refused → the next day it is not"""
    async with run_trading(trading_cached_accounts=0) as fleet:
        user = fleet.a_user()
        async with fleet.outside.transaction() as tx:
            tx.publish(DATA_INSTRUMENTS, "IBM/USD", fleet.an_instrument("IBM/USD", calendar="XNYS"))
            tx.publish(DATA_QUOTES, "IBM/USD", fleet.a_quote("IBM/USD", "1000"), market_at=MONDAY)

        async def accepted(**order: Any) -> Any:
            reply = await fleet.order(user, symbol="IBM/USD", **order)
            return reply.body if reply.status == 201 else None

        order = await eventually(lambda: accepted(quantity="90"))
        await fleet.report(user, fleet.filled(order, 90, "1000"))
        await fleet.becomes(order, user, "filled")
        sale = await accepted(side="sell", quantity="90")
        await fleet.report(user, fleet.filled(sale, 90, "1000"))
        await fleet.becomes(sale, user, "filled")
        portfolio = (await fleet.call("GET", "/api/v1/portfolio", user=user)).body
        assert (portfolio["cash"], portfolio["settled_cash"]) == ("100000", "10000")
        assert portfolio["buying_power"] == "100000"
        ledger = await fleet.call("GET", f"/api/v1/accounts/{fleet.account_of(user)}/ledger", user=user)
        assert ledger.body["data"][0]["settles_on"] == "2026-01-06"
        await corrections_settle_with_their_trade(fleet, user, await accepted(quantity="10"))
        second = await fleet.call("POST", "/api/v1/accounts", {"name": "b", "kind": "paper"}, user=user)
        body = {"from_account_id": str(fleet.account_of(user)), "to_account_id": second.body["account_id"]}
        body |= {"currency": "USD", "amount": "10001"}
        refused = await fleet.call("POST", "/api/v1/transfers", body, user=user, scopes=["transfer"])
        assert refused.code == "insufficient_funds"
        fleet.clock.advance(seconds=86_400)
        moved = await fleet.call("POST", "/api/v1/transfers", body, user=user, scopes=["transfer"])
        assert moved.status == 201
        for side in ("buy", "sell"):  # Told late: of the day before, when the proceeds were on their way.
            order = await accepted(side=side, quantity="50")
            await fleet.report(user, fleet.filled(order, 50, "1000"))
            filled = await fleet.becomes(order, user, "filled")
        assert filled["reason"]["code"] == "good_faith_violation"
        limits = {"scope": "account", "limits": {"good_faith_violations": "1"}}
        assert (await fleet.call("PUT", "/api/v1/risk/limits", limits, user=user)).status == 200
        risk = (await fleet.call("GET", "/api/v1/risk", user=user)).body
        assert risk["good_faith_violations"] == 1
        assert risk["limits"] == [{"name": "good_faith_violations", "symbol": None, "limit": "1", "used": "1"}]
        await fleet.books_hold()


async def corrections_settle_with_their_trade(fleet: Any, user: UUID, order: Any) -> None:
    """10 bought and sold again on Monday, of which half is sold and then, on Tuesday, all of it after all"""
    await fleet.report(user, fleet.filled(order, 10, "1000"))
    await fleet.becomes(order, user, "filled")
    reply = await fleet.order(user, symbol="IBM/USD", side="sell", quantity="10")
    fill = fleet.filled(reply.body, 10, "1000")
    await fleet.report(user, fill)
    await fleet.becomes(reply.body, user, "filled")
    fields = {name: getattr(fill, name) for name in fill.__struct_fields__}

    async def is_corrected(revision: int, quantity: int, days: int, settles_on: str, settled: str) -> None:
        changed = {"last_quantity": D(quantity), "market_at": fill.market_at + timedelta(days=days)}
        told = execution.TradeCorrected(**(fields | changed), revision=revision, code="no", detail="No.")
        await fleet.report(user, told)
        path = f"/api/v1/accounts/{fleet.account_of(user)}/ledger"

        async def is_booked() -> bool:
            entry = (await fleet.call("GET", path, user=user)).body["data"][0]
            assert entry["kind"] != "correction" or entry["settles_on"] == settles_on
            return bool(entry["reference"].startswith(f"correction {revision} "))

        await eventually(is_booked, what=f"revision {revision} is booked")
        assert (await fleet.call("GET", "/api/v1/portfolio", user=user)).body["settled_cash"] == settled

    await is_corrected(1, 5, 0, "2026-01-06", "0")
    await is_corrected(2, 10, 1, "2026-01-06", "5000")
