"""What a venue says of itself, several times in one batch."""

from typing import Any

from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_execution.ports import VenueState
from fleet_execution.service.reconciling import learn_status
from fleet_execution.store.comparing import ROUND, ComparingPostgresUnitOfWork
from fleet_execution.store.families import Families
from fleet_testkit.peers import Process


async def test_a_venue_that_was_away_and_is_back_in_one_batch_is_compared_with(kafka: Any, make_database: Any) -> None:
    here, away = (VenueState(is_connected, True, frozenset({"lists"})) for is_connected in (True, False))
    async with Database(await make_database("execution"), application_name="test") as database:
        bus = Bus(Process("execution", kafka.url, kafka.unique("t") + "."), database)
        for said in ([here], [away, here]):
            async with bus.transaction() as tx:
                await tx.connection.execute("DELETE FROM due")
                uow = ComparingPostgresUnitOfWork(tx, Families())
                for state in said:
                    await learn_status(uow, "paper", state)
                await uow.flush()
        async with database.connection() as connection:
            kept = await connection.fetchrow("SELECT is_connected, can_list, capabilities FROM venues")
            is_asked = await connection.fetchval("SELECT count(*) FROM due WHERE kind = $1", ROUND)
            doubts = await connection.fetchval("SELECT count(*) FROM doubts")
    assert kept is not None
    assert VenueState(kept[0], kept[1], frozenset(kept[2])) == here
    assert (is_asked, doubts) == (1, 1)
