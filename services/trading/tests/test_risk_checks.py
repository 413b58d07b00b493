"""Every check: what goes beyond a limit is denied with its code, one tick, lot or order less is accepted."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID

import pytest
from account_commands import AAPL, NOW, a_fill, an_account, an_order, conditions, denial, done
from fleet_simulator import OrderType, Side, TimeInForce
from fleet_trading.domain import (
    Account,
    CancelOrder,
    Order,
    OrderClass,
    OrderDenied,
    PlaceOrder,
    Reason,
    ReplaceDenied,
    ReplaceOrder,
    ReportCancel,
    Terms,
    preview,
)
from fleet_trading.domain.booking import peak_after
from fleet_trading.domain.effects import apply
from fleet_trading.domain.portfolio import allocation
from fleet_trading.domain.risk.limits import MOST_OPEN_ORDERS, Limit, LimitTable, Scope, SetAs, Values, tightest
from fleet_trading.domain.risk.usage import Usage, measure
from hypothesis import example, given
from hypothesis import strategies as st


@dataclass
class MarksOfTest:
    price: D = D(100)

    def mark(self, symbol: str) -> D | None:
        return self.price

    def mark_before(self, symbol: str, day: date) -> D | None:
        return D(100)


def limited(limits: dict[Limit, Any], *, mark: object = 100, **changed: Any) -> Any:
    values = {name: D(str(value)) for name, value in limits.items()}
    more = {"limits": tightest([values]), "marks": MarksOfTest(D(str(mark))), "day": NOW.date()}
    return conditions(**(more | changed))


def ordered(name: Limit, value: object, **changed: Any) -> Callable[..., PlaceOrder]:
    """Orders under one limit."""
    return lambda number=10, side=Side.BUY, quantity=10, limit=100, **more: an_order(
        number, side, quantity, limit, **({"conditions": limited({name: value}, **changed)} | more)
    )


def holding(quantity: int = 10, price: int = 100) -> Account:
    """Has bought at 100, in an order that is filled."""
    account = an_account()
    done(account, an_order(1, quantity=quantity, limit=price))
    done(account, a_fill(1, 1, quantity, price))
    return account


TICK = AAPL.tick


@pytest.mark.parametrize(
    ("name", "limit", "within", "beyond"),
    [
        (Limit.MAX_ORDER_QUANTITY, 10, {"quantity": 10}, {"quantity": 11}),
        (Limit.MAX_ORDER_NOTIONAL, 1000, {"limit": 100}, {"limit": 100 + TICK}),
        # A market order by the dearest price it may fill at.
        (Limit.MAX_ORDER_NOTIONAL, "1050.105", {"limit": None}, {"limit": None, "quantity": 11}),
        (Limit.PRICE_COLLAR, "0.1", {"limit": 110}, {"limit": 110 + TICK}),
        (Limit.POSITION_LIMIT, 10, {"quantity": 10}, {"quantity": 11}),
        (Limit.CONCENTRATION, "0.01", {"limit": 100}, {"limit": 100 + TICK}),
        (Limit.GROSS_EXPOSURE, 1000, {"limit": 100}, {"limit": 100 + TICK}),
    ],
)
def test_an_order_at_its_limit_is_accepted_and_one_step_more_is_denied(
    name: Limit, limit: object, within: dict[str, Any], beyond: dict[str, Any]
) -> None:
    order = ordered(name, limit)
    assert denial(an_account(), order(**within)) is None
    assert denial(an_account(), order(**beyond)) == name.value


@pytest.mark.parametrize(
    ("kind", "limit", "stop", "measured_at"),
    [
        (OrderType.MARKET, None, None, 100),
        (OrderType.LIMIT, 1, None, 100),
        (OrderType.STOP_LIMIT, 1, 99, 99),
        (OrderType.TRAILING_STOP, None, None, 100),
    ],
)
def test_a_sell_is_measured_by_what_it_brings_however_low_its_limit(
    kind: OrderType, limit: object, stop: object, measured_at: int
) -> None:
    trail = D(5) if kind is OrderType.TRAILING_STOP else None
    terms = Terms(stop_price=None if stop is None else D(str(stop)), trail_amount=trail)
    asked: dict[str, Any] = {"side": Side.SELL, "limit": limit, "type": kind, "terms": terms if stop or trail else None}
    assert denial(holding(), ordered(Limit.MAX_ORDER_NOTIONAL, 10 * measured_at)(**asked)) is None
    assert (
        denial(holding(), ordered(Limit.MAX_ORDER_NOTIONAL, 10 * measured_at - TICK)(**asked)) == "max_order_notional"
    )


def test_a_sell_must_not_be_limited_below_the_collar() -> None:
    order = ordered(Limit.PRICE_COLLAR, "0.1")
    assert denial(holding(), order(side=Side.SELL, limit=90)) is None
    assert denial(holding(), order(side=Side.SELL, limit=90 - TICK)) == "price_collar"


def test_without_a_price_of_the_market_there_is_no_collar() -> None:
    order = ordered(Limit.PRICE_COLLAR, "0.1", reference=None)
    assert denial(an_account(), order(limit=500)) is None


def test_a_restricted_symbol_is_neither_bought_nor_sold() -> None:
    order = ordered(Limit.RESTRICTED_SYMBOL, 0)
    assert denial(holding(), order()) == denial(holding(), order(side=Side.SELL)) == "restricted_symbol"


def test_what_is_held_and_what_open_buys_may_add_count_together() -> None:
    for name, limit in ((Limit.POSITION_LIMIT, 30), (Limit.GROSS_EXPOSURE, 3000), (Limit.CONCENTRATION, "0.03")):
        account, order = holding(), ordered(name, limit)
        done(account, order(11, quantity=10))
        assert denial(account, order(12, quantity=11)) == name.value
        assert denial(account, order(13, quantity=10)) is None
        done(account, order(13, quantity=10))
        assert denial(account, order(14, quantity=1)) == name.value
        assert denial(account, order(15, Side.SELL, quantity=10)) is None, "what gets out is never held back"
        reason = Reason("requested", "")
        done(account, ReportCancel(order_id=UUID(int=13), reason=reason, cumulative_quantity=D(0), now=NOW))
        assert denial(account, order(16, quantity=10)) is None


def test_open_orders_count_until_they_end_and_a_group_with_its_legs() -> None:
    account, order = an_account(), ordered(Limit.OPEN_ORDERS, 3)
    for number in (11, 12, 13):
        assert denial(account, order(number, quantity=1)) is None
        done(account, order(number, quantity=1))
    assert denial(account, order(14, quantity=1)) == "open_orders"
    done(account, CancelOrder(order_id=UUID(int=12), now=NOW))
    assert denial(account, order(14, quantity=1)) == "open_orders", "the venue has not said that it is out"
    reason = Reason("requested", "")
    for number in (12, 13):
        done(account, ReportCancel(order_id=UUID(int=number), reason=reason, cumulative_quantity=D(0), now=NOW))
    terms = Terms(order_class=OrderClass.BRACKET, take_profit_price=D(120), stop_loss_price=D(80))
    bracket = order(15, quantity=1, terms=terms, leg_ids=(UUID(int=16), UUID(int=17)))
    assert denial(account, bracket) == "open_orders", "one and three"
    one_leg = replace(terms, order_class=OrderClass.OTO, take_profit_price=None)
    assert denial(account, replace(bracket, terms=one_leg, leg_ids=(UUID(int=16),))) is None


def test_the_order_rate_is_of_one_minute() -> None:
    account, order = an_account(), ordered(Limit.ORDER_RATE, 3)
    for number in (11, 12, 13):
        done(account, order(number, quantity=1))
    assert denial(account, order(14, quantity=1)) == "order_rate"
    later = limited({Limit.ORDER_RATE: 3}, market_at=NOW + timedelta(minutes=1))
    assert denial(account, order(14, quantity=1, conditions=later)) is None


def test_identical_orders_in_a_row() -> None:
    account, order = an_account(), ordered(Limit.REPEATED_ORDERS, 2)
    done(account, order(11))
    done(account, order(12))
    assert denial(account, order(13)) == "repeated_orders"
    assert denial(account, order(13, limit=100 - TICK)) is None
    later = limited({Limit.REPEATED_ORDERS: 2}, market_at=NOW + timedelta(minutes=1))
    assert denial(account, order(13, conditions=later)) is None
    done(account, order(14, quantity=9))
    assert denial(account, order(13)) is None, "another one came between"


def test_a_fat_finger_is_measured_by_the_last_orders() -> None:
    account, order = an_account(10**6), ordered(Limit.FAT_FINGER, 3)
    for number in range(11, 15):
        done(account, order(number))
    assert denial(account, order(20, quantity=1000)) is None, "four say nothing yet"
    done(account, order(15))
    assert denial(account, order(20, quantity=30)) is None
    assert denial(account, order(20, quantity=30, limit=100 + TICK)) == "fat_finger"


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_the_average_size_is_that_of_the_orders(quantities: list[int]) -> None:
    account, order = an_account(10**9), ordered(Limit.FAT_FINGER, 1000)
    for number, quantity in enumerate(quantities, start=11):
        done(account, order(number, quantity=quantity))
    assert math.isclose(float(account.risk.average_notional), 100 * sum(quantities) / len(quantities), rel_tol=1e-9)


def test_an_account_does_not_trade_with_itself() -> None:
    account, order = holding(), ordered(Limit.SELF_MATCH, 0)
    done(account, order(11, Side.SELL, quantity=5, limit=105))
    assert denial(account, order(12, quantity=1, limit=105)) == "self_match"
    assert denial(account, order(12, quantity=1, limit=None)) == "self_match"
    assert denial(account, order(12, quantity=1, limit=105 - TICK)) is None
    stop = order(12, quantity=1, limit=None, type=OrderType.STOP, terms=Terms(stop_price=D(120)))
    assert denial(account, stop) is None, "it is not at work yet"
    done(account, order(13, quantity=1, limit=104))
    wanted = {"quantity": None, "stop_price": None, "expected_version": None}
    to = limited({Limit.SELF_MATCH: 0})
    (denied,) = done(account, ReplaceOrder(order_id=UUID(int=13), limit_price=D(105), conditions=to, **wanted))
    assert isinstance(denied, ReplaceDenied) and denied.reason.code == "self_match"


def test_a_loss_of_the_day_lets_positions_only_shrink() -> None:
    order = ordered(Limit.DAILY_LOSS, 50, mark="95.0001")
    assert denial(holding(), order(quantity=1)) is None
    order = ordered(Limit.DAILY_LOSS, 50, mark=95)
    assert denial(holding(), order(quantity=1)) == "daily_loss"
    assert denial(holding(), order(side=Side.SELL)) is None


def test_no_loss_is_told_as_none() -> None:
    (denied,) = done(holding(), ordered(Limit.DAILY_LOSS, 0)(quantity=1))
    assert isinstance(denied, OrderDenied) and denied.order.reason is not None
    assert denied.order.reason.detail == "The day's loss has come to 0, was 0."


def test_a_drawdown_is_measured_from_the_highest_equity() -> None:
    account = holding(100)
    limits = tightest([{Limit.DRAWDOWN: D("0.02")}])

    def measured(mark: int) -> None:
        event = measure(account, lambda _: limits, MarksOfTest(D(mark)), NOW.date())
        if event is not None:
            apply(account, event)

    measured(100)
    measured(200)  # 110,000
    measured(150)
    assert account.risk.peak_equity == 110_000
    assert denial(account, ordered(Limit.DRAWDOWN, "0.02", mark="178.0001")(quantity=1)) is None
    assert denial(account, ordered(Limit.DRAWDOWN, "0.02", mark=178)(quantity=1)) == "drawdown"


@given(st.lists(st.decimals(D("1e-18"), 10**9, places=18), min_size=1, max_size=10))
@example(left=[D("1e-18"), D(10**9)])
@example(left=[D("999999999999999999999999.123456789012345678"), D("999999999999999999999998.123456789012345679")])
def test_what_is_lost_of_the_highest_equity_stays_as_large_a_part_whatever_comes_and_goes(left: list[D]) -> None:
    peak, equity = D(100_000), D(95_000)
    for after in left:
        peak, equity = peak_after(peak, equity, after - equity), after
    assert abs((peak - equity) / peak - D("0.05")) < D("0.0001")


@pytest.mark.parametrize(
    ("name", "limit", "within", "beyond"),
    [
        (Limit.MAX_ORDER_QUANTITY, 15, {"quantity": 15}, {"quantity": 16}),
        (Limit.MAX_ORDER_NOTIONAL, 1500, {"quantity": 15}, {"quantity": 15, "limit_price": 100 + TICK}),
        (Limit.PRICE_COLLAR, "0.1", {"limit_price": 110}, {"limit_price": 110 + TICK}),
        (Limit.POSITION_LIMIT, 15, {"quantity": 15}, {"quantity": 16}),
        (Limit.GROSS_EXPOSURE, 1500, {"quantity": 15}, {"quantity": 15, "limit_price": 100 + TICK}),
        (Limit.CONCENTRATION, "0.015", {"quantity": 15}, {"quantity": 16}),
        # What shrinks passes whatever is set since.
        (Limit.MAX_ORDER_QUANTITY, 5, {"quantity": 9}, {"quantity": 11}),
        (Limit.GROSS_EXPOSURE, 500, {"quantity": 9}, {"quantity": 11}),
        (Limit.RESTRICTED_SYMBOL, 0, {"quantity": 9}, {"quantity": 11}),
        (Limit.DAILY_LOSS, 0, {"limit_price": 99}, {"quantity": 11}),
        (Limit.ORDER_RATE, 0, {"quantity": 15}, None),
        (Limit.REPEATED_ORDERS, 0, {"quantity": 15}, None),
        (Limit.OPEN_ORDERS, 0, {"quantity": 15}, None),
    ],
)
def test_a_replace_passes_the_checks_of_what_grows(
    name: Limit, limit: object, within: dict[str, Any], beyond: dict[str, Any] | None
) -> None:
    def code(changed: dict[str, Any]) -> str | None:
        account = an_account()
        done(account, an_order(limit=100))
        asked: dict[str, Any] = dict.fromkeys(("quantity", "limit_price", "stop_price", "expected_version"))
        asked |= {field: D(str(value)) for field, value in changed.items()}
        command = ReplaceOrder(order_id=UUID(int=10), conditions=limited({name: limit}), **asked)
        (event,) = done(account, command)
        return event.reason.code if isinstance(event, ReplaceDenied) else None

    assert code(within) is None
    assert beyond is None or code(beyond) == name.value


def test_a_denied_order_counts_for_nothing() -> None:
    account, order = an_account(), ordered(Limit.ORDER_RATE, 3)
    before = account.risk
    done(account, order(quantity=10**6))
    assert account.risk is before


VALUES = st.dictionaries(st.sampled_from(Limit), st.integers(0, 5).map(D), max_size=4)


@given(VALUES, VALUES, VALUES, VALUES, VALUES)
def test_of_all_that_are_set_the_tightest_holds(system: Any, role: Any, other: Any, symbol: Any, own: Any) -> None:
    table = LimitTable(
        1,
        {
            (Scope.SYSTEM, ""): system,
            (Scope.ROLE, "trader"): role,
            (Scope.ROLE, "viewer"): other,
            (Scope.SYMBOL, "AAPL/USD"): symbol,
        },
    )
    for _ in range(2):  # remembered the second time
        found = table.of(("trader",), [own], symbol="AAPL/USD")
        for name in set(Limit) - {Limit.OPEN_ORDERS}:
            given_ = [each[name] for each in (system, role, symbol, own) if name in each]
            assert found.get(name) == min(given_, default=None)
        assert list(found) == [name for name in Limit if name in found], "in the order of the checks"


def test_a_limit_that_looks_at_open_orders_bounds_them() -> None:
    assert tightest([{Limit.SELF_MATCH: D(0)}])[Limit.OPEN_ORDERS] == MOST_OPEN_ORDERS
    assert Limit.OPEN_ORDERS not in tightest([{Limit.ORDER_RATE: D(1)}])


def test_a_crossing_is_told_once_until_it_is_below_again() -> None:
    account = an_account()
    limits: Values = tightest([{Limit.OPEN_ORDERS: D(5)}])
    told: list[int] = []

    def measured() -> None:
        event = measure(account, lambda _: limits, MarksOfTest(), NOW.date())
        if event is not None:
            apply(account, event)
            told.extend(usage.level for usage in event.breaches)

    def ended(number: int) -> None:
        reason = Reason("requested", "")
        done(account, ReportCancel(order_id=UUID(int=number), reason=reason, cumulative_quantity=D(0), now=NOW))

    for number in range(11, 16):
        done(account, an_order(number, quantity=1, limit=10))
        measured()
        measured()
    assert told == [80, 100]
    ended(11)
    measured()
    done(account, an_order(16, quantity=1, limit=10))
    measured()
    assert told == [80, 100, 100], "at 80 it was told already"
    for number in (12, 13):
        ended(number)
    measured()
    assert account.risk.told == {}


@given(st.integers(0, 200), st.integers(0, 150))
def test_the_level_is_of_the_limit_to_the_last_digit(allowed: int, used: int) -> None:
    usage = Usage(Limit.GROSS_EXPOSURE, None, D(allowed), D(used))
    if allowed:
        assert usage.level == max((level for level in (0, 80, 100) if used / allowed >= level / 100), default=0)
    else:
        assert usage.level == (100 if used else 0)


def test_exposure_is_what_is_held_at_its_marks() -> None:
    found = allocation(holding(100), MarksOfTest(D(50)))
    assert found.gross_exposure == found.net_exposure == 5000
    assert found.leverage is not None and found.leverage == found.concentration
    assert math.isclose(found.leverage, 5000 / 95_000, rel_tol=1e-9)
    empty = an_account(0)
    assert allocation(empty, MarksOfTest()).leverage is None


def test_limits_of_admin_and_owner_hold_both() -> None:
    account = an_account()
    account.limits = {SetAs.ADMIN: {Limit.ORDER_RATE: D(5)}, SetAs.OWNER: {Limit.ORDER_RATE: D(9)}}
    assert LimitTable(1, {}).of((), account.limits.values()) == {Limit.ORDER_RATE: D(5)}


def test_orders_of_a_group_that_buys_back_count_once() -> None:
    account, order = holding(), ordered(Limit.POSITION_LIMIT, 10)
    terms = Terms(order_class=OrderClass.BRACKET, take_profit_price=D(80), stop_loss_price=D(120))
    sold = order(11, Side.SELL, terms=terms, leg_ids=(UUID(int=12), UUID(int=13)), limit=101)
    done(account, replace(sold, conditions=limited({})))
    legs: list[Order] = [account.orders[UUID(int=number)] for number in (12, 13)]
    assert [bool(leg.reserved) for leg in legs] == [True, False]
    (position,) = (
        usage.used
        for usage in measure_of(account, {Limit.POSITION_LIMIT: D(20)})
        if usage.limit is Limit.POSITION_LIMIT
    )
    assert position == 20


def measure_of(account: Account, limits: dict[Limit, D]) -> list[Usage]:
    event = measure(account, lambda _: tightest([limits]), MarksOfTest(), NOW.date())
    return [] if event is None else list(event.breaches)


def test_a_preview_tells_every_limit_that_an_order_goes_beyond() -> None:
    to = limited({Limit.MAX_ORDER_QUANTITY: 9, Limit.GROSS_EXPOSURE: 999})
    found = preview(an_account(100), an_order(limit=100, conditions=to))
    assert [reason.code for reason in found.reasons] == ["max_order_quantity", "gross_exposure", "insufficient_funds"]


NEW_YORK = replace(AAPL, calendar="XNYS")
OPENS, CLOSES = datetime(2026, 1, 5, 14, 30, tzinfo=UTC), datetime(2026, 1, 5, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (OPENS, None),
        (OPENS - timedelta(microseconds=1), "market_closed"),
        (CLOSES - timedelta(microseconds=1), None),
        (CLOSES, "market_closed"),
        (OPENS + timedelta(days=365 * 100), "market_closed"),  # no table goes so far
    ],
)
def test_what_must_fill_at_once_needs_an_open_market(at: datetime, code: str | None) -> None:
    to = conditions(instrument=NEW_YORK, now=at, query_at=at)
    for order in (an_order(conditions=to), an_order(limit=100, time_in_force=TimeInForce.IOC, conditions=to)):
        assert denial(an_account(), order) == code
    for waiting in (an_order(limit=100, conditions=to), an_order(time_in_force=TimeInForce.AT_OPEN, conditions=to)):
        assert denial(an_account(), waiting) is None
    replayed = conditions(instrument=NEW_YORK, now=at, query_at=None)
    assert denial(an_account(), an_order(conditions=replayed)) is None, "its market moves in steps of its own"
