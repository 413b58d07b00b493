"""What an account is worth at the marks of a moment."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Protocol

from fleet_simulator.fees import EXACT

from .account import Account, Position
from .exact import average, share
from .settlement import unsettled
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
    settled_cash: Decimal
    """What may leave the account, when nothing is reserved."""
    buying_power: Decimal
    positions_value: Decimal
    unrealized_pnl: Decimal
    realized_pnl: Decimal
    day_pnl: Decimal


@dataclass(frozen=True, slots=True)
class Holding:
    """What is held of a currency other than the account's own, at its mark; without one at what it cost."""

    currency: str
    symbol: str
    quantity: Decimal
    mark_price: Decimal | None
    value: Decimal
    weight: Decimal | None
    """Of the equity, at 6 decimals; None where there is no equity."""


@dataclass(frozen=True, slots=True)
class Allocation:
    equity: Decimal
    cash_weight: Decimal | None
    gross_exposure: Decimal
    """What is held, long and short added up."""
    net_exposure: Decimal
    holdings: tuple[Holding, ...]
    """The largest first."""

    @property
    def leverage(self) -> Decimal | None:
        """The gross exposure in equities; None where there is no equity."""
        return self._in_equities(self.gross_exposure)

    @property
    def concentration(self) -> Decimal | None:
        """The part of the equity that the largest holding is; None where there is no equity."""
        return self._in_equities(abs(self.holdings[0].value) if self.holdings else ZERO)

    def _in_equities(self, value: Decimal) -> Decimal | None:
        return share(value, Decimal(1), self.equity) if self.equity > 0 else None


def allocation(account: Account, marks: Marks) -> Allocation:
    """What the account is made of."""
    equity = equity_of(account, marks)

    def weight(part: Decimal) -> Decimal | None:
        return share(part, Decimal(1), equity, places=6) if equity > 0 else None

    holdings: list[Holding] = []
    for currency, balance in account.balances.items():
        if currency != account.base_currency and balance.total:
            symbol = f"{currency}/{account.base_currency}"
            worth = _worth(account, symbol, balance.total, marks.mark)
            holdings.append(Holding(currency, symbol, balance.total, marks.mark(symbol), worth, weight(worth)))
    holdings.sort(key=lambda holding: (-abs(holding.value), holding.currency))
    return Allocation(
        equity=equity,
        cash_weight=weight(account.balance(account.base_currency).total),
        gross_exposure=sum((abs(holding.value) for holding in holdings), ZERO),
        net_exposure=sum((holding.value for holding in holdings), ZERO),
        holdings=tuple(holdings),
    )


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
        settled_cash=EXACT.subtract(cash.total, unsettled(cash, day)) if cash.unsettled else cash.total,
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


def open_day(account: Account, marks: Marks, day: date) -> bool:
    """Before the first change of a market day: from here on `day_pnl` counts. False if the day is open already."""
    if account.day is not None and account.day >= day:
        return False
    account.day_open_equity = equity_before(account, marks, day)
    account.day = day
    return True


def open_days(accounts: Iterable[Account], marks: Marks, day: date) -> None:
    """Keeps what those that hold something began the day with: a process that starts later knows no price of the day before,
    and would count from the one that it finds."""
    for account in accounts:
        if account.holds_anything and open_day(account, marks, day):
            account.changes.is_row = True


def _equity(account: Account, mark_of: Callable[[str], Decimal | None]) -> Decimal:
    total = ZERO
    for currency, balance in account.balances.items():
        if currency == account.base_currency:
            total = EXACT.add(total, balance.total)
        elif balance.total:
            total = EXACT.add(total, _worth(account, f"{currency}/{account.base_currency}", balance.total, mark_of))
    return total


def _worth(account: Account, symbol: str, quantity: Decimal, mark_of: Callable[[str], Decimal | None]) -> Decimal:
    mark = mark_of(symbol)
    if mark is not None:
        return EXACT.multiply(quantity, mark)
    return account.positions[symbol].cost if symbol in account.positions else ZERO
