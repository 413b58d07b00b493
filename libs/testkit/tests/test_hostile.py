"""The hostile venue goes wrong only as far as it was told to, and then it does."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from fleet_bus import Bus
from fleet_contracts import Message, venue
from fleet_contracts.vocabulary import OrderType, Side, TimeInForce, VenueStateWord
from fleet_testkit.clock import FakeClock
from fleet_testkit.desk import Desk
from fleet_testkit.hostile import HostileVenue
from fleet_testkit.peers import Peers, Process


class Told(HostileVenue):
    """What it says goes into lists."""

    def __init__(self) -> None:
        bus = Bus(Process("hostile", "nowhere:1", ""), None)
        super().__init__(Desk(Peers(bus), "hostile", "AAPL/USD"), bus, FakeClock(datetime.now(UTC)), (OrderType.STOP,))
        self.said: list[VenueStateWord] = []
        self.published: list[Any] = []

    async def _status(self, state: VenueStateWord) -> None:
        self.said.append(state)

    async def _publish(self, said: Sequence[Message]) -> None:
        self.published += said

    def reported(self) -> list[str]:
        """Since the last look: each record, by what is in it."""
        names = [
            "listed"
            if isinstance(record, venue.VenueOpenOrders)
            else "+".join(
                type(report).__name__.removeprefix("Venue").removeprefix("Order") for report in record.reports
            )
            for record in self.published
        ]
        self.published.clear()
        return names


@pytest.fixture
async def hostile() -> Told:
    found = Told()
    await found.connect()
    return found


def place(quantity: int = 10, limit_price: int | None = 100, **changed: Any) -> venue.PlaceVenueOrder:
    fields: dict[str, Any] = {
        "venue_order_ref": uuid4(),
        "account_id": uuid4(),
        "user_id": uuid4(),
        "command_sequence": 1,
        "send_by": None,
        "symbol": "AAPL/USD",
        "side": Side.BUY,
        "order_type": OrderType.MARKET if limit_price is None else OrderType.LIMIT,
        "quantity": Decimal(quantity),
        "limit_price": None if limit_price is None else Decimal(limit_price),
        "protection_price": None,
        "time_in_force": TimeInForce.GTC,
    }
    return venue.PlaceVenueOrder(**(fields | changed))


def _about(order: venue.PlaceVenueOrder) -> dict[str, Any]:
    names = ("account_id", "user_id", "command_sequence", "symbol")
    return {name: getattr(order, name) for name in names}


def cancel(order: venue.PlaceVenueOrder) -> venue.CancelVenueOrder:
    return venue.CancelVenueOrder(**_about(order), venue_order_ref=order.venue_order_ref, send_by=None)


def query(order: venue.PlaceVenueOrder) -> venue.QueryVenueOrders:
    return venue.QueryVenueOrders(**_about(order), venue_order_refs=(order.venue_order_ref,))


def listing(since: str | None = None) -> venue.QueryVenueOpenOrders:
    return venue.QueryVenueOpenOrders(query_id=uuid4(), symbol="AAPL/USD", after=None, since_trade_id=since, most=500)


async def test_a_case_that_fails_while_the_venue_is_away_does_not_leave_it_away(hostile: Told) -> None:
    with pytest.raises(AssertionError):
        async with hostile.away():
            raise AssertionError("the case has failed")
    assert hostile.said == [VenueStateWord.CONNECTED, VenueStateWord.DISCONNECTED, VenueStateWord.CONNECTED]


async def test_it_behaves_unless_it_was_told_otherwise(hostile: Told) -> None:
    bought, rests = place(limit_price=None), place()
    for command in (bought, rests, rests, cancel(rests), cancel(rests), query(bought), listing("t1")):
        await hostile.obey(command)
    listed = hostile.published[-1]
    assert [fill.venue_trade_id for fill in listed.fills] == ["t1", "t2"]
    assert [(held.account_id, held.quantity) for held in listed.positions] == [(bought.account_id, 10)]
    assert len({fill.last_price for fill in listed.fills}) == 2, "an average means something"
    assert hostile.reported() == [
        *("Accepted+Filled+Filled", "Accepted", "State", "Canceled", "CancelRejected", "State", "listed")
    ]


async def test_where_nothing_has_filled_it_says_from_where_on_to_ask(hostile: Told) -> None:
    await hostile.obey(listing())
    none = hostile.published[-1].last_trade_id
    assert none is not None
    await hostile.obey(listing(none))
    assert (hostile.published[-1].fills, hostile.published[-1].last_trade_id) == ((), none)
    await hostile.obey(place(limit_price=None))
    await hostile.obey(listing(none))
    assert [fill.venue_trade_id for fill in hostile.published[-1].fills] == ["t1", "t2"]


async def test_while_it_is_away_nothing_is_told_and_commands_wait(hostile: Told) -> None:
    rests = place()
    await hostile.obey(rests)
    async with hostile.away():
        await hostile._say(hostile.exchange.fill(hostile.exchange.orders[rests.venue_order_ref], Decimal(10)))
        waiting = asyncio.create_task(hostile.obey(query(rests)))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert hostile.reported() == ["Accepted"]
    await waiting
    assert hostile.published[0].reports[0].cumulative_quantity == 10
    assert hostile.reported() == ["State"]


async def test_an_answer_is_lost_though_the_command_was_carried_out(hostile: Told) -> None:
    hostile.lose_answers(1)
    order = place()
    for command in (order, query(order)):
        await hostile.obey(command)
    assert hostile.published[0].reports[0].stand == "working"
    assert hostile.reported() == ["State"]


async def test_an_error_of_the_server_is_no_answer_and_carries_nothing_out(hostile: Told) -> None:
    hostile.fail_commands(1)
    hostile.fail_queries(2)
    order = place()
    for command in (order, query(order), listing(), query(order)):
        await hostile.obey(command)
    assert hostile.published[0].reports[0].stand == "unknown"
    assert hostile.reported() == ["State"]
    await hostile.obey(order)
    assert hostile.reported() == ["Accepted"]


async def test_reports_are_repeated_and_those_of_one_command_change_places(hostile: Told) -> None:
    hostile.repeat_reports()
    await hostile.obey(place())
    assert hostile.reported() == ["Accepted"] * 3
    hostile.behave()
    hostile.mix_reports()
    await hostile.obey(place(limit_price=None))
    first, second = hostile.published[0].reports[0], hostile.published[1].reports[0]
    assert (first.cumulative_quantity, second.cumulative_quantity) == (10, 5)
    assert hostile.reported() == ["Filled", "Filled", "Accepted"]


async def test_causes_change_places_but_no_answer_comes_before_what_it_knows(hostile: Told) -> None:
    hostile.mix_causes(2)
    order = place()
    await hostile.obey(order)
    assert hostile.reported() == []
    await hostile.obey(cancel(order))
    assert hostile.reported() == ["Canceled", "Accepted"]
    for question, answer in ((query(order), "State"), (listing(), "listed")):
        hostile.mix_causes(9)
        await hostile.obey(place(limit_price=None))
        await hostile.obey(place())
        await hostile.obey(question)
        assert hostile.reported() == ["Accepted", "Accepted+Filled+Filled", answer]
        await hostile.obey(place())
        assert hostile.reported() == ["Accepted"], "nothing is held back any more"


async def test_what_it_has_forgotten_it_only_counts(hostile: Told) -> None:
    order = place(limit_price=None)
    await hostile.obey(order)
    hostile.forget_fills()
    await hostile.obey(query(order))
    await hostile.obey(listing("t1"))
    state, listed = hostile.published[-2].reports[0], hostile.published[-1]
    assert (state.fills, listed.fills, listed.last_trade_id) == ((), (), None)
    fills = hostile.exchange.fills
    assert state.cumulative_notional == sum(fill.last_quantity * fill.last_price for fill in fills) > 0
    assert state.fees == sum(fill.fee for fill in fills) > 0
    assert listed.positions[0].quantity == 10
