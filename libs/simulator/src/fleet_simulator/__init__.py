"""The one fill path: the same market fills paper orders, replays and in-process runs. Pure, deterministic, integers."""

from fleet_simulator.book_exchange import BookExchange
from fleet_simulator.events import (
    Accepted,
    Canceled,
    CancelRejected,
    Event,
    Expired,
    Filled,
    Liquidity,
    Rejected,
    Replaced,
    ReplaceRejected,
    Triggered,
)
from fleet_simulator.exchange import Exchange
from fleet_simulator.fees import (
    CURRENCY_PRECISION,
    BoundedFee,
    Executed,
    FeeModel,
    FeeSchedule,
    MakerTaker,
    PerShare,
    TieredFee,
    fee,
)
from fleet_simulator.inputs import Bar, Quote
from fleet_simulator.latency import ConstantLatency, Latency, LogNormalLatency
from fleet_simulator.market import QUOTE_LIFETIME_NS, Market, PastPrice
from fleet_simulator.orders import (
    Cancel,
    Command,
    Order,
    OrderType,
    Phase,
    Place,
    Replace,
    SelfTrade,
    Side,
    TimeInForce,
    command_order,
)
from fleet_simulator.protection import protection_price, reservation
from fleet_simulator.scale import OffGrid, Scale
from fleet_simulator.slippage import HalfSpread, Slippage, SquareRootImpact, VolumeShare

__all__ = [
    "CURRENCY_PRECISION",
    "QUOTE_LIFETIME_NS",
    "Accepted",
    "Bar",
    "BookExchange",
    "BoundedFee",
    "Cancel",
    "CancelRejected",
    "Canceled",
    "Command",
    "ConstantLatency",
    "Event",
    "Exchange",
    "Executed",
    "Expired",
    "FeeModel",
    "FeeSchedule",
    "Filled",
    "HalfSpread",
    "Latency",
    "Liquidity",
    "LogNormalLatency",
    "MakerTaker",
    "Market",
    "OffGrid",
    "Order",
    "OrderType",
    "PastPrice",
    "PerShare",
    "Phase",
    "Place",
    "Quote",
    "Rejected",
    "Replace",
    "ReplaceRejected",
    "Replaced",
    "Scale",
    "SelfTrade",
    "Side",
    "Slippage",
    "SquareRootImpact",
    "TieredFee",
    "TimeInForce",
    "Triggered",
    "VolumeShare",
    "command_order",
    "fee",
    "protection_price",
    "reservation",
]
