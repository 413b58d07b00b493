"""A simulated exchange on the plain book, and what it says in plain tuples."""

from decimal import Decimal
from typing import Any

from fleet_simulator.book import NaiveBook
from fleet_simulator.book_exchange import BookExchange
from fleet_simulator.events import (
    Accepted,
    Canceled,
    Event,
    Expired,
    Filled,
    Replaced,
    Triggered,
)
from fleet_simulator.fees import MakerTaker

FEES = MakerTaker.of(tick=Decimal("0.01"), lot=Decimal(1))


def exchange() -> BookExchange:
    return BookExchange(FEES, NaiveBook())


def plain(event: Event) -> tuple[Any, ...] | None:
    match event:
        case Accepted(ref):
            return "accepted", ref
        case Triggered(ref, _, _, price):
            return "triggered", ref, price
        case Filled():
            return "filled", event.order_ref, event.last_quantity, event.last_price, str(event.liquidity)
        case Canceled(ref, _, _, reason):
            return "canceled", ref, reason
        case Expired(ref):
            return "expired", ref
        case Replaced(ref, _, _, quantity):
            return "replaced", ref, quantity
        case _:
            return None
