"""What is asked of a market: the words of an order, the commands, and an order as the market holds it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Final


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

    @property
    def has_limit(self) -> bool:
        return self in _WITH_LIMIT

    @property
    def is_triggered(self) -> bool:
        """Held back until a price comes."""
        return self is not OrderType.MARKET and self is not OrderType.LIMIT

    @property
    def is_touched(self) -> bool:
        """Waits for a price that is better for it than the present one; a stop waits for a worse one."""
        return self is OrderType.MARKET_IF_TOUCHED or self is OrderType.LIMIT_IF_TOUCHED

    @property
    def is_stop(self) -> bool:
        """Waits for a price that is worse for it than the present one."""
        return self.is_triggered and not self.is_touched


_WITH_LIMIT: Final = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED})


class TimeInForce(StrEnum):
    """`fok`: whole and at once or not at all. `gtd`: until `expires_at`. `at_open`, `at_close`: in that auction only."""

    GTC = "gtc"
    IOC = "ioc"
    DAY = "day"
    FOK = "fok"
    GTD = "gtd"
    AT_OPEN = "at_open"
    AT_CLOSE = "at_close"

    @property
    def is_immediate(self) -> bool:
        return self is TimeInForce.IOC or self is TimeInForce.FOK

    @property
    def is_auction(self) -> bool:
        return self is TimeInForce.AT_OPEN or self is TimeInForce.AT_CLOSE

    @property
    def is_of_session(self) -> bool:
        """Ends with its session at the latest."""
        return self is TimeInForce.DAY or self.is_auction


class SelfTrade(StrEnum):
    """What happens when an order meets one of its own account; the incoming one's word counts."""

    ALLOW = "allow"
    CANCEL_NEWEST = "cancel_newest"
    CANCEL_OLDEST = "cancel_oldest"
    CANCEL_BOTH = "cancel_both"
    DECREMENT = "decrement"


class Phase(StrEnum):
    """Where an order stands that has not ended: it waits for its parent, its trigger, its auction; or it can trade."""

    PARENT = "parent"
    TRIGGER = "trigger"
    AUCTION = "auction"
    BOOK = "book"


@dataclass(frozen=True, slots=True)
class Place:
    """A new order: quantities in lots, prices in ticks, times in nanoseconds.

    `protection_price` belongs to an order without limit: the worst price at which it may fill. `None` is unprotected.
    `stop_price` is what a triggered order waits for; a trailing stop has `trail_amount` (ticks) or `trail_ppm`
    (millionths of the price: 1.5 % is 15,000) instead. `minimum_quantity` trades at its first price, or nothing does.
    Orders of one `oco_group` fill no more together than the largest of them. An order with a `parent_ref` waits until
    that order fills, and is as large, in proportion, as what has filled; it is sent before its parent.
    """

    order_ref: str
    account_id: str
    command_sequence: int
    side: Side
    type: OrderType
    quantity: int
    time_in_force: TimeInForce = TimeInForce.GTC
    limit_price: int | None = None
    protection_price: int | None = None
    stop_price: int | None = None
    trail_amount: int | None = None
    trail_ppm: int | None = None
    display_quantity: int | None = None
    minimum_quantity: int = 0
    expires_at: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    self_trade: SelfTrade = SelfTrade.ALLOW
    oco_group: str | None = None
    parent_ref: str | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Takes an order out; `reason` is passed on in the Canceled event (a halt names itself there)."""

    order_ref: str
    account_id: str
    command_sequence: int
    reason: str = "requested"


@dataclass(frozen=True, slots=True)
class Replace:
    """Changes what is given. `quantity` is the new total, what has filled in it. Less at the same price keeps its place."""

    order_ref: str
    account_id: str
    command_sequence: int
    quantity: int | None = None
    limit_price: int | None = None
    stop_price: int | None = None


Command = Place | Cancel | Replace


def command_to_data(command: Command) -> dict[str, Any]:
    """As plain data, for a snapshot."""
    values = {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(command).items()}
    return {"command": type(command).__name__, **values}


def command_from_data(data: Mapping[str, Any]) -> Command:
    values: dict[str, Any] = {
        name: _ENUMS[name](value) if name in _ENUMS else value for name, value in data.items() if name != "command"
    }
    match data["command"]:
        case "Place":
            return Place(**values)
        case "Cancel":
            return Cancel(**values)
        case _:
            return Replace(**values)


def command_order(command: Command) -> tuple[str, int]:
    """Sort key of the commands collected since the last step: (account, command_sequence)."""
    return command.account_id, command.command_sequence


@dataclass(slots=True)
class Order:
    """An order the market has accepted and that has not ended.

    Quantities in lots, prices in ticks, `filled_notional` in ticks x lots, `fee` (charged so far) in fee units,
    `accepted_at` in nanoseconds of market time. `arrival` numbers the accepted orders, `priority` is the place in time
    priority, `entered_at` when it came into the book. `met_quote`: a quote stood when it came, so what is left of it
    has rested since. `resting` is what of it the book holds (a slice, of an iceberg), `mark` the price a trailing stop
    is measured from, `ahead` what stands before it at its price (`None`: unknown). `declared` and `granted` are the
    quantity it was placed with, or asked for since, and what its parent's fills have released of it; `split_gain` what
    splits have made of its fills beyond `filled_quantity`; `elected`: its trigger has fired. `taking`: a limit that
    every quote since it came has reached, none with enough for all of it.
    """

    order_ref: str
    account_id: str
    side: Side
    type: OrderType
    quantity: int
    time_in_force: TimeInForce
    limit_price: int | None
    protection_price: int | None
    accepted_at: int
    arrival: int
    filled_quantity: int = 0
    filled_notional: int = 0
    fee: int = 0
    met_quote: bool = False
    stop_price: int | None = None
    trail_amount: int | None = None
    trail_ppm: int | None = None
    display_quantity: int | None = None
    minimum_quantity: int = 0
    expires_at: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    self_trade: SelfTrade = SelfTrade.ALLOW
    oco_group: str | None = None
    parent_ref: str | None = None
    phase: Phase = Phase.BOOK
    account: int = 0
    book_id: int = 0
    priority: int = -1
    entered_at: int = -1
    maker_quantity: int = 0
    maker_notional: int = 0
    resting: int = -1
    mark: int | None = None
    ahead: int | None = None
    declared: int = 0
    granted: int = 0
    elected: bool = False
    split_gain: int = 0
    taking: bool = False

    def __post_init__(self) -> None:
        # A row written before there was anything but market and limit orders lacks these: all of it is in the book.
        if self.priority < 0:
            self.priority = self.arrival
        if self.entered_at < 0:
            self.entered_at = self.accepted_at
        if self.resting < 0:
            self.resting = self.remaining
        if not self.declared:
            self.declared = self.quantity

    @classmethod
    def of(cls, place: Place, *, accepted_at: int, arrival: int, account: int) -> "Order":
        asked = {name: getattr(place, name) for name in _ASKED}
        return cls(
            **asked, accepted_at=accepted_at, arrival=arrival, account=account, resting=0, declared=place.quantity
        )

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled_quantity

    @property
    def is_buy(self) -> bool:
        return self.side is Side.BUY

    @property
    def worst_price(self) -> int | None:
        """The last price at which it may fill, `None` for any."""
        return self.limit_price if self.type.has_limit else self.protection_price

    def takes(self, price: int) -> bool:
        """Whether `price` is at or better than the worst price it may fill at."""
        worst = self.worst_price
        if worst is None:
            return True
        return price <= worst if self.side is Side.BUY else price >= worst

    def to_data(self) -> dict[str, int | str | bool | None]:
        """As plain data, for a row or a snapshot; what only some orders have is left out of the others."""
        implied = {**_DEFAULTS, "priority": self.arrival, "entered_at": self.accepted_at, "resting": self.remaining}
        # Not with `asdict`, which copies each value: a row is written whenever an order rests or changes.
        data = ((name, getattr(self, name)) for name in _NAMES)
        own = ((name, value) for name, value in data if name not in implied or value != implied[name])
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in own}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Order":
        values: dict[str, Any] = {
            name: _ENUMS[name](value) if name in _ENUMS else value for name, value in data.items()
        }
        return cls(**values)


_NAMES: Final = tuple(field.name for field in fields(Order))
_FIRST_FORM: Final = 14  # fields of market and limit orders, which every row has
_ENUMS: Final = {
    "side": Side,
    "type": OrderType,
    "time_in_force": TimeInForce,
    "self_trade": SelfTrade,
    "phase": Phase,
}
_DEFAULTS: Final = {
    field.name: field.default
    for field in fields(Order)[_FIRST_FORM:]
    if field.name not in ("priority", "entered_at", "resting")
}
_ASKED: Final = tuple(field.name for field in fields(Place) if field.name != "command_sequence")
