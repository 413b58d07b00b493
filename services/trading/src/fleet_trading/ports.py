"""What the use cases need of the world: a unit of work over one transaction, and the market as it is seen now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from fleet_chassis.ids import id_text, parse_ids

from .domain import Account, Adjustment, Event, Grant, Growth, Instrument, Marks, Order, Reference, TradingState, User
from .domain.risk.limits import Limit, LimitTable, Scope, SetAs


@dataclass(frozen=True, slots=True)
class Claim:
    """The order that has used up a client_order_id, and the hash of the body that asked for it."""

    order: Order
    body_hash: bytes


class UnitOfWork(Protocol):
    """Accounts, orders, claims, users and grants that were named to `lock` are in memory; the rest is asked for.

    What `apply` changes in an account is written by itself."""

    @property
    def now(self) -> datetime: ...
    async def lock(self, ids: Sequence[str]) -> None: ...
    async def flush(self) -> None: ...
    def account(self, account_id: UUID) -> Account | None: ...
    def user(self, user_id: UUID) -> User | None: ...
    def grant(self, deployment_id: UUID) -> Grant | None: ...
    def claim(self, account_id: UUID, client_order_id: str) -> Claim | None: ...
    def add_claim(self, order: Order, body_hash: bytes) -> None: ...
    def add_stray(self, order: Order) -> None:
        """Keeps a denied order whose user does not own its account: no account changes by it."""
        ...

    async def load_open_orders(self, account: Account, *, limit: int, symbol: str | None = None) -> list[Order]:
        """Open orders without a pending cancel, oldest first."""
        ...

    async def load_unanswered(self, account: Account, *, limit: int) -> tuple[bool, datetime | None]:
        """Loads orders whose report is overdue; says whether those are all, and when the next one will be overdue."""
        ...

    async def has_open_orders(self, account: Account) -> bool:
        """Those with a pending cancel too."""
        ...

    async def last_growth(self, account: Account) -> Growth | None:
        """After the account's last flow; None before the first."""
        ...

    async def adjustments(self, transaction_id: UUID) -> list[Adjustment]:
        """What is booked already under this id."""
        ...

    def add_adjustment(self, adjustment: Adjustment) -> None: ...
    def reset_later(self, account: Account, reset_id: UUID, at: datetime) -> None:
        """Looks at that time whether the account's orders have ended, so that it can begin anew."""
        ...

    async def peek(self, account_id: UUID) -> Account | None:
        """As it is committed now, without its lock: to be looked at only."""
        ...

    async def count_accounts(self, user_id: UUID) -> int: ...
    async def insert_account(self, account: Account) -> bool:
        """False if it is there already; then nothing is changed."""
        ...

    async def keep_user(self, user: User) -> None:
        """Unless a newer version is known."""
        ...

    def keep_grant(self, grant: Grant) -> None: ...
    def watch(self, account: Account, at: datetime) -> None:
        """Looks for unanswered orders of the account at that time, if that is not done before anyway."""
        ...

    def publish(self, account: Account, event: Event) -> None: ...
    @property
    def limits(self) -> LimitTable:
        """As they stood when the accounts were locked."""
        ...

    async def change_limits(
        self, scope: Scope, target: str, set_as: SetAs, values: Mapping[Limit, Decimal | None], by: UUID
    ) -> None:
        """A value of None takes a limit away; those of an account under its lock."""
        ...

    async def load_all_open(self, account: Account) -> None:
        """All its open orders, or so many that no limit lets another one through."""
        ...


class Market(Marks, Protocol):
    """Instruments, prices and trading states as this process last heard them."""

    def instrument(self, symbol: str) -> Instrument | None: ...
    def reference(self, symbol: str) -> Reference | None: ...
    def is_stale(self, symbol: str) -> bool:
        """Whether its mark is too old to be trusted, or there is none."""
        ...

    def state(self, symbol: str, venue: str, account_id: UUID) -> TradingState: ...
    def market_at(self, symbol: str | None = None) -> datetime:
        """The market time last seen, of the symbol if there is one."""
        ...

    def day(self) -> date: ...


# The ids that `lock` takes, in the order in which their rows are locked: accounts first, everywhere.
def account_key(account_id: UUID) -> str:
    return f"a:{id_text(account_id)}"


def claim_key(account_id: UUID, client_order_id: str) -> str:
    return f"c:{id_text(account_id)}:{client_order_id}"


def grant_key(deployment_id: UUID) -> str:
    return f"g:{id_text(deployment_id)}"


def order_key(account_id: UUID, order_id: UUID) -> str:
    return f"o:{id_text(account_id)}:{id_text(order_id)}"


def trade_key(account_id: UUID, order_id: UUID, trade_id: UUID) -> str:
    return f"t:{id_text(account_id)}:{id_text(order_id)}:{id_text(trade_id)}"


def user_key(user_id: UUID) -> str:
    return f"u:{id_text(user_id)}"


def ids_in(keys: Sequence[str], parts: int) -> list[tuple[UUID, ...]]:
    """The ids that keys of so many each are made of, without the letter that they begin with."""
    ids = parse_ids(":".join(keys).split(":"))
    return list(zip(*(ids[part::parts] for part in range(parts)), strict=True))
