"""Accounts in memory between transactions. Only a cache: what counts is the version that the locked row tells."""

from uuid import UUID

from fleet_trading.domain import Account
from fleet_trading.domain.risk.limits import MOST_OPEN_ORDERS
from fleet_trading.domain.risk.open_buys import OpenBuys

MOST_ORDERS = MOST_OPEN_ORDERS
"""Open orders kept with an account; one with more reads them anew where they are needed."""


def forget_if_too_many(account: Account) -> None:
    """Before what has ended is taken out: of so many, not all that are open may have been read."""
    if len(account.orders) > MOST_ORDERS:
        account.orders.clear()
        account.knows_open_orders, account.open_buys = False, OpenBuys()


class AccountCache:
    """A transaction takes an account out and puts it back after COMMIT only: what is in here is committed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._accounts: dict[UUID, Account] = {}

    def take(self, account_id: UUID, version: int) -> Account | None:
        """The account if it is known at this version; it is the taker's alone."""
        account = self._accounts.pop(account_id, None)
        return account if account is not None and account.version == version else None

    def accounts(self) -> list[Account]:
        """To be looked at only."""
        return list(self._accounts.values())

    def knows(self, account_id: UUID) -> bool:
        """At whatever version."""
        return account_id in self._accounts

    @property
    def is_full(self) -> bool:
        """The next one put in takes the place of another."""
        return len(self._accounts) >= self._most

    def clear(self) -> None:
        self._accounts.clear()

    def put_back(self, account: Account) -> None:
        held = self._accounts.get(account.account_id)
        if held is not None and held.version > account.version:
            return
        account.known_trades.clear()
        self._accounts.pop(account.account_id, None)
        self._accounts[account.account_id] = account
        if len(self._accounts) > self._most:
            del self._accounts[next(iter(self._accounts))]
