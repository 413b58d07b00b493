"""Double entry: every asset is a currency, every transaction's entries sum to zero in each, nothing is ever changed.

The house's side of a transaction is kept under the client's account, in books of its own: so no row is shared between
accounts, an account's entries are numbered without gaps under its lock, and accounts can live in different databases.
The house's total is the sum of a book over all accounts."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from .exact import share


class Book(StrEnum):
    CLIENT = "client"
    COUNTERPARTY = "counterparty"
    FEES = "fees"
    FUNDING = "funding"
    TRANSFERS = "transfers"
    """Sums to zero over all accounts."""


class EntryKind(StrEnum):
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    TRANSFER = "transfer"
    RESET = "reset"
    FUNDING = "funding"
    DIVIDEND = "dividend"
    TRADE = "trade"
    FEE = "fee"
    CORRECTION = "correction"


FLOWS = frozenset({EntryKind.DEPOSIT, EntryKind.WITHDRAWAL, EntryKind.TRANSFER, EntryKind.RESET})
"""Money that comes and goes without being earned or lost."""

AGAINST = {
    EntryKind.DEPOSIT: Book.FUNDING,
    EntryKind.WITHDRAWAL: Book.FUNDING,
    EntryKind.CORRECTION: Book.FUNDING,
    EntryKind.TRANSFER: Book.TRANSFERS,
    EntryKind.FEE: Book.FEES,
    EntryKind.FUNDING: Book.COUNTERPARTY,
    EntryKind.DIVIDEND: Book.COUNTERPARTY,
}
"""The book of the house against which an adjustment is booked."""


IN_KIND = frozenset({EntryKind.DEPOSIT, EntryKind.WITHDRAWAL, EntryKind.DIVIDEND})
"""What may be booked in something that is traded: shares or coins that come or go without a trade."""


class InKind(NamedTuple):
    """What an adjustment in something that is traded does to its position: it comes in for `cost`, or goes for what it has
    cost on average. `unit_cost` is as it was stated, None of what goes. Both `cost` and `worth`, the value at the mark, have
    the sign of the amount and are in the account's base currency."""

    symbol: str
    unit_cost: Decimal | None
    cost: Decimal
    worth: Decimal


class Growth(NamedTuple):
    """What one unit of money has become since the account began, by the time of its last flow, and what the account was
    worth after that: so the time-weighted return of any stretch is known without looking back (each stretch between two
    flows by itself, linked: the GIPS standards' "true" time-weighted return)."""

    factor: Decimal
    equity: Decimal

    def at(self, equity: Decimal) -> Decimal:
        """The factor when the account is worth `equity`. What began with nothing, or with debts, has no return."""
        return share(self.factor, equity, self.equity) if self.equity > 0 else self.factor


class Adjustment(NamedTuple):
    """What was booked on an account by anything but a trade; its fields are the columns of `adjustments`.

    `growth` of what is a flow only, `unit_cost` of what came in kind."""

    account_id: UUID
    entry_no: int
    transaction_id: UUID
    kind: EntryKind
    currency: str
    amount: Decimal
    source: str
    other_account_id: UUID | None
    at: datetime
    market_at: datetime
    unit_cost: Decimal | None
    growth: Growth | None


class Pair(NamedTuple):
    """Two entries that offset each other: the client's, of this number, and the next, the house's in the book `against`.

    `balance_after` is the client's balance of the currency."""

    entry_no: int
    kind: EntryKind
    currency: str
    amount: Decimal
    balance_after: Decimal
    against: Book


@dataclass(slots=True)
class Posting:
    """The entries of one transaction, which sum to zero. `reference` names the source in words."""

    transaction_id: UUID
    reference: str
    settles_on: date
    at: datetime
    market_at: datetime
    pairs: list[Pair] = field(default_factory=list)
