"""An account that may only reduce: what it owes, and how much it may buy back."""

from decimal import Decimal

from fleet_simulator.fees import EXACT

from .account import Account
from .risk.limits import MOST_OPEN_ORDERS
from .risk.open_buys import may_add
from .values import ZERO, AccountStatus


def owed(account: Account) -> list[str]:
    """The currencies of which it has less than nothing, or less than its open orders have reserved."""
    return sorted(currency for currency, balance in account.balances.items() if balance.available < 0)


def may_cover(account: Account, base: str, quantity: Decimal) -> bool:
    """Whether so much more of an asset may be bought: with what open buys may bring, up to what a restricted account is
    short of. Needs all open orders, and says no where they are more than are kept in memory."""
    if account.status is not AccountStatus.REDUCE_ONLY or len(account.orders) > MOST_OPEN_ORDERS:
        return False
    short = account.balance(base).total.copy_negate()
    if short <= 0:
        return False
    brings = quantity
    for order in account.orders.values():
        if order.base == base:
            brings = EXACT.add(brings, may_add(order, account.orders).quantity)
    return ZERO <= brings <= short
