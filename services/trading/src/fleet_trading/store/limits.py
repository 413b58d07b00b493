"""The limits as rows: a history, of which the last change of each holds. Of an owner's own changes the last few are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import asyncpg
from fleet_bus import Transaction

from fleet_trading.domain.risk.limits import Limit, LimitTable, Scope, SetAs
from fleet_trading.events.auditing import tell_limits_set

from .cache import AccountCache

MOST_KEPT = 100
"""Changes of each limit that an owner has set himself. They are read with his account, and he may make as many as he likes:
at two million, in six hours or less, the account could not be read any more within a transaction's ten seconds."""

_LAST = """
SELECT DISTINCT ON (scope, target, set_as, name) change_no, scope, target, set_as, name, value, changed_by, changed_at
FROM risk_limits
"""
_LAST_ORDER = "ORDER BY scope, target, set_as, name, change_no DESC"
# One statement: the version and the limits of one moment.
_SHARED = f"""
SELECT v.version, l.scope, l.target, l.name, l.value
FROM risk_version AS v LEFT JOIN ({_LAST} WHERE scope <> 'account' {_LAST_ORDER}) AS l ON l.value IS NOT NULL
"""  # noqa: S608  constants, here and below
_OF_ACCOUNTS = f"""
SELECT target, set_as, name, value FROM ({_LAST} WHERE scope = 'account' AND target = ANY($1::text[]) {_LAST_ORDER}) AS l
WHERE value IS NOT NULL
"""  # noqa: S608
_SELECTED = "(scope, target) IN (SELECT * FROM unnest($1::text[], $2::text[])) OR scope = ANY($3::text[])"
_SHOWN = f"""
SELECT * FROM ({_LAST} WHERE {_SELECTED} {_LAST_ORDER}) AS l
WHERE value IS NOT NULL AND ($4::bigint IS NULL OR change_no < $4) ORDER BY change_no DESC LIMIT $5
"""  # noqa: S608
_HISTORY = f"""
SELECT change_no, scope, target, set_as, name, value, changed_by, changed_at FROM risk_limits
WHERE ({_SELECTED}) AND ($4::bigint IS NULL OR change_no < $4) ORDER BY change_no DESC LIMIT $5
"""  # noqa: S608
_CHANGE = """
INSERT INTO risk_limits (scope, target, set_as, name, value, changed_by, changed_at)
SELECT $1, $2, $3, n.name, n.value, $6, $7 FROM unnest($4::text[], $5::numeric[]) AS n (name, value)
"""
_FORGET = """
DELETE FROM risk_limits AS l USING unnest($2::text[]) AS n (name)
WHERE l.scope = 'account' AND l.target = $1 AND l.set_as = 'owner' AND l.name = n.name AND l.change_no <= (
    SELECT k.change_no FROM risk_limits AS k
    WHERE k.scope = 'account' AND k.target = $1 AND k.set_as = 'owner' AND k.name = n.name
    ORDER BY k.change_no DESC OFFSET $3 LIMIT 1
)
"""
_RAISE = "UPDATE risk_version SET version = version + 1"
# Of a user who is new no account is in memory anywhere.
_RAISE_FOR_ROLES = """UPDATE risk_version SET version = version + 1 WHERE EXISTS (
    SELECT 1 FROM users WHERE user_id = $1 AND version < $3 AND NOT (roles @> $2::text[] AND roles <@ $2::text[]))"""


@dataclass(frozen=True, slots=True)
class LimitChange:
    """One change of one limit. `value` None: it was taken away."""

    change_no: int
    scope: str
    target: str
    set_as: str
    name: str
    value: Decimal | None
    changed_by: UUID | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Selection:
    """Limits of these targets, and all of these scopes."""

    targets: tuple[tuple[Scope, str], ...]
    scopes: tuple[Scope, ...] = ()


class SharedLimits:
    """This process's copy of the limits that are not one account's."""

    def __init__(self) -> None:
        self.table = LimitTable(0, {})

    async def know(self, version: int, connection: asyncpg.Connection, cache: AccountCache) -> None:
        """What holds at this version. Owners' roles may have changed with it, which are remembered with their accounts: those
        are forgotten, and what a transaction took out before is not put back."""
        if version > self.table.version:
            await self.read(connection)
            cache.clear()

    async def read(self, connection: asyncpg.Connection) -> None:
        limits: dict[tuple[Scope, str], dict[Limit, Decimal]] = {}
        version = 0
        for row in await connection.fetch(_SHARED):
            version = row["version"]
            if row["name"] is not None:
                limits.setdefault((Scope(row["scope"]), row["target"]), {})[Limit(row["name"])] = row["value"]
        # Several may read at once, and what was read first may come last.
        if version > self.table.version:
            self.table = LimitTable(version, limits)


async def limits_of_accounts(
    connection: asyncpg.Connection, account_ids: list[UUID]
) -> dict[UUID, dict[SetAs, dict[Limit, Decimal]]]:
    found: dict[UUID, dict[SetAs, dict[Limit, Decimal]]] = {}
    for row in await connection.fetch(_OF_ACCOUNTS, [str(account_id) for account_id in account_ids]):
        of_account = found.setdefault(UUID(row["target"]), {})
        of_account.setdefault(SetAs(row["set_as"]), {})[Limit(row["name"])] = row["value"]
    return found


async def shown_limits(
    connection: asyncpg.Connection, selection: Selection, *, is_history: bool, before: int | None, limit: int
) -> list[LimitChange]:
    """The limits that hold, or the changes of them; the last change first."""
    rows = await connection.fetch(
        _HISTORY if is_history else _SHOWN,
        [scope for scope, _ in selection.targets],
        [target for _, target in selection.targets],
        list(selection.scopes),
        before,
        limit,
    )
    return [LimitChange(**row) for row in rows]


async def change_limits(
    tx: Transaction,
    *,
    scope: Scope,
    target: str,
    set_as: SetAs,
    values: Mapping[Limit, Decimal | None],
    by: UUID,
    at: datetime,
) -> None:
    """Of one account, under its lock; else it makes every process read the limits anew. What is so already is no change."""
    connection = tx.connection
    if scope is not Scope.ACCOUNT:
        await connection.execute(_RAISE)  # Its lock puts changes in one order.
    rows = await connection.fetch(
        f"{_LAST} WHERE scope = $1 AND target = $2 AND set_as = $3 {_LAST_ORDER}", scope, target, set_as
    )
    before = {row["name"]: row["value"] for row in rows}
    changed = {name: value for name, value in values.items() if before.get(name) != value}
    if changed:
        columns = [*changed], [*changed.values()]
        await connection.execute(_CHANGE, scope, target, set_as, *columns, by, at)
        if set_as is SetAs.ADMIN:
            tell_limits_set(tx, scope, target, before=before, after=changed, by=by)
        else:
            await connection.execute(_FORGET, target, columns[0], MOST_KEPT)


async def note_roles(connection: asyncpg.Connection, user_id: UUID, roles: tuple[str, ...], version: int) -> None:
    """Before a user is kept: limits of his old roles must not go on holding."""
    await connection.execute(_RAISE_FOR_ROLES, user_id, list(roles), version)
