"""Where each check of form and place ends: what goes beyond is refused, one tick, lot or microsecond less is accepted."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID

import pytest
from account_commands import AAPL, NOW, a_fill, an_account, an_order, conditions, denial, done
from fleet_contracts.topics import DATA_INSTRUMENTS, DATA_QUOTES
from fleet_simulator import Side, TimeInForce
from fleet_simulator.admission import MAX_SLICES
from fleet_testkit.eventually import eventually
from fleet_trading.domain import OrderDenied, ReplaceDenied, ReplaceOrder, ReplaceRequested, Terms, decide

BTC = replace(
    AAPL,
    symbol="BTC/USD",
    base="BTC",
    tick=D("0.05"),
    lot=D("0.01"),
    min_quantity=D("0.05"),
    min_notional=D(10),
)
MICROSECOND = timedelta(microseconds=1)


def why(quantity: str, limit: str | None = "1000", **more: Any) -> str | None:
    """The sentence of the denial of an order for BTC."""
    command = an_order(quantity=quantity, limit=limit, symbol="BTC/USD", conditions=conditions(instrument=BTC), **more)
    (event,) = decide(an_account(), command)
    if not isinstance(event, OrderDenied):
        return None
    assert event.order.reason is not None
    return event.order.reason.detail


@pytest.mark.parametrize(
    ("quantity", "limit", "sentence"),
    [
        ("0.05", "200", None),  # the least of both
        ("0.04", "1000", "The quantity must be at least 0.05, was 0.04."),
        ("0.055", "1000", "The quantity must be a multiple of 0.01, was 0.055."),
        ("0.06", "1000", None),
        ("0.05", "199.95", "The notional must be at least 10, was 9.9975."),
        ("0.05", "200.01", "The limit_price must be a multiple of 0.05, was 200.01."),
        ("0.05", "200.05", None),
        # A market order by the last price, 100.
        ("0.1", None, None),
        ("0.09", None, "The notional must be at least 10, was 9.00."),
    ],
)
def test_lot_tick_and_the_least_of_quantity_and_notional(
    quantity: str, limit: str | None, sentence: str | None
) -> None:
    assert why(quantity, limit) == sentence


def test_what_a_notional_comes_to_is_not_below_the_least_quantity() -> None:
    assert why("0", "1000", notional=D(50)) is None
    assert why("0", "1000", notional=D("49.99")) == "The quantity must be at least 0.05, was 0.04."


def test_an_order_expires_in_the_future() -> None:
    def expiring(after: timedelta) -> str | None:
        return denial(
            an_account(), an_order(limit=100, time_in_force=TimeInForce.GTD, terms=Terms(expires_at=NOW + after))
        )

    assert expiring(timedelta()) == "invalid_time_in_force"
    assert expiring(MICROSECOND) is None


def test_an_iceberg_shows_so_many_slices_and_whole_lots() -> None:
    def showing(display: str, quantity: int) -> str | None:
        return denial(
            an_account(10**9), an_order(quantity=quantity, limit=100, terms=Terms(display_quantity=D(display)))
        )

    assert showing("1", MAX_SLICES) is None
    assert showing("1", MAX_SLICES + 1) == "invalid_quantity"
    assert showing("1.5", 10) == "invalid_quantity"


def test_a_sell_takes_what_is_there_and_not_one_lot_more() -> None:
    account = an_account()
    done(account, an_order())
    done(account, a_fill(10, 100, 10, 100))
    assert denial(account, an_order(11, Side.SELL, 10)) is None
    assert denial(account, an_order(11, Side.SELL, 11)) == "insufficient_position"


@pytest.mark.parametrize(("quantity", "is_asked"), [("5", False), ("6", True), ("3", False)])
def test_a_replace_leaves_something_to_fill(quantity: str, is_asked: bool) -> None:
    account = an_account()
    done(account, an_order(limit=100))
    done(account, a_fill(10, 100, 5, 100))
    (event,) = done(account, a_replace(quantity=D(quantity)))
    assert isinstance(event, ReplaceRequested if is_asked else ReplaceDenied)


@pytest.mark.parametrize(
    ("changed", "is_asked"),
    [
        ({"quantity": D("0.05")}, True),
        ({"quantity": D("0.04")}, False),
        ({"quantity": D("0.055")}, False),
        ({"quantity": D("0.05"), "limit_price": D("200")}, True),
        ({"quantity": D("0.05"), "limit_price": D("199.95")}, False),
        ({"limit_price": D("999.95")}, True),
        ({"limit_price": D("999.96")}, False),
    ],
)
def test_a_replace_is_held_to_the_same(changed: dict[str, D], is_asked: bool) -> None:
    account = an_account()
    done(account, an_order(quantity="0.1", limit="1000", symbol="BTC/USD", conditions=conditions(instrument=BTC)))
    (event,) = done(account, a_replace(**changed, conditions=conditions(instrument=BTC)))
    assert isinstance(event, ReplaceRequested if is_asked else ReplaceDenied)


def a_replace(**changed: Any) -> ReplaceOrder:
    fields: dict[str, Any] = {"quantity": None, "limit_price": None, "stop_price": None, "expected_version": None}
    return ReplaceOrder(order_id=UUID(int=10), **(fields | {"conditions": conditions()} | changed))


async def test_a_price_is_too_old_from_the_microsecond_after_it_was_good(run_trading: Any) -> None:
    async with run_trading() as fleet:
        user, symbol = fleet.a_user(), "NEAR/USD"
        good_until = fleet.clock.now() + timedelta(seconds=10)
        grid = {"lot_size": D("0.01"), "min_quantity": D("0.05"), "min_notional": D(10)}
        await fleet.publish(DATA_QUOTES, symbol, fleet.a_quote(symbol, "100", stale_after=good_until))
        await fleet.publish(DATA_INSTRUMENTS, symbol, fleet.an_instrument(symbol, **grid))

        async def is_known() -> bool:
            return bool((await fleet.order(user, symbol=symbol, quantity="0.1")).status == 201)

        await eventually(is_known, what="the symbol is traded")
        assert (await fleet.order(user, symbol=symbol, quantity="0.09")).code == "invalid_quantity"
        fleet.clock.set(good_until)
        await fleet.accepted(user, symbol=symbol, quantity="0.1")
        fleet.clock.advance(MICROSECOND)
        assert (await fleet.order(user, symbol=symbol, quantity="0.1")).code == "stale_reference"
        await fleet.accepted(user, symbol=symbol, quantity="0.05", type="limit", limit_price="200")
