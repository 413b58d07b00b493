"""What the demo does: five SMA crosses on two years of daily bars of US stocks."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

SYMBOLS = ("AAPL/USD", "FB/USD", "GOOG/USD", "IBM/USD", "MSFT/USD")
TIMEFRAME = "1d"
START = datetime(2011, 3, 1, tzinfo=UTC)
END = datetime(2013, 3, 2, tzinfo=UTC)
STEPS = 504
BUILTIN = "sma_cross"
STRATEGY = {"name": "SMA cross 10/30", "kind": "builtin", "builtin": BUILTIN}
PARAMETERS = {"fast": 10, "slow": 30, "quantity": "20"}
FEE_RATE = Decimal("0.001")
TICK = Decimal("0.0001")
INITIAL_CASH = Decimal(100_000)


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment of the demo, in the order of creation."""

    deployment_id: str
    symbol: str
