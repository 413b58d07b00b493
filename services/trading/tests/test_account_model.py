"""The account against a short naive model that keeps nothing but lists and adds them up again each time."""

from dataclasses import dataclass, field
from decimal import Decimal as D
from uuid import UUID

from account_commands import (
    AAPL,
    NOW,
    RATE,
    a_fill,
    an_account,
    an_order,
    assert_open_buys_add_up,
    conditions,
    denial,
    done,
    entries_of,
)
from fleet_simulator import Side, fee, protection_price
from fleet_trading.domain import (
    AccountStatus,
    Book,
    CancelOrder,
    OrderFilled,
    QueryUnanswered,
    Reason,
    ReplaceOrder,
    ReplaceRequested,
    ReportAccept,
    ReportCancel,
    ReportCancelReject,
    ReportExpiry,
    ReportReject,
    ReportReplace,
    ReportReplaceReject,
)
from fleet_trading.domain.account import Position
from fleet_trading.domain.booking import move
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule


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
    trades: list[tuple[int, int]] = field(default_factory=list)  # trade and revision of each fill
    wanted: dict[int, tuple[D, D]] = field(default_factory=dict)  # quantity, limit of replaces without an answer

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
                after, worst_after = self.wanted.get(number, (quantity, worst))
                after = max(after - self.filled(number), D(0))
                spent = self.spent(number)
                # Any part of it may fill before it is replaced, the rest as it is then.
                notional = max(k * worst + max(after - k, D(0)) * worst_after for k in range(int(left) + 1))
                fees = fee(spent + notional, RATE) - fee(spent, RATE)
                total += max(left, after) if side is Side.SELL else notional + fees
        return total

    def covers(self, more: D) -> bool:
        """Whether so much more, with what open buys may bring, is no more than what the account is short of."""
        brings = more
        for number, (side, quantity, _) in self.orders.items():
            if side is Side.BUY and self.is_open(number):
                brings += max(quantity, self.wanted.get(number, (quantity,))[0]) - self.filled(number)
        return self.held() < 0 and brings <= -self.held()


class AccountMachine(RuleBasedStateMachine):
    """Any order of commands and reports, also late, repeated and wrong ones."""

    @initialize(usd=st.just(10**6) | st.integers(0, 20_000))
    def open(self, usd: int) -> None:
        self.account = an_account(usd)
        self.naive = Naive(deposits=D(usd))
        self.numbers = 100

    def fresh(self) -> int:
        self.numbers += 1
        return self.numbers

    @rule(side=st.sampled_from(Side), quantity=st.integers(1, 60), limit=st.integers(50, 150) | st.none())
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
            fits = needed <= self.naive.cash() - self.naive.reserved(Side.BUY) and (
                self.account.status is AccountStatus.ACTIVE or self.naive.covers(D(quantity))
            )
        else:
            fits = quantity <= self.naive.held() - self.naive.reserved(Side.SELL)
        assert (denial(self.account, command) is None) == fits
        done(self.account, command)
        if fits:
            self.naive.orders[number] = (side, D(quantity), worst)

    @precondition(lambda self: bool(self.naive.orders))
    @rule(data=st.data(), quantity=st.integers(1, 60), price=st.integers(40, 160), is_fair=st.booleans())
    def fill(self, data: st.DataObject, quantity: int, price: int, is_fair: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.naive.orders)))
        if is_fair and self.naive.is_open(number):  # Most facts are what acceptance allowed for.
            side, most, worst = self.naive.orders[number]
            quantity = min(quantity, int(most - self.naive.filled(number)))
            price = min(price, int(worst)) if side is Side.BUY else price
        before = self.naive.spent(number)
        charged = fee(before + quantity * price, RATE) - fee(before, RATE)
        trade = self.fresh()
        report = a_fill(number, trade, quantity, price, charged)
        events = done(self.account, report)
        assert isinstance(events[0], OrderFilled)
        assert done(self.account, report) == []
        self.naive.fills.append((number, D(quantity), D(price), charged))
        self.naive.trades.append((trade, 0))

    @precondition(lambda self: bool(self.naive.fills))
    @rule(data=st.data(), quantity=st.integers(0, 60), price=st.integers(40, 160), charged=st.integers(0, 3))
    def correct(self, data: st.DataObject, quantity: int, price: int, charged: int) -> None:
        """A trade becomes another one, or none; told again, or as it was before, it stays so. What has ended has ended."""
        at = data.draw(st.integers(0, len(self.naive.fills) - 1))
        number, (trade, revision) = self.naive.fills[at][0], self.naive.trades[at]
        if not self.naive.is_open(number):
            self.naive.closed.add(number)
        done(self.account, a_fill(number, trade, quantity, price, charged, revision=revision + 1))
        assert done(self.account, a_fill(number, trade, quantity, price, charged, revision=revision + 1)) == []
        assert done(self.account, a_fill(number, trade, 7, 70, revision=revision)) == []
        self.naive.fills[at] = (number, D(quantity), D(price), D(charged))
        self.naive.trades[at] = (trade, revision + 1)

    def limits(self) -> list[int]:
        """Limit orders, the open ones if there are any."""
        found = [n for n in sorted(self.naive.orders) if self.account.orders[UUID(int=n)].limit_price is not None]
        return [n for n in found if self.naive.is_open(n)] or found

    @precondition(lambda self: self.limits())
    @rule(data=st.data(), quantity=st.integers(1, 60), limit=st.integers(50, 150))
    def replace(self, data: st.DataObject, quantity: int, limit: int) -> None:
        number = data.draw(st.sampled_from(self.limits()))
        order = self.account.orders[UUID(int=number)]
        side, *figures = self.naive.orders[number]
        wanted, before = (D(quantity), D(limit)), self.naive.wanted.get(number)
        reserved = self.naive.reserved(side)
        covers = self.naive.covers(max(wanted[0] - figures[0], D(0)))
        self.naive.wanted[number] = wanted
        more = self.naive.reserved(side) - reserved
        self.naive.wanted.pop(number)
        available = (self.naive.cash() if side is Side.BUY else self.naive.held()) - reserved
        grows = wanted[0] > figures[0] or wanted[1] > figures[1]
        fits = (
            self.naive.is_open(number)
            and order.status != "pending_cancel"
            and before is None
            and list(wanted) != figures
            and (quantity > self.naive.filled(number) or wanted[0] == figures[0])
            and not (side is Side.BUY and grows and self.account.status is AccountStatus.REDUCE_ONLY and not covers)
            and more <= max(available, D(0))
        )
        command = ReplaceOrder(
            order_id=UUID(int=number),
            quantity=wanted[0],
            limit_price=wanted[1],
            stop_price=None,
            expected_version=None,
            conditions=conditions(),
        )
        events = done(self.account, command)
        assert any(isinstance(event, ReplaceRequested) for event in events) == fits
        if fits or before is not None:
            self.naive.wanted[number] = wanted if before is None else before

    @precondition(lambda self: bool(self.naive.wanted))
    @rule(data=st.data(), is_done=st.booleans())
    def answer(self, data: st.DataObject, is_done: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.naive.wanted)))
        quantity, limit = self.naive.wanted.pop(number)
        if is_done:
            told = {"quantity": quantity, "limit_price": limit, "stop_price": None, "code": "requested"}
            filled = self.naive.filled(number)
            answer = {"order_id": UUID(int=number), "cumulative_quantity": filled, "market_at": NOW, "now": NOW}
            done(self.account, ReportReplace(**(answer | told)))  # type: ignore[arg-type]
            if self.naive.is_open(number):
                self.naive.orders[number] = (self.naive.orders[number][0], quantity, limit)
        else:
            reason = Reason("no", "")
            done(self.account, ReportReplaceReject(order_id=UUID(int=number), reason=reason, market_at=NOW, now=NOW))

    @precondition(lambda self: bool(self.naive.orders))
    @rule(data=st.data(), kind=st.sampled_from([ReportCancel, ReportExpiry, ReportReject]))
    def close(self, data: st.DataObject, kind: type) -> None:
        number = data.draw(st.sampled_from(sorted(self.naive.orders)))
        fields: dict[str, object] = {"order_id": UUID(int=number), "now": NOW}
        if kind is not ReportExpiry:
            fields["reason"] = Reason("said", "")
        if kind is not ReportReject:
            fields["cumulative_quantity"] = self.naive.filled(number)
        done(self.account, kind(**fields))
        if self.naive.is_open(number):
            self.naive.closed.add(number)

    @precondition(lambda self: bool(self.naive.orders))
    @rule(data=st.data())
    def chatter(self, data: st.DataObject) -> None:
        """What changes no money."""
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
    def open_buys_add_up(self) -> None:
        assert_open_buys_add_up(self.account)

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
        account, entries = self.account, entries_of(self.account)
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
TestAccountMachine.settings = settings(max_examples=60, stateful_step_count=30)
