"""The words that several messages share. A reader that meets an unknown one refuses the message."""

from enum import StrEnum


class Role(StrEnum):
    """What a user is; auth says what each may do."""

    ADMIN = "admin"
    TRADER = "trader"
    VIEWER = "viewer"
    COMPLIANCE = "compliance"


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"
    MARKET_IF_TOUCHED = "market_if_touched"
    LIMIT_IF_TOUCHED = "limit_if_touched"


class OrderClass(StrEnum):
    """How an order and its legs hang together.

    `bracket`: two legs, take-profit and stop-loss, wait for the order to fill, and one makes the other smaller. `oto`: one
    leg waits for it. `oco`: the order is the take-profit itself, at work together with its one leg, the stop-loss."""

    SIMPLE = "simple"
    BRACKET = "bracket"
    OCO = "oco"
    OTO = "oto"


class TimeInForce(StrEnum):
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"
    GTD = "gtd"
    DAY = "day"
    AT_OPEN = "at_open"
    AT_CLOSE = "at_close"


class SelfTrade(StrEnum):
    """What happens when an order meets one of its own account."""

    CANCEL_NEWEST = "cancel_newest"
    CANCEL_OLDEST = "cancel_oldest"
    CANCEL_BOTH = "cancel_both"
    DECREMENT = "decrement"


class OrderStatus(StrEnum):
    """The one word that API.md shows for where an order stands and what is pending on it."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    CANCELED = "canceled"
    EXPIRED = "expired"
    DENIED = "denied"
    REJECTED = "rejected"

    @property
    def is_ended(self) -> bool:
        """Whether nothing more is expected of the order."""
        return self in _ENDED


_ENDED = frozenset(
    {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.DENIED, OrderStatus.REJECTED}
)


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


class AlertKind(StrEnum):
    QUOTES_STOPPED = "quotes_stopped"
    LIMIT_BREACHED = "limit_breached"


class AlertSeverity(StrEnum):
    WARNING = "warning"
