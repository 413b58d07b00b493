"""What would become of an order: every reason against it, and what it would cost. Nothing is changed by it."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial, reduce
from typing import TypeVar

from fleet_simulator import Side
from fleet_simulator.fees import EXACT, fee

from .account import Account
from .checks import CHECKS_OF_FORM, CHECKS_OF_PLACE, Denial, check_notional, denied, known_instrument, protected
from .commands import PlaceOrder
from .placing import orders_of, price_of, sized
from .risk.checks import all_exceeded
from .risk.wish import placed
from .values import ZERO, Instrument, Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """`reasons` is empty if it would be accepted. `cost` is its notional, below 0 for a sale, at its limit or stop price, else
    at the price of the market; `fee` the highest on that. What is not known is None."""

    reasons: tuple[Reason, ...]
    cost: Decimal | None = None
    fee: Decimal | None = None
    buying_power_after: Decimal | None = None


class _Reasons(list[Reason]):
    """All that is said against an order; what is said twice, once."""

    def tried(self, check: Callable[[], T]) -> T | None:
        try:
            return check()
        except Denial as denial:
            if denial.reason not in self:
                self.append(denial.reason)
            return None


def preview(account: Account, command: PlaceOrder) -> Preview:
    reasons = _Reasons()
    instrument = reasons.tried(partial(known_instrument, command))
    if instrument is None:
        return Preview(reasons=tuple(reasons))
    available = account.balance(instrument.quote).available
    order = reasons.tried(partial(sized, command))
    if order is None:
        for check in CHECKS_OF_PLACE:
            reasons.tried(partial(check, account, command, instrument))
        return Preview(reasons=tuple(reasons), buying_power_after=available)
    for check in CHECKS_OF_FORM:
        reasons.tried(partial(check, account, order, instrument))
    is_formed = not reasons
    for check in CHECKS_OF_PLACE:
        reasons.tried(partial(check, account, order, instrument))
    held = _held(reasons, account, order, instrument) if is_formed else ZERO
    price = reasons.tried(partial(price_of, order)) if order.limit_price is None else order.limit_price
    cost = None if price is None else EXACT.multiply(order.quantity, price)
    return Preview(
        reasons=tuple(reasons),
        cost=cost if cost is None or order.side is Side.BUY else cost.copy_negate(),
        fee=None if cost is None else fee(cost, instrument.highest_fee),
        buying_power_after=available if reasons else EXACT.subtract(available, held),
    )


def _held(reasons: _Reasons, account: Account, order: PlaceOrder, instrument: Instrument) -> Decimal:
    """What it would hold of the quote currency."""
    reasons.tried(partial(check_notional, order, instrument))
    before = len(reasons)
    protection = reasons.tried(partial(protected, order, instrument))
    if len(reasons) > before:
        return ZERO
    reasons += [denied(exceeded).reason for exceeded in all_exceeded(placed(account, order, protection, instrument))]
    orders = reasons.tried(partial(orders_of, account, order, instrument, protection)) or ()
    return reduce(EXACT.add, (each.reserved for each in orders if each.side is Side.BUY), ZERO)
