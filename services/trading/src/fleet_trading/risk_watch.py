"""Losses that come with the prices and not with a transaction: told within a second."""

import asyncio
from uuid import UUID

from fleet_bus import Bus
from fleet_bus.failures import Streak
from fleet_chassis.database import is_down
from fleet_chassis.logging import get_logger

from .api import Trading
from .domain import Account
from .domain.risk.usage import RESTRICTING, may_breach, measure
from .ports import Market, account_key
from .store import AccountCache
from .store.holders import Holders
from .store.limits import SharedLimits

LOOK_EVERY_S = 1.0
AT_ONCE = 50
"""Accounts looked at without a pause: with five positions each 3 ms."""
PEAK_STEP = 100
"""A peak of the equity is written when it is a 100th higher than the last one."""

log = get_logger("fleet_trading")


class RiskWatch:
    """Looks at the accounts that this process has in memory, and brings those there that may lose. Live feeds only: in a
    replay, where nothing may depend on the wall clock, transactions alone tell."""

    def __init__(self, bus: Bus, cache: AccountCache, limits: SharedLimits, market: Market, holders: Holders) -> None:
        self._bus = bus
        self._holders = holders
        self._cache = cache
        self._limits = limits
        self._market = market

    async def look(self, trading: Trading) -> None:
        """Tells of the accounts of which something is to be told; orders go on meanwhile."""
        for number, account in enumerate(self._cache.accounts(), start=1):
            if self._is_to_be_told(account):
                await self._tell(trading, account.account_id)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _is_to_be_told(self, account: Account) -> bool:
        table, own = self._limits.table, account.limits.values()
        limits = table.of(account.roles, own)
        if not may_breach(account, limits):
            return False
        only = {name: limits[name] for name in RESTRICTING & limits.keys()}
        event = measure(account, lambda symbol: only if symbol is None else {}, self._market, self._market.day())
        if event is None:
            return False
        peak, before = event.risk.peak_equity, account.risk.peak_equity
        is_higher = peak is not None and (before is None or (peak - before) * PEAK_STEP >= abs(before))
        told, level = account.risk.told, event.risk.told
        return is_higher or any(level.get(limit, 0) != told.get(limit, 0) for limit in RESTRICTING)

    async def watch(self, trading: Trading) -> None:
        """Looks until cancelled."""
        down = Streak(first_s=LOOK_EVERY_S, most_s=LOOK_EVERY_S)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self._holders.bring()
                await self.look(trading)
            except Exception as error:
                if not is_down(error):
                    raise
                _, is_told = down.failed()
                if is_told:
                    log.warning("losses_not_told", error=repr(error))
            else:
                down.ended()

    async def _tell(self, trading: Trading, account_id: UUID) -> None:
        async with self._bus.transaction() as tx:
            uow = trading.unit(tx)
            await uow.lock([account_key(account_id)])
            account = uow.account(account_id)
            if account is not None:
                account.changes.is_row = True
            await uow.flush()
