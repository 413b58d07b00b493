"""Orders with conditions: what is malformed, what they reserve and are protected at, how they are replaced."""
# Decimals are compared with whole numbers.
# mypy: disable-error-code="comparison-overlap"

from datetime import timedelta
from decimal import Decimal as D
from uuid import UUID

import pytest
from account_commands import AAPL, NOW, RATE, a_fill, an_account, an_order, conditions, denial, done
from fleet_simulator import OrderType, Side, TimeInForce, fee
from fleet_simulator.admission import MAX_SLICES, refusal
from fleet_simulator.orders import Place
from fleet_trading.domain import (
    Account,
    AccountStatus,
    CancelOrder,
    Event,
    Order,
    OrderReplaced,
    PlaceOrder,
    QueryUnanswered,
    Reason,
    ReplaceDenied,
    ReplaceOrder,
    ReportCancelReject,
    ReportReplace,
    ReportReplaceReject,
    ReportState,
    ReportTrigger,
    Terms,
    TradingState,
)
from fleet_trading.domain.commands import VenueStand
from fleet_trading.domain.terms import LATEST_END, Asked, malformed
from hypothesis import given
from hypothesis import strategies as st

O_ID = UUID(int=10)
_prices = st.none() | st.integers(-1, 3).map(D)


@given(
    type_=st.sampled_from(OrderType),
    time=st.sampled_from(TimeInForce),
    quantity=st.integers(1, 5_000),
    limit=_prices,
    stop=_prices,
    amount=_prices,
    percent=st.none() | st.sampled_from([D(-1), D("0.0001"), D("1.5"), D(100)]),
    display=st.none() | st.integers(-1, 4).map(D),
    expires=st.booleans(),
    post_only=st.booleans(),
    reduce_only=st.booleans(),
)
def test_what_passes_here_no_venue_refuses_and_nothing_else_is_refused(
    type_: OrderType,
    time: TimeInForce,
    quantity: int,
    limit: D | None,
    stop: D | None,
    amount: D | None,
    percent: D | None,
    display: D | None,
    expires: bool,
    post_only: bool,
    reduce_only: bool,
) -> None:
    terms = Terms(
        stop_price=stop,
        trail_amount=amount,
        trail_percent=percent,
        display_quantity=display,
        expires_at=NOW if expires else None,
        post_only=post_only,
        reduce_only=reduce_only,
    )
    wrong = malformed(Asked(Side.SELL, type_, D(quantity), limit, time, terms))
    place = Place(
        order_ref="o",
        account_id="a",
        command_sequence=1,
        side=Side.SELL,
        type=type_,
        quantity=quantity,
        time_in_force=time,
        limit_price=None if limit is None else int(limit),
        stop_price=None if stop is None else int(stop),
        trail_amount=None if amount is None else int(amount),
        trail_ppm=None if percent is None else int(percent * 10_000),
        display_quantity=None if display is None else int(display),
        expires_at=1 if expires else None,
        post_only=post_only,
        reduce_only=reduce_only,
    )
    refused = refusal(place, {}, ())
    assert (wrong is None) == (refused is None), (wrong, refused)


def a_stop(side: Side = Side.BUY, kind: OrderType = OrderType.STOP, limit: object = None, **more: object) -> PlaceOrder:
    changed = {"conditions", "time_in_force", "quantity", "number"} & set(more)
    fields: dict[str, object] = {name: more.pop(name) for name in changed}
    terms = Terms(**({"stop_price": D(120)} | more))  # type: ignore[arg-type]
    return an_order(side=side, type=kind, limit=limit, terms=terms, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "worst"),
    [
        (a_stop(), D(126)),
        (a_stop(kind=OrderType.STOP_LIMIT, limit=121), D(121)),
        (a_stop(kind=OrderType.MARKET_IF_TOUCHED, stop_price=D(90)), D("94.5")),
        (a_stop(kind=OrderType.LIMIT_IF_TOUCHED, limit=91, stop_price=D(90)), D(91)),
        # Trailing: from the first stop price, ask 100.01 + 2 or + 1 %; it never rises from there.
        (a_stop(kind=OrderType.TRAILING_STOP, stop_price=None, trail_amount=D(2)), D("107.1105")),
        (a_stop(kind=OrderType.TRAILING_STOP, stop_price=None, trail_percent=D(1)), D("106.0606")),
    ],
)
def test_a_buy_that_waits_reserves_at_the_worst_price_it_may_pay(command: PlaceOrder, worst: D) -> None:
    required = 10 * worst + fee(10 * worst, RATE)
    account = an_account(required)
    assert denial(an_account(required - D("0.00000001")), command) == "insufficient_funds"
    done(account, command)
    order = account.orders[O_ID]
    assert account.balances["USD"].reserved == order.reserved == required
    assert order.protection_price == (None if command.limit_price else worst), "the venue obeys it"
    done(account, ReportTrigger(order_id=O_ID, now=NOW))
    assert (order.status, order.terms is not None and order.terms.is_triggered, order.version) == ("new", True, 2)
    assert done(account, ReportTrigger(order_id=O_ID, now=NOW)) == []
    done(account, a_fill(10, 100, 10, worst, fee(10 * worst, RATE)))
    assert (order.status, account.balances["USD"].available, account.status.value) == ("filled", 0, "active")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (a_stop(stop_price=D("90.00001")), "invalid_price"),
        (a_stop(stop_price=None), "invalid_price"),
        (a_stop(kind=OrderType.TRAILING_STOP, stop_price=None, trail_amount=D("0.00001")), "invalid_price"),
        (a_stop(time_in_force=TimeInForce.GTD, expires_at=NOW), "invalid_time_in_force"),
        (a_stop(time_in_force=TimeInForce.GTD, expires_at=NOW + timedelta(seconds=1)), None),
        (a_stop(time_in_force=TimeInForce.GTD, expires_at=LATEST_END - timedelta(microseconds=1)), None),
        (a_stop(time_in_force=TimeInForce.GTD, expires_at=LATEST_END), "invalid_time_in_force"),
        (a_stop(time_in_force=TimeInForce.AT_OPEN), "invalid_time_in_force"),
        (a_stop(reduce_only=True), "reduce_only"),
        (an_order(limit=90, terms=Terms(display_quantity=D("0.5"))), "invalid_quantity"),
        (an_order(limit=90, terms=Terms(display_quantity=D(2))), None),
        (a_stop(quantity=1, stop_price=D("0.5")), "invalid_quantity"),  # min_notional
        # A stop is measured by its own price; what trails needs one of the market.
        (a_stop(conditions=conditions(reference=None)), None),
        (
            a_stop(
                kind=OrderType.TRAILING_STOP,
                stop_price=None,
                trail_amount=D(2),
                conditions=conditions(reference=None),
            ),
            "no_reference",
        ),
    ],
)
def test_each_condition_is_checked(command: PlaceOrder, code: str | None) -> None:
    assert denial(an_account(), command) == code


@pytest.mark.parametrize(
    ("kind", "terms", "worst"),
    [
        (OrderType.STOP, {"stop_price": D(90)}, None),
        (OrderType.TRAILING_STOP, {"trail_amount": D("9.99")}, None),
        (OrderType.TRAILING_STOP, {"trail_amount": D(200)}, None),
        (OrderType.MARKET_IF_TOUCHED, {"stop_price": D(120)}, D(114)),
    ],
)
def test_a_stop_that_sells_gets_out_at_any_price(kind: OrderType, terms: dict[str, D], worst: D | None) -> None:
    account = an_account()
    done(account, an_order())
    done(account, a_fill(10, 100, 10, 100))
    done(account, an_order(11, Side.SELL, 1, type=kind, terms=Terms(**terms)))  # type: ignore[arg-type]
    assert account.orders[UUID(int=11)].protection_price == worst
    assert account.balances["AAPL"].reserved == 1


def replace(**changed: object) -> ReplaceOrder:
    fields: dict[str, object] = {
        "order_id": O_ID,
        "quantity": None,
        "limit_price": None,
        "stop_price": None,
        "expected_version": None,
        "conditions": conditions(query_at=NOW + timedelta(seconds=10)),
    }
    exact = {k: D(str(v)) if k in ("quantity", "limit_price", "stop_price") else v for k, v in changed.items()}
    return ReplaceOrder(**(fields | exact))  # type: ignore[arg-type]


def replaced(quantity: object, limit: object = None, code: str = "requested", **more: object) -> ReportReplace:
    fields: dict[str, object] = {
        "order_id": O_ID,
        "quantity": D(str(quantity)),
        "limit_price": None if limit is None else D(str(limit)),
        "stop_price": None,
        "cumulative_quantity": D(0),
        "code": code,
        "market_at": NOW,
        "now": NOW,
    }
    return ReportReplace(**(fields | more))  # type: ignore[arg-type]


def refused(events: list[Event]) -> tuple[str, bool]:
    (event,) = events
    assert isinstance(event, ReplaceDenied), event
    return event.reason.code, event.is_conflict


def resting(limit: int = 90, quantity: int = 10, usd: object = 100_000) -> tuple[Account, Order]:
    account = an_account(usd)
    done(account, an_order(limit=limit, quantity=quantity))
    return account, account.orders[O_ID]


def cost(notional: object) -> D:
    return D(str(notional)) + fee(D(str(notional)), RATE)


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        ({"quantity": 20}, 1800),
        ({"quantity": 5}, 900),
        ({"limit_price": 95}, 950),
        ({"limit_price": 80}, 900),
        ({"quantity": 20, "limit_price": 80}, 900 + 800),  # ten of it may fill at 90 before the venue replaces it
        ({"quantity": 5, "limit_price": 200}, 1000),
    ],
)
def test_until_the_venue_answers_what_either_may_cost_is_held(wanted: dict[str, object], held: int) -> None:
    account, order = resting(usd=cost(held))
    done(account, replace(**wanted))
    assert (order.status, account.balances["USD"].reserved, order.version) == ("pending_replace", cost(held), 2)
    assert (order.quantity, order.limit_price) == (10, 90)
    done(account, ReportReplaceReject(order_id=O_ID, reason=Reason("unknown_order", ""), market_at=NOW, now=NOW))
    assert (order.status, account.balances["USD"].reserved) == ("pending_new", cost(900))

    poor, order = resting(usd=cost(max(held, 900)) - (D("0.01") if held > 900 else 0))
    events = done(poor, replace(**wanted))
    if held > 900:
        assert refused(events) == ("insufficient_funds", False)
        assert (order.status, order.version, poor.balances["USD"].reserved) == ("pending_new", 1, cost(900))
    else:
        done(poor, replaced(wanted.get("quantity", 10), wanted.get("limit_price", 90)))
        now = D(str(wanted.get("quantity", 10))) * D(str(wanted.get("limit_price", 90)))
        assert poor.balances["USD"].reserved == cost(now)


def test_fills_while_a_replace_is_pending_are_paid_from_what_is_held() -> None:
    account, order = resting(usd=cost(1700))
    done(account, replace(quantity=20, limit_price=80))
    done(account, a_fill(10, 100, 10 - 1, 90, fee(D(810), RATE)))
    assert (order.status, account.status) == ("pending_replace", AccountStatus.ACTIVE)
    done(account, replaced(20, 80, cumulative_quantity=D(9)))
    assert (order.status, order.quantity) == ("partially_filled", 20)
    done(account, a_fill(10, 101, 11, 80, fee(D(1690), RATE) - fee(D(810), RATE)))
    assert (order.status, account.status, account.balances["USD"].reserved) == ("filled", AccountStatus.ACTIVE, 0)
    assert account.balances["USD"].available >= 0


def test_a_replace_is_asked_once_and_one_at_a_time() -> None:
    account, order = resting()
    assert len(done(account, replace(limit_price=95))) == 1
    assert done(account, replace(limit_price=95)) == [], "the same again"
    assert refused(done(account, replace(limit_price=96))) == ("replace_pending", True)
    done(account, replaced(10, 95))
    assert (order.status, order.limit_price, order.version) == ("new", 95, 3)
    assert order.terms is not None and order.terms.first is not None
    assert order.terms.first.limit_price == 90, "as it was placed"
    assert done(account, replaced(10, 95)) == []
    assert done(account, replace(limit_price=95, expected_version=1)) == [], "it is so already"
    assert refused(done(account, replace(limit_price=96, expected_version=1))) == ("version_conflict", True)
    assert len(done(account, replace(limit_price=96, expected_version=3))) == 1
    # An answer told again answers nothing else.
    assert done(account, replaced(10, 95)) == []
    assert order.status == "pending_replace"


def test_an_answer_that_names_its_wish_answers_no_other_one_at_whatever_market_time() -> None:
    account, order = resting()

    def refuse(request: int) -> list[Event]:
        why = Reason("busy", "")
        return done(account, ReportCancelReject(order_id=O_ID, reason=why, now=NOW, request=request))

    done(account, CancelOrder(order_id=O_ID, now=NOW))
    first = order.version
    assert len(refuse(first)) == 1
    done(account, CancelOrder(order_id=O_ID, now=NOW))
    assert refuse(first) == [], "told again"
    assert order.status == "pending_cancel"
    assert len(refuse(order.version)) == 1

    asked = []
    for quantity in (20, 10, 20):
        done(account, replace(quantity=quantity))
        asked.append(order.version)
        for request, before in zip(asked[:-1], (20, 10), strict=False):
            assert done(account, replaced(before, 90, request=request)) == [], "told again"
            no = ReportReplaceReject(order_id=O_ID, reason=Reason("no", ""), market_at=NOW, now=NOW, request=request)
            assert done(account, no) == []
        assert order.status == "pending_replace"
        assert len(done(account, replaced(quantity, 90, request=asked[-1]))) == 1
        assert (order.status, order.quantity) == ("new", quantity)
    done(account, replaced(15, 90, code="self_trade"))
    assert done(account, replaced(20, 90, request=asked[-1])) == [], "told again"
    assert order.quantity == 15


def test_a_cancel_overtakes_a_replace_and_both_get_their_answers() -> None:
    account, order = resting()
    done(account, replace(quantity=20))
    done(account, CancelOrder(order_id=O_ID, now=NOW))
    assert order.status == "pending_cancel"
    assert refused(done(account, replace(quantity=30))) == ("cancel_pending", True)
    done(account, ReportCancelReject(order_id=O_ID, reason=Reason("too_late", ""), now=NOW))
    assert (order.status, order.reserved) == ("pending_replace", cost(1800))
    done(account, CancelOrder(order_id=O_ID, now=NOW))
    assert isinstance(done(account, replaced(20, 90))[0], OrderReplaced)
    assert (order.status, order.quantity) == ("pending_cancel", 20)
    done(account, a_fill(10, 100, 20, 90))
    assert (order.status, account.balances["USD"].reserved) == ("filled", 0)
    assert refused(done(account, replace(quantity=30))) == ("order_closed", True)


def test_an_unanswered_replace_is_asked_about_and_given_up() -> None:
    account, order = resting()
    done(account, replace(quantity=20))
    working = ReportState(
        order_id=O_ID, stand=VenueStand.WORKING, cumulative_quantity=D(0), reason=Reason("working", ""), now=NOW
    )
    done(account, working)
    assert order.status == "pending_replace", "nobody has asked since"
    assert len(done(account, QueryUnanswered(now=NOW + timedelta(seconds=10)))) == 1
    done(account, working)
    assert (order.status, order.reserved) == ("new", cost(900))
    assert order.reason is not None and order.reason.code == "replace_unanswered"


@pytest.mark.parametrize(
    ("command", "wanted", "code"),
    [
        (an_order(limit=90), {"quantity": 0}, "invalid_quantity"),
        (an_order(limit=90), {"quantity": "1.5"}, "invalid_quantity"),
        (an_order(limit=90), {"quantity": 3}, "invalid_quantity"),  # 3 are filled
        (an_order(limit=90), {"limit_price": "90.00001"}, "invalid_price"),
        (an_order(limit=90), {"stop_price": 90}, "invalid_price"),
        (an_order(), {"limit_price": 90}, "invalid_price"),
        (a_stop(), {"limit_price": 90}, "invalid_price"),
        (a_stop(), {"stop_price": "126.0001"}, "invalid_price"),  # beyond its protection price
        (a_stop(), {"stop_price": 126}, None),
        (a_stop(kind=OrderType.STOP_LIMIT, limit=121), {"stop_price": 500}, None),
        (an_order(limit=90, terms=Terms(display_quantity=D(1))), {"quantity": MAX_SLICES + 1}, "invalid_quantity"),
        (
            an_order(limit=90),
            {"limit_price": 95, "conditions": conditions(state=TradingState.REDUCING)},
            "market_reducing",
        ),
        (an_order(limit=90), {"limit_price": 85, "conditions": conditions(state=TradingState.REDUCING)}, None),
        (an_order(limit=90), {"limit_price": 85, "conditions": conditions(state=TradingState.HALTED)}, "market_halted"),
        (an_order(limit=90), {"limit_price": "0.01"}, "invalid_quantity"),  # min_notional
    ],
)
def test_a_replace_passes_the_checks_of_acceptance(
    command: PlaceOrder, wanted: dict[str, object], code: str | None
) -> None:
    account = an_account(10**7)
    done(account, command)
    done(account, a_fill(10, 100, 3, 90))
    events = done(account, replace(**wanted))
    if code is not None:
        assert refused(events) == (code, False)
    assert account.orders[O_ID].status == ("partially_filled" if code else "pending_replace")


def test_a_triggered_order_waits_for_no_other_price() -> None:
    account = an_account()
    done(account, a_stop(kind=OrderType.STOP_LIMIT, limit=121))
    done(account, ReportTrigger(order_id=O_ID, now=NOW))
    assert refused(done(account, replace(stop_price=119))) == ("invalid_price", False)
    assert len(done(account, replace(limit_price=122))) == 1
    assert AAPL.highest_fee == RATE
