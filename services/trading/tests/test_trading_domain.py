"""The account against a short naive model that keeps nothing but lists and adds them up again each time."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from uuid import UUID

import pytest
from fleet_simulator import OrderType, Side, TimeInForce, fee, protection_price
from fleet_trading.domain import (
    Account,
    AccountRestricted,
    AccountStatus,
    Book,
    CancelOrder,
    Conditions,
    Deposit,
    Event,
    Instrument,
    Order,
    OrderDenied,
    OrderFilled,
    OrderPlaced,
    OrderQueried,
    PlaceOrder,
    QueryUnanswered,
    Reason,
    Reference,
    ReportAccept,
    ReportCancel,
    ReportCancelReject,
    ReportExpiry,
    ReportFill,
    ReportReject,
    ReportState,
    Stand,
    TradingState,
    apply,
    decide,
)
from fleet_trading.domain.account import Position
from fleet_trading.domain.commands import VenueStand
from fleet_trading.domain.decisions import UnbookableFill
from fleet_trading.domain.effects import move
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
USER, ACCOUNT = UUID(int=1), UUID(int=2)
RATE = D("0.001")
AAPL = Instrument(
    symbol="AAPL/USD",
    base="AAPL",
    quote="USD",
    tick=D("0.0001"),
    lot=D(1),
    min_quantity=D(1),
    min_notional=D(1),
    highest_fee=RATE,
    venues=("paper",),
    venue="paper",
)


def conditions(**changed: object) -> Conditions:
    given_: dict[str, object] = {
        "now": NOW,
        "market_at": NOW,
        "instrument": AAPL,
        "reference": Reference(D("99.99"), D("100.01"), D(100), NOW, False),
        "state": TradingState.ACTIVE,
        "protection_factor": D("1.05"),
        "query_at": None,
    }
    return Conditions(**(given_ | changed))  # type: ignore[arg-type]


def an_account(usd: object = 100_000) -> Account:
    account = Account(
        account_id=ACCOUNT,
        user_id=USER,
        name="Paper",
        kind="paper",
        base_currency="USD",
        is_default=True,
        created_at=NOW,
    )
    done(
        account,
        Deposit(transaction_id=UUID(int=3), currency="USD", amount=D(str(usd)), source="s", now=NOW, market_at=NOW),
    )
    return account


def an_order(
    number: int = 10, side: Side = Side.BUY, quantity: object = 10, limit: object = None, **more: object
) -> PlaceOrder:
    fields: dict[str, object] = {
        "order_id": UUID(int=number),
        "client_order_id": f"c{number}",
        "account_id": ACCOUNT,
        "user_id": USER,
        "symbol": "AAPL/USD",
        "side": side,
        "type": OrderType.MARKET if limit is None else OrderType.LIMIT,
        "quantity": D(str(quantity)),
        "limit_price": None if limit is None else D(str(limit)),
        "time_in_force": TimeInForce.GTC,
        "conditions": conditions(),
    }
    return PlaceOrder(**(fields | more))  # type: ignore[arg-type]


def a_fill(order: int, trade: int, quantity: object, price: object, charged: object = 0, **more: object) -> ReportFill:
    fields: dict[str, object] = {
        "order_id": UUID(int=order),
        "trade_id": UUID(int=trade),
        "venue": "paper",
        "venue_trade_id": str(trade),
        "quantity": D(str(quantity)),
        "price": D(str(price)),
        "fee": D(str(charged)),
        "fee_currency": "USD",
        "liquidity": "taker",
        "executed_at": NOW,
        "market_at": NOW,
        "now": NOW,
        "user_id": USER,
    }
    return ReportFill(**(fields | more))  # type: ignore[arg-type]


def done(account: Account, command: object) -> list[Event]:
    events = decide(account, command)  # type: ignore[arg-type]
    for event in events:
        apply(account, event)
    return events


def denial(account: Account, command: PlaceOrder) -> str | None:
    (event,) = decide(account, command)
    if isinstance(event, OrderDenied):
        assert event.order.status == "denied"
        assert event.order.reason is not None
        return event.order.reason.code
    assert isinstance(event, OrderPlaced)
    return None


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


@given(
    st.lists(
        st.tuples(st.integers(-50, 50).filter(bool), st.decimals("0.01", "1000", places=2)), min_size=1, max_size=30
    )
)
def test_what_a_position_costs_is_conserved(trades: list[tuple[int, D]]) -> None:
    position, cash = Position(), D(0)
    for quantity, price in trades:
        move(position, D(quantity), abs(quantity) * price)
        cash -= quantity * price
    # Realised profit and what is still held explain all the money, to the last digit.
    assert position.realized_pnl - position.cost == cash
    assert position.quantity == sum(quantity for quantity, _ in trades)
    if position.quantity == 0:
        assert (position.cost, position.realized_pnl) == (D(0), cash)


@dataclass
class Naive:
    """The reference: what was accepted and what was filled, in lists; everything else is added up anew."""

    deposits: D = D(0)
    orders: dict[int, tuple[Side, D, D]] = field(default_factory=dict)  # side, quantity, worst price
    closed: set[int] = field(default_factory=set)
    fills: list[tuple[int, D, D, D]] = field(default_factory=list)  # order, quantity, price, fee

    def filled(self, number: int) -> D:
        return sum((q for n, q, _, _ in self.fills if n == number), D(0))

    def spent(self, number: int) -> D:
        return sum((q * p for n, q, p, _ in self.fills if n == number), D(0))

    def is_open(self, number: int) -> bool:
        return number not in self.closed and self.filled(number) < self.orders[number][1]

    def cash(self) -> D:
        return self.deposits + sum(
            ((q * p if self.orders[n][0] is Side.SELL else -q * p) - f for n, q, p, f in self.fills), D(0)
        )

    def held(self) -> D:
        return sum((q if self.orders[n][0] is Side.BUY else -q for n, q, _, _ in self.fills), D(0))

    def reserved(self, side: Side) -> D:
        total = D(0)
        for number, (of_side, quantity, worst) in self.orders.items():
            if of_side is side and self.is_open(number):
                left = quantity - self.filled(number)
                spent = self.spent(number)
                fees = fee(spent + left * worst, RATE) - fee(spent, RATE)
                total += left if side is Side.SELL else left * worst + fees
        return total


class AccountMachine(RuleBasedStateMachine):
    """Any order of commands and reports, also late, repeated and wrong ones."""

    @initialize(usd=st.integers(0, 20_000))
    def open(self, usd: int) -> None:
        self.account = an_account(usd)
        self.naive = Naive(deposits=D(usd))
        self.numbers = 100

    def fresh(self) -> int:
        self.numbers += 1
        return self.numbers

    @rule(side=st.sampled_from(Side), quantity=st.integers(1, 60), limit=st.none() | st.integers(50, 150))
    def place(self, side: Side, quantity: int, limit: int | None) -> None:
        number = self.fresh()
        command = an_order(number, side, quantity, limit)
        worst = (
            D(limit)
            if limit
            else protection_price(side, D("100.01") if side is Side.BUY else D("99.99"), D("1.05"), AAPL.tick)
        )
        if side is Side.BUY:
            needed = quantity * worst + fee(quantity * worst, RATE)
            fits = (
                needed <= self.naive.cash() - self.naive.reserved(Side.BUY)
                and self.account.status is AccountStatus.ACTIVE
            )
        else:
            fits = quantity <= self.naive.held() - self.naive.reserved(Side.SELL)
        assert (denial(self.account, command) is None) == fits
        done(self.account, command)
        if fits:
            self.naive.orders[number] = (side, D(quantity), worst)

    @rule(data=st.data(), quantity=st.integers(1, 60), price=st.integers(40, 160))
    def fill(self, data: st.DataObject, quantity: int, price: int) -> None:
        if not self.naive.orders:
            return
        number = data.draw(st.sampled_from(sorted(self.naive.orders)))
        before = self.naive.spent(number)
        charged = fee(before + quantity * price, RATE) - fee(before, RATE)
        trade = self.fresh()
        report = a_fill(number, trade, quantity, price, charged)
        events = done(self.account, report)
        assert isinstance(events[0], OrderFilled)
        assert done(self.account, report) == []
        self.naive.fills.append((number, D(quantity), D(price), charged))

    @rule(data=st.data(), kind=st.sampled_from([ReportCancel, ReportExpiry, ReportReject]))
    def close(self, data: st.DataObject, kind: type) -> None:
        if not self.naive.orders:
            return
        number = data.draw(st.sampled_from(sorted(self.naive.orders)))
        fields: dict[str, object] = {"order_id": UUID(int=number), "now": NOW}
        if kind is not ReportExpiry:
            fields["reason"] = Reason("said", "")
        if kind is not ReportReject:
            fields["cumulative_quantity"] = self.naive.filled(number)
        done(self.account, kind(**fields))
        if self.naive.is_open(number):
            self.naive.closed.add(number)

    @rule(data=st.data())
    def chatter(self, data: st.DataObject) -> None:
        """What changes no money."""
        if not self.naive.orders:
            return
        order_id = UUID(int=data.draw(st.sampled_from(sorted(self.naive.orders))))
        command = data.draw(
            st.sampled_from(
                [
                    ReportAccept(order_id=order_id, now=NOW),
                    CancelOrder(order_id=order_id, now=NOW),
                    ReportCancelReject(order_id=order_id, reason=Reason("no", ""), now=NOW),
                    QueryUnanswered(now=NOW),
                ]
            )
        )
        done(self.account, command)

    @invariant()
    def agrees(self) -> None:
        account, naive = self.account, self.naive
        assert account.balance("USD").total == naive.cash()
        assert account.balance("AAPL").total == naive.held()
        assert account.balance("USD").reserved == naive.reserved(Side.BUY)
        assert account.balance("AAPL").reserved == naive.reserved(Side.SELL)
        for number in naive.orders:
            order = account.orders[UUID(int=number)]
            assert order.is_open == naive.is_open(number)
            assert order.filled_quantity == naive.filled(number)

    @invariant()
    def conserves(self) -> None:
        account, entries = self.account, self.account.changes.entries
        assert [entry.entry_no for entry in entries] == list(range(1, len(entries) + 1))
        sums: dict[object, D] = {}
        client: dict[str, D] = {}
        for entry in entries:
            key = (entry.transaction_id, entry.currency)
            sums[key] = sums.get(key, D(0)) + entry.amount
            if entry.book is Book.CLIENT:
                client[entry.currency] = client.get(entry.currency, D(0)) + entry.amount
                assert entry.balance_after == client[entry.currency]
        assert not any(sums.values())
        assert {c: b.total for c, b in account.balances.items() if b.total} == {c: a for c, a in client.items() if a}
        of_orders = sum((o.reserved for o in account.orders.values() if o.side is Side.BUY), D(0))
        assert account.balance("USD").reserved == of_orders
        position = account.positions.get("AAPL/USD", Position())
        assert position.quantity == account.balance("AAPL").total
        fees = sum((f for *_, f in self.naive.fills), D(0))
        assert position.realized_pnl - position.cost - fees == account.balance("USD").total - self.naive.deposits

    @invariant()
    def never_accepts_what_is_not_there(self) -> None:
        """Only a fact can bring an account below what it has, and then it may only reduce."""
        if any(b.total - b.reserved < 0 or b.total < 0 for b in self.account.balances.values()):
            assert self.account.status is AccountStatus.REDUCE_ONLY


TestAccountMachine = AccountMachine.TestCase
TestAccountMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


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
