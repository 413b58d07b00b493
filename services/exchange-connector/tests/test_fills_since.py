"""The fills since one that was told: none is left out, whenever its transaction had read the time."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from fleet_contracts import venue
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from paper_books import Stored, order

ACCEPTED, FILLED = venue.VenueOrderAccepted, venue.VenueOrderFilled
SYMBOL = "IBM/USD"


async def test_a_fill_by_a_transaction_that_had_read_the_time_before_it_waited_is_listed(open_venue: Any) -> None:
    """a fill, and a question -> a fill at an earlier time, for who made it had waited for the book meanwhile -> asked since
    the first one: it is there, after it"""
    clock = FakeClock(datetime.now(UTC))
    async with open_venue(clock=clock, exchange_connector_history_days=0) as found, found.running():

        async def filled() -> str:
            placed = found.place(SYMBOL)
            await found.command(placed)
            _, fill = await found.told(placed.venue_order_ref, ACCEPTED, FILLED)
            return str(fill.venue_trade_id)

        async def listed(since: str | None) -> Any:
            query = venue.QueryVenueOpenOrders(
                query_id=uuid4(), symbol=SYMBOL, after=None, since_trade_id=since, most=500
            )
            await found.command(query)

            def answer() -> Any:
                heard = found.peers.heard_of(venue.VenueOpenOrders, SYMBOL)
                return next((said for said in heard if said.query_id == query.query_id), None)

            return await eventually(answer, what="an answer")

        first = await filled()
        assert (await listed(None)).last_trade_id == first
        clock.set(clock.now() - timedelta(milliseconds=40))
        late = await filled()
        answer = await listed(first)
        assert [fill.venue_trade_id for fill in answer.fills] == [first, late]
        assert answer.last_trade_id == late


def test_fills_are_timed_in_the_order_in_which_they_were_made_also_after_a_kill() -> None:
    book = Stored()
    book.quote(100)
    fills = [report.fill for report in book.does(order(1)) if report.fill]
    book.at -= timedelta(milliseconds=40)
    book.book = book.restored()
    fills += [report.fill for report in book.does(order(2), order(3)) if report.fill]
    times = [fill.executed_at for fill in fills]
    assert len(times) == 3
    assert times == sorted(set(times))
