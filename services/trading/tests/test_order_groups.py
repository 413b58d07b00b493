"""Brackets, OCOs and OTOs: what a group holds, and when its orders end, by example."""
# Decimals are compared with whole numbers.
# mypy: disable-error-code="comparison-overlap"

from decimal import Decimal as D

import pytest
from account_commands import NOW, RATE, a_fill, an_order, conditions, denial, done
from fleet_simulator import OrderType, Side, TimeInForce, fee
from fleet_trading.domain import (
    Account,
    AccountRestricted,
    AccountStatus,
    OrderClass,
    OrderDenied,
    PlaceOrder,
    Reason,
    ReplaceDenied,
    ReportReject,
    TradingState,
    decide,
)
from group_commands import LOSS, PARENT, PROFIT, a_group, a_holder, an_oco, canceled, held, placed, replace_of, told


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


def test_a_leg_that_met_an_own_order_ends_when_it_has_filled_what_was_left_of_it() -> None:
    """What prevention took is not filled by it any more, but may be by the other leg."""
    account, (_, profit, loss) = placed(a_group())
    for report in (a_fill(10, 100, 10, 100), told(profit, 10), told(loss, 10), told(profit, 7, "self_trade")):
        done(account, report)
    done(account, a_fill(11, 101, 7, 120))
    done(account, told(loss, 3, "oco"))
    assert (profit.status, loss.is_open, held(account)) == ("filled", True, (0, 3))
    done(account, canceled(loss))
    assert held(account) == (0, 0)

    account, (_, loss) = placed(an_oco(), holding=10)
    done(account, told(loss, 7, "self_trade"))
    done(account, a_fill(12, 101, 7, 79))
    assert loss.status == "filled"


def test_what_prevention_took_from_a_leg_counts_once_although_the_other_leg_fills_it() -> None:
    account, (entry, profit, loss) = placed(a_group())
    for report in (a_fill(10, 100, 8, 100), told(profit, 8), told(loss, 8), told(entry, 9, "self_trade")):
        done(account, report)
    done(account, told(profit, 3, "self_trade"))
    for report in (a_fill(11, 101, 1, 120), told(loss, 7, "oco"), a_fill(12, 102, 7, 79), told(profit, 1, "oco")):
        done(account, report)
    done(account, a_fill(10, 103, 1, 100))
    assert (entry.status, profit.status, loss.status) == ("filled", "partially_filled", "partially_filled")
    for report in (told(profit, 2, "parent_filled"), told(loss, 8, "parent_filled"), a_fill(11, 104, 1, 120)):
        done(account, report)
    assert (profit.status, held(account)) == ("filled", (0, 0))


def test_a_leg_that_prevention_cut_is_not_filled_because_the_other_legs_fill_comes_late() -> None:
    """The venue has said what came of that fill before it tells the fill itself."""
    account, (entry, profit, loss) = placed(a_group())
    for report in (a_fill(10, 100, 8, 100), told(profit, 8), told(loss, 8), told(entry, 9, "self_trade")):
        done(account, report)
    for report in (
        told(profit, 3, "self_trade"),
        a_fill(11, 101, 1, 120),
        told(loss, 7, "oco"),
        told(profit, 1, "oco"),
    ):
        done(account, report)
    for report in (a_fill(12, 102, 7, 79), a_fill(10, 103, 1, 100)):
        done(account, report)
    assert (entry.status, profit.status, loss.status) == ("filled", "partially_filled", "partially_filled")
    for report in (told(profit, 2, "parent_filled"), told(loss, 8, "parent_filled"), a_fill(11, 104, 1, 120)):
        done(account, report)
    assert (profit.status, held(account)) == ("filled", (0, 0))


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
