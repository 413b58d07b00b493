"""Acceptance: an order is placed, with the legs that come with it, or denied."""

from dataclasses import replace
from decimal import Decimal

from fleet_simulator.fees import EXACT

from .account import Account
from .checks import (
    Denial,
    check_conditions,
    check_funds,
    check_limits,
    check_notional,
    market_price,
    protected,
    reserve_group,
)
from .commands import PlaceOrder
from .events import Event, OrderDenied, OrderPlaced
from .exact import WIDE
from .group import legs_of
from .order import Order
from .risk.wish import placed
from .terms import NO_TERMS, Terms
from .values import ZERO, Instrument, Pending, Stand


def place(account: Account, command: PlaceOrder) -> list[Event]:
    try:
        command = sized(command)
        instrument = check_conditions(account, command)
        protection = protected(command, instrument)
        check_notional(command, instrument)
        limits = command.conditions.limits
        risk = check_limits(placed(account, command, protection, instrument)) if limits else None
        order, *legs = orders_of(account, command, instrument, protection)
        return [OrderPlaced(order, command.algo, tuple(legs), risk)]
    except Denial as denial:
        denied = _order(command)
        denied.stand = Stand.DENIED
        denied.reason = denial.reason
        return [OrderDenied(denied)]


def orders_of(account: Account, command: PlaceOrder, instrument: Instrument, protection: Decimal | None) -> list[Order]:
    """The order and its legs, with what they hold. Raises Denial where that is not there."""
    order = _order(command)
    order.pending = Pending.NEW
    order.protection_price = protection
    order.query_at = command.conditions.query_at
    if command.algo is not None:
        order.terms = Terms(algo=command.algo)
    if not command.leg_ids:
        order.reserved = order.holding
        check_funds(account, command.side, order.reserved, instrument)
        return [order]
    orders = [order, *legs_of(order, command.leg_ids, command.conditions.protection_factor, instrument.tick)]
    reserve_group(account, orders, instrument)
    return orders


def sized(command: PlaceOrder) -> PlaceOrder:
    """With the quantity that its notional comes to, down to whole lots."""
    instrument, notional = command.conditions.instrument, command.notional
    if notional is None or instrument is None:
        return command
    price = price_of(command)
    if price <= 0 or notional <= 0:
        raise Denial(
            "invalid_notional", f"The notional and its price must be above 0, were {notional:f} and {price:f}."
        )
    lots = WIDE.divide_int(notional, EXACT.multiply(price, instrument.lot))
    if not lots:
        raise Denial("invalid_notional", f"The notional must be enough for {instrument.lot:f}, was {notional:f}.")
    return replace(command, quantity=EXACT.multiply(lots, instrument.lot))


def price_of(command: PlaceOrder) -> Decimal:
    """What it may be expected to fill at: its limit or stop price, else the price of the market."""
    return command.limit_price or (command.terms or NO_TERMS).stop_price or market_price(command)


def _order(command: PlaceOrder) -> Order:
    conditions = command.conditions
    instrument = conditions.instrument
    base, _, quote = command.symbol.partition("/")
    return Order(
        order_id=command.order_id,
        client_order_id=command.client_order_id,
        account_id=command.account_id,
        user_id=command.user_id,
        deployment_id=command.deployment_id,
        signal_id=command.signal_id,
        strategy_id=command.strategy_id,
        symbol=command.symbol,
        base=base if instrument is None else instrument.base,
        quote=quote if instrument is None else instrument.quote,
        side=command.side,
        type=command.type,
        quantity=command.quantity,
        limit_price=command.limit_price,
        protection_price=None,
        highest_fee=ZERO if instrument is None else instrument.highest_fee,
        time_in_force=command.time_in_force,
        venue=command.venue or (instrument.venue if instrument is not None else ""),
        created_at=conditions.now,
        updated_at=conditions.now,
        market_at=conditions.market_at,
        terms=command.terms,
    )
