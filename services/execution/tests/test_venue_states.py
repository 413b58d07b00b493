"""What a venue says of itself, several times in one batch; and when it counts as silent."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS
from fleet_contracts.trading import SubmitOrder
from fleet_contracts.vocabulary import VenueStateWord
from fleet_execution.domain.reconciliation import Ending, Listing, Reconciliation
from fleet_execution.ports import VenueState
from fleet_execution.service.reconciling import learn_listing, learn_status, look_round
from fleet_execution.store.comparing import ROUND, ComparingPostgresUnitOfWork
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from fleet_testkit.peers import Process

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
SILENT_AFTER_S = 1_000
"""As the service under test is set."""
CONNECTED, DISCONNECTED = VenueStateWord.CONNECTED, VenueStateWord.DISCONNECTED


async def test_a_venue_that_was_away_and_is_back_in_one_batch_is_compared_with(kafka: Any, make_database: Any) -> None:
    here, away = (VenueState(is_connected, True, frozenset({"lists"}), AT) for is_connected in (True, False))
    async with Database(await make_database("execution"), application_name="test") as database:
        bus = Bus(Process("execution", kafka.url, kafka.unique("t") + "."), database)
        for said in ([here], [away, here]):
            async with bus.transaction() as tx:
                await tx.connection.execute("DELETE FROM due")
                uow = ComparingPostgresUnitOfWork(tx)
                for state in said:
                    await learn_status(uow, "paper", state)
                await uow.flush()
        async with database.connection() as connection:
            kept = await connection.fetchrow("SELECT is_connected, can_list, capabilities, heard_at FROM venues")
            is_asked = await connection.fetchval("SELECT count(*) FROM due WHERE kind = $1", ROUND)
            doubts = await connection.fetchval("SELECT count(*) FROM doubts")
    assert kept is not None
    assert VenueState(kept[0], kept[1], frozenset(kept[2]), kept[3]) == here
    assert (is_asked, doubts) == (1, 1)


async def test_a_venue_that_answers_page_by_page_is_not_silent(kafka: Any, make_database: Any) -> None:
    """seven pages of fills, 10 s each: longer than an answer may take, and than until the next comparison -> it is asked
    on, nothing is in doubt; the eighth does not come -> in doubt"""
    clock = FakeClock(AT)
    async with Database(await make_database("execution"), application_name="test") as database:
        bus = Bus(Process("execution", kafka.url, kafka.unique("t") + "."), database, clock=clock)

        async def look(answered: Reconciliation | None = None) -> tuple[Reconciliation, Mapping[str, datetime]]:
            """A round, after the answer to the question that is open: the symbol's comparison, and what is in doubt."""
            async with bus.transaction() as tx:
                uow = ComparingPostgresUnitOfWork(tx)
                if answered is not None:
                    await learn_listing(uow, _a_page_of_fills(answered), market_at=AT)
                await uow.flush()
            async with bus.transaction() as tx:
                await tx.connection.execute("DELETE FROM due")
                uow = ComparingPostgresUnitOfWork(tx)
                await look_round(uow, "paper", ["IBM/USD"], is_start=False, every=EVERY, within=WITHIN)
                await uow.flush()
            async with bus.transaction() as tx:
                uow = ComparingPostgresUnitOfWork(tx)
                return (await uow.latest("paper", ["IBM/USD"]))["IBM/USD"], await uow.doubts("paper")

        begun, _ = await look()
        found = begun
        for page in range(1, 8):
            clock.advance(seconds=10)
            found, doubts = await look(found)
            assert (found.reconciliation_id, found.outcome, found.page) == (begun.reconciliation_id, Ending.ASKED, page)
            assert doubts == {}
        clock.advance(seconds=16)
        found, doubts = await look()
        assert (found.page, list(doubts)) == (7, ["IBM/USD"])
        clock.advance(seconds=60)
        anew, _ = await look()
        assert (anew.reconciliation_id != begun.reconciliation_id, anew.page) == (True, 0)


EVERY, WITHIN = timedelta(seconds=60), timedelta(seconds=15)


def _a_page_of_fills(asked: Reconciliation) -> Listing:
    return Listing(asked.query_id, asked.venue, asked.symbol, AT, (), False, (), True, f"t{asked.page}")


async def test_a_venue_that_falls_silent_is_away_and_compared_with_when_it_is_back(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """it dies with a question open, and says the same as ever when it is back -> in doubt from its silence to its answer"""
    service, symbol = execution_service, "ETH/USD"
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    await service.lists(symbol)
    await service.answer(await service.asked(symbol, 1))
    assert (await service.compared(symbol))["cause"] == "start"
    assert not await service.is_in_doubt(an_order, symbol)
    service.clock.advance(seconds=SILENT_AFTER_S - 60)
    unheard = await service.asked(symbol, 2)
    service.clock.advance(seconds=61)
    await eventually(lambda: service.is_in_doubt(an_order, symbol), what="its silence is noticed")
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    asked = await service.asked(symbol, 3)
    assert await service.is_in_doubt(an_order, symbol)
    await service.answer(unheard)
    await service.answer(asked, *service.working(symbol))
    back, before, first = await service.comparisons(symbol, 3)
    assert (first["cause"], first["outcome"]) == ("start", "clean")
    assert (before["cause"], before["outcome"]) == ("continuous", "unanswered")
    assert (back["cause"], back["outcome"], back["attempts"]) == ("reconnect", "mended", 1)
    assert not await service.is_in_doubt(an_order, symbol)


async def test_while_we_were_away_ourselves_no_venue_was_silent(execution_service: Any, an_order: SubmitOrder) -> None:
    service, symbol = execution_service, "NVDA/USD"
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    await service.lists(symbol)
    await service.answer(await service.asked(symbol, 1))
    await service.compared(symbol)
    await service.running.aclose()
    service.clock.advance(seconds=SILENT_AFTER_S + 1)
    await service.start()
    asked = await service.asked(symbol, 2)
    assert not await service.is_in_doubt(an_order, symbol)
    await service.answer(asked, *service.working(symbol))
    assert (await service.compared(symbol, 1))["cause"] == "start"


async def test_a_venue_that_cannot_list_is_in_doubt_only_while_it_is_away(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    service, symbol = execution_service, "MSFT/USD"
    for word, is_in_doubt in ((CONNECTED, False), (DISCONNECTED, True), (CONNECTED, False)):
        await service.status(word)

        async def has_come() -> bool:
            return await service.is_in_doubt(an_order, symbol) is is_in_doubt  # noqa: B023

        await eventually(has_come)
