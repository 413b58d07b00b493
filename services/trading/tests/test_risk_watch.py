"""Losses that come with prices alone: the look at all accounts that are in memory."""

import asyncio
from typing import Any
from uuid import UUID

from account_commands import an_account
from fleet_trading.risk_watch import AT_ONCE, RiskWatch
from fleet_trading.store import AccountCache
from fleet_trading.store.limits import SharedLimits


async def test_orders_go_on_while_many_accounts_are_looked_at() -> None:
    cache = AccountCache(20 * AT_ONCE)
    for number in range(20 * AT_ONCE):
        account = an_account()
        account.account_id = UUID(int=number)
        cache.put_back(account)
    nothing: Any = None
    looking = asyncio.create_task(RiskWatch(nothing, cache, SharedLimits(), nothing).look(nothing))
    turns = 0
    while not looking.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 20
