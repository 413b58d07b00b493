"""Groups against a naive venue of a hundred lines that keeps them as docs/orders.md says: once all its word has come, both see
the same."""
# Decimals are compared with whole numbers.
# mypy: disable-error-code="comparison-overlap"

from dataclasses import asdict, dataclass, field
from decimal import Decimal as D
from typing import Any, NamedTuple

from account_commands import NOW, RATE, a_fill, assert_open_buys_add_up, done
from fleet_simulator import Side, fee
from fleet_trading.domain import (
    AccountStatus,
    CancelOrder,
    OrderClass,
    Reason,
    ReplaceRequested,
    ReportCancel,
    ReportCancelReject,
    ReportExpiry,
    ReportReject,
    ReportReplace,
    ReportReplaceReject,
)
from group_commands import a_group, held, placed, replace_of, told
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

ALL, CENT = 10, D("0.00000001")


class Fact(NamedTuple):
    """What the venue says: `fill`, `size`, or how an order has ended."""

    what: str
    order: int
    quantity: int = 0
    price: D = D(0)
    code: str = ""


@dataclass
class NaiveOrder:
    side: Side
    quantity: int
    prices: list[D]
    """What it may cost, as it is, and as it may be replaced."""
    end: str | None = None
    fills: list[tuple[int, D]] = field(default_factory=list)

    @property
    def filled(self) -> int:
        return sum(quantity for quantity, _ in self.fills)

    @property
    def left(self) -> int:
        return 0 if self.end else self.quantity - self.filled

    @property
    def notional(self) -> D:
        return sum((quantity * price for quantity, price in self.fills), D(0))


class NaiveVenue:
    """The order of a group first. Exits wait for it, but for an OCO's, which makes it smaller and is made smaller by it."""

    def __init__(self, orders: list[NaiveOrder], *, waits: bool) -> None:
        self.orders, self.waits = orders, waits
        self.exits = orders[1:] if waits else orders

    def fill(self, number: int, quantity: int, price: D) -> list[Fact]:
        order = self.orders[number]
        order.fills.append((quantity, price))
        facts = [Fact("fill", number, quantity, price)]
        if order in self.exits:
            for other in self.exits:
                if other is not order and not other.end:
                    facts += self.shrunk(other, min(quantity, other.left), "oco")
        else:
            for leg in self.exits:
                if not leg.end:
                    leg.quantity += quantity
                    facts.append(self.size(leg, "parent_filled"))
        if not order.left and not (order in self.exits and self.may_grow):
            order.end = "filled"
            facts += self.orphans(order)
        return facts

    def shrunk(self, order: NaiveOrder, quantity: int, code: str) -> list[Fact]:
        order.quantity -= quantity
        if order.left or (order in self.exits and self.may_grow):
            return [self.size(order, code)]
        return self.ended(order, "canceled", code)

    def ended(self, order: NaiveOrder, word: str, code: str) -> list[Fact]:
        order.end = word
        return [Fact(word, self.orders.index(order), code=code), *self.orphans(order)]

    def orphans(self, order: NaiveOrder) -> list[Fact]:
        """Exits keep what has been filled for them, or end with the order that they have waited for."""
        facts = []
        for leg in self.exits if self.waits and order is self.orders[0] else ():
            if leg.left or leg.end:
                continue
            leg.end = "filled" if leg.filled else "canceled"
            # Of one that is refused, trading knows by itself that its exits have never been.
            is_told = order.end != "rejected"
            facts += [self.size(leg, "parent_ended") if leg.filled else self.said(leg, "parent_ended")] * is_told
        if not self.waits and order.end == "rejected" and not self.orders[1].end:
            facts += self.ended(self.orders[1], "canceled", "parent_ended")
        return facts

    @property
    def may_grow(self) -> bool:
        return self.waits and not self.orders[0].end

    def size(self, order: NaiveOrder, code: str) -> Fact:
        return Fact("size", self.orders.index(order), order.quantity, code=code)

    def said(self, order: NaiveOrder, code: str) -> Fact:
        return Fact(order.end or "", self.orders.index(order), code=code)

    def reserved(self, side: Side) -> D:
        """Held once a group: the order for itself, all exits together what is for them and they have not filled."""
        entry, total = self.orders[0], D(0)
        if self.waits and entry.side is side:
            total += cost([entry], entry.left, D(0))
        if self.exits[-1].side is side and any(not each.end for each in self.exits):
            whole = ALL
            if self.waits:  # Exits that buy may cost more than the sale brings in, and hold from the acceptance on.
                whole = entry.quantity if side is Side.BUY and not entry.end else entry.filled
            total += cost(self.exits, max(whole - sum(each.filled for each in self.exits), 0), CENT)
        return total


def cost(orders: list[NaiveOrder], left: int, rounding: D) -> D:
    """`rounding`: each order's fee is rounded by itself."""
    if orders[0].side is Side.SELL or not left:
        return D(left)
    worst = max(price for order in orders if not order.end for price in order.prices)
    spent = sum((order.notional for order in orders), D(0))
    charged = sum((fee(order.notional, RATE) for order in orders), D(0))
    return left * worst + fee(spent + left * worst, RATE) - charged + len(orders) * rounding


class GroupVenueMachine(RuleBasedStateMachine):
    """Records come in order, as those of one account do; a fill may be lost, and come after what came of it."""

    @initialize(kind=st.sampled_from([OrderClass.BRACKET, OrderClass.OTO, OrderClass.OCO]), side=st.sampled_from(Side))
    def open(self, kind: OrderClass, side: Side) -> None:
        waits = kind is not OrderClass.OCO
        buys = (side is Side.BUY) is not waits
        profit, loss = (80, 120) if buys else (120, 80)
        exits = Side.BUY if buys else Side.SELL
        worst_loss = D(loss) * D("1.05")  # A stop that buys is protected.
        command = a_group(kind, side, 100 if waits else profit, profit if kind is OrderClass.BRACKET else None, loss)
        self.account, self.seen = placed(command, usd=1_000_000, holding=100)
        prices = [D(100 if waits else profit), *([D(profit)] if kind is OrderClass.BRACKET else []), worst_loss]
        orders = [NaiveOrder(side, ALL, [prices[0]])]
        orders += [NaiveOrder(exits, 0 if waits else ALL, [price]) for price in prices[1:]]
        self.venue = NaiveVenue(orders, waits=waits)
        self.late: list[Fact] = []
        self.was_late, self.trades = False, 1000

    def hear(self, facts: list[Fact], *, lost: bool = False) -> None:
        for fact in facts:
            if lost and fact.what == "fill":
                self.late.append(fact)
                self.was_late = True
            else:
                self.tell(fact)

    def tell(self, fact: Fact) -> None:
        order = self.seen[fact.order]
        filled = D(self.venue.orders[fact.order].filled)
        named: dict[str, Any] = {"order_id": order.order_id, "now": NOW}
        match fact.what:
            case "fill":
                self.trades += 1
                before = order.filled_notional
                charged = fee(before + fact.quantity * fact.price, RATE) - fee(before, RATE)
                report = a_fill(order.order_id.int, self.trades, fact.quantity, fact.price, charged)
                done(self.account, report)
                assert done(self.account, report) == [], "told twice it is the same fill"
            case "size":
                done(self.account, told(order, fact.quantity, fact.code))
            case "rejected":
                done(self.account, ReportReject(reason=Reason(fact.code, ""), **named))
            case "expired":
                done(self.account, ReportExpiry(cumulative_quantity=filled, **named))
            case "canceled":
                done(self.account, ReportCancel(reason=Reason(fact.code, ""), cumulative_quantity=filled, **named))

    def some(self, data: st.DataObject, *, at_work: bool) -> int:
        orders = self.venue.orders
        found = [n for n, order in enumerate(orders) if (order.left if at_work else not order.end)]
        return data.draw(st.sampled_from(found))

    @precondition(lambda self: any(order.left for order in self.venue.orders))
    @rule(data=st.data(), cents=st.integers(0, 3000), lost=st.sampled_from([False] * 4 + [True]))
    def fill(self, data: st.DataObject, cents: int, lost: bool) -> None:
        number = self.some(data, at_work=True)
        order = self.venue.orders[number]
        quantity = data.draw(st.integers(1, order.left))
        self.hear(self.venue.fill(number, quantity, order.prices[0] - D(cents) / 100), lost=lost)

    @precondition(lambda self: any(order.left for order in self.venue.orders))
    @rule(data=st.data())
    def prevent(self, data: st.DataObject) -> None:
        """The order meets another of its account: both get smaller, and nothing is filled."""
        number = self.some(data, at_work=True)
        if len(self.venue.orders[number].prices) > 1:
            return  # What was asked for before may make it as large again.
        quantity = data.draw(st.integers(1, self.venue.orders[number].left))
        self.hear(self.venue.shrunk(self.venue.orders[number], quantity, "self_trade"))

    @precondition(lambda self: any(not order.end for order in self.venue.orders))
    @rule(data=st.data(), word=st.sampled_from(["canceled", "expired", "rejected"]))
    def end(self, data: st.DataObject, word: str) -> None:
        order = self.venue.orders[self.some(data, at_work=False)]
        if word != "rejected" or not any(each.fills for each in self.venue.orders):
            self.hear(self.venue.ended(order, word, "said"))

    @precondition(lambda self: any(not order.end for order in self.venue.orders))
    @rule(data=st.data(), is_refused=st.booleans())
    def cancel(self, data: st.DataObject, is_refused: bool) -> None:
        """It changes nothing before the venue has said so; a refused one nothing at all."""
        order = self.seen[self.some(data, at_work=False)]
        done(self.account, CancelOrder(order_id=order.order_id, now=NOW))
        assert order.status == "pending_cancel" or not order.is_open
        if is_refused:
            done(self.account, ReportCancelReject(order_id=order.order_id, reason=Reason("too_late", ""), now=NOW))
            assert order.status != "pending_cancel"

    @precondition(lambda self: any(not order.end for order in self.venue.orders))
    @rule(data=st.data(), limit=st.integers(70, 130), answer=st.sampled_from(["", "no", "yes"]))
    def reprice(self, data: st.DataObject, limit: int, answer: str) -> None:
        number = self.some(data, at_work=False)
        naive, order = self.venue.orders[number], self.seen[number]
        events = done(self.account, replace_of(order.order_id.int, limit_price=D(limit)))
        if any(isinstance(event, ReplaceRequested) for event in events):
            naive.prices.append(D(limit))
        if len(naive.prices) < 2 or not answer:
            return
        wanted = naive.prices.pop()
        if answer == "no":
            done(
                self.account,
                ReportReplaceReject(order_id=order.order_id, reason=Reason("no", ""), market_at=NOW, now=NOW),
            )
        else:
            naive.prices = [wanted]
            report = told(order, naive.quantity, "requested")
            done(self.account, ReportReplace(**{**asdict(report), "limit_price": wanted}))

    @rule()
    def arrive(self) -> None:
        facts, self.late = self.late, []
        self.hear(facts)

    @invariant()
    def all_that_is_held_is_that_of_open_orders(self) -> None:
        assert_open_buys_add_up(self.account)
        for side, total in zip(Side, held(self.account), strict=True):
            assert total == sum((o.reserved for o in self.account.orders.values() if o.side is side), D(0))
        assert not any(order.reserved for order in self.seen if not order.is_open)

    @invariant()
    def both_see_the_same_when_all_has_come(self) -> None:
        if self.late:
            return
        for naive, order in zip(self.venue.orders, self.seen, strict=True):
            assert order.filled_quantity == naive.filled
            assert order.stand == (naive.end or ("partially_filled" if naive.fills else "new")), order
        assert held(self.account) == (self.venue.reserved(Side.BUY), self.venue.reserved(Side.SELL))
        if not self.was_late:
            assert self.account.status is AccountStatus.ACTIVE, "acceptance has allowed for all that a fair venue does"


TestGroupVenueMachine = GroupVenueMachine.TestCase
TestGroupVenueMachine.settings = settings(max_examples=40, stateful_step_count=25)
