"""Fees, price protection, reservation and the grid, in Decimals."""

from decimal import Decimal
from fractions import Fraction

import pytest
from fleet_simulator import (
    FeeSchedule,
    OffGrid,
    OrderType,
    Scale,
    Side,
    fee,
    is_protected,
    protection_price,
    protection_reference,
    reservation,
    selling_price,
)
from hypothesis import given
from hypothesis import strategies as st

positive = st.decimals(min_value="0.00000001", max_value="10000000", places=8)
rates = st.decimals(min_value=0, max_value="0.05", places=6)
steps = st.sampled_from([Decimal("0.0001"), Decimal("0.01"), Decimal("0.25"), Decimal(1), Decimal("0.00000001")])


def test_fee_is_rounded_half_up_at_eight_decimals() -> None:
    assert fee(Decimal("7113.2680"), Decimal("0.001")) == Decimal("7.113268")
    assert fee(Decimal("0.000005"), Decimal("0.001")) == Decimal("0.00000001")
    assert fee(Decimal("0.00000499"), Decimal("0.001")) == 0


@given(st.integers(0, 10**18), rates, steps, steps)
def test_the_fee_in_integers_is_the_fee_in_decimals(notional: int, rate: Decimal, tick: Decimal, lot: Decimal) -> None:
    scale = Scale(tick, lot)
    assert scale.fee(FeeSchedule.of(rate, tick=tick, lot=lot).fee(notional)) == fee(notional * tick * lot, rate)


@given(positive, st.decimals(min_value=1, max_value="1.5", places=3), steps, st.sampled_from(Side))
def test_protection_is_on_the_grid_and_never_further_than_the_factor(
    reference: Decimal, factor: Decimal, tick: Decimal, side: Side
) -> None:
    worst = protection_price(side, reference, factor, tick)
    bound = Fraction(reference) * Fraction(factor if side is Side.BUY else 2 - factor)
    ticks = Fraction(worst) / Fraction(tick)
    assert ticks.denominator == 1
    assert ticks >= 1
    assert abs(Fraction(worst) - bound) < Fraction(tick) or ticks == 1
    if ticks > 1:
        assert worst <= bound if side is Side.BUY else worst >= bound


def test_protection_by_example() -> None:
    assert protection_price(Side.BUY, Decimal("355.36"), Decimal("1.05"), Decimal("0.0001")) == Decimal("373.1280")
    assert protection_price(Side.SELL, Decimal("355.36"), Decimal("1.05"), Decimal("0.01")) == Decimal("337.60")
    with pytest.raises(ValueError, match="was 0"):
        protection_price(Side.BUY, Decimal(0), Decimal("1.05"), Decimal("0.01"))
    with pytest.raises(ValueError, match="at least 1"):
        protection_price(Side.BUY, Decimal(1), Decimal("0.95"), Decimal("0.01"))


def test_reservation_by_example() -> None:
    worst, rate = Decimal("101.5"), Decimal("0.001")
    market = reservation(
        Side.BUY, OrderType.MARKET, Decimal(20), limit_price=None, protection_price=worst, fee_rate=rate
    )
    assert market == Decimal("2032.03")
    limit = reservation(Side.BUY, OrderType.LIMIT, Decimal(20), limit_price=worst, protection_price=None, fee_rate=rate)
    assert limit == market
    sell = reservation(Side.SELL, OrderType.MARKET, Decimal(3), limit_price=None, protection_price=None, fee_rate=rate)
    assert sell == 3
    with pytest.raises(ValueError, match="limit price"):
        reservation(Side.BUY, OrderType.LIMIT, Decimal(1), limit_price=None, protection_price=worst, fee_rate=rate)


@pytest.mark.parametrize(
    ("side", "kind", "given_", "reference"),
    [
        (Side.BUY, OrderType.MARKET, {}, 100),
        (Side.BUY, OrderType.LIMIT, {}, None),
        (Side.BUY, OrderType.STOP, {"stop_price": Decimal(110)}, 110),
        (Side.SELL, OrderType.MARKET_IF_TOUCHED, {"stop_price": Decimal(120)}, 120),
        (Side.SELL, OrderType.STOP_LIMIT, {"stop_price": Decimal(90)}, None),
        (Side.BUY, OrderType.TRAILING_STOP, {"trail_amount": Decimal(3)}, 103),
        (Side.SELL, OrderType.TRAILING_STOP, {"trail_percent": Decimal("1.5")}, Decimal("98.5")),
        (Side.SELL, OrderType.TRAILING_STOP, {"trail_amount": Decimal(100)}, None),
    ],
)
def test_an_order_is_protected_from_where_it_would_become_a_market_order(
    side: Side, kind: OrderType, given_: dict[str, Decimal], reference: Decimal | None
) -> None:
    assert protection_reference(side, kind, Decimal(100), **given_) == reference


def test_a_stop_that_sells_gets_out_through_a_gap() -> None:
    unprotected = {(side, kind) for side in Side for kind in OrderType if not is_protected(side, kind)}
    with_limit = {(side, kind) for side in Side for kind in OrderType if kind.has_limit}
    assert unprotected - with_limit == {(Side.SELL, OrderType.STOP), (Side.SELL, OrderType.TRAILING_STOP)}


@pytest.mark.parametrize(
    ("kind", "limit", "stop", "measured_at"),
    [
        (OrderType.MARKET, None, None, 100),
        (OrderType.LIMIT, 1, None, 100),
        (OrderType.LIMIT, 120, None, 120),
        (OrderType.STOP, None, 80, 80),
        (OrderType.STOP_LIMIT, 1, 99, 99),
        (OrderType.MARKET_IF_TOUCHED, None, 1, 100),
        (OrderType.MARKET_IF_TOUCHED, None, 120, 120),
        (OrderType.LIMIT_IF_TOUCHED, 1, 2, 100),
        (OrderType.TRAILING_STOP, None, None, 100),
    ],
)
def test_a_sell_is_measured_by_what_it_brings_however_low_its_limit(
    kind: OrderType, limit: int | None, stop: int | None, measured_at: int
) -> None:
    limit_price, stop_price = (None if price is None else Decimal(price) for price in (limit, stop))
    asked = {"limit_price": limit_price, "stop_price": stop_price}
    assert selling_price(kind, Decimal(100), **asked) == measured_at
    assert selling_price(kind, None, **asked) == max((p for p in asked.values() if p is not None), default=None)


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=6),
    st.integers(1, 10**6),
    rates,
)
def test_a_reservation_covers_whatever_fills_at_or_better_than_its_price(
    cuts: list[tuple[int, int]], worst: int, rate: Decimal
) -> None:
    """Cash spent so far and what is still reserved never exceed what was reserved at acceptance."""
    scale = Scale(Decimal("0.0001"), Decimal("0.000001"))
    left = sum(quantity for quantity, _ in cuts)
    spent = Decimal(0)

    def reserved(notional: Decimal) -> Decimal:
        return reservation(
            Side.BUY,
            OrderType.LIMIT,
            scale.quantity(left),
            limit_price=scale.price(worst),
            protection_price=None,
            fee_rate=rate,
            filled_notional=notional,
        )

    at_most = reserved(spent)
    for quantity, price in cuts:
        spent += scale.quantity(quantity) * scale.price(min(price, worst))
        left -= quantity
        assert spent + fee(spent, rate) + reserved(spent) <= at_most
    assert reserved(spent) == 0


def test_the_grid_is_exact_or_refuses() -> None:
    scale = Scale(Decimal("0.05"), Decimal("0.001"))
    assert (scale.ticks(Decimal("10.15")), scale.lots(Decimal("2"))) == (203, 2000)
    assert scale.lots_within(Decimal("2.0019")) == 2001
    assert (scale.price(203), scale.quantity(1)) == (Decimal("10.15"), Decimal("0.001"))
    with pytest.raises(OffGrid, match=r"price must be a multiple of 0.05, was 10.16"):
        scale.ticks(Decimal("10.16"))
    with pytest.raises(OffGrid, match="quantity"):
        scale.lots(Decimal("0.0005"))
