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
    """Nothing was accepted. `reason`: `invalid_quantity`, `invalid_price`, `invalid_time_in_force`, `invalid_group`,
    `duplicate_order_ref`."""

    order_ref: str
    account_id: str
    market_at: int
    reason: str


@dataclass(frozen=True, slots=True)
class Triggered:
    """A held order's price has come: from now on it can trade. `price` is the one that elected it."""

    order_ref: str
    account_id: str
    market_at: int
    price: int


@dataclass(frozen=True, slots=True)
class Filled:
    """A trade. Quantities in lots, price in ticks, `fee` of this fill in fee units.

    `trade_number` counts the market's trades from 1 and makes a stable venue trade id; both sides of a trade between
    two orders have the same.
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
    """The rest will not fill. `reason`: that of the Cancel, `price_protection`, `immediate_or_cancel`, `fill_or_kill`,
    `minimum_quantity`, `post_only`, `no_liquidity`, `self_trade`, `reduce_only`, `oco`, `parent_ended`, `auction`,
    `corporate_action`, `book_full`, or `replaced` (to no more than what had filled)."""

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
class Replaced:
    """The order as it is from now on; `quantity` is its total. `reason`: `requested`, or why the venue did it:
    `oco`, `reduce_only`, `parent_filled`, `self_trade`, `corporate_action`, or `parent_ended`: a child that is filled as
    far as it came grows no more, so that this is its end."""

    order_ref: str
    account_id: str
    market_at: int
    quantity: int
    limit_price: int | None
    stop_price: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ReplaceRejected:
    """Nothing changed: `unknown_order`, `invalid_quantity`, `invalid_price`, `post_only`."""

    order_ref: str
    account_id: str
    market_at: int
    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    """A day order's session has ended, or a `gtd` order's time has come."""

    order_ref: str
    account_id: str
    market_at: int


Event = Accepted | Rejected | Triggered | Filled | Canceled | CancelRejected | Replaced | ReplaceRejected | Expired
