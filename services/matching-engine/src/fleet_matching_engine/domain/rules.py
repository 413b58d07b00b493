"""What the venue holds to, and what it is told besides orders: each a fact with a place in the journal."""

from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec
from fleet_simulator import Scale
from fleet_simulator.fees import MakerTaker

VENUE: Final = "internal"

RULES: Final = "rules"
INSTRUMENT: Final = "instrument"
REFERENCE: Final = "reference"
STATE: Final = "state"
MASS_CANCEL: Final = "mass-cancel"
CANCEL_AFTER: Final = "cancel-after"

ACTIVE: Final = "active"
HALTED: Final = "halted"
REDUCING: Final = "reducing"
ALONE: Final = ("heartbeat", None)
"""The scope and target of the state in which core-engine's heartbeat is missing."""


class Rules(msgspec.Struct, frozen=True, array_like=True):
    """`band`: as a fraction of the reference price; `rate`: messages a second of an account, and the burst it may have."""

    band: Decimal
    max_notional: Decimal
    rate: int
    self_trade: str
    is_replay: bool = False
    """Time is the market's, as commands and sessions tell it; no clock runs."""


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """An instrument as it is traded here."""

    symbol: str
    quote: str
    tick: Decimal
    lot: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    maker_fee: Decimal
    taker_fee: Decimal

    @property
    def scale(self) -> Scale:
        return Scale(self.tick, self.lot)

    @property
    def fees(self) -> MakerTaker:
        return MakerTaker.of(self.maker_fee, self.taker_fee, tick=self.tick, lot=self.lot)


class Reference(msgspec.Struct, frozen=True, array_like=True):
    """The price of the reference venue, as far as bands care: told again when it has moved by a tenth of the band."""

    symbol: str
    price: Decimal

    def is_far_from(self, price: Decimal, band: Decimal) -> bool:
        return abs(price - self.price) * 10 >= self.price * band


class State(msgspec.Struct, frozen=True, array_like=True):
    """A trading state of a scope and target; `word` is active, reducing or halted."""

    scope: str
    target: str | None
    word: str
    epoch: int
    version: int

    @property
    def key(self) -> tuple[str, str | None]:
        return self.scope, self.target


class Cutoffs(msgspec.Struct, frozen=True, array_like=True):
    """Deadlines of accounts that have come: nothing that was said until then may be open."""

    by_account: dict[str, datetime]


class Sweep(msgspec.Struct, array_like=True):
    """Open orders that are being taken out: of an account, or all; by symbol, the latest arrival among them."""

    account_id: str | None
    code: str
    latest: dict[str, int]


class MassCancel(msgspec.Struct, frozen=True, array_like=True):
    """An operator takes open orders out: of a symbol, of an account, of both, or all."""

    symbol: str | None
    account_id: str | None
    by: str
    reason: str
