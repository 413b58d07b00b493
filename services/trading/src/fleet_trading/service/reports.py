"""Booking what execution reports, and asking where it does not."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from fleet_trading.domain import Account, OrderQueried, QueryUnanswered
from fleet_trading.domain.commands import Command, ReportFill
from fleet_trading.domain.settlement import settles_on
from fleet_trading.ports import Market, UnitOfWork

from .recording import carry_out

MOST_ASKED = 500
"""Orders asked about in one transaction; the rest follows in the next."""


def book(uow: UnitOfWork, account: Account, commands: Iterable[Command], *, market: Market) -> None:
    """Books one record's reports in their order; what was told before changes nothing."""
    for command in commands:
        day: date | None = None
        if isinstance(command, ReportFill):
            day = command.market_at.date()
            settled = _settled(account, command, market)
            if settled > day:
                command = replace(command, settles_on=settled)  # noqa: PLW2901  the same, as its market settles it
        carry_out(uow, account, command, market=market, day=day)


def _settled(account: Account, fill: ReportFill, market: Market) -> date:
    """What is corrected settles with the trade that it corrects."""
    order = account.orders.get(fill.order_id)
    instrument = market.instrument(fill.symbol or "" if order is None else order.symbol)
    known = account.known_trades.get(fill.trade_id)
    traded_at = fill.market_at if known is None else known.market_at
    return traded_at.date() if instrument is None else settles_on(instrument.calendar, traded_at)


async def ask_about_unanswered(uow: UnitOfWork, account: Account) -> None:
    """Time has come to look: asks about each order whose report is overdue, and looks again when the next one is."""
    account.watch_at = None
    account.changes.is_row = True
    is_all, next_at = await uow.load_unanswered(account, limit=MOST_ASKED)
    events = carry_out(uow, account, QueryUnanswered(now=uow.now))
    asked = [event.next_at for event in events if isinstance(event, OrderQueried) and event.next_at is not None]
    times = [*asked, *([next_at] if next_at else []), *([] if is_all else [uow.now])]
    if times:
        uow.watch(account, min(times))
