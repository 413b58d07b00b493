"""A simulated market that fills from data, and the moves that it is shown."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from fleet_simulator import (
    Bar,
    Command,
    Event,
    FeeSchedule,
    Market,
    Quote,
)
from fleet_simulator.inputs import BookSnapshot, Trade

FEES = FeeSchedule.of(Decimal("0.001"), tick=Decimal("0.01"), lot=Decimal(1))
Move = tuple[int, Command] | Bar | Quote | Trade | BookSnapshot | int


def show(target: Market, move: Move) -> list[Event]:
    match move:
        case Bar():
            return target.on_bar(move)
        case Quote():
            return target.on_quote(move)
        case Trade():
            return target.on_trade(move)
        case BookSnapshot():
            return target.on_book(move)
        case int():
            return target.end_session(move)
        case at, command:
            return target.apply(command, at)


def market(share: Fraction | None = None, **models: Any) -> Market:
    return Market("AAPL/USD", FEES, volume_share=share, quote_lifetime_ns=3, **models)
