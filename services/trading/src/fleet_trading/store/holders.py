"""Accounts that may lose with prices alone, brought into memory, where they are looked at."""

from uuid import UUID

import asyncpg
from fleet_chassis.database import Database

from fleet_trading.domain.risk.limits import Scope
from fleet_trading.domain.risk.usage import RESTRICTING, may_breach

from .cache import AccountCache
from .limits import SharedLimits
from .rows import read_accounts

PAGE = 100
"""Accounts read at once: about 5 ms."""
MOST_PAGES = 50
"""In one look; the rest follows in the next."""
LOOKS_BETWEEN = 60
"""Looks from the end of a walk to the next one."""

_OF_ALL = """
SELECT DISTINCT account_id FROM positions WHERE account_id > $1 AND quantity <> 0 ORDER BY account_id LIMIT $2
"""
_LIMITED = """
SELECT DISTINCT target FROM risk_limits
WHERE scope = 'account' AND target > $1 AND name = ANY($3::text[]) ORDER BY target LIMIT $2
"""
_FIRST = UUID(int=0)


class Holders:
    """Walks over those that hold something and have limits on losses: after a start and after a change of shared limits,
    when nothing is in memory, and then each minute, as what is thrown away with a rollback comes back by itself only with
    the account's next transaction."""

    def __init__(self, database: Database, cache: AccountCache, limits: SharedLimits) -> None:
        self._database = database
        self._cache = cache
        self._limits = limits
        self._walked = -1
        """The version of the limits for which the last walk was begun."""
        self._after: UUID | None = None
        """Where the walk has come to; None: to its end."""
        self._looks = 0

    async def bring(self) -> None:
        """One look: what the database says of the limits, and the next pages. As many as there is room for in memory."""
        async with self._database.connection() as connection:
            version = await connection.fetchval("SELECT version FROM risk_version")
            await self._limits.know(version, connection, self._cache)
            self._looks += 1
            if self._walked != self._limits.table.version or self._looks >= LOOKS_BETWEEN:
                self._walked, self._after, self._looks = self._limits.table.version, _FIRST, 0
            for _ in range(MOST_PAGES):
                if self._after is None or self._cache.is_full:
                    break
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    await self._page(connection, self._after)

    async def _page(self, connection: asyncpg.Connection, after: UUID) -> None:
        table = self._limits.table
        if table.has_any(RESTRICTING, (Scope.SYSTEM, Scope.ROLE)):
            found = [row[0] for row in await connection.fetch(_OF_ALL, after, PAGE)]
        else:
            names = [name.value for name in RESTRICTING]
            found = [UUID(row[0]) for row in await connection.fetch(_LIMITED, str(after), PAGE, names)]
        missing = [account_id for account_id in found if not self._cache.knows(account_id)]
        accounts = await read_accounts(connection, missing) if missing else []
        if self._limits.table is not table:
            return  # Owners' roles may have changed meanwhile; the next look begins anew.
        for account in accounts:
            if may_breach(account, table.of(account.roles, account.limits.values())) and not self._cache.is_full:
                self._cache.put_back(account)
        self._after = found[-1] if len(found) == PAGE else None
