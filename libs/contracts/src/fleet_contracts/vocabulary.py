"""The words that several messages share. A reader that meets an unknown one refuses the message."""

from enum import StrEnum


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    GTC = "gtc"
    IOC = "ioc"
    DAY = "day"


class OrderStatus(StrEnum):
    """The one word that API.md shows for where an order stands and what is pending on it."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    PENDING_CANCEL = "pending_cancel"
    CANCELED = "canceled"
    EXPIRED = "expired"
    DENIED = "denied"
    REJECTED = "rejected"


class VenueOrderStand(StrEnum):
    """Where an order stands at its venue."""

    WORKING = "working"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class Liquidity(StrEnum):
    MAKER = "maker"
    TAKER = "taker"


class TradingStateWord(StrEnum):
    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


class StateScope(StrEnum):
    SYSTEM = "system"
    VENUE = "venue"
    SYMBOL = "symbol"
    ACCOUNT = "account"


class VenueStateWord(StrEnum):
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


class DeploymentState(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"


class GrantState(StrEnum):
    ACTIVE = "active"
    ENDED = "ended"


class Timeframe(StrEnum):
    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"
