"""Booking what execution reports, and asking where it does not."""

from collections.abc import Iterable
from datetime import date

from fleet_trading.domain import Account, QueryUnanswered
from fleet_trading.domain.commands import Command, ReportFill
from fleet_trading.ports import Market, UnitOfWork

from .recording import carry_out


def book(uow: UnitOfWork, account: Account, commands: Iterable[Command], *, market: Market) -> None:
    """Books one record's reports in their order; what was told before changes nothing."""
    for command in commands:
        day: date | None = command.market_at.date() if isinstance(command, ReportFill) else None
        carry_out(uow, account, command, market=market, day=day)


async def ask_about_unanswered(uow: UnitOfWork, account: Account) -> None:
    """Time has come to look: asks about each order whose report is overdue, and looks again when the next one is."""
    account.watch_at = None
    account.changes.is_row = True
    await uow.load_unanswered(account)
    carry_out(uow, account, QueryUnanswered(now=uow.now))
    waiting = [order.query_at for order in account.open_orders() if order.query_at is not None]
    if waiting:
        uow.watch(account, min(waiting))
