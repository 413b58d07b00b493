"""What the paper venue trades, on which grid, and how lively each market is simulated."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from fleet_simulator import Scale

VENUE = "paper"


class Feed(StrEnum):
    SIMULATED = "simulated"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    """An instrument of the venue, and the figures its simulated market is drawn from; there is one of each.

    `increment` is the step of simulated quotes, a multiple of the tick: stocks are quoted in cents, while their tick is
    that of the real bars, which have up to four decimals. `volatility` is a year's standard deviation of the log
    return, `spread_bps` the narrowest spread, `trade_lots` the typical public trade. `first_price` is where a simulated
    market opens that has no real close."""

    symbol: str
    name: str
    asset_class: str
    tick: Decimal
    lot: Decimal
    min_notional: Decimal
    increment: Decimal
    volatility: float
    spread_bps: float
    trade_lots: int
    first_price: Decimal | None = None

    @property
    def base(self) -> str:
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.partition("/")[2]

    @property
    def scale(self) -> Scale:
        return Scale(self.tick, self.lot)

    @property
    def is_stock(self) -> bool:
        return self.asset_class == "stock"


def _stock(symbol: str, name: str, volatility: float, trade_lots: int) -> Instrument:
    return Instrument(
        symbol=f"{symbol}/USD",
        name=name,
        asset_class="stock",
        tick=Decimal("0.0001"),
        lot=Decimal(1),
        min_notional=Decimal(1),
        increment=Decimal("0.01"),
        volatility=volatility,
        spread_bps=0.5,
        trade_lots=trade_lots,
    )


STOCKS = (
    _stock("AAPL", "Apple Inc.", 0.30, 120),
    _stock("FB", "Facebook, Inc.", 0.45, 400),
    _stock("GOOG", "Google Inc.", 0.28, 40),
    _stock("IBM", "International Business Machines Corporation", 0.20, 60),
    _stock("MSFT", "Microsoft Corporation", 0.24, 400),
)
CRYPTO = (
    Instrument(
        symbol="BTC/USD",
        name="Bitcoin",
        asset_class="crypto",
        tick=Decimal("0.01"),
        lot=Decimal("0.00001"),
        min_notional=Decimal(1),
        increment=Decimal("0.01"),
        volatility=0.60,
        spread_bps=0.4,
        trade_lots=4_000,
        first_price=Decimal(60_000),
    ),
    Instrument(
        symbol="ETH/USD",
        name="Ether",
        asset_class="crypto",
        tick=Decimal("0.01"),
        lot=Decimal("0.0001"),
        min_notional=Decimal(1),
        increment=Decimal("0.01"),
        volatility=0.75,
        spread_bps=0.6,
        trade_lots=6_000,
        first_price=Decimal(3_000),
    ),
)


def offered(feed: str) -> dict[str, Instrument]:
    """What the venue trades on this feed: there is no history of crypto to replay."""
    found = STOCKS if feed == Feed.REPLAY else STOCKS + CRYPTO
    return {instrument.symbol: instrument for instrument in found}
