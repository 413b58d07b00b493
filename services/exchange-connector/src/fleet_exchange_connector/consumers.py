"""What reaches the paper venue: commands from execution, and what time has made due."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from fleet_bus import Due, DueKind, Received, Work
from fleet_chassis.ids import id_text
from fleet_contracts.topics import VENUE_PAPER_COMMANDS
from fleet_contracts.venue import (
    CancelVenueOrder,
    PlaceVenueOrder,
    QueryVenueOpenOrders,
    QueryVenueOrders,
    ReplaceVenueOrder,
)

from fleet_exchange_connector import events
from fleet_exchange_connector.domain.bars import Step
from fleet_exchange_connector.domain.prices import PriceState
from fleet_exchange_connector.domain.replays import Replay
from fleet_exchange_connector.replay_rest import ReplayRest
from fleet_exchange_connector.service import market, orders, replays
from fleet_exchange_connector.service.telling import tell_status
from fleet_exchange_connector.settings import Settings
from fleet_exchange_connector.store.unit_of_work import (
    ARRIVAL,
    BOOK,
    HISTORY,
    LOOK,
    MARKET,
    MINUTE,
    ORDER,
    REPLAY,
    REPLAY_ID,
    STATUS,
    Opening,
    UnitOfWork,
)


def commands(unit_of_work: Opening) -> Work:
    """What execution asks of the venue, shared out by symbol."""

    async def place(work: UnitOfWork, received: Received[PlaceVenueOrder]) -> None:
        await orders.place(work, events.place_order(received.message, received.occurred_at))

    async def replace(work: UnitOfWork, received: Received[ReplaceVenueOrder]) -> None:
        orders.change(work, events.replace_order(received.message))

    async def cancel(work: UnitOfWork, received: Received[CancelVenueOrder]) -> None:
        orders.change(work, events.cancel_order(received.message))

    async def query(work: UnitOfWork, received: Received[QueryVenueOrders]) -> None:
        await orders.query(work, events.query_orders(received.message))

    async def list_open(work: UnitOfWork, received: Received[QueryVenueOpenOrders]) -> None:
        await orders.list_open(work, events.list_query(received.message))

    return Work(
        name="paper-commands",
        topics=(VENUE_PAPER_COMMANDS,),
        unit_of_work=unit_of_work,
        touches=_touched,
        handlers={
            PlaceVenueOrder: place,
            ReplaceVenueOrder: replace,
            CancelVenueOrder: cancel,
            QueryVenueOrders: query,
            QueryVenueOpenOrders: list_open,
        },
    )


def simulated(unit_of_work: Opening, first_prices: Mapping[str, PriceState], settings: Settings) -> tuple[DueKind, ...]:
    """What time causes on the simulated feed."""
    return (
        look(unit_of_work),
        arrival(unit_of_work),
        minute(unit_of_work),
        history(
            unit_of_work,
            first_prices,
            days=settings.exchange_connector_history_days,
            interval=timedelta(milliseconds=settings.exchange_connector_history_interval_ms),
        ),
        status(unit_of_work, settings.feed, timedelta(seconds=settings.exchange_connector_heartbeat_s)),
    )


def look(unit_of_work: Opening) -> DueKind:
    """An order waits for a price, or for its end, that has come."""

    async def handle(work: UnitOfWork, due: Due) -> None:
        await orders.watch(work, due.aggregate_id)

    return DueKind(LOOK, "wall", unit_of_work, lambda symbol: (BOOK + symbol,), handle)


def arrival(unit_of_work: Opening) -> DueKind:
    """A command has been on its way for as long as the venue's latency says."""

    async def handle(work: UnitOfWork, due: Due) -> None:
        await orders.arrive(work, due.aggregate_id)

    return DueKind(ARRIVAL, "wall", unit_of_work, lambda symbol: (BOOK + symbol,), handle)


def minute(unit_of_work: Opening) -> DueKind:
    """A minute of the simulated market is over."""

    async def handle(work: UnitOfWork, due: Due) -> None:
        market.close_minute(work, due.sequence)

    return DueKind(MINUTE, "wall", unit_of_work, lambda _: (MARKET,), handle)


def history(
    unit_of_work: Opening, first_prices: Mapping[str, PriceState], *, days: int, interval: timedelta
) -> DueKind:
    """The next record of the simulated past may be sent."""

    async def handle(work: UnitOfWork, due: Due) -> None:
        await market.send_history(work, due.sequence, first_prices, days, interval)

    return DueKind(HISTORY, "wall", unit_of_work, lambda _: (MARKET,), handle)


def status(unit_of_work: Opening, feed: str, every: timedelta) -> DueKind:
    """The venue's heartbeat; not on a replay."""

    async def handle(work: UnitOfWork, _: Due) -> None:
        tell_status(work, feed)
        work.schedule_status(every)

    return DueKind(STATUS, "wall", unit_of_work, lambda _: (MARKET,), handle)


def replay(unit_of_work: Opening, rest: ReplayRest, steps: Callable[[Replay], Sequence[Step]]) -> DueKind:
    """The next phase of a replay, as soon as the fleet is at rest; waiting for that, it is not on its way itself."""

    async def handle(work: UnitOfWork, due: Due) -> None:
        found = work.replay(UUID(due.aggregate_id))
        if found is not None:
            await replays.advance(work, found, due.sequence, rest.found(), steps)

    return DueKind(
        REPLAY,
        "wall",
        unit_of_work,
        lambda replay_id: (REPLAY_ID + replay_id,),
        handle,
        when=rest.has_come,
        counts_at_rest=False,
    )


def _touched(message: Any) -> Iterable[str]:
    if isinstance(message, QueryVenueOpenOrders):
        return (BOOK + message.symbol,)
    refs = message.venue_order_refs if isinstance(message, QueryVenueOrders) else (message.venue_order_ref,)
    if isinstance(message, PlaceVenueOrder) and message.parent_ref is not None:
        refs = (*refs, message.parent_ref)
    return (BOOK + message.symbol, *(ORDER + id_text(ref) for ref in refs))
