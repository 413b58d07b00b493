"""Double entry: every asset is a currency, every transaction's entries sum to zero in each, nothing is ever changed.

The house's side of a transaction is kept under the client's account, in books of its own: so no row is shared between
accounts, an account's entries are numbered without gaps under its lock, and accounts can live in different databases.
The house's total is the sum of a book over all accounts."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class Book(StrEnum):
    CLIENT = "client"
    COUNTERPARTY = "counterparty"
    FEES = "fees"
    FUNDING = "funding"


class EntryKind(StrEnum):
    DEPOSIT = "deposit"
    TRADE = "trade"
    FEE = "fee"
    CORRECTION = "correction"


class Entry(NamedTuple):
    """One leg; its fields are the columns of `entries`.

    `balance_after` is the client's balance of the currency (None in the house's books);
    `transaction_id` joins the legs that sum to zero; `reference` names the source in words."""

    entry_no: int
    transaction_id: UUID
    book: Book
    kind: EntryKind
    currency: str
    amount: Decimal
    balance_after: Decimal | None
    reference: str
    settles_on: date
    at: datetime
    market_at: datetime
