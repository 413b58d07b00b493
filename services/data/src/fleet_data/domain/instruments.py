"""One instrument of the platform from what its venues tell of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

INTERNAL = "internal"
"""A venue on which a client could make a price by trading with himself: never the reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """An instrument as one venue trades it."""

    name: str
    asset_class: str
    base: str
    quote: str
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    calendar: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Instrument:
    """`reference_venue` None: known at venues that cannot be the reference only, and so not defined yet."""

    symbol: str
    listings: Mapping[str, Terms]
    reference_venue: str | None = None
    version: int = 0

    @property
    def terms(self) -> Terms | None:
        """Those of the reference venue, where its price comes from."""
        return None if self.reference_venue is None else self.listings[self.reference_venue]

    @property
    def venues(self) -> tuple[str, ...]:
        return tuple(sorted(self.listings))

    def listed(self, venue: str, terms: Terms) -> "Instrument":
        """The instrument after a venue has told its terms; a new version if that changes what is defined.

        The reference stays where it is: marks must not jump because another venue came."""
        listings = {**self.listings, venue: terms}
        candidates = sorted(set(listings) - {INTERNAL})
        reference = self.reference_venue or (candidates[0] if candidates else None)
        after = replace(self, listings=listings, reference_venue=reference)
        if reference is None or (after.terms, after.venues) == (self.terms, self.venues):
            return after
        return replace(after, version=self.version + 1)
