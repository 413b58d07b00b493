"""What an account is worth at the marks of a moment."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Protocol

from fleet_simulator.fees import EXACT

from .account import Account, Position
from .order import average
from .values import ZERO


class Marks(Protocol):
    """The last price of a symbol at its reference venue, now and when a market day began."""

    def mark(self, symbol: str) -> Decimal | None: ...

    def mark_before(self, symbol: str, day: date) -> Decimal | None:
        """The last price of an earlier day, or the first that is known."""
        ...


@dataclass(frozen=True, slots=True)
class Valued:
    """A position at its mark; without a mark it counts at its cost."""

    symbol: str
    quantity: Decimal
    average_price: Decimal
    mark_price: Decimal | None
    market_value: Decimal | None
    unrealized_pnl: Decimal | None
    realized_pnl: Decimal


@dataclass(frozen=True, slots=True)
class Portfolio:
    equity: Decimal
    cash: Decimal
    buying_power: Decimal
    positions_value: Decimal
    unrealized_pnl: Decimal
    realized_pnl: Decimal
    day_pnl: Decimal


def value(symbol: str, position: Position, marks: Marks) -> Valued:
    mark = marks.mark(symbol)
    market_value = None if mark is None else EXACT.multiply(position.quantity, mark)
    return Valued(
        symbol=symbol,
        quantity=position.quantity,
        average_price=average(position.cost, position.quantity) if position.quantity else ZERO,
        mark_price=mark,
        market_value=market_value,
        unrealized_pnl=None if market_value is None else EXACT.subtract(market_value, position.cost),
        realized_pnl=position.realized_pnl,
    )


def valued(account: Account, marks: Marks, day: date) -> Portfolio:
    """At the marks of now. `day` is the market's day, for `day_pnl`; realised and unrealised are before fees."""
    cash = account.balance(account.base_currency)
    unrealized = realized = ZERO
    for symbol, position in account.positions.items():
        realized = EXACT.add(realized, position.realized_pnl)
        if position.quantity:
            unrealized = EXACT.add(unrealized, value(symbol, position, marks).unrealized_pnl or ZERO)
    equity = equity_of(account, marks)
    opened = account.day_open_equity if account.day == day else equity_before(account, marks, day)
    return Portfolio(
        equity=equity,
        cash=cash.total,
        buying_power=cash.available,
        positions_value=EXACT.subtract(equity, cash.total),
        unrealized_pnl=unrealized,
        realized_pnl=realized,
        day_pnl=EXACT.subtract(equity, opened),
    )


def equity_of(account: Account, marks: Marks) -> Decimal:
    """What it is worth now, in its base currency."""
    return _equity(account, marks.mark)


def equity_before(account: Account, marks: Marks, day: date) -> Decimal:
    """What it was worth when the day began, if nothing has been booked since."""
    return _equity(account, lambda symbol: marks.mark_before(symbol, day))


def open_day(account: Account, marks: Marks, day: date) -> None:
    """Before the first change of a market day: from here on `day_pnl` counts."""
    if account.day is None or account.day < day:
        account.day_open_equity = equity_before(account, marks, day)
        account.day = day


def _equity(account: Account, mark_of: Callable[[str], Decimal | None]) -> Decimal:
    total = ZERO
    for currency, balance in account.balances.items():
        if currency == account.base_currency:
            total = EXACT.add(total, balance.total)
        elif balance.total:
            symbol = f"{currency}/{account.base_currency}"
            mark = mark_of(symbol)
            if mark is not None:
                total = EXACT.add(total, EXACT.multiply(balance.total, mark))
            elif symbol in account.positions:
                total = EXACT.add(total, account.positions[symbol].cost)
    return total
