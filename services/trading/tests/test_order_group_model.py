"""Brackets, OCOs and OTOs, whatever order reports come in: nothing is held twice, and an order ends when it can fill no more."""
# Decimals are compared with whole numbers.
# mypy: disable-error-code="comparison-overlap"

from dataclasses import replace
from decimal import Decimal as D
from uuid import UUID

from account_commands import NOW, RATE, a_fill, assert_open_buys_add_up, done
from fleet_simulator import Side, fee
from fleet_trading.domain import (
    AccountStatus,
    Order,
    OrderClass,
    Reason,
    ReplaceDenied,
    ReportReject,
    ReportReplaceReject,
)
from group_commands import PARENT, a_group, a_holder, canceled, held, rejected, replace_of, told
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule


class GroupMachine(RuleBasedStateMachine):
    """Any order of reports. Of a `fair` venue, which fills only what it may, no fact ever restricts the account."""

    @initialize(kind=st.sampled_from(OrderClass), side=st.sampled_from(Side), fair=st.booleans(), spare=st.booleans())
    def open(self, kind: OrderClass, side: Side, fair: bool, spare: bool) -> None:
        self.fair, self.trades = fair, 1000
        kind = OrderClass.BRACKET if kind is OrderClass.SIMPLE else kind
        is_sell_exit = (side is Side.SELL) is (kind is OrderClass.OCO)
        profit, loss = (120, 80) if is_sell_exit else (80, 120)
        limit = profit if kind is OrderClass.OCO else 100
        command = a_group(kind, side, limit, None if kind is not OrderClass.BRACKET else profit, loss)
        self.account = a_holder(10_000)
        if not spare:  # Not a cent and not a share more than the group needs.
            done(self.account, command)
            needed = self.account.balance("USD").reserved
            self.account = a_holder(1001 + needed, 10, 1)
        done(self.account, command)
        self.parent, *self.legs = (self.account.orders[i] for i in (PARENT, *command.leg_ids))
        self.orders = [self.parent, *self.legs]
        self.is_oco = kind is OrderClass.OCO
        self.ended: set[UUID] = set()
        self.money = self.account.balance("USD").total

    def may_fill(self, order: Order) -> int:
        """What a fair venue may still fill of it."""
        if order.order_id in self.ended:
            return 0
        filled = sum(o.filled_quantity for o in (self.orders if self.is_oco else self.legs))
        if self.is_oco:
            return int(10 - filled)
        return int(10 - order.filled_quantity if order is self.parent else self.parent.filled_quantity - filled)

    def size(self, order: Order, otherwise: int) -> int:
        """What a fair venue tells of an order's size, once nothing makes it larger any more."""
        if not self.fair or order is self.parent or not (self.is_oco or PARENT in self.ended):
            return otherwise
        return int(order.filled_quantity) + self.may_fill(order)

    @rule(data=st.data(), quantity=st.integers(1, 12), cents=st.integers(0, 6000))
    def fill(self, data: st.DataObject, quantity: int, cents: int) -> None:
        order = data.draw(st.sampled_from(self.orders))
        worst = order.worst_price if order.side is Side.BUY else D(130)
        price = worst - D(cents) / 100
        if self.fair:
            quantity = min(quantity, self.may_fill(order))
        else:
            price += 10
        if not quantity or order.order_id in self.ended:
            return
        self.trades += 1
        before = order.filled_notional
        charged = fee(before + quantity * price, RATE) - fee(before, RATE)
        report = a_fill(order.order_id.int, self.trades, quantity, price, charged)
        done(self.account, report)
        assert done(self.account, report) == [], "told twice it is the same fill"
        self.money += (quantity * price * (-1 if order.side is Side.BUY else 1)) - charged
        if order is self.parent and order.filled_quantity >= order.quantity:
            self.ended.add(order.order_id)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from(self.orders))
        report = rejected(order) if data.draw(st.booleans()) else canceled(order)
        if self.fair and isinstance(report, ReportReject) and (order.filled_quantity or self.is_oco):
            return
        if order is self.parent and order.is_open and isinstance(report, ReportReject) and not order.filled_quantity:
            self.ended |= set() if self.is_oco else {leg.order_id for leg in self.legs}
        done(self.account, report)
        self.ended.add(order.order_id)

    @rule(data=st.data(), quantity=st.integers(0, 10))
    def tell(self, data: st.DataObject, quantity: int) -> None:
        """A leg is made smaller or larger; old news while the order is open that it waits for, the truth after it."""
        leg = data.draw(st.sampled_from(self.legs))
        quantity = max(quantity, int(leg.filled_quantity))
        done(self.account, told(leg, self.size(leg, quantity)))

    @precondition(lambda self: any(o.is_open and o.limit_price and not o.wanted for o in self.orders))
    @rule(data=st.data(), limit=st.integers(70, 130), answer=st.sampled_from(["none", "no", "yes"]))
    def ask(self, data: st.DataObject, limit: int, answer: str) -> None:
        order = data.draw(st.sampled_from([o for o in self.orders if o.is_open and o.limit_price and not o.wanted]))
        events = done(self.account, replace_of(order.order_id.int, limit_price=D(limit)))
        if order.wanted is None:
            assert all(isinstance(event, ReplaceDenied) for event in events)
        elif answer == "yes":
            report = told(order, self.size(order, int(order.quantity)), "requested")
            done(self.account, replace(report, limit_price=D(limit)))
            assert order.wanted is None
        elif answer == "no":
            done(
                self.account,
                ReportReplaceReject(order_id=order.order_id, reason=Reason("no", ""), market_at=NOW, now=NOW),
            )
            assert order.wanted is None

    @invariant()
    def open_buys_add_up(self) -> None:
        assert_open_buys_add_up(self.account)

    @invariant()
    def reserved_is_what_the_open_orders_need(self) -> None:
        sums = {Side.BUY: D(0), Side.SELL: D(0)}
        for order in self.account.orders.values():
            sums[order.side] += order.reserved
            assert order.reserved >= 0
            assert order.is_open or not order.reserved
        assert held(self.account) == (sums[Side.BUY], sums[Side.SELL])
        together = self.orders if self.is_oco else self.legs
        left = self.left()
        if not any(o.is_open for o in together):
            expected = D(0)
        elif together[0].side is Side.SELL:
            expected = left
        else:
            worst = max(o.worst_price for o in together if o.is_open)
            spent = sum((o.filled_notional for o in together), D(0))
            paid = sum((fee(o.filled_notional, RATE) for o in together), D(0))
            cents = D(len(together)).scaleb(-8)
            expected = left * worst + fee(spent + left * worst, RATE) - paid + cents if left else D(0)
        assert sum((o.reserved for o in together), D(0)) == expected

    def left(self) -> D:
        filled = sum((leg.filled_quantity for leg in self.legs), D(0))
        if self.is_oco:
            return max(10 - filled - self.parent.filled_quantity, D(0))
        whole = self.parent.filled_quantity
        if self.parent.is_open and self.parent.side is Side.SELL:
            whole = max(whole, D(10))
        return max(whole - filled, D(0))

    @invariant()
    def nothing_is_spent_that_is_not_there(self) -> None:
        assert self.account.balance("USD").total == self.money
        if any(balance.available < 0 or balance.total < 0 for balance in self.account.balances.values()):
            assert self.account.status is AccountStatus.REDUCE_ONLY
            assert not self.fair
        if self.fair:
            assert self.account.status is AccountStatus.ACTIVE

    @invariant()
    def an_order_ends_when_it_can_fill_no_more(self) -> None:
        for order in self.orders:
            if self.fair and not order.is_open:
                assert not self.may_fill(order)
            if order.order_id in self.ended:
                assert not order.is_open


TestGroupMachine = GroupMachine.TestCase
TestGroupMachine.settings = settings(max_examples=60, stateful_step_count=20)
