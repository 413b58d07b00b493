"""What a market answers. Every event names its order and account and the market time of its cause, in nanoseconds."""

from dataclasses import dataclass
from enum import StrEnum


class Liquidity(StrEnum):
    MAKER = "maker"
    TAKER = "taker"


@dataclass(frozen=True, slots=True)
class Accepted:
    order_ref: str
    account_id: str
    market_at: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing was accepted. `reason`: `invalid_quantity`, `invalid_price`, `duplicate_order_ref`."""

    order_ref: str
    account_id: str
    market_at: int
    reason: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A trade. Quantities in lots, price in ticks, `fee` of this fill in fee units.

    `trade_number` counts the market's trades from 1 and makes a stable venue trade id.
    """

    order_ref: str
    account_id: str
    market_at: int
    trade_number: int
    last_quantity: int
    last_price: int
    cumulative_quantity: int
    fee: int
    liquidity: Liquidity


@dataclass(frozen=True, slots=True)
class Canceled:
    """The rest will not fill. `reason`: that of the Cancel, `price_protection` or `immediate_or_cancel`."""

    order_ref: str
    account_id: str
    market_at: int
    reason: str


@dataclass(frozen=True, slots=True)
class CancelRejected:
    """There is no such order of this account here (any more): `unknown_order`."""

    order_ref: str
    account_id: str
    market_at: int
    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    """A day order's session has ended."""

    order_ref: str
    account_id: str
    market_at: int


Event = Accepted | Rejected | Filled | Canceled | CancelRejected | Expired
