"""What every use case does with what was decided."""

from datetime import date

from fleet_trading.domain import Account, Command, Event, apply, decide
from fleet_trading.domain.portfolio import open_day
from fleet_trading.ports import Market, UnitOfWork


def carry_out(
    uow: UnitOfWork, account: Account, command: Command, *, market: Market | None = None, day: date | None = None
) -> list[Event]:
    """Decides, applies and publishes. `day` is the market's day of a command that changes what the account is worth."""
    events = decide(account, command)
    if events and day is not None and market is not None:
        open_day(account, market, day)
    for event in events:
        apply(account, event)
        uow.publish(account, event)
    return events
