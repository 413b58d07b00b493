"""Risk restricts accounts by the hundred, in one transaction: each to the strictest that was wanted of it."""

from uuid import uuid4

import pytest
from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_contracts.vocabulary import StateScope, TradingStateWord
from fleet_core_engine.service import HeldByAnother, change_state, restrict_by_risk
from fleet_core_engine.store.states import PostgresStateUnitOfWork


async def test_each_change_has_its_version_and_the_strictest_holds(silent_bus: tuple[Bus, Database]) -> None:
    bus, database = silent_bus
    accounts = [uuid4() for _ in range(20)]
    for words in (("reducing",), ("reducing", "halted", "reducing")):
        async with bus.transaction() as tx:
            uow = PostgresStateUnitOfWork(tx)
            await uow.lock(sorted(map(str, accounts)))
            for word in words:
                for account_id in accounts:
                    await restrict_by_risk(uow, account_id, uuid4(), TradingStateWord(word), "a test")
    async with database.connection() as connection:
        held = await connection.fetch("SELECT target, state, version FROM trading_state")
        versions = await connection.fetch("SELECT version FROM trading_state_changes ORDER BY version")
        counted = await connection.fetchval("SELECT version FROM trading_state_version")
        told = await connection.fetch("SELECT key FROM outbox WHERE topic = 'core-engine.state'")
    assert {row["target"]: row["state"] for row in held} == dict.fromkeys(map(str, accounts), "halted")
    assert [row["version"] for row in versions] == list(range(1, 41))
    assert {row["version"] for row in held} == set(range(21, 41))
    assert (counted, len(told)) == (40, 40)


async def test_under_the_owners_own_halt_the_strictest_of_a_batch_holds_when_he_takes_it_back(
    silent_bus: tuple[Bus, Database],
) -> None:
    """halted by its owner → two limits breached in one batch, the looser last → he resumes → halted by risk"""
    bus, _ = silent_bus
    account_id, owner = uuid4(), uuid4()
    his = (StateScope.ACCOUNT, str(account_id))

    async with bus.transaction() as tx:
        await change_state(
            PostgresStateUnitOfWork(tx), *his, TradingStateWord.HALTED, by=str(owner), reason="mine", is_owner=True
        )
    async with bus.transaction() as tx:
        uow = PostgresStateUnitOfWork(tx)
        await uow.lock([str(account_id)])
        for word in ("halted", "reducing"):
            await restrict_by_risk(uow, account_id, owner, TradingStateWord(word), "a test")
    async with bus.transaction() as tx:
        uow = PostgresStateUnitOfWork(tx)
        other = await uow.held_by_others(*his, str(owner))
        assert other is not None
        assert (other.state, other.by) == (TradingStateWord.HALTED, "risk")
        with pytest.raises(HeldByAnother):
            await change_state(
                uow, *his, TradingStateWord.ACTIVE, by=str(owner), reason="mine", is_owner=True, has_fresh_factor=True
            )
