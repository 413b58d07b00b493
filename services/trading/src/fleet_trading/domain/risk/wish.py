"""What an order, or a replace of one, would add to its account."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from uuid import UUID

from fleet_simulator import OrderType, Side, selling_price
from fleet_simulator.fees import EXACT

from fleet_trading.domain.account import Account
from fleet_trading.domain.commands import Conditions, PlaceOrder
from fleet_trading.domain.group import Exit, exits_of, group_of
from fleet_trading.domain.order import Order
from fleet_trading.domain.restriction import may_cover
from fleet_trading.domain.terms import NO_TERMS, Figures, OrderClass
from fleet_trading.domain.values import ZERO, Instrument


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """`price` is what it is measured by: of a buy the dearest at which it may fill, of a sell the highest of its limit, its stop
    price and the last price; where another buy of its group may fill dearer, that. `added…` is what is new of it: all of an
    order, of a replace what grows."""

    account: Account
    conditions: Conditions
    symbol: str
    venue: str
    side: Side
    quantity: Decimal
    price: Decimal | None
    limit_price: Decimal | None
    limits_of_legs: tuple[tuple[Side, Decimal], ...]
    """Of those that come with it."""
    added: Decimal
    added_notional: Decimal
    orders: int
    """How many orders it brings, with its legs; of a replace none."""
    is_price_new: bool
    waits: bool
    """For a price or for another order: it is not at work yet."""
    signature: str

    @property
    def notional(self) -> Decimal:
        return EXACT.multiply(self.quantity, self.price or ZERO)

    @property
    def is_growing(self) -> bool:
        """Whether the position may grow by it: what gets out of one is never held back by what is held."""
        if self.side is not Side.BUY or (self.added <= 0 and self.added_notional <= 0):
            return False
        instrument = self.conditions.instrument
        return instrument is None or not may_cover(self.account, instrument.base, max(self.added, ZERO))


def placed(account: Account, command: PlaceOrder, protection: Decimal | None, instrument: Instrument) -> Wish:
    terms = command.terms or NO_TERMS
    reference = command.conditions.reference
    last = None if reference is None else reference.last
    if command.side is Side.BUY:
        price = command.limit_price or protection
    else:
        price = selling_price(command.type, last, limit_price=command.limit_price, stop_price=terms.stop_price)
    exits: Sequence[Exit] = ()
    if command.leg_ids:
        exits = exits_of(terms, command.side, command.conditions.protection_factor, instrument.tick)
        bought_at = (each.limit_price or each.protection_price for each in exits if each.side is Side.BUY)
        price = max((each for each in (price, *bought_at) if each is not None), default=None)
    return Wish(
        account=account,
        conditions=command.conditions,
        symbol=command.symbol,
        venue=command.venue or instrument.venue,
        side=command.side,
        quantity=command.quantity,
        price=price,
        limit_price=command.limit_price,
        limits_of_legs=tuple((each.side, each.limit_price) for each in exits if each.limit_price is not None),
        added=command.quantity,
        added_notional=EXACT.multiply(command.quantity, price or ZERO),
        orders=1 + terms.leg_count,
        is_price_new=True,
        waits=command.type.is_triggered,
        signature=_signature(command),
    )


def _signature(command: PlaceOrder) -> str:
    terms = "" if command.terms is None else command.terms.asked()
    c = command
    asked = f"{c.symbol} {c.side} {c.type} {c.quantity} {c.limit_price} {c.time_in_force} {c.venue} {terms}"
    return blake2b(asked.encode(), digest_size=8).hexdigest()


def grown(account: Account, order: Order, wanted: Figures, conditions: Conditions) -> Wish:
    now = order.figures
    reference = conditions.reference
    last = None if reference is None else reference.last

    others = [
        each.worst_price
        for each in group_of(account, order)
        if each is not order and each.is_open and order.side is each.side is Side.BUY
    ]

    def price_of(figures: Figures) -> Decimal | None:
        if order.side is Side.BUY:
            price = figures.limit_price or order.protection_price
            return max(price, *others) if others and price is not None else price
        return selling_price(order.type, last, limit_price=figures.limit_price, stop_price=figures.stop_price)

    price = price_of(wanted)
    before = EXACT.multiply(now.quantity, price_of(now) or ZERO)
    return Wish(
        account=account,
        conditions=conditions,
        symbol=order.symbol,
        venue=order.venue,
        side=order.side,
        quantity=wanted.quantity,
        price=price,
        limit_price=wanted.limit_price,
        limits_of_legs=(),
        added=EXACT.subtract(wanted.quantity, now.quantity),
        added_notional=EXACT.subtract(EXACT.multiply(wanted.quantity, price or ZERO), before),
        orders=0,
        is_price_new=wanted.limit_price != now.limit_price,
        waits=not is_at_work(order, account.orders),
        signature="",
    )


def is_at_work(order: Order, orders: Mapping[UUID, Order]) -> bool:
    """Whether it can be met at its venue: not while it waits for a price, or for a fill of the order that it came with.
    `orders` has all that are open: one that is not among them has ended, and its legs with it if it had not filled."""
    waits = order.type.is_triggered and not (order.terms is not None and order.terms.is_triggered)
    if waits or order.parent_order_id is None or order.order_class is OrderClass.OCO:
        return not waits
    parent = orders.get(order.parent_order_id)
    return parent is None or bool(parent.filled_quantity)


def crosses(wish: Wish, order: Order) -> bool:
    """Whether an order of the other side, open and at work, would fill against what is wished."""
    if (
        order.side is wish.side
        or order.symbol != wish.symbol
        or not order.is_open
        or order.venue != wish.venue
        or not is_at_work(order, wish.account.orders)
    ):
        return False
    buy, sell = (
        (wish.limit_price, order.limit_price) if wish.side is Side.BUY else (order.limit_price, wish.limit_price)
    )
    return buy is None or sell is None or buy >= sell or order.type is OrderType.MARKET
