"""One table of checks: a limit, and what is wrong with a wish that goes beyond it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from fleet_simulator import Side
from fleet_simulator.fees import EXACT

from fleet_trading.domain.exact import share, tidy
from fleet_trading.domain.settlement import unsettled
from fleet_trading.domain.values import ZERO

from .limits import Limit
from .state import RiskState
from .usage import drawdown, held_or_open, loss_of_day, worth
from .wish import Wish, crosses

FEWEST_SIZED = 5
"""Orders before their average size says anything."""
MOST_SIZED = 20
"""From then on each order moves the average by a 20th of its difference."""
REPEATED_WITHIN = timedelta(seconds=60)

Check = Callable[[Wish, Decimal], str | None]


class Exceeded(Exception):
    """A wish that goes beyond a limit."""

    def __init__(self, limit: Limit, detail: str) -> None:
        super().__init__(limit)
        self.limit = limit
        self.detail = detail


def check_risk(wish: Wish) -> RiskState | None:
    """What the limits must know of the account once the wish is accepted; None if that is as it was.

    Only limits that are set cost anything."""
    for exceeded in all_exceeded(wish):
        raise exceeded
    return _counted(wish) if wish.orders and not wish.conditions.limits.keys().isdisjoint(_COUNTED) else None


def all_exceeded(wish: Wish) -> Iterator[Exceeded]:
    """Every limit that the wish goes beyond, in the order of the checks."""
    for name, limit in wish.conditions.limits.items():
        detail = _CHECKS[name](wish, limit)
        if detail is not None:
            yield Exceeded(name, detail)


def _time_of(wish: Wish) -> datetime:
    """In a replay the market's, so that nothing depends on how fast it runs."""
    conditions = wish.conditions
    return conditions.market_at if conditions.query_at is None else conditions.now


def _minute_of(wish: Wish) -> int:
    return int(_time_of(wish).timestamp() // 60)


def _restricted(wish: Wish, _limit: Decimal) -> str | None:
    return f"{wish.symbol} may not be traded." if wish.added > 0 or wish.added_notional > 0 else None


def _quantity(wish: Wish, limit: Decimal) -> str | None:
    if wish.added > 0 and wish.quantity > limit:
        return f"The quantity must be at most {limit:f}, was {wish.quantity:f}."
    return None


def _notional(wish: Wish, limit: Decimal) -> str | None:
    if wish.added_notional > 0 and wish.notional > limit:
        return f"The notional must be at most {limit:f}, was {wish.notional:f}."
    return None


def _collar(wish: Wish, limit: Decimal) -> str | None:
    reference = wish.conditions.reference
    if reference is None or not wish.is_price_new:
        return None
    away = EXACT.multiply(reference.last, limit)
    own = () if wish.limit_price is None else ((wish.side, wish.limit_price),)
    for side, price in (*own, *wish.limits_of_legs):
        worst = (EXACT.add if side is Side.BUY else EXACT.subtract)(reference.last, away)
        if side is Side.BUY and price > worst:
            return f"A buy must be limited at {worst:f} or below, was {price:f}."
        if side is Side.SELL and price < worst:
            return f"A sell must be limited at {worst:f} or above, was {price:f}."
    return None


def _fat_finger(wish: Wish, limit: Decimal) -> str | None:
    state = wish.account.risk
    most = EXACT.multiply(state.average_notional, limit)
    if wish.added_notional > 0 and state.sized >= FEWEST_SIZED and wish.notional > most:
        return f"The notional must be at most {limit:f} x that of the last orders, {most:f}, was {wish.notional:f}."
    return None


def _rate(wish: Wish, limit: Decimal) -> str | None:
    state = wish.account.risk
    accepted = state.orders if state.minute == _minute_of(wish) else 0
    if wish.orders and accepted + wish.orders > limit:
        return f"At most {limit:f} orders are accepted in a minute, there were {accepted}."
    return None


def _repeated(wish: Wish, limit: Decimal) -> str | None:
    repeats = _repeats(wish)
    if wish.orders and repeats > limit:
        return f"At most {limit:f} orders that are the same are accepted in a row, this was number {repeats}."
    return None


def _repeats(wish: Wish) -> int:
    state = wish.account.risk
    is_same = state.last_order == wish.signature and state.repeated_at is not None
    is_soon = state.repeated_at is not None and _time_of(wish) - state.repeated_at < REPEATED_WITHIN
    return state.repeats + 1 if is_same and is_soon else 1


def _open_orders(wish: Wish, limit: Decimal) -> str | None:
    # Those that have ended since the account was put into memory are still in there: counted only where it matters.
    if not wish.orders or len(wish.account.orders) + wish.orders <= limit:
        return None
    are_open = sum(1 for _ in wish.account.open_orders())
    if are_open + wish.orders > limit:
        return f"At most {limit:f} orders may be open, there were {are_open}."
    return None


def _self_match(wish: Wish, _limit: Decimal) -> str | None:
    if wish.waits or not wish.is_price_new:
        return None
    for order in wish.account.orders.values():
        if crosses(wish, order):
            return f"It would fill against the account's own order {order.order_id}."
    return None


def _position(wish: Wish, limit: Decimal) -> str | None:
    if not wish.is_growing or wish.added <= 0:
        return None
    quantity = EXACT.add(held_or_open(wish.account, wish.symbol).quantity, wish.added)
    if quantity > limit:
        return f"The position in {wish.symbol} may be at most {limit:f}, with the order it was {tidy(quantity):f}."
    return None


def _concentration(wish: Wish, limit: Decimal) -> str | None:
    if not wish.is_growing:
        return None
    notional = held_or_open(wish.account, wish.symbol, wish.conditions.marks).notional
    most = EXACT.multiply(max(worth(wish.account, wish.conditions.marks), ZERO), limit)
    if EXACT.add(notional, wish.added_notional) > most:
        found = EXACT.add(notional, wish.added_notional)
        return f"{wish.symbol} may be at most {tidy(most):f}, {limit:f} of the equity, with the order it was {found:f}."
    return None


def _gross_exposure(wish: Wish, limit: Decimal) -> str | None:
    if not wish.is_growing:
        return None
    exposure = EXACT.add(held_or_open(wish.account, None, wish.conditions.marks).notional, wish.added_notional)
    if exposure > limit:
        return f"Positions and open buys may be worth {limit:f}, with the order it was {tidy(exposure):f}."
    return None


def _daily_loss(wish: Wish, limit: Decimal) -> str | None:
    if not wish.is_growing:
        return None
    loss = loss_of_day(wish.account, wish.conditions.marks, wish.conditions.day)
    return f"The day's loss has come to {limit:f}, was {tidy(loss):f}." if loss >= limit else None


def _drawdown(wish: Wish, limit: Decimal) -> str | None:
    if not wish.is_growing:
        return None
    lost = drawdown(wish.account, wish.conditions.marks)
    return f"The equity has fallen by {limit:f} from its peak, was {tidy(lost):f}." if lost >= limit else None


def _good_faith(wish: Wish, limit: Decimal) -> str | None:
    """From so many on a buy is paid with what has settled, as brokers of cash accounts have it (Regulation T, 12 CFR 220.8)."""
    conditions = wish.conditions
    instrument, day = conditions.instrument, conditions.day
    assert day is not None and instrument is not None, "an order that is measured has an instrument and a day"
    violations = wish.account.risk.violations_by(day)
    if not wish.is_growing or violations < limit:
        return None
    cash = wish.account.balance(instrument.quote)
    settled = max(EXACT.subtract(cash.available, unsettled(cash, day)), ZERO)
    cost = EXACT.multiply(wish.added_notional, EXACT.add(Decimal(1), instrument.highest_fee))
    if cost > settled:
        counted = f"After {violations} good faith violations in a year"
        return (
            f"{counted} a buy is paid with settled cash, of which {tidy(settled):f} was there, needed {tidy(cost):f}."
        )
    return None


_CHECKS: dict[Limit, Check] = {
    Limit.RESTRICTED_SYMBOL: _restricted,
    Limit.MAX_ORDER_QUANTITY: _quantity,
    Limit.MAX_ORDER_NOTIONAL: _notional,
    Limit.PRICE_COLLAR: _collar,
    Limit.FAT_FINGER: _fat_finger,
    Limit.ORDER_RATE: _rate,
    Limit.REPEATED_ORDERS: _repeated,
    Limit.OPEN_ORDERS: _open_orders,
    Limit.SELF_MATCH: _self_match,
    Limit.POSITION_LIMIT: _position,
    Limit.CONCENTRATION: _concentration,
    Limit.GROSS_EXPOSURE: _gross_exposure,
    Limit.DAILY_LOSS: _daily_loss,
    Limit.DRAWDOWN: _drawdown,
    Limit.GOOD_FAITH_VIOLATIONS: _good_faith,
}
_COUNTED = frozenset({Limit.ORDER_RATE, Limit.REPEATED_ORDERS, Limit.FAT_FINGER})


def _counted(wish: Wish) -> RiskState:
    """With the accepted order counted in, by those limits that ask for it."""
    state, limits = wish.account.risk, wish.conditions.limits
    if Limit.ORDER_RATE in limits:
        minute = _minute_of(wish)
        orders = state.orders if state.minute == minute else 0
        state = replace(state, minute=minute, orders=orders + wish.orders)
    if Limit.REPEATED_ORDERS in limits:
        state = replace(state, last_order=wish.signature, repeats=_repeats(wish), repeated_at=_time_of(wish))
    if Limit.FAT_FINGER in limits:
        sized = min(state.sized + 1, MOST_SIZED)
        moved = share(EXACT.subtract(wish.notional, state.average_notional), Decimal(1), Decimal(sized))
        state = replace(state, sized=sized, average_notional=EXACT.add(state.average_notional, moved))
    return state
