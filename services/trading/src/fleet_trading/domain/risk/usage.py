"""How much of its limits an account uses, and when that crosses 80 % or 100 % of one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from fleet_simulator.fees import EXACT

from fleet_trading.domain.account import Account
from fleet_trading.domain.exact import share
from fleet_trading.domain.portfolio import Marks, equity_of, value, valued
from fleet_trading.domain.values import ZERO

from .limits import Limit, Values
from .open_buys import Exposure
from .state import RiskState

FULL = 100
LEVELS = (FULL, 80)
RESTRICTING = frozenset({Limit.DAILY_LOSS, Limit.DRAWDOWN})
"""At 100 % the account is to reduce only."""


@dataclass(frozen=True, slots=True)
class Usage:
    """`symbol` only of a limit that counts per symbol."""

    limit: Limit
    symbol: str | None
    allowed: Decimal
    used: Decimal

    @property
    def key(self) -> str:
        return self.limit if self.symbol is None else f"{self.limit} {self.symbol}"

    @property
    def level(self) -> int:
        """0, 80 or 100 percent."""
        if not self.allowed:
            return 100 if self.used > 0 else 0
        return next((level for level in LEVELS if self.used * 100 >= self.allowed * level), 0)


@dataclass(frozen=True, slots=True)
class LimitsMeasured:
    """`breaches` are to be told; they stand in `risk` as told."""

    risk: RiskState
    breaches: tuple[Usage, ...]


def held_or_open(account: Account, symbol: str | None, marks: Marks | None = None) -> Exposure:
    """What is held at its mark, and what open buys may add at the dearest price; without a symbol, of all."""
    quantity, notional = account.open_buys.of(account.orders, symbol)
    positions = account.positions
    for held in positions if symbol is None else (symbol,):
        position = positions.get(held)
        if position is not None and position.quantity:
            quantity = EXACT.add(quantity, position.quantity)
            if marks is not None:
                at_mark = value(held, position, marks).market_value
                notional = EXACT.add(notional, abs(position.cost if at_mark is None else at_mark))
    return Exposure(quantity, notional)


def worth(account: Account, marks: Marks | None) -> Decimal:
    assert marks is not None, "limits of value come with the marks to measure them"
    return equity_of(account, marks)


def loss_of_day(account: Account, marks: Marks | None, day: date | None) -> Decimal:
    assert marks is not None and day is not None, "a limit of the day's loss comes with marks and the day"
    return max(ZERO, valued(account, marks, day).day_pnl.copy_negate())


def drawdown(account: Account, marks: Marks | None) -> Decimal:
    """The part of its highest equity, since the limit was set, that the account has lost."""
    now = worth(account, marks)
    peak = account.risk.peak_equity
    if peak is None or peak <= 0 or now >= peak:
        return ZERO
    return share(EXACT.subtract(peak, now), Decimal(1), peak)


def may_breach(account: Account, limits: Values) -> bool:
    """Whether it may come to a limit on losses by prices alone; `limits` are those of the account as a whole."""
    return not RESTRICTING.isdisjoint(limits) and account.holds_anything


def usages(account: Account, limits_of: Callable[[str | None], Values], marks: Marks, day: date) -> Iterator[Usage]:
    """`limits_of` says what holds for a symbol, or for the account as a whole. Needs all open orders."""
    limits = limits_of(None)
    for name, allowed in limits.items():
        match name:
            case Limit.OPEN_ORDERS:
                yield Usage(name, None, allowed, Decimal(sum(1 for _ in account.open_orders())))
            case Limit.GROSS_EXPOSURE:
                yield Usage(name, None, allowed, held_or_open(account, None, marks).notional)
            case Limit.DAILY_LOSS:
                yield Usage(name, None, allowed, loss_of_day(account, marks, day))
            case Limit.DRAWDOWN:
                yield Usage(name, None, allowed, drawdown(account, marks))
            case Limit.GOOD_FAITH_VIOLATIONS:
                yield Usage(name, None, allowed, Decimal(account.risk.violations_by(day)))
            case _:
                pass
    held = {symbol for symbol, position in account.positions.items() if position.quantity}
    for symbol in sorted(held | {order.symbol for order in account.open_orders()}):
        limits = limits_of(symbol)
        if Limit.POSITION_LIMIT in limits:
            allowed = limits[Limit.POSITION_LIMIT]
            yield Usage(Limit.POSITION_LIMIT, symbol, allowed, held_or_open(account, symbol).quantity)
        if Limit.CONCENTRATION in limits:
            equity, notional = worth(account, marks), held_or_open(account, symbol, marks).notional
            used = share(notional, Decimal(1), equity) if equity > 0 else limits[Limit.CONCENTRATION]
            yield Usage(Limit.CONCENTRATION, symbol, limits[Limit.CONCENTRATION], used)


def measure(
    account: Account, limits_of: Callable[[str | None], Values], marks: Marks, day: date
) -> LimitsMeasured | None:
    """What is at a higher level than was told last. What fell below is forgotten, so that it is told when it comes again;
    None if all is as it was."""
    state = account.risk
    if Limit.DRAWDOWN in limits_of(None):
        equity = equity_of(account, marks)
        if state.peak_equity is None or equity > state.peak_equity:
            state = replace(state, peak_equity=equity)
    used = list(usages(account, limits_of, marks, day))
    told = {usage.key: usage.level for usage in used if usage.level}
    risen = tuple(usage for usage in used if usage.level > state.told.get(usage.key, 0))
    if told != state.told:
        state = replace(state, told=told)
    return None if state is account.risk else LimitsMeasured(state, risen)
