"""What is asked of a market: the words of an order, the two commands, and an order as the market holds it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


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


@dataclass(frozen=True, slots=True)
class Place:
    """A new order: quantity in lots, prices in ticks.

    `protection_price` belongs to a market order: the worst price at which it may fill. `None` is unprotected.
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


@dataclass(frozen=True, slots=True)
class Cancel:
    """Takes an order out; `reason` is passed on in the Canceled event (a halt names itself there)."""

    order_ref: str
    account_id: str
    command_sequence: int
    reason: str = "requested"


Command = Place | Cancel


def command_order(command: Command) -> tuple[str, int]:
    """Sort key of the commands collected since the last step: (account, command_sequence)."""
    return command.account_id, command.command_sequence


@dataclass(slots=True)
class Order:
    """An order the market has accepted and that has not ended.

    Quantities in lots, prices in ticks, `filled_notional` in ticks x lots, `fee` (charged so far) in fee units,
    `accepted_at` in nanoseconds of market time. `arrival` is its place in time priority. `met_quote`: a quote stood
    when it came, so what is left of it has rested since.
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

    @property
    def remaining(self) -> int:
        return self.quantity - self.filled_quantity

    @property
    def worst_price(self) -> int | None:
        """The last price at which it may fill, `None` for any."""
        return self.limit_price if self.type is OrderType.LIMIT else self.protection_price

    def takes(self, price: int) -> bool:
        """Whether `price` is at or better than the worst price it may fill at."""
        worst = self.worst_price
        if worst is None:
            return True
        return price <= worst if self.side is Side.BUY else price >= worst

    def to_data(self) -> dict[str, int | str | bool | None]:
        """As plain data, for a row or a snapshot."""
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(self).items()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Order":
        return cls(
            **{
                **data,
                "side": Side(data["side"]),
                "type": OrderType(data["type"]),
                "time_in_force": TimeInForce(data["time_in_force"]),
            }
        )
