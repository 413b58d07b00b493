"""When what was traded is settled, and what may be done with it before."""

from datetime import date, datetime, timedelta
from decimal import Decimal

from fleet_calendars import OutsideCalendar, UnknownCalendar, business_day
from fleet_simulator.fees import EXACT

from .account import Balance
from .values import ZERO

LAG_DAYS = {"XNYS": 1, "XCAI": 2, "XADS": 2}
"""Business days from trade to settlement (SEC rule 15c6-1 from 28 May 2024; EGX and ADX: T+2); elsewhere at once."""
_DAY = timedelta(days=1)
_SATURDAY = 5


def settles_on(calendar: str, market_at: datetime) -> date:
    """T+n by the exchange's calendar. Where that says nothing of the day, weekdays count: a fact is never refused."""
    day, lag = market_at.date(), LAG_DAYS.get(calendar, 0)
    if not lag:
        return day
    try:
        return business_day(calendar, day, lag)
    except (OutsideCalendar, UnknownCalendar):
        while lag:
            day += _DAY
            lag -= day.weekday() < _SATURDAY
        return day


def unsettled(balance: Balance, day: date) -> Decimal:
    """What of it is not free yet on this day."""
    return sum((amount for until, amount in balance.unsettled.items() if until > day), ZERO)


def hold_until(balance: Balance, amount: Decimal, until: date, day: date) -> None:
    """So much more is not free before `until`. What is free by now is forgotten."""
    _forget(balance, day)
    if until > day:
        balance.unsettled[until] = EXACT.add(balance.unsettled.get(until, ZERO), amount)


def hold_otherwise(balance: Balance, change: Decimal, until: date, day: date) -> None:
    """What was held until then is so much more or, below zero, less, as far as it is still held."""
    held = balance.unsettled.get(until, ZERO)
    hold_until(balance, max(change, held.copy_negate()), until, day)


def hold_at_most(balance: Balance, day: date) -> None:
    """No more than there is: what is gone is taken from what would have been free last."""
    _forget(balance, day)
    beyond = EXACT.subtract(unsettled(balance, day), max(balance.total, ZERO))
    for until in sorted(balance.unsettled, reverse=True):
        gone = min(max(beyond, ZERO), balance.unsettled[until])
        balance.unsettled[until] = EXACT.subtract(balance.unsettled[until], gone)
        beyond = EXACT.subtract(beyond, gone)
    _forget(balance, day)


def take_early(balance: Balance, amount: Decimal, day: date) -> bool:
    """Before `amount` leaves: whether that takes what is not free, which is then taken from the earliest on."""
    _forget(balance, day)
    early = EXACT.subtract(amount, EXACT.subtract(balance.total, unsettled(balance, day)))
    if early <= 0 or not balance.unsettled:
        return False
    for until in sorted(balance.unsettled):
        taken = min(early, balance.unsettled[until])
        balance.unsettled[until] = EXACT.subtract(balance.unsettled[until], taken)
        early = EXACT.subtract(early, taken)
    _forget(balance, day)
    return True


def _forget(balance: Balance, day: date) -> None:
    for until in [until for until, amount in balance.unsettled.items() if until <= day or not amount]:
        del balance.unsettled[until]
