"""What the platform trades, from what venues tell of it."""

from decimal import Decimal

from fleet_data.domain.instruments import INTERNAL, Instrument, Terms
from hypothesis import given
from hypothesis import strategies as st

TERMS = Terms(
    name="Apple",
    asset_class="stock",
    base="AAPL",
    quote="USD",
    tick_size=Decimal("0.0001"),
    lot_size=Decimal(1),
    min_quantity=Decimal(1),
    min_notional=Decimal(0),
    maker_fee=Decimal("0.001"),
    taker_fee=Decimal("0.001"),
    calendar="XNYS",
    simulated=True,
)
OTHER = Terms(**{field: getattr(TERMS, field) for field in TERMS.__slots__} | {"tick_size": Decimal("0.01")})
TOLD = st.lists(st.tuples(st.sampled_from(["paper", "binance", INTERNAL]), st.sampled_from([TERMS, OTHER])))


def test_the_internal_venue_alone_defines_nothing() -> None:
    internal = Instrument("AAPL/USD", {}).listed(INTERNAL, TERMS)
    assert (internal.reference_venue, internal.version) == (None, 0)
    both = internal.listed("paper", OTHER)
    assert (both.reference_venue, both.version, both.terms, both.venues) == ("paper", 1, OTHER, (INTERNAL, "paper"))


def test_the_same_again_is_no_new_version() -> None:
    once = Instrument("AAPL/USD", {}).listed("paper", TERMS)
    assert once.listed("paper", TERMS).version == once.version == 1
    assert once.listed("paper", OTHER).version == 2


@given(TOLD)
def test_the_reference_stays_and_the_version_counts_what_changed(told: list[tuple[str, Terms]]) -> None:
    instrument = Instrument("AAPL/USD", {})
    references = []
    for venue, terms in told:
        before, instrument = instrument, instrument.listed(venue, terms)
        is_other = (before.terms, before.venues) != (instrument.terms, instrument.venues)
        is_defined = instrument.reference_venue is not None
        assert instrument.version - before.version == int(is_defined and is_other)
        references += [instrument.reference_venue] if is_defined else []
    assert len(set(references)) <= 1
    assert INTERNAL not in references
