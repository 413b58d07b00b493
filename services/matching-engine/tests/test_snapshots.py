"""A snapshot is of one place of the journal, however far that goes on while it is encoded."""

import random
from datetime import UTC, datetime
from decimal import Decimal

from fleet_bus.forking import Forked
from fleet_matching_engine.app import engine_of
from fleet_matching_engine.domain.orders import ListQuery, Moment
from fleet_matching_engine.domain.rules import Rules, Terms
from fleet_matching_engine.service import VenueMachine
from fleet_simulator import Cancel, OrderType, Place, Side

TERMS = Terms("AAPL/USD", "USD", Decimal("0.01"), Decimal(1), Decimal(1), Decimal(1), Decimal(0), Decimal(0))


def trade(machine: VenueMachine, first: int, last: int) -> None:
    chance, book = random.Random(first), machine.venue.books[TERMS.symbol]
    for number in range(first, last):
        at = datetime.fromtimestamp(1_700_000_000 + number, UTC)
        side, price = chance.choice(list(Side)), chance.randint(9_990, 10_010)
        place = Place(
            f"{number:032x}", f"a{number % 7}", 0, side, OrderType.LIMIT, chance.randint(1, 9), limit_price=price
        )
        book.apply(place, Moment(at, at, number))
        if number % 3 == 0:
            book.apply(Cancel(f"{number - 1:032x}", f"a{(number - 1) % 7}", 0), Moment(at, at, number))


async def test_a_child_encodes_the_moment_in_which_it_was_begun_while_the_books_go_on() -> None:
    machine, other = (VenueMachine(engine_of("naive"), 0) for _ in range(2))
    machine.venue.take_rules(Rules(Decimal("0.2"), Decimal(10**9), 1_000, "cancel_newest"))
    machine.venue.list(TERMS)
    trade(machine, 0, 300)
    then = machine.snapshot()
    begun = Forked.begin(machine.snapshot)
    trade(machine, 300, 600)
    content = await begun.answer()
    assert content == then != machine.snapshot()
    other.restore(content)
    trade(other, 300, 600)
    assert other.snapshot() == machine.snapshot()
    books = [each.venue.books[TERMS.symbol] for each in (machine, other)]
    assert books[0].exchange.state_hash() == books[1].exchange.state_hash()
    query = ListQuery("AAPL/USD", None, 1, 500, None)
    assert books[0].listed(query, ()) == books[1].listed(query, ())
