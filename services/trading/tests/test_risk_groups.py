"""Limits on groups: what buys is measured by the dearest of them, and each limit price meets the collar."""

from decimal import Decimal as D
from typing import Any
from uuid import UUID

import pytest
from account_commands import AAPL, NOW, a_fill, an_account, an_order, assert_open_buys_add_up, conditions, denial, done
from fleet_simulator import Side
from fleet_trading.domain import (
    Account,
    Order,
    OrderClass,
    Reason,
    ReplaceDenied,
    ReplaceOrder,
    ReplaceRequested,
    ReportAccept,
    ReportCancel,
    ReportTrigger,
)
from fleet_trading.domain.risk.limits import Limit, tightest
from group_commands import LOSS, PARENT, a_group, a_holder, placed, told

TICK = AAPL.tick


class At100:
    def mark(self, symbol: str) -> D | None:
        return D(100)

    def mark_before(self, symbol: str, day: Any) -> D | None:
        return D(100)


def limited(**limits: object) -> Any:
    values = {Limit(name): D(str(value)) for name, value in limits.items()}
    return conditions(limits=tightest([values]), marks=At100(), day=NOW.date())


def buying_oco(loss: object, loss_limit: object = None, **limits: object) -> Any:
    """10 at 90, or at the stop: one of the two fills."""
    return a_group(OrderClass.OCO, Side.BUY, 90, None, loss, loss_limit, conditions=limited(**limits))


# A stop at 1000 buys at 1050 at the dearest; a limit says itself how dear it buys.
@pytest.mark.parametrize("dearest", [{"loss": 1000}, {"loss": 1000, "loss_limit": 1050}])
@pytest.mark.parametrize(
    ("name", "limit"), [("max_order_notional", "10500"), ("gross_exposure", "10500"), ("concentration", "0.105")]
)
def test_a_buying_oco_is_measured_by_its_dearer_order(name: str, limit: str, dearest: dict[str, Any]) -> None:
    more = {key: value + 1 for key, value in dearest.items()}
    assert denial(an_account(), buying_oco(**dearest, **{name: limit})) is None
    assert denial(an_account(), buying_oco(**more, **{name: limit})) == name
    less = str(D(limit) - D("0.0001"))
    assert denial(an_account(), buying_oco(**dearest, **{name: less})) == name


def test_each_limit_price_of_a_group_meets_the_collar() -> None:
    assert denial(an_account(), buying_oco(105, 110, price_collar="0.1")) is None
    assert denial(an_account(), buying_oco(105, 110 + TICK, price_collar="0.1")) == "price_collar"
    assert denial(an_account(), buying_oco(1000, price_collar="0.1")) is None, "a stop has no limit, as by itself"
    collar = limited(price_collar="0.1")
    assert denial(an_account(), a_group(loss=95, loss_limit=90, conditions=collar)) is None
    assert denial(an_account(), a_group(loss=95, loss_limit=90 - TICK, conditions=collar)) == "price_collar"


def test_a_sell_with_legs_that_buy_back_is_measured_by_what_they_may_cost() -> None:
    def selling(loss: object, **limits: object) -> Any:
        return a_group(OrderClass.BRACKET, Side.SELL, 100, 80, loss, conditions=limited(**limits))

    assert denial(a_holder(), selling(1000, max_order_notional=10500)) is None
    assert denial(a_holder(), selling(1000 + TICK, max_order_notional=10500)) == "max_order_notional"
    assert denial(a_holder(), selling(1000, gross_exposure=0)) is None, "it may not be more than what it gets out of"


def test_a_bracket_is_measured_by_what_it_buys_for_and_not_by_what_it_sells_for() -> None:
    assert denial(an_account(), a_group(profit=500, conditions=limited(max_order_notional=1000))) is None


def test_an_open_oco_counts_at_its_dearer_order_while_that_is_open() -> None:
    account = an_account()
    done(account, buying_oco(100))
    assert_open_buys_add_up(account)
    order = an_order(20, limit=100, conditions=limited(gross_exposure=2050))
    assert denial(account, order) is None
    assert denial(account, an_order(20, limit=100 + TICK, conditions=limited(gross_exposure=2050))) == "gross_exposure"
    done(account, ReportAccept(order_id=PARENT, now=NOW))
    canceled = Reason("requested", "")
    done(account, ReportCancel(order_id=LOSS, reason=canceled, cumulative_quantity=D(0), now=NOW))
    assert denial(account, an_order(20, limit=115, conditions=limited(gross_exposure=2050))) is None
    assert denial(account, an_order(20, limit=115 + TICK, conditions=limited(gross_exposure=2050))) == "gross_exposure"


def test_a_replace_in_a_group_adds_what_it_makes_the_group_dearer_by() -> None:
    account = an_account()
    done(account, buying_oco(100, 105))
    at_limit = limited(gross_exposure=1050, max_order_notional=1050)

    def replaced(order_id: UUID, limit: object) -> Any:
        (event,) = done(
            account,
            ReplaceOrder(
                order_id=order_id,
                quantity=None,
                limit_price=D(str(limit)),
                stop_price=None,
                expected_version=None,
                conditions=at_limit,
            ),
        )
        return event

    assert isinstance(replaced(PARENT, 95), ReplaceRequested)
    denied = replaced(LOSS, 105 + TICK)
    assert isinstance(denied, ReplaceDenied)
    assert denied.reason.code == "max_order_notional"
    assert isinstance(replaced(LOSS, 104), ReplaceRequested)


def working_exit() -> tuple[Account, Order]:
    """Bought in a bracket and filled, its take-profit at work at 120."""
    account, (_, profit, loss) = placed(a_group())
    done(account, a_fill(10, 100, 10, 100))
    done(account, told(profit, 10))
    done(account, told(loss, 10))
    return account, profit


@pytest.mark.parametrize("is_parent_known", [True, False])
def test_an_exit_that_is_at_work_is_not_traded_with(is_parent_known: bool) -> None:
    account, _ = working_exit()
    if not is_parent_known:
        # It has ended, and of what is read anew only what is open comes into memory.
        del account.orders[PARENT]
    none = limited(self_match=0)
    assert denial(account, an_order(20, quantity=1, limit=120, conditions=none)) == "self_match"
    assert denial(account, an_order(20, quantity=1, limit=120 - TICK, conditions=none)) is None


def test_an_exit_is_not_moved_to_where_it_meets_an_order_of_its_own() -> None:
    account, profit = working_exit()
    done(account, an_order(20, quantity=1, limit=110))
    wanted = {"quantity": None, "stop_price": None, "expected_version": None, "conditions": limited(self_match=0)}
    (denied,) = done(account, ReplaceOrder(order_id=profit.order_id, limit_price=D(110), **wanted))
    assert isinstance(denied, ReplaceDenied) and denied.reason.code == "self_match"


def test_an_exit_that_waits_for_its_order_or_its_price_is_met_by_nothing() -> None:
    account, _ = placed(a_group())
    none = limited(self_match=0)
    assert denial(account, an_order(20, quantity=1, limit=130, conditions=none)) is None, "nothing is bought yet"
    account, (_, loss) = placed(a_group(OrderClass.OCO, Side.SELL, 120, None, 80, 70), holding=10)
    assert denial(account, an_order(20, quantity=1, limit=75, conditions=none)) is None
    done(account, ReportTrigger(order_id=loss.order_id, now=NOW))
    assert denial(account, an_order(20, quantity=1, limit=75, conditions=none)) == "self_match"
