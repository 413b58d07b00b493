"""Fees, slippage and latency: their laws, and the figures of the sources they name."""

from decimal import Decimal
from fractions import Fraction

import pytest
from fleet_simulator.fees import BoundedFee, Executed, FeeModel, FeeSchedule, MakerTaker, PerShare, TieredFee
from fleet_simulator.latency import ConstantLatency, LogNormalLatency
from fleet_simulator.slippage import HalfSpread, Slippage, SquareRootImpact, VolumeShare
from hypothesis import given
from hypothesis import strategies as st

CENT, SHARE = Decimal("0.01"), Decimal(1)
STOCK = {"tick": CENT, "lot": SHARE}
FEES: list[FeeModel] = [
    FeeSchedule.of(Decimal("0.00137"), **STOCK),
    MakerTaker.of(**STOCK),
    PerShare.of(lot=SHARE),
    TieredFee.of(tick=CENT, lot=SHARE),
    BoundedFee.of(PerShare.of(lot=SHARE), **STOCK),
    BoundedFee.of(TieredFee.of(tick=CENT, lot=SHARE), Decimal(5), Decimal("0.02"), **STOCK),
]
SLIPPAGES: list[Slippage] = [HalfSpread(), VolumeShare(), SquareRootImpact()]

fills = st.lists(st.tuples(st.booleans(), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=8)


def executed(found: list[tuple[bool, int, int]]) -> Executed:
    made = [(quantity, quantity * price) for is_maker, quantity, price in found if is_maker]
    took = [(quantity, quantity * price) for is_maker, quantity, price in found if not is_maker]
    return Executed(*map(sum, zip((0, 0), *made, strict=True)), *map(sum, zip((0, 0), *took, strict=True)))


@given(st.sampled_from(FEES), fills)
def test_fees_are_never_negative_and_sum_to_that_of_the_whole(
    model: FeeModel, found: list[tuple[bool, int, int]]
) -> None:
    assert model.total(executed([])) == 0
    charges, charged = [], 0
    for count in range(1, len(found) + 1):
        charges.append(model.total(executed(found[:count])) - charged)
        charged += charges[-1]
    assert min(charges) >= 0
    assert sum(charges) == model.total(executed(found))


@given(
    st.sampled_from(SLIPPAGES),
    st.integers(1, 10**7),
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**7),
)
def test_slippage_grows_with_quantity_and_price(
    model: Slippage, price: int, quantity: int, more: int, volume: int
) -> None:
    ticks = model.ticks(price, quantity, volume)
    assert 1 <= ticks <= model.ticks(price, quantity + more, volume)
    assert ticks <= model.ticks(price + more, quantity, volume)


def test_fees_are_those_of_their_sources() -> None:
    of_1000_at_25 = Executed(0, 0, 1000, 2_500_000)
    of_100_at_25 = Executed(0, 0, 100, 250_000)
    of_1000_at_quarter = Executed(0, 0, 1000, 25_000)
    stock = BoundedFee.of(PerShare.of(lot=SHARE), **STOCK)
    # The examples on Interactive Brokers' page of fixed prices: 5 USD, the minimum of 1 USD, and 1 % of the value.
    assert [stock.total(each) for each in (of_1000_at_25, of_100_at_25, of_1000_at_quarter)] == [
        500_000_000,
        100_000_000,
        250_000_000,
    ]
    assert MakerTaker.of(**STOCK).total(Executed(100, 250_000, 100, 250_000)) == 625_000_000 + 1_000_000_000
    tiered = TieredFee.of(tick=CENT, lot=SHARE)
    assert tiered.total(Executed(0, 0, 1, 11_000_00)) == (35_00 + 2_00) * 10**6
    with pytest.raises(ValueError, match="was"):
        TieredFee(((1, Fraction(1)),))


def test_slippage_is_that_of_its_sources() -> None:
    assert HalfSpread().ticks(20_000, 1, 1) == 5
    # zipline: 0.1 x share^2, the share at most 2.5 %
    assert VolumeShare().ticks(10**6, 100, 10_000) == 10
    assert VolumeShare().ticks(10**6, 5000, 10_000) == VolumeShare().ticks(10**6, 1, 0) == 63
    # one percent of the day's volume: a tenth of the day's volatility
    assert SquareRootImpact().ticks(10_000, 100, 10_000) == 20
    with pytest.raises(ValueError, match="was"):
        HalfSpread(Fraction(-1))


@given(st.integers(0, 2**63), st.text(max_size=20), st.integers(0, 10))
def test_latency_is_the_same_for_the_same_command(seed: int, ref: str, sequence: int) -> None:
    delay = LogNormalLatency(seed).delay_ns(ref, sequence)
    assert delay == LogNormalLatency(seed).delay_ns(ref, sequence)
    assert LogNormalLatency(seed).floor_ns < delay < 10**10
    assert ConstantLatency().delay_ns(ref, sequence) == 50_000_000


def test_latency_has_its_median_and_spread() -> None:
    delays = sorted(LogNormalLatency(7, floor_ns=0).delay_ns(f"o{number}", 1) for number in range(4000))
    assert delays[2000] == pytest.approx(20_000_000, rel=0.05)
    assert delays[int(4000 * 0.8413)] == pytest.approx(20_000_000 * 1.6487, rel=0.07)  # one sigma: times e^0.5
    with pytest.raises(ValueError, match="was"):
        ConstantLatency(-1)
