"""What the book does, case by case: the rules as a reader would check them. Each case runs on every engine."""

import numpy as np
import pytest
from fleet_simulator.book import Book, NaiveBook
from fleet_simulator.book.commands import (
    Row,
    SelfTrade,
    Side,
    TimeInForce,
    add,
    batch,
    cancel,
    cancel_account,
    flags,
    market,
    replace,
)
from fleet_simulator.book.events import (
    Accepted,
    Canceled,
    Decremented,
    Event,
    Reason,
    Rejected,
    Replaced,
    Traded,
    decode,
)
from fleet_simulator.book.fast import FastBook

BUY, SELL = Side.BUY, Side.SELL


@pytest.fixture(params=[NaiveBook, FastBook])
def book(request: pytest.FixtureRequest) -> Book:
    made: Book = request.param()
    return made


def told(book: Book, *rows: Row) -> list[Event]:
    """The events of the last of the commands."""
    book.apply(batch(rows[:-1]))
    return decode(book.apply_one(rows[-1]))


def of(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_price_then_time_decides_who_trades_first(book: Book) -> None:
    events = told(
        book, add(1, 7, SELL, 101, 5), add(2, 7, SELL, 100, 5), add(3, 7, SELL, 100, 5), add(4, 8, BUY, 101, 12)
    )
    assert events == [
        Accepted(4, 4, 4, 8, BUY, 101, 12, 0),
        Traded(5, 4, 4, 8, BUY, 100, 5, 7, 2, 7, 0),
        Traded(6, 4, 4, 8, BUY, 100, 5, 2, 3, 7, 0),
        Traded(7, 4, 4, 8, BUY, 101, 2, 0, 1, 7, 3),
    ]
    assert (book.best(BUY), book.best(SELL), len(book)) == (None, 101, 1)


def test_what_does_not_trade_rests_and_the_acceptance_says_how_much(book: Book) -> None:
    events = told(book, add(1, 7, SELL, 100, 5), add(2, 8, BUY, 100, 8))
    assert events[0] == Accepted(2, 2, 2, 8, BUY, 100, 8, rested=3)
    assert book.order(2) == (2, 8, BUY, 100, 8, 3, 0)
    assert book.level(BUY, 100) == (100, 3, 1)


def test_an_immediate_order_ends_with_what_it_got(book: Book) -> None:
    events = told(book, add(1, 7, SELL, 100, 5), add(2, 8, BUY, 100, 8, flags=flags(TimeInForce.IOC)))
    assert events[-1] == Canceled(4, 2, 2, 8, BUY, 100, 3, Reason.IOC, was_resting=False)
    assert len(book) == 0


def test_fill_or_kill_trades_all_or_nothing(book: Book) -> None:
    fok = flags(TimeInForce.FOK)
    events = told(book, add(1, 7, SELL, 100, 5), add(2, 7, SELL, 101, 5), add(3, 8, BUY, 101, 11, flags=fok))
    assert [type(event) for event in events] == [Accepted, Canceled]
    assert len(of(told(book, add(4, 8, BUY, 101, 10, flags=fok)), Traded)) == 2


def test_a_market_order_stops_at_its_protection_price(book: Book) -> None:
    book.apply(batch([add(1, 7, SELL, 100, 5), add(2, 7, SELL, 110, 5)]))
    events = told(book, market(3, 8, BUY, 8, protection_price=105))
    assert events[-1] == Canceled(5, 3, 3, 8, BUY, 105, 3, Reason.PROTECTION, was_resting=False)
    assert told(book, market(4, 8, BUY, 8))[-1] == Canceled(8, 4, 4, 8, BUY, 0, 3, Reason.NO_LIQUIDITY, False)


def test_a_post_only_order_never_takes(book: Book) -> None:
    book.apply(batch([add(1, 7, SELL, 100, 5)]))
    assert told(book, add(2, 8, BUY, 100, 5, flags=flags(post_only=True)))[-1] == Canceled(
        3, 2, 2, 8, BUY, 100, 5, Reason.POST_ONLY, was_resting=False
    )
    assert told(book, add(2, 8, BUY, 99, 5, flags=flags(post_only=True))) == [Accepted(4, 3, 2, 8, BUY, 99, 5, 5)]
    # A replacement that would take is refused, and the order stays as it is.
    assert told(book, replace(2, 8, 100, 5))[0] == Rejected(5, 4, 2, 8, 0, 100, 5, Reason.POST_ONLY)
    assert book.level(BUY, 99).quantity == 5


def test_a_minimum_is_met_on_entry_or_nothing_trades_and_then_binds_no_more(book: Book) -> None:
    book.apply(batch([add(1, 7, SELL, 100, 5)]))
    events = told(book, add(2, 8, BUY, 100, 20, minimum=6))
    assert events[-1] == Canceled(3, 2, 2, 8, BUY, 100, 20, Reason.MINIMUM, was_resting=False)
    assert of(told(book, add(3, 8, BUY, 100, 20, minimum=5)), Accepted) == [Accepted(4, 3, 3, 8, BUY, 100, 20, 15)]
    assert of(told(book, add(4, 7, SELL, 100, 1)), Traded) != []


def test_a_smaller_quantity_keeps_its_place_and_all_else_loses_it(book: Book) -> None:
    book.apply(batch([add(1, 7, BUY, 100, 5), add(2, 8, BUY, 100, 5)]))
    assert told(book, replace(1, 7, 100, 4)) == [Replaced(3, 3, 1, 7, BUY, 100, 4, 4, 100, 5, priority_kept=True)]
    assert book.orders()[:, 0].tolist() == [1, 2]
    assert told(book, replace(1, 7, 100, 4)) == [Replaced(4, 4, 1, 7, BUY, 100, 4, 4, 100, 4, priority_kept=True)]
    assert told(book, replace(1, 7, 100, 6)) == [Replaced(5, 5, 1, 7, BUY, 100, 6, 6, 100, 4, priority_kept=False)]
    assert book.orders()[:, 0].tolist() == [2, 1]


def test_a_replacement_may_match_and_its_quantity_counts_what_is_filled(book: Book) -> None:
    book.apply(batch([add(1, 7, BUY, 100, 10), add(2, 8, SELL, 100, 4), add(3, 8, SELL, 105, 3)]))
    events = told(book, replace(1, 7, 105, 12))
    assert events[0] == Replaced(5, 4, 1, 7, BUY, 105, 12, 5, 100, 6, priority_kept=False)
    assert events[1] == Traded(6, 4, 1, 7, BUY, 105, 3, 5, 3, 8, 0)
    assert told(book, replace(1, 7, 105, 7))[0] == Canceled(7, 5, 1, 7, BUY, 105, 5, Reason.REPLACED, True)


@pytest.mark.parametrize(
    ("word", "left", "ended"),
    [
        (SelfTrade.ALLOW, [], []),
        (SelfTrade.CANCEL_NEWEST, [1], [2]),
        (SelfTrade.CANCEL_OLDEST, [2], [1]),
        (SelfTrade.CANCEL_BOTH, [], [1, 2]),
    ],
)
def test_self_trade_prevention(book: Book, word: SelfTrade, left: list[int], ended: list[int]) -> None:
    events = told(book, add(1, 7, SELL, 100, 5), add(2, 7, BUY, 100, 5, flags=flags(self_trade=word)))
    assert [event.order_id for event in of(events, Canceled)] == ended
    assert all(isinstance(event, Canceled) and event.reason == Reason.SELF_TRADE for event in of(events, Canceled))
    assert book.orders()[:, 0].tolist() == left
    assert bool(of(events, Traded)) == (word is SelfTrade.ALLOW)


def test_decrement_takes_the_smaller_from_both_and_is_no_fill(book: Book) -> None:
    decrement = flags(self_trade=SelfTrade.DECREMENT)
    events = told(book, add(1, 7, SELL, 100, 5), add(2, 7, BUY, 100, 8, flags=decrement))
    assert events[1:] == [Decremented(3, 2, 2, 7, BUY, 100, 5, 3, 1, 7, 0)]
    assert book.order(2) == (2, 7, BUY, 100, 3, 3, decrement)


def test_fill_or_kill_counts_only_what_prevention_leaves(book: Book) -> None:
    book.apply(batch([add(1, 7, SELL, 100, 5), add(2, 8, SELL, 100, 5)]))
    for word, traded in ((SelfTrade.CANCEL_NEWEST, 0), (SelfTrade.DECREMENT, 0), (SelfTrade.CANCEL_OLDEST, 1)):
        fok = flags(TimeInForce.FOK, self_trade=word)
        assert len(of(told(book, add(3, 7, BUY, 100, 5, flags=fok)), Traded)) == traded


def test_cancels_of_one_order_and_of_an_account(book: Book) -> None:
    book.apply(batch([add(1, 7, BUY, 99, 5), add(2, 8, BUY, 100, 5), add(3, 7, SELL, 101, 5), add(4, 7, BUY, 98, 1)]))
    assert told(book, cancel(4, 7)) == [Canceled(5, 5, 4, 7, BUY, 98, 1, Reason.REQUESTED, was_resting=True)]
    assert told(book, cancel(2, 7)) == [Rejected(6, 6, 2, 7, 0, 0, 0, Reason.UNKNOWN_ORDER)]
    assert [event.order_id for event in told(book, cancel_account(7))] == [1, 3]
    assert told(book, cancel_account(7)) == []
    assert len(book) == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((9, 1, 1, 0, 1, 1, 0, 0), Reason.INVALID_WORD),
        (add(2, 1, 2, 1, 1), Reason.INVALID_SIDE),
        (add(2, 1, BUY, 1, 0), Reason.INVALID_QUANTITY),
        (add(2, 1, BUY, 1, 1 << 40), Reason.INVALID_QUANTITY),
        (add(2, 1, BUY, 0, 1), Reason.INVALID_PRICE),
        (market(2, 1, BUY, 1, protection_price=-1), Reason.INVALID_PRICE),
        (add(2, 1, BUY, 1 << 42, 1), Reason.INVALID_PRICE),
        (add(2, 1, BUY, 1, 1, flags=3), Reason.INVALID_FLAGS),
        (add(2, 1, BUY, 1, 1, flags=-1), Reason.INVALID_FLAGS),
        (add(2, 1, BUY, 1, 1, flags=5 << 3), Reason.INVALID_FLAGS),
        (add(2, 1, BUY, 1, 1, flags=64), Reason.INVALID_FLAGS),
        (market(2, 1, BUY, 1, flags=flags(post_only=True)), Reason.INVALID_FLAGS),
        (add(2, 1, BUY, 1, 1, flags=flags(TimeInForce.IOC, post_only=True)), Reason.INVALID_FLAGS),
        (add(2, 1, BUY, 1, 1, minimum=2), Reason.INVALID_MINIMUM),
        (add(1, 1, BUY, 1, 1), Reason.DUPLICATE_ORDER),
        (replace(2, 1, 1, 1), Reason.UNKNOWN_ORDER),
        (replace(1, 1, 1, 0), Reason.INVALID_QUANTITY),
        (replace(1, 1, 0, 1), Reason.INVALID_PRICE),
    ],
)
def test_what_cannot_be_is_rejected_and_changes_nothing(book: Book, row: Row, reason: Reason) -> None:
    book.apply(batch([add(1, 1, BUY, 50, 5)]))
    before = book.orders()
    events = told(book, row)
    assert [event.reason for event in events if isinstance(event, Rejected)] == [reason]
    assert len(events) == 1
    assert np.array_equal(book.orders(), before)


def test_a_full_book_rests_no_more_but_trades(book: Book) -> None:
    small = type(book)(max_orders=1)  # type: ignore[call-arg]
    small.apply(batch([add(1, 7, SELL, 100, 5)]))
    refused = decode(small.apply_one(add(2, 8, BUY, 100, 1)))
    assert [event.reason for event in refused if isinstance(event, Rejected)] == [Reason.BOOK_FULL]
    assert len(of(decode(small.apply_one(market(2, 8, BUY, 1))), Traded)) == 1


def test_commands_of_another_shape_are_an_error(book: Book) -> None:
    with pytest.raises(ValueError, match="int64 of shape"):
        book.apply(np.zeros((1, 7), dtype=np.int64))
    with pytest.raises(ValueError, match="int64 of shape"):
        book.apply(np.zeros((1, 8)))  # type: ignore[arg-type]


def test_depth_and_snapshot_are_plain_arrays_in_priority_order(book: Book) -> None:
    book.apply(batch([add(1, 7, BUY, 99, 5), add(2, 8, BUY, 100, 3), add(3, 8, BUY, 100, 4), add(4, 7, SELL, 103, 1)]))
    assert book.depth(BUY, 1).tolist() == [[100, 7, 2]]
    assert book.depth(BUY, 9).tolist() == [[100, 7, 2], [99, 5, 1]]
    assert book.orders(7)[:, 0].tolist() == [1, 4]
    again = type(book).restore(book.snapshot())
    assert again.state_hash() == book.state_hash()
    assert np.array_equal(again.snapshot().orders, book.snapshot().orders)
    assert again.sequence == 4
