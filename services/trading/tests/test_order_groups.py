"""Brackets, OCOs and OTOs: what a group holds, and when its orders end, whatever order reports come in."""
# Decimals are compared with whole numbers.
# mypy: disable-error-code="comparison-overlap"

from dataclasses import replace
from decimal import Decimal as D
from uuid import UUID

import pytest
from account_commands import NOW, RATE, a_fill, an_account, an_order, assert_open_buys_add_up, conditions, denial, done
from fleet_simulator import OrderType, Side, TimeInForce, fee
from fleet_trading.domain import (
    Account,
    AccountRestricted,
    AccountStatus,
    Order,
    OrderClass,
    OrderDenied,
    PlaceOrder,
    Reason,
    ReplaceDenied,
    ReplaceOrder,
    ReportCancel,
    ReportReject,
    ReportReplace,
    ReportReplaceReject,
    Terms,
    TradingState,
    decide,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

PARENT, PROFIT, LOSS = UUID(int=10), UUID(int=11), UUID(int=12)


def a_group(
    kind: OrderClass = OrderClass.BRACKET,
    side: Side = Side.BUY,
    limit: object = 100,
    profit: object = 120,
    loss: object = 80,
    loss_limit: object = None,
    **more: object,
) -> PlaceOrder:
    terms = Terms(
        order_class=kind,
        take_profit_price=None if profit is None else D(str(profit)),
        stop_loss_price=None if loss is None else D(str(loss)),
        stop_loss_limit_price=None if loss_limit is None else D(str(loss_limit)),
    )
    legs = (PROFIT, LOSS)[: terms.leg_count] if kind is not OrderClass.OCO else (LOSS,)
    return an_order(10, side, limit=limit, terms=terms, leg_ids=legs, **more)


def an_oco(**more: object) -> PlaceOrder:
    return a_group(OrderClass.OCO, Side.SELL, **({"limit": 120, "profit": None} | more))


def a_holder(usd: object = 100_000, holding: int = 10, fee_: object = 0) -> Account:
    """With these AAPL, bought at 100."""
    account = an_account(usd)
    done(account, an_order(5, quantity=holding, limit=100))
    done(account, a_fill(5, 50, holding, 100, fee_))
    return account


def placed(command: PlaceOrder, usd: object = 100_000, holding: int = 0) -> tuple[Account, list[Order]]:
    account = a_holder(usd, holding) if holding else an_account(usd)
    done(account, command)
    return account, [account.orders[each] for each in (PARENT, *command.leg_ids)]


def held(account: Account) -> tuple[D, D]:
    return account.balance("USD").reserved, account.balance("AAPL").reserved


def told(order: Order, quantity: int, code: str = "parent_filled") -> ReportReplace:
    return ReportReplace(
        order_id=order.order_id,
        quantity=D(quantity),
        limit_price=None,
        stop_price=None,
        cumulative_quantity=order.filled_quantity,
        code=code,
        now=NOW,
    )


def canceled(order: Order, code: str = "requested") -> ReportCancel:
    return ReportCancel(
        order_id=order.order_id, reason=Reason(code, ""), cumulative_quantity=order.filled_quantity, now=NOW
    )


def test_a_bracket_brings_its_legs() -> None:
    account, (parent, profit, loss) = placed(a_group(time_in_force=TimeInForce.IOC))
    assert parent.legs == (PROFIT, LOSS)
    assert (parent.parent_order_id, profit.parent_order_id, loss.parent_order_id) == (None, PARENT, PARENT)
    assert [(o.side, o.type, o.quantity) for o in (profit, loss)] == [
        (Side.SELL, OrderType.LIMIT, 10),
        (Side.SELL, OrderType.STOP, 10),
    ]
    assert (profit.limit_price, profit.client_order_id, profit.time_in_force) == (120, str(PROFIT), TimeInForce.GTC)
    assert loss.terms is not None
    assert (loss.terms.stop_price, loss.protection_price) == (80, None)
    assert held(account) == (1000 + fee(D(1000), RATE), 0), "the legs hold nothing before the order fills"


def test_a_bracket_holds_once_what_its_legs_may_sell() -> None:
    account, (parent, profit, loss) = placed(a_group())
    done(account, a_fill(10, 100, 4, 100))
    assert held(account) == (600 + fee(D(1000), RATE) - fee(D(400), RATE), 4)
    done(account, told(profit, 4))
    done(account, told(loss, 4))
    assert denial(account, an_order(20, Side.SELL, 1)) == "insufficient_position"
    done(account, a_fill(11, 101, 4, 120))
    assert (held(account)[1], profit.status) == (0, "partially_filled"), "it may still grow"
    done(account, told(loss, 0, "oco"))
    assert loss.status != "filled"
    done(account, a_fill(10, 102, 6, 100))
    assert (parent.status, profit.status, held(account)) == ("filled", "partially_filled", (0, 6))
    done(account, told(profit, 10))
    done(account, told(loss, 6))
    done(account, a_fill(12, 103, 5, 79))
    done(account, a_fill(11, 104, 1, 120))
    assert (profit.status, loss.status, held(account)[1]) == ("partially_filled", "partially_filled", 0)
    done(account, told(profit, 5, "oco"))
    assert profit.status == "filled", "with its order ended, what its venue says is the last word"
    done(account, canceled(loss, "oco"))
    assert (loss.status, account.status, account.balance("AAPL").total) == ("canceled", AccountStatus.ACTIVE, 0)


def test_a_leg_that_took_all_is_filled_when_its_order_ends() -> None:
    account, (parent, profit, loss) = placed(a_group())
    done(account, a_fill(10, 100, 10, 100))
    assert (parent.status, held(account)) == ("filled", (0, 10))
    done(account, a_fill(11, 101, 10, 120))
    assert (profit.status, loss.status, held(account)) == ("filled", "pending_new", (0, 0))
    done(account, canceled(loss, "oco"))
    assert loss.status == "canceled"


def test_a_leg_that_ends_full_with_its_order_is_filled_whichever_is_heard_first() -> None:
    for is_leg_first in (True, False):
        account, (parent, profit, _) = placed(a_group())
        done(account, a_fill(10, 100, 4, 100))
        done(account, told(profit, 4))
        done(account, a_fill(11, 101, 4, 120))
        ends = [told(profit, 4, "parent_ended"), canceled(parent)]
        for report in ends if is_leg_first else reversed(ends):
            done(account, report)
        assert (profit.status, parent.status) == ("filled", "canceled")


def test_a_canceled_leg_leaves_the_other_and_what_the_group_holds() -> None:
    account, (_, profit, loss) = placed(a_group())
    done(account, a_fill(10, 100, 10, 100))
    done(account, canceled(profit))
    assert held(account) == (0, 10)
    done(account, canceled(loss))
    assert held(account) == (0, 0)


def test_legs_end_with_an_order_that_is_rejected_and_not_with_one_that_is_canceled() -> None:
    account, orders = placed(a_group())
    done(account, ReportReject(order_id=PARENT, reason=Reason("too_late", ""), now=NOW))
    assert [order.status for order in orders] == ["rejected", "canceled", "canceled"]
    assert {order.reason.code for order in orders[1:] if order.reason} == {"parent_ended"}
    assert held(account) == (0, 0)

    account, orders = placed(a_group())
    done(account, a_fill(10, 100, 3, 100))
    done(account, canceled(orders[0]))
    assert (orders[1].is_open, held(account)) == (True, (0, 3))


def test_legs_that_buy_hold_from_the_beginning() -> None:
    """They may cost more than the sale brings in."""
    command = a_group(side=Side.SELL, profit=80, loss=120)
    account, (parent, _, loss) = placed(command, usd=3000, holding=10)
    assert loss.protection_price == 126
    bought = 1260 + fee(D(1260), RATE) + D("0.00000002")
    assert held(account) == (bought, 10)
    done(account, a_fill(10, 100, 4, 100))
    assert held(account) == (bought, 6)
    done(account, canceled(parent))
    left = 4 * 126 + fee(D(4 * 126), RATE) + D("0.00000002")
    assert held(account) == (left, 0)
    done(account, a_fill(12, 101, 4, 126, fee(D(504), RATE)))
    assert (held(account)[0], account.status) == (0, AccountStatus.ACTIVE)


def test_the_two_of_an_oco_hold_once() -> None:
    account, (order, loss) = placed(an_oco(), holding=10)
    assert (held(account)[1], order.legs, loss.side) == (10, (LOSS,), Side.SELL)
    done(account, a_fill(10, 100, 4, 120))
    assert held(account)[1] == 6
    done(account, told(loss, 6, "oco"))
    done(account, a_fill(12, 101, 6, 79))
    assert loss.status == "filled"
    done(account, told(order, 4, "oco"))
    assert (order.status, held(account)[1], account.status) == ("filled", 0, AccountStatus.ACTIVE)

    account, (order, loss) = placed(an_oco(), holding=10)
    done(account, canceled(order))
    assert (loss.is_open, held(account)[1]) == (True, 10)


def restriction(account: Account, command: object) -> str:
    return next(event.reason.code for event in done(account, command) if isinstance(event, AccountRestricted))


def test_a_group_that_fills_more_than_it_may_restricts_the_account() -> None:
    account, _ = placed(an_oco(), holding=30)
    done(account, a_fill(10, 100, 8, 120))
    assert restriction(account, a_fill(12, 101, 3, 79)) == "overfill"

    early, orders = placed(a_group(), holding=10)
    assert restriction(early, a_fill(11, 101, 4, 120)) == "fill_beyond_reservation"
    done(early, a_fill(10, 100, 10, 100))
    assert (held(early)[1], orders[1].is_open) == (6, True)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (a_group(profit="120.00001"), "invalid_price"),
        (a_group(loss="80.00001"), "invalid_price"),
        (a_group(loss_limit="80.00001"), "invalid_price"),
        (a_group(profit=None), "invalid_group"),
        (a_group(loss=None), "invalid_group"),
        (a_group(profit=80, loss=120), "invalid_group"),
        (a_group(OrderClass.OTO), "invalid_group"),
        (a_group(OrderClass.OTO, profit=None), None),
        (a_group(OrderClass.SIMPLE), "invalid_group"),
        (an_oco(profit=130), "invalid_group"),
        (an_oco(loss=130), "invalid_group"),
        (an_oco(loss=None), "invalid_group"),
        (an_oco(limit=None), "invalid_group"),
        (an_oco(time_in_force=TimeInForce.IOC), "invalid_group"),
        (an_oco(), None),
        (a_group(side=Side.SELL, profit=80, loss=120), None),
        (
            a_group(side=Side.SELL, profit=80, loss=120, conditions=conditions(state=TradingState.REDUCING)),
            "market_reducing",
        ),
        (a_group(quantity=1000), "insufficient_funds"),
        (a_group(side=Side.SELL, profit=80, loss=120, quantity=11), "insufficient_position"),
        (a_group(quantity=1, limit=2, loss="0.5", profit=3), "invalid_quantity"),  # min_notional of a leg
    ],
)
def test_each_check_of_a_group_has_its_code(command: PlaceOrder, code: str | None) -> None:
    account = a_holder()
    assert denial(account, command) == code
    (event,) = decide(account, command)
    if isinstance(event, OrderDenied):
        assert event.order.legs == ()


def replace_of(number: int, **changed: D) -> ReplaceOrder:
    fields: dict[str, object] = dict.fromkeys(("quantity", "limit_price", "stop_price", "expected_version"))
    return ReplaceOrder(**(fields | {"order_id": UUID(int=number), "conditions": conditions()} | changed))  # type: ignore[arg-type]


def test_of_a_group_prices_can_be_replaced_and_quantities_not() -> None:
    account, (_, profit, loss) = placed(a_group(side=Side.SELL, profit=80, loss=120), holding=10)
    (denied,) = done(account, replace_of(10, quantity=D(5)))
    assert isinstance(denied, ReplaceDenied)
    assert denied.reason.code == "unsupported"
    before = held(account)[0]
    done(account, replace_of(11, limit_price=D(90)))
    assert (profit.status, held(account)[0]) == ("pending_replace", before), "the other leg may cost more anyway"
    done(account, replace_of(12, stop_price=D(119)))
    assert (loss.status, held(account)[0]) == ("pending_replace", before)


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
        """A leg is made smaller or larger; late news while its order is open, the truth after it."""
        leg = data.draw(st.sampled_from(self.legs))
        if self.fair and PARENT in self.ended:
            quantity = int(leg.filled_quantity) + self.may_fill(leg)
        done(self.account, told(leg, max(quantity, int(leg.filled_quantity))))

    @precondition(lambda self: any(o.is_open and o.limit_price and not o.wanted for o in self.orders))
    @rule(data=st.data(), limit=st.integers(70, 130), answer=st.sampled_from(["none", "no", "yes"]))
    def ask(self, data: st.DataObject, limit: int, answer: str) -> None:
        order = data.draw(st.sampled_from([o for o in self.orders if o.is_open and o.limit_price and not o.wanted]))
        events = done(self.account, replace_of(order.order_id.int, limit_price=D(limit)))
        if order.wanted is None:
            assert all(isinstance(event, ReplaceDenied) for event in events)
        elif answer == "yes":
            report = told(order, int(order.quantity), "requested")
            done(self.account, replace(report, limit_price=D(limit)))
            assert order.wanted is None
        elif answer == "no":
            done(self.account, ReportReplaceReject(order_id=order.order_id, reason=Reason("no", ""), now=NOW))
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


def rejected(order: Order) -> ReportReject:
    return ReportReject(order_id=order.order_id, reason=Reason("said", ""), now=NOW)


TestGroupMachine = GroupMachine.TestCase
TestGroupMachine.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
