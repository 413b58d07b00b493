"""The unit of work over one PostgreSQL transaction of the bus."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from fleet_bus import Transaction
from fleet_chassis.ids import parse_ids

from fleet_trading.domain import Account, Adjustment, Event, Grant, Growth, Marks, Order, User, apply
from fleet_trading.domain.account import Changes
from fleet_trading.domain.portfolio import open_days
from fleet_trading.domain.risk.limits import MEASURED, Limit, LimitTable, Scope, SetAs
from fleet_trading.domain.risk.usage import measure
from fleet_trading.ports import Claim, Market, account_key, ids_in

from . import adjusting, snapshots
from .cache import AccountCache, forget_if_too_many
from .limits import SharedLimits, change_limits, note_roles
from .rows import (
    ALL_OPEN,
    GRANT_COLUMNS,
    ORDER_COLUMNS,
    grant_of,
    order_of,
    read_accounts,
    trade_of,
    user_of,
)
from .writes import INSERT_ACCOUNT, KEEP_GRANT, KEEP_USER, account_row, write

RESET = "account-reset"
"""The kind of due rows of accounts that begin anew; the aggregate is `<account>:<reset>`."""
UNANSWERED = "unanswered-orders"
"""The kind of due rows that look for orders without an answer; the aggregate is the account."""

# Rows are locked in the order in which LockRows gets them: sorted, the same everywhere, so that groups never deadlock.
# With the ids that are used up already, to spare a round trip. A statement does not see what was committed while it
# waited for a lock: an id taken in that moment is found by its primary key, and the group is done again one by one.
_LOCK_AND_LOOK = """
WITH locked AS (
    SELECT account_id, version FROM accounts WHERE account_id = ANY($1::uuid[]) ORDER BY account_id FOR NO KEY UPDATE
)
SELECT NULL::uuid AS account_id, version, NULL::text AS client_order_id FROM risk_version
UNION ALL
SELECT account_id, version, NULL FROM locked
UNION ALL
SELECT c.account_id, NULL, c.client_order_id
FROM unnest($2::uuid[], $3::text[]) AS k (account_id, client_order_id)
JOIN client_order_ids AS c ON c.account_id = k.account_id AND c.client_order_id = k.client_order_id
"""
_CLAIMS = f"""
SELECT c.body_hash, {", ".join(f"o.{name.strip()}" for name in ORDER_COLUMNS.split(","))}
FROM unnest($1::uuid[], $2::text[]) AS k (account_id, client_order_id)
JOIN client_order_ids AS c ON c.account_id = k.account_id AND c.client_order_id = k.client_order_id
JOIN orders AS o ON o.order_id = c.order_id
"""  # noqa: S608  constant columns
_ORDERS = f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = ANY($1::uuid[])"  # noqa: S608
_OPEN = f"""
SELECT {ORDER_COLUMNS} FROM orders
WHERE account_id = $1 AND stand IN ('new', 'partially_filled') AND pending <> 'cancel'
  AND ($2::text IS NULL OR symbol = $2)
ORDER BY order_id LIMIT $3
"""  # noqa: S608
_UNANSWERED = f"""
SELECT {ORDER_COLUMNS} FROM orders
WHERE account_id = $1 AND stand IN ('new', 'partially_filled') AND query_at IS NOT NULL
ORDER BY query_at, order_id LIMIT $2
"""  # noqa: S608
_TRADES = """
SELECT t.* FROM unnest($1::uuid[], $2::uuid[]) AS k (order_id, trade_id)
JOIN trades AS t ON t.order_id = k.order_id AND t.trade_id = k.trade_id
"""
_HAS_OPEN = "SELECT EXISTS (SELECT FROM orders WHERE account_id = $1 AND stand IN ('new', 'partially_filled'))"


class Announcing(Protocol):
    """Says to the fleet what happened (events.Announcer)."""

    def event(self, tx: Transaction, account: Account, event: Event) -> None: ...
    def changed(self, tx: Transaction, account: Account, *, is_new: bool) -> None: ...
    def granted(self, tx: Transaction, grant: Grant) -> None: ...


class PostgresUnit:
    """Implements ports.UnitOfWork."""

    def __init__(
        self, tx: Transaction, *, cache: AccountCache, announcer: Announcing, limits: SharedLimits, market: Market
    ) -> None:
        self._limits = limits
        self._limits_version = 0
        self._market = market
        self._tx = tx
        self._connection = tx.connection
        self._cache = cache
        self._announcer = announcer
        self._accounts: dict[UUID, Account] = {}
        self._new_accounts: set[UUID] = set()
        self._claims: dict[tuple[UUID, str], Claim] = {}
        self._new_claims: list[tuple[UUID, str, UUID, bytes]] = []
        self._strays: list[Order] = []
        self._seen: list[Order] = []
        self._users: dict[UUID, User] = {}
        self._grants: dict[UUID, Grant] = {}
        self._kept_grants: dict[UUID, Grant] = {}
        # Accounts go back into the cache when they are committed; after a rollback they are simply gone.
        tx.after_commit(self._put_back)

    @property
    def now(self) -> datetime:
        return self._tx.now

    async def lock(self, ids: Sequence[str]) -> None:
        """Takes the ids of ports.py; locks the accounts, then reads all that was named and is not in memory."""
        named: dict[str, list[str]] = {}
        for identity in ids:
            named.setdefault(identity[0], []).append(identity[2:])
        if "a" in named:
            claims = named.get("c", [])
            of = parse_ids([text[:36] for text in claims])
            await self._lock_accounts(parse_ids(named["a"]), of, [text[37:] for text in claims])
        if "g" in named:
            await self._read_grants(parse_ids(named["g"]))
        if "o" in named:
            await self._read_orders(ids_in(named["o"], 2))
        if "t" in named:
            await self._read_trades(ids_in(named["t"], 3))
        if "u" in named:
            await self._read_users(parse_ids(named["u"]))

    async def _lock_accounts(self, account_ids: list[UUID], claims_of: list[UUID], claims: list[str]) -> None:
        missing: list[UUID] = []
        used_up: list[tuple[UUID, str]] = []
        rows = await self._connection.fetch(_LOCK_AND_LOOK, account_ids, claims_of, claims)
        version = next(version for account_id, version, _ in rows if account_id is None)
        await self._limits.know(version, self._connection, self._cache)
        self._limits_version = self._limits.table.version
        for account_id, version, client_order_id in rows:
            if version is None:
                used_up.append((account_id, client_order_id))
                continue
            if account_id is None:
                continue
            account = self._cache.take(account_id, version)
            if account is None:
                missing.append(account_id)
            else:
                self._accounts[account_id] = account
        if missing:
            # Read after the lock: a statement sees what was committed when it began, and the lock made it wait.
            for account in await read_accounts(self._connection, missing):
                self._accounts[account.account_id] = account
        if used_up:
            await self._read_claims(used_up)

    @property
    def limits(self) -> LimitTable:
        return self._limits.table

    async def change_limits(
        self, scope: Scope, target: str, set_as: SetAs, values: Mapping[Limit, Decimal | None], by: UUID
    ) -> None:
        await change_limits(self._tx, scope=scope, target=target, set_as=set_as, values=values, by=by, at=self.now)
        account = self._accounts.get(UUID(target)) if scope is Scope.ACCOUNT else None
        if account is not None:
            wanted = {**account.limits.get(set_as, {}), **values}
            account.limits[set_as] = {name: value for name, value in wanted.items() if value is not None}
            account.changes.is_row = True

    async def load_all_open(self, account: Account) -> None:
        if not account.knows_open_orders:
            for row in await self._connection.fetch(ALL_OPEN, account.account_id):
                self._attach(order_of(row))
            account.open_buys.changed.update(account.orders)
            account.knows_open_orders = True

    async def _read_claims(self, keys: list[tuple[UUID, str]]) -> None:
        columns = [account_id for account_id, _ in keys], [client_order_id for _, client_order_id in keys]
        for row in await self._connection.fetch(_CLAIMS, *columns):
            order = self._attach(order_of(row))
            self._claims[order.account_id, order.client_order_id] = Claim(order, row["body_hash"])
        await self._read_groups([self._claims[key].order for key in keys if key in self._claims])

    def _attach(self, order: Order) -> Order:
        """The order as its account has it, if that is locked."""
        account = self._accounts.get(order.account_id)
        if account is None:
            return order
        self._seen.append(order)
        return account.orders.setdefault(order.order_id, order)

    async def _read_orders(self, keys: Sequence[tuple[UUID, ...]]) -> None:
        accounts = self._accounts
        missing = [
            order_id
            for account_id, order_id in keys
            if account_id in accounts and order_id not in accounts[account_id].orders
        ]
        await self._attach_all(missing)
        await self._read_groups([order for key in keys if (order := self._known(*key)) is not None])

    async def _read_groups(self, orders: Sequence[Order]) -> None:
        """Orders of a group are decided together, also where all of it has ended and left the memory."""
        others = {
            other
            for order in orders
            if order.terms is not None
            for other in order.terms.group
            if self._known(order.account_id, other) is None
        }
        await self._attach_all(sorted(others))

    async def _attach_all(self, order_ids: list[UUID]) -> None:
        if order_ids:
            for row in await self._connection.fetch(_ORDERS, order_ids):
                self._attach(order_of(row))

    def _known(self, account_id: UUID, order_id: UUID) -> Order | None:
        account = self._accounts.get(account_id)
        return None if account is None else account.orders.get(order_id)

    async def _read_trades(self, keys: Sequence[tuple[UUID, ...]]) -> None:
        # An order without a trade has none that could be told twice.
        asked = [key for key in keys if self._has_trades(key[0], key[1])]
        if not asked:
            return
        columns = [order_id for _, order_id, _ in asked], [trade_id for _, _, trade_id in asked]
        for row in await self._connection.fetch(_TRADES, *columns):
            trade = trade_of(row)
            self._accounts[trade.account_id].known_trades[trade.trade_id] = trade

    def _has_trades(self, account_id: UUID, order_id: UUID) -> bool:
        order = self._known(account_id, order_id)
        return order is not None and order.has_trades

    async def _read_users(self, user_ids: list[UUID]) -> None:
        rows = await self._connection.fetch(
            "SELECT user_id, roles, status, version FROM users WHERE user_id = ANY($1::uuid[])", user_ids
        )
        self._users.update((row["user_id"], user_of(row)) for row in rows)

    async def _read_grants(self, deployment_ids: list[UUID]) -> None:
        rows = await self._connection.fetch(
            f"SELECT {GRANT_COLUMNS} FROM grants WHERE deployment_id = ANY($1::uuid[]) ORDER BY 1 FOR UPDATE",  # noqa: S608
            deployment_ids,
        )
        self._grants.update((row["deployment_id"], grant_of(row)) for row in rows)

    def account(self, account_id: UUID) -> Account | None:
        return self._accounts.get(account_id)

    def user(self, user_id: UUID) -> User | None:
        return self._users.get(user_id)

    def grant(self, deployment_id: UUID) -> Grant | None:
        return self._grants.get(deployment_id)

    def claim(self, account_id: UUID, client_order_id: str) -> Claim | None:
        return self._claims.get((account_id, client_order_id))

    def add_claim(self, order: Order, body_hash: bytes) -> None:
        self._claims[order.account_id, order.client_order_id] = Claim(order, body_hash)
        self._new_claims.append((order.account_id, order.client_order_id, order.order_id, body_hash))

    def add_stray(self, order: Order) -> None:
        self._strays.append(order)

    async def load_open_orders(self, account: Account, *, limit: int, symbol: str | None = None) -> list[Order]:
        rows = await self._connection.fetch(_OPEN, account.account_id, symbol, limit)
        return [self._attach(order_of(row)) for row in rows]

    async def load_unanswered(self, account: Account, *, limit: int) -> tuple[bool, datetime | None]:
        rows = await self._connection.fetch(_UNANSWERED, account.account_id, limit + 1)
        overdue = [row for row in rows if row["query_at"] <= self.now]
        for row in overdue[:limit]:
            self._attach(order_of(row))
        next_at = rows[len(overdue)]["query_at"] if len(overdue) < len(rows) else None
        return len(overdue) <= limit, next_at

    async def has_open_orders(self, account: Account) -> bool:
        has_any: bool = await self._connection.fetchval(_HAS_OPEN, account.account_id)
        return has_any

    async def last_growth(self, account: Account) -> Growth | None:
        return await adjusting.last_growth(self._connection, account.account_id)

    async def adjustments(self, transaction_id: UUID) -> list[Adjustment]:
        return await adjusting.of_transaction(self._connection, transaction_id)

    def add_adjustment(self, adjustment: Adjustment) -> None:
        self._tx.write(adjusting.ADD, *adjusting.values(adjustment))

    def reset_later(self, account: Account, reset_id: UUID, at: datetime) -> None:
        self._tx.schedule(RESET, f"{account.account_id}:{reset_id}", account.version, "wall", at)

    async def peek(self, account_id: UUID) -> Account | None:
        found = await read_accounts(self._connection, [account_id])
        return found[0] if found else None

    async def take_snapshots(
        self, after: UUID, marks: Marks, at: datetime, *, opens: date | None = None
    ) -> UUID | None:
        """Of the next accounts; the last of them, if there may be more. `opens`: the day that begins for them."""
        ids = await snapshots.accounts_after(self._tx, after)
        await self.lock([account_key(account_id) for account_id in ids])
        accounts = [self._accounts[account_id] for account_id in ids]
        await snapshots.take(self._tx, accounts, marks, at)
        if opens is not None:
            open_days(accounts, marks, opens)
        return ids[-1] if len(ids) == snapshots.BATCH else None

    def snapshots_later(self, after: UUID, sequence: int, at: datetime) -> None:
        self._tx.schedule(snapshots.SNAPSHOTS, str(after), sequence, "wall", at)

    def snapshots_of_step(self, after: UUID, step: int, market_at: datetime) -> None:
        self._tx.schedule(snapshots.STEP_SNAPSHOTS, str(after), step, "market", market_at)

    async def count_accounts(self, user_id: UUID) -> int:
        count: int = await self._connection.fetchval("SELECT count(*) FROM accounts WHERE user_id = $1", user_id)
        return count

    async def insert_account(self, account: Account) -> bool:
        if await self._connection.fetchval(INSERT_ACCOUNT, *account_row(account)) is None:
            return False
        self._accounts[account.account_id] = account
        self._new_accounts.add(account.account_id)
        account.changes.is_row = True
        return True

    async def keep_user(self, user: User) -> None:
        await note_roles(self._connection, user.user_id, user.roles, user.version)
        await self._connection.execute(KEEP_USER, user.user_id, list(user.roles), user.status, user.version)

    def keep_grant(self, grant: Grant) -> None:
        self._kept_grants[grant.deployment_id] = grant

    def watch(self, account: Account, at: datetime) -> None:
        if account.watch_at is not None and account.watch_at <= at:
            return
        account.watch_at = at
        self._tx.schedule(UNANSWERED, str(account.account_id), account.version + 1, "wall", at)

    def publish(self, account: Account, event: Event) -> None:
        self._announcer.event(self._tx, account, event)

    async def flush(self) -> None:
        """Raises the version of each account that changed, writes it and tells of it."""
        changed = [account for account in self._accounts.values() if account.changes]
        for account in changed:
            account.version += 1
            await self._measure(account)
        write(self._tx, changed, self._new_claims, self._strays)
        for grant in self._kept_grants.values():
            values = [getattr(grant, name.strip()) for name in GRANT_COLUMNS.split(",")]
            self._tx.write(KEEP_GRANT, *values)
            self._announcer.granted(self._tx, grant)
        for account in changed:
            is_new = account.account_id in self._new_accounts
            if is_new or account.changes.is_told:
                self._announcer.changed(self._tx, account, is_new=is_new)
            self._seen += (*account.changes.placed.values(), *account.changes.orders.values())
            account.changes = Changes()

    async def _measure(self, account: Account) -> None:
        """Tells of limits whose use has come to 80 or 100 percent."""
        table, own = self.limits, account.limits.values()
        if not table.are_measured and all(MEASURED.isdisjoint(values) for values in own):
            return
        await self.load_all_open(account)
        market = self._market
        event = measure(account, lambda symbol: table.of(account.roles, own, symbol=symbol), market, market.day())
        if event is not None:
            apply(account, event)
            self.publish(account, event)

    def _put_back(self) -> None:
        for held in self._accounts.values():
            forget_if_too_many(held)
        for order in self._seen:
            account = self._accounts.get(order.account_id)
            if account is None or order.is_open:
                continue
            ids = (order.order_id,) if order.terms is None else order.terms.group or (order.order_id,)
            known = [account.orders[order_id] for order_id in ids if order_id in account.orders]
            if not any(each.is_open for each in known):
                for each in known:
                    del account.orders[each.order_id]
        if self._limits_version != self._limits.table.version:
            return  # Its owner's roles may have changed meanwhile.
        for account_id, account in self._accounts.items():
            if account_id not in self._new_accounts:  # A new one has no roles until it is read.
                self._cache.put_back(account)
