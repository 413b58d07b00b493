"""Risk restricts accounts by the hundred, in one transaction, under the lock that a halt of the system waits for."""

from uuid import uuid4

from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_contracts.vocabulary import TradingStateWord
from fleet_core_engine.service import restrict_by_risk
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
