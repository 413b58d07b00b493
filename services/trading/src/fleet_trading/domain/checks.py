"""The checks before acceptance, in their order; the first that fails denies with its code."""

from collections.abc import Callable, Sequence
from decimal import Decimal

from fleet_simulator import (
    OrderType,
    Side,
    TimeInForce,
    is_protected,
    protection_price,
    protection_reference,
)
from fleet_simulator.fees import EXACT

from .account import Account
from .commands import Conditions, PlaceOrder
from .exact import WIDE
from .group import holdings
from .order import Order
from .restriction import may_cover
from .risk.checks import Exceeded, check_risk
from .risk.state import RiskState
from .risk.wish import Wish
from .terms import NO_TERMS, Asked, leg_side, malformed
from .values import ZERO, AccountStatus, Instrument, Reason, Reference, TradingState
from .waiting import closed

_AUCTIONS = (TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE)


class Denial(Exception):
    """Found by a check; `decide` makes an event of it, so that it leaves this package as a result only."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.reason = Reason(code, detail)


def check_conditions(account: Account, command: PlaceOrder) -> Instrument:
    """All that does not depend on money. Returns the instrument."""
    instrument = known_instrument(command)
    for check in CHECKS_OF_FORM:
        check(account, command, instrument)
    for check in CHECKS_OF_PLACE:
        check(account, command, instrument)
    return instrument


def known_instrument(command: PlaceOrder) -> Instrument:
    conditions = command.conditions
    if conditions.forbidden is not None:
        raise Denial(conditions.forbidden.code, conditions.forbidden.detail)
    if conditions.instrument is None:
        raise _not_known(
            conditions, command.symbol, "unknown_symbol", f"No such symbol is traded here, was {command.symbol}."
        )
    return conditions.instrument


def _not_known(conditions: Conditions, symbol: str, code: str, detail: str) -> Denial:
    """What is not known of a market may be known in a moment; that it is halted is true whatever that is."""
    return _halted(symbol) if conditions.state is TradingState.HALTED else Denial(code, detail)


def _halted(symbol: str) -> Denial:
    return Denial("market_halted", f"Trading of {symbol} is halted.")


def _check_size(_account: Account, command: PlaceOrder, instrument: Instrument) -> None:
    check_quantity(command.quantity, instrument)


def _check_venue(_account: Account, command: PlaceOrder, instrument: Instrument) -> None:
    if command.venue is not None and command.venue not in instrument.venues:
        raise Denial(
            "unsupported", f"{command.symbol} is traded at {', '.join(instrument.venues)}, was {command.venue}."
        )
    if command.algo is not None and command.conditions.query_at is None:
        raise Denial("unsupported", "On a replay, whose market moves in steps, no algorithm works an order.")


def _check_state(account: Account, command: PlaceOrder, instrument: Instrument) -> None:
    # The legs of a sell buy again.
    buys = command.side is Side.BUY or (bool(command.leg_ids) and _leg_side(command) is Side.BUY)
    check_open_for(account, command.conditions, instrument, buys=command.quantity if buys else None)


def _check_session(_account: Account, command: PlaceOrder, instrument: Instrument) -> None:
    """What must fill at once needs an open market; the rest waits for it. A replay's market moves in steps of its own."""
    is_live = command.conditions.query_at is not None
    if not is_live or command.time_in_force in _AUCTIONS:
        return
    if command.type is OrderType.MARKET or command.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
        why = closed(instrument, command.conditions.now)
        if why is not None:
            raise Denial("market_closed", f"{why} An order that waits is taken.")


def _leg_side(command: PlaceOrder) -> Side:
    return leg_side(command.side, (command.terms or NO_TERMS).order_class)


def check_open_for(account: Account, conditions: Conditions, instrument: Instrument, *, buys: Decimal | None) -> None:
    """`buys`: so much more than is open already, which may be nothing; None of what does not buy."""
    if conditions.state is TradingState.HALTED:
        raise _halted(instrument.symbol)
    if account.status is AccountStatus.RESETTING:
        raise Denial("account_resetting", "The account begins anew; its orders are being cancelled.")
    if buys is not None:
        if conditions.state is TradingState.REDUCING:
            raise Denial(
                "market_reducing", f"Only orders that reduce a position are accepted in {instrument.symbol} now."
            )
        if account.status is AccountStatus.REDUCE_ONLY and not may_cover(account, instrument.base, buys):
            raise Denial(
                "account_reduce_only", "The account may only reduce what it holds, or buy what it is short of."
            )


def check_quantity(quantity: Decimal, instrument: Instrument) -> None:
    if quantity <= 0:
        raise Denial("invalid_quantity", f"The quantity must be above 0, was {quantity:f}.")
    if WIDE.remainder(quantity, instrument.lot):
        raise Denial("invalid_quantity", f"The quantity must be a multiple of {instrument.lot:f}, was {quantity:f}.")
    if quantity < instrument.min_quantity:
        raise Denial(
            "invalid_quantity", f"The quantity must be at least {instrument.min_quantity:f}, was {quantity:f}."
        )


def _check_limit(_account: Account, command: PlaceOrder, instrument: Instrument) -> None:
    limit = command.limit_price
    if limit is None:
        if command.type is OrderType.LIMIT:
            raise Denial("invalid_price", "A limit order needs a limit_price.")
        return
    if command.type is OrderType.MARKET:
        raise Denial("invalid_price", "A market order has no limit_price.")
    check_price("limit_price", limit, instrument)


def check_price(field: str, price: Decimal, instrument: Instrument) -> None:
    if price <= 0 or WIDE.remainder(price, instrument.tick):
        raise Denial("invalid_price", f"The {field} must be a multiple of {instrument.tick:f}, was {price:f}.")


def _check_terms(_account: Account, command: PlaceOrder, instrument: Instrument) -> None:
    c, terms = command, command.terms
    if terms is None:
        return
    wrong = malformed(Asked(c.side, c.type, c.quantity, c.limit_price, c.time_in_force, terms))
    if wrong is not None:
        raise Denial(wrong.code, f"{wrong.field} {wrong.message}.")
    prices = {
        "stop_price": terms.stop_price,
        "trail_amount": terms.trail_amount,
        "take_profit.limit_price": terms.take_profit_price,
        "stop_loss.stop_price": terms.stop_loss_price,
        "stop_loss.limit_price": terms.stop_loss_limit_price,
    }
    for field, price in prices.items():
        if price is not None:
            check_price(field, price, instrument)
    display = terms.display_quantity
    if display is not None and WIDE.remainder(display, instrument.lot):
        raise Denial(
            "invalid_quantity", f"The display_quantity must be a multiple of {instrument.lot:f}, was {display:f}."
        )
    if terms.expires_at is not None and terms.expires_at <= command.conditions.market_at:
        raise Denial(
            "invalid_time_in_force", f"The order must expire in the future, was {terms.expires_at.isoformat()}."
        )
    for price in (terms.take_profit_price, terms.stop_loss_limit_price or terms.stop_loss_price):
        check_notional_of(command.quantity, price, instrument)


Check = Callable[[Account, PlaceOrder, Instrument], None]
CHECKS_OF_FORM: tuple[Check, ...] = (_check_size, _check_limit, _check_terms)
"""Of what is asked for. In their order, each by itself, so that a preview can tell all that fail."""
CHECKS_OF_PLACE: tuple[Check, ...] = (_check_venue, _check_session, _check_state)
"""Of where and when it is asked for."""


def protected(command: PlaceOrder, instrument: Instrument) -> Decimal | None:
    """The protection price of an order that has one. One that waits for a price is measured from there, a market order
    and a trailing stop from a price of the market that can be trusted."""
    if not is_protected(command.side, command.type):
        return None
    conditions, side = command.conditions, command.side
    terms = command.terms or NO_TERMS
    price = terms.stop_price
    if price is None:
        price = market_price(command)
        if command.terms is not None:
            trailed = protection_reference(
                side, command.type, price, trail_amount=terms.trail_amount, trail_percent=terms.trail_percent
            )
            assert trailed is not None, "what trails and is protected is a buy: its stop lies above the price"
            price = trailed
    return protection_price(side, price, conditions.protection_factor, instrument.tick)


def market_price(command: PlaceOrder) -> Decimal:
    """What it would fill at now, if its reference can be trusted."""
    reference = _trusted(command.conditions, command.symbol)
    price = (reference.ask if command.side is Side.BUY else reference.bid) or reference.last
    if price <= 0:
        raise Denial("no_reference", f"There is no price of {command.symbol} to measure the order by.")
    return price


def _trusted(conditions: Conditions, symbol: str) -> Reference:
    reference = conditions.reference
    if reference is None:
        raise _not_known(conditions, symbol, "no_reference", f"There is no price of {symbol} to measure the order by.")
    if reference.is_stale:
        raise Denial(
            "stale_reference", f"The last price of {symbol} is too old, was of {reference.market_at.isoformat()}."
        )
    return reference


def check_notional(command: PlaceOrder, instrument: Instrument) -> None:
    reference = command.conditions.reference
    stop = None if command.terms is None else command.terms.stop_price
    price = command.limit_price or stop or (reference.last if reference is not None else None)
    check_notional_of(command.quantity, price, instrument)


def check_notional_of(quantity: Decimal, price: Decimal | None, instrument: Instrument) -> None:
    if price is None or not instrument.min_notional:
        return
    notional = EXACT.multiply(quantity, price)
    if notional < instrument.min_notional:
        raise Denial(
            "invalid_quantity", f"The notional must be at least {instrument.min_notional:f}, was {notional:f}."
        )


def reserve_group(account: Account, orders: Sequence[Order], instrument: Instrument) -> None:
    """Has an order and its legs each hold its part of what the group must hold: all of it is there, or the order is denied."""
    for order, amount in zip(orders, holdings(orders), strict=True):
        if amount:  # At most one of each side.
            check_funds(account, order.side, amount, instrument)
        order.reserved = amount


def check_limits(wish: Wish) -> RiskState | None:
    """What the limits must know of the account once the wish is accepted; None if that is as it was."""
    try:
        return check_risk(wish)
    except Exceeded as exceeded:
        raise denied(exceeded) from exceeded


def denied(exceeded: Exceeded) -> Denial:
    return Denial(exceeded.limit.value, exceeded.detail)


def check_funds(account: Account, side: Side, required: Decimal, instrument: Instrument) -> None:
    currency = instrument.quote if side is Side.BUY else instrument.base
    balance = account.balances.get(currency)
    available = balance.available if balance is not None else ZERO
    if available < required:
        code = "insufficient_funds" if side is Side.BUY else "insufficient_position"
        raise Denial(code, f"The order needs {required:f} {currency}, available was {available:f}.")
