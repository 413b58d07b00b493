"""What execution hears: trading's commands and the venues' reports."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from fleet_bus import Bus, Due, DueKind, GroupCommitter, NotYet, Received, Work
from fleet_chassis.ids import id_text
from fleet_chassis.logging import get_logger
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS, ORDER_GROUPS, VenueStatus
from fleet_contracts.topics import TRADING_ORDER_COMMANDS
from fleet_contracts.trading import CancelOrder, QueryOrder, ReplaceOrder, SubmitOrder
from fleet_contracts.venue import VenueOpenOrders, VenueReports
from fleet_contracts.vocabulary import VenueStateWord
from fleet_gate import Cutoffs, Deadlines

from . import events
from .domain import venue_order_ref
from .events import AnyCommand, change_of, fact_of, key_of, legs_of, refs_of, terms_of
from .ports import UnitOfWork, VenueState
from .service import deadlines, learning, orders, reconciling, triggers
from .service.refusing import Refusal
from .service.triggers import Look
from .store.comparing import ROUND, UNKNOWN, VENUES, ComparingPostgresUnitOfWork, ComparingUnit
from .store.unit import NEW, STEP, PostgresUnitOfWork, Unit, held_until

log = get_logger("fleet_execution")


def steps(unit: Unit, refusal: Refusal) -> DueKind:
    """Time for the next part of an order that is worked, or for the legs of one that are held."""

    async def handle(uow: PostgresUnitOfWork, due: Due) -> None:
        await orders.step_order(uow, venue_order_ref(UUID(due.aggregate_id)), refusal=refusal)

    return DueKind(STEP, "wall", unit, lambda order_id: (str(venue_order_ref(UUID(order_id))),), handle)


def looks(unit: Unit, bus: Bus, refusal: Refusal) -> GroupCommitter[Look, None]:
    """What a watch of prices has seen of orders that wait for one."""

    async def decide(uow: PostgresUnitOfWork, seen: Sequence[Look]) -> list[None]:
        await triggers.look(uow, seen, refusal=refusal)
        return [None] * len(seen)

    return bus.group_committer(unit_of_work=unit, touches=lambda look: (str(look.ref),), decide=decide)


def commands(
    unit: Unit,
    refusal: Refusal,
    instrument_of: Callable[[str], InstrumentDefined],
    *,
    is_over: Callable[[UUID, datetime], bool],
) -> Work:
    """Trading's commands, in each account's order. `is_over`: what was said then comes after its account's cancel-after."""

    async def submit(uow: UnitOfWork, received: Received[SubmitOrder]) -> None:
        command = received.message
        comes_late = is_over(command.account_id, received.occurred_at)
        orders.submit_order(
            uow,
            key_of(command),
            terms_of(command),
            command_sequence=received.sequence,
            market_at=_market_at(received),
            refusal=(lambda _: "cancel_after") if comes_late else refusal,
            tick_of=lambda symbol: instrument_of(symbol).tick_size,
            algo=None
            if command.algo is None
            else events.twap_of(command.algo, instrument_of(command.symbol).lot_size, uow.now),
            legs=legs_of(command, are_held=not uow.can(command.venue, ORDER_GROUPS)) if command.legs else None,
        )

    return Work(
        name="commands",
        topics=(TRADING_ORDER_COMMANDS,),
        unit_of_work=unit,
        touches=_commanded,
        handlers={SubmitOrder: submit, ReplaceOrder: _replace, CancelOrder: _cancel, QueryOrder: _query},
    )


async def cut_off(unit: Unit, bus: Bus, kept: Deadlines | Cutoffs) -> None:
    """What is held here of accounts whose deadline has come; a transaction an order, so that none waits for all."""
    async with bus.transaction() as tx:
        refs = await held_until(tx.connection, kept.passed)
    for ref in refs:
        async with bus.transaction() as tx:
            uow = unit(tx)
            await uow.lock([str(ref)])
            await deadlines.cut_off(uow, ref)
            await uow.flush()


def statuses(unit: ComparingUnit) -> Work:
    """What venues say of themselves."""
    return Work(
        name="venue-status",
        topics=events.statuses(),
        unit_of_work=unit,
        touches=lambda _: (VENUES,),
        handlers={VenueStatus: _status},
    )


def rounds(
    unit: ComparingUnit,
    listed: Callable[[str], Iterable[str]],
    *,
    every: timedelta,
    within: timedelta,
    silent_after: timedelta,
    listening_since: datetime,
) -> DueKind:
    """Time to ask a venue what is open there. Sequence 1 is that of a process that has just started."""

    async def handle(uow: ComparingPostgresUnitOfWork, due: Due) -> None:
        venue = due.aggregate_id
        if await reconciling.is_reachable(uow, venue, listening_since=listening_since, silent_after=silent_after):
            await reconciling.look_round(
                uow, venue, listed(venue), is_start=due.sequence == STARTED, every=every, within=within
            )

    return DueKind(ROUND, "wall", unit, lambda _: (VENUES,), handle, counts_at_rest=False)


STARTED = 1


def unknowns(unit: ComparingUnit) -> DueKind:
    """A venue has spoken of an order that is not known here. Whoever heard it holds orders, and so cannot wait for the
    venues: those who compare hold them before orders."""

    async def handle(uow: ComparingPostgresUnitOfWork, due: Due) -> None:
        venue, symbol = due.aggregate_id.split(" ", 1)
        reconciling.hear_of_unknown(uow, venue, symbol)

    return DueKind(UNKNOWN, "wall", unit, lambda _: (VENUES,), handle)


def reports(unit: ComparingUnit, venues: Iterable[str]) -> Work:
    """What the venues report, in each symbol's order."""
    return Work(
        name="reports",
        topics=tuple(map(events.reports_of, venues)),
        unit_of_work=unit,
        touches=_reported,
        handlers={VenueReports: _learn, VenueOpenOrders: _compare},
    )


def _commanded(command: AnyCommand) -> Iterable[str]:
    mark = NEW if isinstance(command, SubmitOrder) else ""
    return (mark + id_text(ref) for ref in refs_of(command))


def _reported(message: VenueReports | VenueOpenOrders) -> Iterable[str]:
    if isinstance(message, VenueOpenOrders):
        return VENUES, *(id_text(order.venue_order_ref) for order in message.orders)
    return (id_text(ref) for ref in {report.venue_order_ref for report in message.reports})


async def _status(uow: ComparingPostgresUnitOfWork, received: Received[VenueStatus]) -> None:
    told = received.message
    can_list = LISTS_OPEN_ORDERS in told.capabilities
    state = VenueState(told.state is VenueStateWord.CONNECTED, can_list, frozenset(told.capabilities), uow.now)
    await reconciling.learn_status(uow, told.venue, state)


async def _compare(uow: ComparingPostgresUnitOfWork, received: Received[VenueOpenOrders]) -> None:
    compared = await reconciling.learn_listing(uow, events.listing_of(received.message), market_at=_market_at(received))
    if compared is not None and compared.ended_at is not None and compared.differences:
        log.warning(
            "venue_differed",
            venue=compared.venue,
            symbol=compared.symbol,
            outcome=compared.outcome.value,
            differences=len(compared.differences),
        )


async def _cancel(uow: UnitOfWork, received: Received[CancelOrder]) -> None:
    key, at = key_of(received.message), _market_at(received)
    request = received.message.request
    await orders.cancel_order(uow, key, command_sequence=received.sequence, market_at=at, request=request)


async def _replace(uow: UnitOfWork, received: Received[ReplaceOrder]) -> None:
    key, change = key_of(received.message), change_of(received.message)
    orders.replace_order(uow, key, change, command_sequence=received.sequence, market_at=_market_at(received))


async def _query(uow: UnitOfWork, received: Received[QueryOrder]) -> None:
    key = key_of(received.message)
    await orders.query_order(uow, key, command_sequence=received.sequence, market_at=_market_at(received))


async def _learn(uow: ComparingPostgresUnitOfWork, received: Received[VenueReports]) -> None:
    said = received.message
    known = [report for report in said.reports if uow.find(report.venue_order_ref) is not None]
    if len(known) < len(said.reports):
        if not uow.can(said.venue, LISTS_OPEN_ORDERS):
            # It cannot be asked what that order is: whoever sent it must bring it.
            raise NotYet(f"an order that {said.venue} speaks of")
        uow.look_at_unknown(said.venue, said.symbol)
    facts = [(report.venue_order_ref, fact_of(report)) for report in known]
    await learning.learn_reports(uow, facts, market_at=_market_at(received))


def _market_at(received: Received[Any]) -> datetime:
    """The market's time of what was said; on live feeds, where a writer may leave it out, it is the wall's."""
    return received.market_at or received.occurred_at
