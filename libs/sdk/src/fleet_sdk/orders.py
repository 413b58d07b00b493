"""Orders as strategy authors ask for them and see them: conditions, intents, open orders.

The rules of what goes together are those of fleet_simulator's admission; what breaks one is refused here, in words.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import TypedDict
from uuid import UUID, uuid5

import msgspec
from fleet_simulator import OrderType, Side, TimeInForce

from fleet_sdk.decimals import MOST_DECIMALS, MOST_DIGITS, is_bounded

Amount = Decimal | int


class OrderClass(StrEnum):
    """How an order and its legs hang together: `bracket` has both exits, `oto` one of them, `oco` is itself one."""

    SIMPLE = "simple"
    BRACKET = "bracket"
    OCO = "oco"
    OTO = "oto"

    @property
    def has_waiting_legs(self) -> bool:
        """Whether the legs wait for the order to fill; an OCO's is at work beside it."""
        return self is OrderClass.BRACKET or self is OrderClass.OTO


class Leg(StrEnum):
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"


class Conditions(TypedDict, total=False):
    """What an order may wait for and how long; without any of it, a market order until it is cancelled.

    At most one of `stop_price` (becomes a market order when the price is that bad: a buy at or above it, a sell at or
    below), `touch_price` (when it is that good: the other way round), `trail_amount` and `trail_percent` (a stop that
    follows the best price at this distance; "1.5" is 1.5 %). With `limit_price` a limit order, at once or from then on.
    `take_profit` and `stop_loss` are exits of the other side that wait for the order, are as large as what has filled
    of it, and cancel each other; `stop_loss_limit` makes the stop a stop-limit.
    `time_in_force` is `gtc`, or `gtd` where `expires_at` is given; the exits of a `day` or `gtd` order end with it.
    """

    limit_price: Amount | None
    stop_price: Amount | None
    touch_price: Amount | None
    trail_amount: Amount | None
    trail_percent: Amount | None
    time_in_force: TimeInForce | None
    expires_at: datetime | None
    post_only: bool
    reduce_only: bool
    take_profit: Amount | None
    stop_loss: Amount | None
    stop_loss_limit: Amount | None


class OpenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order of this deployment that has not ended, as it stood when the step began.

    `leg` says which exit it is; None is the order itself. The orders of one signal share its id: that is how legs and
    the order they belong to are found. `stop_price` of an if-touched order is its touch price.
    """

    signal_id: UUID
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    filled_quantity: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    order_class: OrderClass = OrderClass.SIMPLE
    leg: Leg | None = None


class SubmitIntent(msgspec.Struct, frozen=True, kw_only=True):
    """An order the strategy wants. `number` counts the intents of a step from 0; the rest as in SignalRaised."""

    number: int
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    trail_percent: Decimal | None = None
    expires_at: datetime | None = None
    post_only: bool = False
    reduce_only: bool = False
    order_class: OrderClass = OrderClass.SIMPLE
    take_profit_price: Decimal | None = None
    stop_loss_price: Decimal | None = None
    stop_loss_limit_price: Decimal | None = None

    def legs(self) -> Iterator[tuple[Leg, "SubmitIntent"]]:
        """The exits that come with it, each as an order of the whole quantity."""
        is_bound = self.time_in_force in (TimeInForce.DAY, TimeInForce.GTD)
        side = self.side if self.order_class is OrderClass.OCO else _other(self.side)
        common = SubmitIntent(
            number=self.number,
            symbol=self.symbol,
            side=side,
            type=OrderType.LIMIT,
            quantity=self.quantity,
            time_in_force=self.time_in_force if is_bound else TimeInForce.GTC,
            expires_at=self.expires_at,
        )
        if self.take_profit_price is not None:
            yield Leg.TAKE_PROFIT, msgspec.structs.replace(common, limit_price=self.take_profit_price)
        if self.stop_loss_price is not None:
            limit = self.stop_loss_limit_price
            kind = OrderType.STOP if limit is None else OrderType.STOP_LIMIT
            stop = msgspec.structs.replace(common, type=kind, stop_price=self.stop_loss_price, limit_price=limit)
            yield Leg.STOP_LOSS, stop


class CancelIntent(msgspec.Struct, frozen=True, kw_only=True):
    """The orders of an earlier signal the strategy wants cancelled."""

    number: int
    symbol: str
    target_signal_id: UUID


Intent = SubmitIntent | CancelIntent


def signal_id(deployment_id: UUID, market_at: datetime, number: int) -> UUID:
    """The id of an intent: the same again however often the step is run."""
    return uuid5(deployment_id, f"{market_at.isoformat()}/{number}")


def submit_intent(
    number: int,
    symbol: str,
    side: Side,
    quantity: Amount,
    *,
    limit_price: Amount | None = None,
    stop_price: Amount | None = None,
    touch_price: Amount | None = None,
    trail_amount: Amount | None = None,
    trail_percent: Amount | None = None,
    time_in_force: TimeInForce | None = None,
    expires_at: datetime | None = None,
    post_only: bool = False,
    reduce_only: bool = False,
    take_profit: Amount | None = None,
    stop_loss: Amount | None = None,
    stop_loss_limit: Amount | None = None,
) -> SubmitIntent:
    """The order of these conditions. Raises TypeError or ValueError, in words, for what does not go together."""
    waits_for = {
        "stop_price": stop_price,
        "touch_price": touch_price,
        "trail_amount": trail_amount,
        "trail_percent": trail_percent,
    }
    given = [name for name, value in waits_for.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"an order waits for one price: give one of {', '.join(waits_for)}, was {' and '.join(given)}")
    intent = SubmitIntent(
        number=number,
        symbol=symbol,
        side=side,
        type=_type(given[0] if given else None, has_limit=limit_price is not None),
        quantity=positive("quantity", quantity),
        limit_price=_price("limit_price", limit_price),
        time_in_force=time_in_force or (TimeInForce.GTC if expires_at is None else TimeInForce.GTD),
        stop_price=_price("stop_price", stop_price) or _price("touch_price", touch_price),
        trail_amount=_price("trail_amount", trail_amount),
        trail_percent=_price("trail_percent", trail_percent),
        expires_at=expires_at,
        post_only=post_only,
        reduce_only=reduce_only,
        order_class=_class(take_profit, stop_loss),
        take_profit_price=_price("take_profit", take_profit),
        stop_loss_price=_price("stop_loss", stop_loss),
        stop_loss_limit_price=_price("stop_loss_limit", stop_loss_limit),
    )
    _check_trail(intent)
    _check_time(intent)
    _check_exits(intent)
    return intent


def oco_intent(
    number: int,
    symbol: str,
    side: Side,
    quantity: Amount,
    *,
    take_profit: Amount,
    stop_loss: Amount,
    stop_loss_limit: Amount | None,
    expires_at: datetime | None,
) -> SubmitIntent:
    """Two orders of one side, of which one cancels the other: a limit at `take_profit`, a stop at `stop_loss`."""
    pair = msgspec.structs.replace(
        submit_intent(number, symbol, side, quantity, limit_price=take_profit, expires_at=expires_at),
        order_class=OrderClass.OCO,
        stop_loss_price=positive("stop_loss", stop_loss),
        stop_loss_limit_price=_price("stop_loss_limit", stop_loss_limit),
    )
    _check_order(side, stop_loss=pair.stop_loss_price, take_profit=pair.limit_price)
    return pair


def positive(name: str, value: Amount) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise TypeError(f"{name} must be a Decimal or int, was {value!r}")
    exact = Decimal(value)
    if not exact.is_finite() or exact <= 0:
        raise ValueError(f"{name} must be above 0, was {value}")
    if not is_bounded(exact):
        raise ValueError(f"{name} must be below 1E+{MOST_DIGITS} and have at most {MOST_DECIMALS} decimals")
    return exact


def _price(name: str, value: Amount | None) -> Decimal | None:
    return None if value is None else positive(name, value)


def _type(waits_for: str | None, *, has_limit: bool) -> OrderType:
    match waits_for:
        case None:
            return OrderType.LIMIT if has_limit else OrderType.MARKET
        case "stop_price":
            return OrderType.STOP_LIMIT if has_limit else OrderType.STOP
        case "touch_price":
            return OrderType.LIMIT_IF_TOUCHED if has_limit else OrderType.MARKET_IF_TOUCHED
        case _ if has_limit:
            raise ValueError("a trailing stop has no limit_price: it becomes a market order")
        case _:
            return OrderType.TRAILING_STOP


def _class(take_profit: Amount | None, stop_loss: Amount | None) -> OrderClass:
    if take_profit is None and stop_loss is None:
        return OrderClass.SIMPLE
    return OrderClass.OTO if take_profit is None or stop_loss is None else OrderClass.BRACKET


def _check_trail(intent: SubmitIntent) -> None:
    percent = intent.trail_percent
    if percent is not None and (percent >= 100 or percent.scaleb(4) % 1):
        raise ValueError(f"trail_percent must be below 100 and have at most 4 decimals, was {percent}")


def _check_time(intent: SubmitIntent) -> None:
    time = intent.time_in_force
    if (intent.expires_at is not None) is not (time is TimeInForce.GTD):
        raise ValueError(f"gtd and expires_at go together, was {time} and {intent.expires_at}")
    if intent.expires_at is not None and intent.expires_at.tzinfo is None:
        raise ValueError(f"expires_at must have a time zone, was {intent.expires_at}")
    if time.is_auction and intent.type.is_triggered:
        raise ValueError(f"an order that waits for a price is not in an auction, was {time}")
    if intent.post_only and not intent.type.has_limit:
        raise ValueError("post_only is of orders with a limit_price")
    if intent.post_only and (time.is_immediate or time.is_auction):
        raise ValueError(f"post_only rests: it is not for {time}")


def _check_exits(intent: SubmitIntent) -> None:
    if intent.stop_loss_limit_price is not None and intent.stop_loss_price is None:
        raise ValueError("stop_loss_limit needs a stop_loss")
    if intent.order_class is OrderClass.SIMPLE:
        return
    if intent.reduce_only:
        raise ValueError("an order that only reduces opens nothing that take_profit or stop_loss could close")
    entry = intent.limit_price or intent.stop_price
    exits = {"stop_loss": intent.stop_loss_price, "entry": entry, "take_profit": intent.take_profit_price}
    _check_order(_other(intent.side), **exits)


def _check_order(exit_side: Side, **prices: Decimal | None) -> None:
    """Given from the worst to the best price of the exits' side: a sell's stop lies below its take-profit."""
    found = [(name, price) for name, price in prices.items() if price is not None]
    for (name, price), (better, other) in pairwise(found):
        if not (price < other if exit_side is Side.SELL else price > other):
            where = "below" if exit_side is Side.SELL else "above"
            raise ValueError(f"{name} must be {where} {better} {other}, was {price}")


def _other(side: Side) -> Side:
    return Side.SELL if side is Side.BUY else Side.BUY
