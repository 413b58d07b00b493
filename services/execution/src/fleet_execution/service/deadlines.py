"""A cancel-after has come: what no venue sees is ended here, as a venue ends what it has."""

from uuid import UUID

from fleet_execution.domain import CANCEL_AFTER
from fleet_execution.ports import UnitOfWork

from . import groups, triggers, working


async def cut_off(uow: UnitOfWork, ref: UUID) -> None:
    """An order that an algorithm works, a leg that is held, one that waits for a price."""
    order = uow.find(ref)
    if order is None or order.stand.is_terminal or order.is_cancel_pending:
        return
    if order.algo is not None:
        await working.cancel(uow, order, market_at=uow.now, why=CANCEL_AFTER)
    elif order.is_held:
        groups.cancel(uow, order, market_at=uow.now, why=CANCEL_AFTER)
    elif order.is_watched:
        ended = order.cancel(command_sequence=order.command_sequence, market_at=uow.now, now=uow.now, why=CANCEL_AFTER)
        await triggers.end(uow, order, ended, market_at=uow.now)
