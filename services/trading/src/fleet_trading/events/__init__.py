"""Domain ↔ contract messages: what is told of an account, to execution, and what it looks like outside."""

from .announcing import ALARMS, Announcer, books_do_not_hold
from .views import (
    account_view,
    balance_view,
    first_view,
    grant_view,
    order_view,
    portfolio_view,
    position_view,
    trade_view,
)

__all__ = [
    "ALARMS",
    "Announcer",
    "account_view",
    "balance_view",
    "books_do_not_hold",
    "first_view",
    "grant_view",
    "order_view",
    "portfolio_view",
    "position_view",
    "trade_view",
]
