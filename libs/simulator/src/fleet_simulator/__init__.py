"""The one fill path: the same market fills paper orders, replays and in-process runs. Pure, deterministic, integers."""

from fleet_simulator.events import (
    Accepted,
    Canceled,
    CancelRejected,
    Event,
    Expired,
    Filled,
    Liquidity,
    Rejected,
)
from fleet_simulator.fees import CURRENCY_PRECISION, FeeSchedule, fee
from fleet_simulator.inputs import Bar, Quote
from fleet_simulator.market import QUOTE_LIFETIME_NS, Market, PastPrice
from fleet_simulator.orders import (
    Cancel,
    Command,
    Order,
    OrderType,
    Place,
    Side,
    TimeInForce,
    command_order,
)
from fleet_simulator.protection import protection_price, reservation
from fleet_simulator.scale import OffGrid, Scale

__all__ = [
    "CURRENCY_PRECISION",
    "QUOTE_LIFETIME_NS",
    "Accepted",
    "Bar",
    "Cancel",
    "CancelRejected",
    "Canceled",
    "Command",
    "Event",
    "Expired",
    "FeeSchedule",
    "Filled",
    "Liquidity",
    "Market",
    "OffGrid",
    "Order",
    "OrderType",
    "PastPrice",
    "Place",
    "Quote",
    "Rejected",
    "Scale",
    "Side",
    "TimeInForce",
    "command_order",
    "fee",
    "protection_price",
    "reservation",
]
