"""What execution hears: trading's commands and the venues' reports."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fleet_bus import NotYet, Received, Work
from fleet_contracts.topics import TRADING_ORDER_COMMANDS, VENUE_PAPER_REPORTS
from fleet_contracts.trading import CancelOrder, QueryOrder, ReplaceOrder, SubmitOrder
from fleet_contracts.venue import VenueReports

from . import service
from .domain import venue_order_ref
from .events import AnyCommand, change_of, fact_of, key_of, terms_of
from .ports import UnitOfWork
from .store import PostgresUnitOfWork


def commands(refusal: service.Refusal) -> Work:
    """Trading's commands, in each account's order."""

    async def submit(uow: UnitOfWork, received: Received[SubmitOrder]) -> None:
        service.submit_order(
            uow,
            key_of(received.message),
            terms_of(received.message),
            command_sequence=received.sequence,
            market_at=_market_at(received),
            refusal=refusal,
        )

    return Work(
        name="commands",
        topics=(TRADING_ORDER_COMMANDS,),
        unit_of_work=PostgresUnitOfWork,
        touches=_commanded,
        handlers={SubmitOrder: submit, ReplaceOrder: _replace, CancelOrder: _cancel, QueryOrder: _query},
    )


def reports() -> Work:
    """What the venues report, in each symbol's order."""
    return Work(
        name="reports",
        topics=(VENUE_PAPER_REPORTS,),
        unit_of_work=PostgresUnitOfWork,
        touches=_reported,
        handlers={VenueReports: _learn},
    )


def _commanded(command: AnyCommand) -> Iterable[str]:
    return (str(venue_order_ref(command.order_id)),)


def _reported(message: VenueReports) -> Iterable[str]:
    return {str(report.venue_order_ref) for report in message.reports}


async def _cancel(uow: UnitOfWork, received: Received[CancelOrder]) -> None:
    key = key_of(received.message)
    service.cancel_order(uow, key, command_sequence=received.sequence, market_at=_market_at(received))


async def _replace(uow: UnitOfWork, received: Received[ReplaceOrder]) -> None:
    key, change = key_of(received.message), change_of(received.message)
    service.replace_order(uow, key, change, command_sequence=received.sequence, market_at=_market_at(received))


async def _query(uow: UnitOfWork, received: Received[QueryOrder]) -> None:
    key = key_of(received.message)
    service.query_order(uow, key, command_sequence=received.sequence, market_at=_market_at(received))


async def _learn(uow: UnitOfWork, received: Received[VenueReports]) -> None:
    facts = [(report.venue_order_ref, fact_of(report)) for report in received.message.reports]
    try:
        service.learn_reports(uow, facts, market_at=_market_at(received))
    except service.VenueOrderNotThere as missing:
        raise NotYet(str(missing)) from missing


def _market_at(received: Received[Any]) -> datetime:
    """The market's time of what was said; on live feeds, where a writer may leave it out, it is the wall's."""
    return received.market_at or received.occurred_at
