"""The account's decisions: what is denied and why, what is booked, cancelled and asked about."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal as D
from uuid import UUID

import pytest
from account_commands import AAPL, NOW, RATE, a_fill, an_account, an_order, conditions, denial, done
from fleet_simulator import OrderType, Side, fee, protection_price
from fleet_simulator.fees import FEE_UNIT
from fleet_trading.domain import (
    Account,
    AccountRestricted,
    AccountStatus,
    CancelOrder,
    Order,
    OrderQueried,
    OrderReplaced,
    PlaceOrder,
    QueryUnanswered,
    Reason,
    Reference,
    ReportAccept,
    ReportCancel,
    ReportCancelReject,
    ReportReject,
    ReportReplace,
    ReportState,
    Stand,
    TradingState,
    decide,
)
from fleet_trading.domain.commands import VenueStand
from fleet_trading.domain.decisions import UnbookableFill
from fleet_trading.domain.values import Twap
from hypothesis import example, given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (an_order(conditions=conditions(instrument=None)), "unknown_symbol"),
        (an_order(quantity=0), "invalid_quantity"),
        (an_order(quantity=-1), "invalid_quantity"),
        (an_order(quantity="1.5"), "invalid_quantity"),
        (an_order(limit="0.5", quantity=1), "invalid_quantity"),  # min_notional
        (an_order(limit="100.00001"), "invalid_price"),
        (an_order(limit=0), "invalid_price"),
        (an_order(limit=-5), "invalid_price"),
        (an_order(limit=100, type=OrderType.MARKET), "invalid_price"),
        (an_order(type=OrderType.LIMIT), "invalid_price"),
        (an_order(venue="elsewhere"), "unsupported"),
        (an_order(conditions=conditions(state=TradingState.HALTED)), "market_halted"),
        (an_order(conditions=conditions(state=TradingState.HALTED, instrument=None)), "market_halted"),
        (
            an_order(quantity=0, notional=D(500), conditions=conditions(state=TradingState.HALTED, reference=None)),
            "market_halted",
        ),
        (an_order(conditions=conditions(state=TradingState.REDUCING)), "market_reducing"),
        (an_order(conditions=conditions(reference=None)), "no_reference"),
        (an_order(conditions=conditions(reference=Reference(D(99), D(100), D(100), NOW, True))), "stale_reference"),
        (an_order(conditions=conditions(forbidden=Reason("insufficient_scope", ""))), "insufficient_scope"),
        (an_order(quantity=1000), "insufficient_funds"),
        (an_order(side=Side.SELL), "insufficient_position"),
        (an_order(limit=100, conditions=conditions(reference=None)), None),
        (an_order(), None),
    ],
)
def test_each_check_has_its_code(command: PlaceOrder, code: str | None) -> None:
    assert denial(an_account(), command) == code


def test_a_buy_is_accepted_to_the_last_cent_and_denied_below() -> None:
    required = D("10") * D("105.0105") + fee(D("10") * D("105.0105"), RATE)
    assert protection_price(Side.BUY, D("100.01"), D("1.05"), AAPL.tick) == D("105.0105")
    assert denial(an_account(required), an_order()) is None
    assert denial(an_account(required - D("0.00000001")), an_order()) == "insufficient_funds"


def test_a_position_that_goes_through_zero_begins_anew() -> None:
    account = an_account()
    done(account, an_order())
    done(account, a_fill(10, 100, 10, 100))
    assert account.positions["AAPL/USD"].opened_at == NOW
    done(account, an_order(11, Side.SELL))
    later = NOW + timedelta(minutes=1)
    done(account, a_fill(11, 101, 12, 100, market_at=later))  # Two more than were ordered, and than there were.
    assert account.positions["AAPL/USD"].opened_at == later


def test_a_denied_order_changes_nothing_but_itself() -> None:
    account = an_account()
    before = {c: (b.total, b.reserved) for c, b in account.balances.items()}
    done(account, an_order(quantity=10**6))
    assert {c: (b.total, b.reserved) for c, b in account.balances.items()} == before
    assert account.orders[UUID(int=10)].stand is Stand.DENIED


def test_a_fill_before_accept_accepts_and_a_fill_told_twice_is_one() -> None:
    account = an_account()
    done(account, an_order())
    done(account, a_fill(10, 100, 4, 100, "0.4"))
    order = account.orders[UUID(int=10)]
    assert (order.status, order.filled_quantity) == ("partially_filled", D(4))
    assert done(account, a_fill(10, 100, 4, 100, "0.4")) == []
    assert done(account, ReportAccept(order_id=UUID(int=10), now=NOW)) == []
    assert account.status is AccountStatus.ACTIVE
    done(account, a_fill(10, 101, 6, 101, "0.606"))
    assert order.status == "filled"
    assert account.balances["USD"].reserved == 0
    assert account.balances["USD"].total == D(100_000) - 400 - 606 - D("1.006")
    assert account.balances["AAPL"].total == 10


def restricted_by(account: Account, command: object) -> str:
    events = done(account, command)
    found = [event.reason.code for event in events if isinstance(event, AccountRestricted)]
    assert found, events
    assert account.status is AccountStatus.REDUCE_ONLY
    return found[0]


def test_facts_are_booked_whatever_they_say_and_restrict_the_account() -> None:
    late = an_account()
    done(late, an_order())
    done(late, ReportCancel(order_id=UUID(int=10), reason=Reason("requested", ""), cumulative_quantity=D(0), now=NOW))
    assert late.balances["USD"].reserved == 0
    assert restricted_by(late, a_fill(10, 100, 4, 100)) == "fill_of_closed_order"
    assert (late.orders[UUID(int=10)].status, late.orders[UUID(int=10)].filled_quantity) == ("canceled", D(4))
    assert denial(late, an_order(11)) == "account_reduce_only"
    assert denial(late, an_order(12, Side.SELL, 4)) is None

    over = an_account()
    done(over, an_order())
    assert restricted_by(over, a_fill(10, 100, 11, 100)) == "overfill"
    assert over.balances["AAPL"].total == 11

    dear = an_account()
    done(dear, an_order())
    assert restricted_by(dear, a_fill(10, 100, 10, 120)) == "fill_beyond_reservation"

    unknown = an_account()
    assert restricted_by(unknown, a_fill(77, 100, 5, 100, symbol="AAPL/USD", side=Side.BUY)) == "fill_of_unknown_order"
    assert unknown.orders[UUID(int=77)].status == "filled"
    with pytest.raises(UnbookableFill):
        decide(unknown, a_fill(78, 101, 5, 100))

    short = an_account()
    done(short, a_fill(77, 100, 5, 100, symbol="AAPL/USD", side=Side.SELL))
    assert (short.balances["AAPL"].total, short.positions["AAPL/USD"].quantity) == (D(-5), D(-5))


BTC = replace(AAPL, symbol="BTC/USD", base="BTC", tick=D("0.01"), lot=D("0.00001"), min_quantity=D("0.00001"))


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=2, max_size=20), st.integers(1, 10**7))
@example(parts=[[1], [1]], ticks=6_000_055)
def test_an_order_worked_in_parts_has_all_that_fees_rounded_part_by_part_come_to(
    parts: list[list[int]], ticks: int
) -> None:
    """a limit buy worked in parts, with all the money there is → each part fills at the limit, its fee rounded by itself →
    nothing is beyond what was reserved, nothing is below zero, and nothing stays reserved"""
    price, whole = BTC.tick * ticks, BTC.lot * sum(map(sum, parts))
    asked = an_order(
        quantity=whole,
        limit=price,
        symbol="BTC/USD",
        algo=Twap(60, len(parts)),
        conditions=conditions(instrument=replace(BTC, min_notional=D(0)), query_at=NOW),
    )
    account = an_account(whole * price + fee(whole * price, RATE) + len(parts) * FEE_UNIT)
    assert denial(an_account(account.balance("USD").total - FEE_UNIT), asked) == "insufficient_funds"
    done(account, asked)
    number = 100
    for fills in parts:
        notional = D(0)
        for lots in fills:
            charged = fee(notional + lots * BTC.lot * price, RATE) - fee(notional, RATE)
            notional += lots * BTC.lot * price
            number += 1
            done(account, a_fill(10, number, lots * BTC.lot, price, charged))
            assert (account.status, account.restriction) == (AccountStatus.ACTIVE, None)
            assert account.balance("USD").available >= 0
    assert account.orders[UUID(int=10)].status == "filled"
    assert account.balance("USD").reserved == 0
    assert account.balance("USD").total <= len(parts) * 2 * FEE_UNIT


def test_a_part_that_fills_dearer_than_its_order_may_is_beyond_what_was_reserved() -> None:
    account = an_account()
    done(account, an_order(limit=100, algo=Twap(60, 10), conditions=conditions(query_at=NOW)))
    beyond = a_fill(10, 100, 5, 100, fee(D(500), RATE) + 2 * FEE_UNIT)
    assert restricted_by(account, beyond) == "fill_beyond_reservation"


def test_a_replaced_order_holds_what_it_may_still_cost() -> None:
    account = an_account()
    done(account, an_order(limit=90))
    order = account.orders[UUID(int=10)]
    done(account, a_fill(10, 100, 2, 90))

    def told(quantity: int, limit: int, cumulative: int = 2) -> list[type]:
        report = ReportReplace(
            order_id=order.order_id,
            quantity=D(quantity),
            limit_price=D(limit),
            stop_price=None,
            code="requested",
            cumulative_quantity=D(cumulative),
            market_at=NOW,
            now=NOW,
        )
        return [type(event) for event in done(account, report)]

    assert told(5, 95) == [OrderReplaced]
    assert (order.status, order.quantity, order.limit_price) == ("partially_filled", D(5), D(95))
    assert account.balances["USD"].reserved == order.reserved == order.reservation(D(2), D(180))
    assert told(5, 95) == [], "told twice it is the same fact"
    assert told(5, 95, 4)[-1] is OrderQueried
    assert told(2, 95) == [OrderReplaced]
    assert (order.status, account.balances["USD"].reserved) == ("filled", D(0))
    assert told(9, 95) == [], "an end is final"


def test_a_cancel_is_asked_once_and_may_be_refused() -> None:
    account = an_account()
    done(account, an_order(limit=90))
    order = account.orders[UUID(int=10)]
    done(account, ReportAccept(order_id=order.order_id, now=NOW))
    assert order.status == "new"
    assert len(done(account, CancelOrder(order_id=order.order_id, now=NOW))) == 1
    assert order.status == "pending_cancel"
    assert done(account, CancelOrder(order_id=order.order_id, now=NOW)) == []
    done(account, ReportCancelReject(order_id=order.order_id, reason=Reason("too_late", ""), now=NOW))
    assert order.status == "new"
    done(account, CancelOrder(order_id=order.order_id, now=NOW))
    done(account, a_fill(10, 100, 10, 90))
    assert order.status == "filled"
    assert done(account, CancelOrder(order_id=order.order_id, now=NOW)) == []


def test_a_cancel_is_still_asked_about_when_other_things_were_heard_of_the_order() -> None:
    account = an_account()
    done(account, an_order(limit=90))
    order = account.orders[UUID(int=10)]
    done(account, CancelOrder(order_id=order.order_id, now=NOW, query_at=NOW + timedelta(seconds=10)))
    done(account, ReportAccept(order_id=order.order_id, now=NOW))
    done(account, a_fill(10, 100, 4, 90))
    assert (order.status, order.query_at) == ("pending_cancel", NOW + timedelta(seconds=10))
    assert len(done(account, QueryUnanswered(now=NOW + timedelta(seconds=10)))) == 1


def test_an_order_without_an_answer_is_asked_about_ever_less_often() -> None:
    account = an_account()
    done(account, an_order(conditions=conditions(query_at=NOW)))
    at, pauses = NOW, []
    for attempt in range(1, 10):
        (asked,) = done(account, QueryUnanswered(now=at))
        assert isinstance(asked, OrderQueried)
        assert asked.next_at is not None
        assert asked.attempt == attempt
        assert done(account, QueryUnanswered(now=asked.next_at - timedelta(microseconds=1))) == []
        pauses.append((asked.next_at - at).total_seconds())
        at = asked.next_at
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    done(account, ReportReject(order_id=UUID(int=10), reason=Reason("never_sent", ""), now=at))
    assert done(account, QueryUnanswered(now=at + timedelta(hours=1))) == []
    assert account.balances["USD"].reserved == 0


def test_an_unanswered_cancel_is_asked_about_by_questions_of_its_own() -> None:
    """asked four times whether it was taken -> canceled -> the answer to those comes: it says nothing of the cancel ->
    that is asked about, too, from the first pause on"""
    account = an_account()
    done(account, an_order(limit=90, conditions=conditions(query_at=NOW)))
    order, at = account.orders[UUID(int=10)], NOW
    for _ in range(4):
        (asked,) = done(account, QueryUnanswered(now=at))
        assert isinstance(asked, OrderQueried)
        assert asked.next_at is not None
        at = asked.next_at
    done(account, CancelOrder(order_id=order.order_id, now=at, query_at=at + timedelta(seconds=10)))
    working = ReportState(
        order_id=order.order_id, stand=VenueStand.WORKING, cumulative_quantity=D(0), reason=Reason("x", ""), now=at
    )
    done(account, working)
    assert order.status == "pending_cancel", "nobody has asked since"
    (asked,) = done(account, QueryUnanswered(now=at + timedelta(seconds=10)))
    assert isinstance(asked, OrderQueried)
    assert (asked.attempt, asked.next_at) == (1, at + timedelta(seconds=15))
    assert done(account, replace(working, stand=VenueStand.UNKNOWN)) == []
    assert order.status == "pending_cancel", "how it ends is not known yet"
    done(account, working)
    assert order.status == "new"
    assert order.reason is not None
    assert order.reason.code == "cancel_unanswered"


def test_a_cancel_that_counts_more_than_was_told_asks_for_the_rest() -> None:
    account = an_account()
    done(account, an_order())
    events = done(
        account,
        ReportCancel(order_id=UUID(int=10), reason=Reason("ioc", ""), cumulative_quantity=D(3), now=NOW),
    )
    assert [type(event).__name__ for event in events] == ["OrderClosed", "FillsMissing", "OrderQueried"]
    done(account, a_fill(10, 100, 3, 100))
    state = ReportState(
        order_id=UUID(int=10), stand=VenueStand.CANCELED, cumulative_quantity=D(3), reason=Reason("x", ""), now=NOW
    )
    assert done(account, state) == []


def test_decide_changes_nothing() -> None:
    account = an_account()
    done(account, an_order())
    shown = repr(account)
    decide(account, a_fill(10, 100, 4, 100))
    decide(account, an_order(11))
    decide(account, CancelOrder(order_id=UUID(int=10), now=NOW))
    assert repr(account) == shown


def test_a_day_counts_from_what_the_account_was_worth_when_it_began() -> None:
    from fleet_trading.domain.portfolio import open_day, valued

    class TwoDays:
        def mark(self, symbol: str) -> D | None:
            return D(110) if symbol == "AAPL/USD" else None

        def mark_before(self, symbol: str, day: date) -> D | None:
            return D(100) if symbol == "AAPL/USD" else None

    account, today = an_account(), NOW.date() + timedelta(days=1)
    done(account, an_order())
    done(account, a_fill(10, 100, 10, 100, 1))
    worth = valued(account, TwoDays(), today)
    assert (worth.equity, worth.day_pnl, worth.unrealized_pnl) == (D(100_099), D(100), D(100))
    open_day(account, TwoDays(), today)
    done(account, an_order(11, Side.SELL, 5))
    done(account, a_fill(11, 101, 5, 112))
    worth = valued(account, TwoDays(), today)
    assert (worth.equity, worth.day_pnl, worth.realized_pnl) == (D(100_109), D(110), D(60))
    assert isinstance(account.orders[UUID(int=11)], Order)
