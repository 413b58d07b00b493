"""Models by the text that a setting or a run gives: each builds what it names, and what names none is one clear line."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from fleet_simulator import BarPath, Filled, OrderType, Place, Quote, Side, UnknownModel, models_of
from fleet_simulator.fees import BoundedFee, Executed, FeeSchedule, MakerTaker, PerShare, TieredFee
from fleet_simulator.latency import ConstantLatency, LogNormalLatency
from fleet_simulator.slippage import HalfSpread, SquareRootImpact, VolumeShare
from hypothesis import given
from hypothesis import strategies as st

CENT, ONE = Decimal("0.01"), Decimal(1)
GRID: dict[str, Decimal] = {"tick": CENT, "lot": ONE}
TIERS = [(Decimal(0), Decimal("0.003")), (Decimal(500), Decimal("0.001"))]


def test_without_a_word_a_market_is_as_it_always_was() -> None:
    found = models_of()
    assert (found.volume_share, found.slippage, found.latency, found.path) == (None, None, None, BarPath.NEARER_EXTREME)
    assert found.fees.of(*GRID.values()) == FeeSchedule.of(Decimal("0.001"), **GRID)
    assert (found.fees.maker, found.fees.taker, found.fees.highest) == (Decimal("0.001"),) * 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", None),
        ("half_spread", HalfSpread()),
        ("half_spread:0.001", HalfSpread(Fraction(1, 1000))),
        ("volume_share", VolumeShare()),
        ("volume_share:0.2,0.05", VolumeShare(Fraction(1, 5), Fraction(1, 20))),
        ("square_root:0.5", SquareRootImpact(Fraction(1, 2))),
    ],
)
def test_slippage_by_name(text: str, expected: Any) -> None:
    assert models_of(slippage=text).slippage == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", None),
        ("constant", ConstantLatency()),
        ("constant:12.5", ConstantLatency(12_500_000)),
        ("log_normal", LogNormalLatency(7)),
        ("log_normal:30,2,0.4", LogNormalLatency(7, 2_000_000, 30_000_000, 0.4)),
    ],
)
def test_latency_by_name(text: str, expected: Any) -> None:
    assert models_of(latency=text, seed=7).latency == expected


@pytest.mark.parametrize(
    ("text", "expected", "highest"),
    [
        ("flat:0.002", FeeSchedule.of(Decimal("0.002"), **GRID), "0.002"),
        ("flat:0", FeeSchedule.of(Decimal(0), **GRID), "0"),
        ("maker_taker", MakerTaker.of(**GRID), "0.004"),
        ("maker_taker:0,0.001", MakerTaker.of(Decimal(0), Decimal("0.001"), **GRID), "0.001"),
        ("per_share", BoundedFee.of(PerShare.of(lot=Decimal(1)), **GRID), "0.01"),
        ("tiered", TieredFee.of(tick=CENT, lot=ONE), "0.0035"),
        ("tiered:0=0.003,500=0.001", TieredFee.of(TIERS, tick=CENT, lot=ONE), "0.003"),
    ],
)  # fmt: skip
def test_fees_by_name(text: str, expected: Any, highest: str) -> None:
    found = models_of(fees=text).fees
    assert found.of(*GRID.values()) == expected
    assert found.highest == Decimal(highest)


@given(
    st.sampled_from(["flat:0.0013", "maker_taker", "per_share", "per_share:0.01,5,0.02", "tiered"]),
    st.integers(0, 10**5),
    st.integers(0, 10**5),
    st.integers(1, 10**6),
)
def test_no_order_costs_more_than_the_highest_rate_that_is_reserved(
    text: str, made: int, took: int, price: int
) -> None:
    found = models_of(fees=text).fees
    reserved = FeeSchedule.of(found.highest, **GRID).fee((made + took) * price)
    assert found.of(*GRID.values()).total(Executed(made, made * price, took, took * price)) <= reserved


def test_a_share_of_the_volume_and_the_path_of_a_bar() -> None:
    assert models_of(volume_share="0.1").volume_share == Fraction(1, 10)
    assert models_of(volume_share=Fraction(1, 3)).volume_share == Fraction(1, 3)
    assert models_of(volume_share="none").volume_share is None
    assert models_of(bar_path="worst_first").path is BarPath.WORST_FIRST


@pytest.mark.parametrize(
    "wrong",
    [
        {"volume_share": "0"},
        {"volume_share": "1.5"},
        {"volume_share": "all"},
        {"volume_share": "1/0"},
        {"slippage": "spread"},
        {"slippage": "half_spread:-1"},
        {"slippage": "half_spread:0.1,0.2"},
        {"slippage": "none:1"},
        {"latency": "constant:nan"},
        {"latency": "constant:60000"},
        {"latency": "log_normal:0"},
        {"latency": "log_normal:1,2,3,4"},
        {"fees": "none"},
        {"fees": "flat"},
        {"fees": "flat:1"},
        {"fees": "maker_taker:0.1"},
        {"fees": "per_share:0.005,1,1"},
        {"fees": "tiered:5=0.1"},
        {"fees": "tiered:0=0.1,x=0.2"},
        {"bar_path": "best_first"},
    ],
)
def test_what_names_no_model_is_refused_with_what_would(wrong: dict[str, str]) -> None:
    with pytest.raises(UnknownModel, match=r"^[a-z ]+ is one of .+, was '.*'$"):
        models_of(**wrong)  # type: ignore[arg-type]


def test_the_market_fills_by_them() -> None:
    market = models_of(volume_share="0.5", slippage="half_spread:0.02", fees="flat:0.01").market("X/USD", **GRID)
    market.on_quote(Quote(10, 99, 10, 100, 10))
    events = market.apply(Place("o", "A", 1, Side.BUY, OrderType.MARKET, 8), 10)
    (filled,) = (event for event in events if isinstance(event, Filled))
    assert (filled.last_quantity, filled.last_price, filled.fee) == (5, 101, 5_050_000)
