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


async def _filled(found: Any, clock: FakeClock | None = None) -> str:
    """`clock` goes on until a price stands again."""
    placed = found.place(SYMBOL)
    await found.command(placed)

    def told() -> bool:
        if clock is not None:
            clock.advance(seconds=0.1)
        return [type(report) for report in found.reports(placed.venue_order_ref)] == [ACCEPTED, FILLED]

    await eventually(told, what="a fill")
    return str(found.reports(placed.venue_order_ref)[-1].venue_trade_id)


async def _listed(found: Any, since: str | None, most: int = 500) -> Any:
    query = venue.QueryVenueOpenOrders(query_id=uuid4(), symbol=SYMBOL, after=None, since_trade_id=since, most=most)
    await found.command(query)

    def answer() -> Any:
        heard = found.peers.heard_of(venue.VenueOpenOrders, SYMBOL)
        return next((said for said in heard if said.query_id == query.query_id), None)

    return await eventually(answer, what="an answer")


def _names(answer: Any) -> list[str]:
    return [fill.venue_trade_id for fill in answer.fills]


async def test_a_fill_by_a_transaction_that_had_read_the_time_before_it_waited_is_listed(open_venue: Any) -> None:
    """nothing filled, or a fill, and a question -> a fill at an earlier time, for who made it had waited for the book
    meanwhile -> asked since what the question was told: it is there, in its place"""
    clock = FakeClock(datetime.now(UTC))
    async with open_venue(clock=clock, exchange_connector_history_days=0) as found, found.running():
        none = (await _listed(found, None)).last_trade_id
        clock.set(clock.now() - timedelta(milliseconds=40))
        first = await _filled(found)
        assert _names(await _listed(found, none)) == [first]
        assert (await _listed(found, None)).last_trade_id == first
        clock.set(clock.now() - timedelta(milliseconds=40))
        late = await _filled(found)
        answer = await _listed(found, first)
        assert _names(answer) == [first, late]
        assert answer.last_trade_id == late


async def test_where_nothing_has_filled_it_is_said_from_where_on_to_ask(open_venue: Any) -> None:
    """nothing for long, asked again and again -> the name moves on, and whatever fills then comes since each of them, in
    pages; a name that is none of the venue's tells nothing but what to ask from"""
    clock = FakeClock(datetime.now(UTC))
    async with open_venue(clock=clock, exchange_connector_history_days=0) as found, found.running():
        names = [(await _listed(found, None)).last_trade_id]
        for _ in range(2):
            clock.advance(seconds=700)
            answer = await _listed(found, names[-1])
            assert answer.fills == ()
            names.append(answer.last_trade_id)
        assert len({*names, None}) == 4
        first, second = await _filled(found, clock), await _filled(found)
        for name in names:
            page = await _listed(found, name, most=1)
            assert (_names(page), page.has_more_fills, page.last_trade_id) == ([first], True, first)
            assert _names(await _listed(found, name)) == [first, second]
        strange = await _listed(found, "no such fill")
        assert (strange.fills, strange.last_trade_id) == ((), second)


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
