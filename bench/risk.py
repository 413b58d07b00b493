"""What the decision of one order costs in process: with no limit set, with all of them, and with many orders open."""

import time
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from account_commands import NOW, an_account, an_order, conditions, done
from fleet_trading.domain import Account, Conditions, OrderPlaced, decide
from fleet_trading.domain.risk.limits import Limit, tightest

from bench.orders import percentile

_ORDERS = 2_000
_FREE = Decimal(10**9)
_EVERY_LIMIT = tightest([dict.fromkeys(set(Limit) - {Limit.RESTRICTED_SYMBOL, Limit.SELF_MATCH}, _FREE)])
_ALL = tightest([_EVERY_LIMIT, {Limit.SELF_MATCH: Decimal(0)}])


class _Marks:
    def mark(self, symbol: str) -> Decimal | None:
        return Decimal(100)

    def mark_before(self, symbol: str, day: date) -> Decimal | None:
        return Decimal(100)


def measure() -> dict[str, Any]:
    """Microseconds of CPU of `decide` for a limit order, which is then thrown away."""
    limited = conditions(limits=_ALL, marks=_Marks(), day=NOW.date())
    return {
        "no limit": _measured(an_account(10**9), conditions()),
        "all limits": _measured(_with_open_orders(0), limited),
        "all limits, 100 open orders": _measured(_with_open_orders(100), limited),
        "all limits, 900 open orders": _measured(_with_open_orders(900), limited),
    }


def _with_open_orders(count: int) -> Account:
    account = an_account(10**9)
    for number in range(count):
        done(account, an_order(1_000 + number, quantity=1, limit=90))
    return account


def _measured(account: Account, to: Conditions) -> dict[str, float | None]:
    order = an_order(limit=95, conditions=to)
    found = []
    for number in range(_ORDERS):
        asked = replace(order, client_order_id=f"c{number}")
        begun = time.thread_time_ns()
        (event,) = decide(account, asked)
        found.append((time.thread_time_ns() - begun) / 1000)
        assert isinstance(event, OrderPlaced), event
    return {"p50_us": percentile(found, 50), "p99_us": percentile(found, 99)}
