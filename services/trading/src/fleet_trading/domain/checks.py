"""The checks before acceptance, in their order; the first that fails denies with its code."""

from decimal import Context, Decimal

from fleet_simulator import OrderType, Side, protection_price, reservation
from fleet_simulator.fees import EXACT

from .account import Account
from .commands import Conditions, PlaceOrder
from .values import ZERO, AccountStatus, Instrument, Reason, Reference, TradingState

_WIDE = Context(prec=80)


class Denial(Exception):
    """Found by a check; `decide` makes an OrderDenied of it, so that it leaves this package as a result only."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.reason = Reason(code, detail)


def check_conditions(account: Account, command: PlaceOrder) -> Instrument:
    """All that does not depend on money. Returns the instrument."""
    conditions = command.conditions
    if conditions.forbidden is not None:
        raise Denial(conditions.forbidden.code, conditions.forbidden.detail)
    instrument = conditions.instrument
    if instrument is None:
        raise Denial("unknown_symbol", f"No such symbol is traded here, was {command.symbol}.")
    _check_quantity(command.quantity, instrument)
    _check_limit(command, instrument)
    if command.venue is not None and command.venue not in instrument.venues:
        raise Denial(
            "unsupported", f"{command.symbol} is traded at {', '.join(instrument.venues)}, was {command.venue}."
        )
    if command.algo is not None and conditions.query_at is None:
        raise Denial("unsupported", "On a replay, whose market moves in steps, no algorithm works an order.")
    if conditions.state is TradingState.HALTED:
        raise Denial("market_halted", f"Trading of {command.symbol} is halted.")
    if command.side is Side.BUY:
        if conditions.state is TradingState.REDUCING:
            raise Denial("market_reducing", f"Only orders that reduce a position are accepted in {command.symbol} now.")
        if account.status is AccountStatus.REDUCE_ONLY:
            raise Denial("account_reduce_only", "The account may only reduce its positions.")
    return instrument


def _check_quantity(quantity: Decimal, instrument: Instrument) -> None:
    if quantity <= 0:
        raise Denial("invalid_quantity", f"The quantity must be above 0, was {quantity:f}.")
    if _WIDE.remainder(quantity, instrument.lot):
        raise Denial("invalid_quantity", f"The quantity must be a multiple of {instrument.lot:f}, was {quantity:f}.")
    if quantity < instrument.min_quantity:
        raise Denial(
            "invalid_quantity", f"The quantity must be at least {instrument.min_quantity:f}, was {quantity:f}."
        )


def _check_limit(command: PlaceOrder, instrument: Instrument) -> None:
    limit = command.limit_price
    if command.type is OrderType.MARKET:
        if limit is not None:
            raise Denial("invalid_price", "A market order has no limit_price.")
        return
    if limit is None:
        raise Denial("invalid_price", "A limit order needs a limit_price.")
    if limit <= 0 or _WIDE.remainder(limit, instrument.tick):
        raise Denial("invalid_price", f"The limit_price must be a multiple of {instrument.tick:f}, was {limit:f}.")


def protected(command: PlaceOrder, instrument: Instrument) -> Decimal | None:
    """The protection price of a market order, from a reference price that can be trusted."""
    if command.type is OrderType.LIMIT:
        return None
    conditions = command.conditions
    reference = _trusted(conditions, command.symbol)
    price = (reference.ask if command.side is Side.BUY else reference.bid) or reference.last
    if price <= 0:
        raise Denial("no_reference", f"There is no price of {command.symbol} to measure a market order by.")
    return protection_price(command.side, price, conditions.protection_factor, instrument.tick)


def _trusted(conditions: Conditions, symbol: str) -> Reference:
    reference = conditions.reference
    if reference is None:
        raise Denial("no_reference", f"There is no price of {symbol} to measure a market order by.")
    if reference.is_stale:
        raise Denial(
            "stale_reference", f"The last price of {symbol} is too old, was of {reference.market_at.isoformat()}."
        )
    return reference


def check_notional(command: PlaceOrder, instrument: Instrument) -> None:
    reference = command.conditions.reference
    price = command.limit_price or (reference.last if reference is not None else None)
    if price is None or not instrument.min_notional:
        return
    notional = EXACT.multiply(command.quantity, price)
    if notional < instrument.min_notional:
        raise Denial(
            "invalid_quantity", f"The notional must be at least {instrument.min_notional:f}, was {notional:f}."
        )


def reserve(account: Account, command: PlaceOrder, instrument: Instrument, protection: Decimal | None) -> Decimal:
    """What the order must hold: all of it is there, or the order is denied."""
    required = reservation(
        command.side,
        command.type,
        command.quantity,
        limit_price=command.limit_price,
        protection_price=protection,
        fee_rate=instrument.highest_fee,
    )
    if command.side is Side.BUY:
        balance = account.balances.get(instrument.quote)
        available = balance.available if balance is not None else ZERO
        if available < required:
            detail = f"The order needs {required:f} {instrument.quote}, available was {available:f}."
            raise Denial("insufficient_funds", detail)
    else:
        balance = account.balances.get(instrument.base)
        available = balance.available if balance is not None else ZERO
        if available < required:
            detail = f"The order needs {required:f} {instrument.base}, available was {available:f}."
            raise Denial("insufficient_position", detail)
    return required
