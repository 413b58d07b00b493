"""The fast book against the naive one: the same commands give the same events and the same state, however given."""

import copy
import pickle
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from fleet_simulator.book import Book, NaiveBook, Snapshot
from fleet_simulator.book import events as e
from fleet_simulator.book.commands import MAX_PRICE, MAX_QUANTITY, Commands, Row, Side, Word, add, batch
from fleet_simulator.book.events import Events, Kind, Reason
from fleet_simulator.book.fast import CHUNK, FastBook
from hypothesis import given, settings
from hypothesis import strategies as st

# Commands of few accounts at few prices, so that all meet all; a word, a side or a flag may be none there is.
_IDS, _ACCOUNTS = st.integers(1, 30), st.integers(1, 3)
_FLAGS = st.one_of(
    st.just(0),
    st.builds(
        lambda tif, post, stp: tif | post << 2 | stp << 3, st.integers(0, 2), st.integers(0, 1), st.integers(0, 4)
    ),
    st.integers(-1, 64),
)
_WORDS = st.sampled_from([0] * 12 + [1] * 3 + [2] * 5 + [3] * 3 + [4, 5])
_MINIMA = st.sampled_from([0] * 8 + [1, 3, 8, -1])


def _mostly_its_owner(row: Row) -> Row:
    """Cancels and replaces of another account's order are all alike."""
    return row if row[2] == 3 else (*row[:2], 1 + row[1] % 2, *row[3:])


NARROW = st.lists(
    st.tuples(
        _WORDS,
        _IDS,
        _ACCOUNTS,
        st.sampled_from([0, 1] * 8 + [2]),
        st.integers(0, 9),
        st.integers(0, 12),
        _MINIMA,
        _FLAGS,
    ).map(_mostly_its_owner),
    min_size=1,
    max_size=80,
)
# Ids, accounts, prices and quantities from all there are, few enough of each that they meet.
_INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


def _alike(number: int) -> int:
    """An id whose hash is the same as that of all others, as far as the fast book's table keeps it (`book.ids`)."""
    high = number << 5
    spread = (high << 32 | high) * pow(0x9E3779B97F4A7C15, -1, 1 << 64)
    return (spread + (1 << 63)) % (1 << 64) - (1 << 63)


_IDS_OF_ALL_KINDS = st.one_of(_INT64, st.integers(0, 9).map(_alike))


@st.composite
def wide(draw: st.DrawFn) -> list[Row]:
    ids = st.sampled_from(draw(st.lists(_IDS_OF_ALL_KINDS, min_size=2, max_size=20, unique=True)))
    accounts = st.sampled_from(draw(st.lists(_INT64, min_size=1, max_size=3)))
    prices = st.one_of(
        st.sampled_from(draw(st.lists(st.integers(1, MAX_PRICE), min_size=1, max_size=12))),
        st.sampled_from([0, 1, 63, 64, 65, 4095, 4096, MAX_PRICE - 1, MAX_PRICE, MAX_PRICE + 1]),
        st.integers(1 << 20, (1 << 20) + 200),
    )
    quantities = st.one_of(st.integers(1, 50), st.sampled_from([MAX_QUANTITY, MAX_QUANTITY + 1]))
    row = st.tuples(_WORDS, ids, accounts, st.integers(0, 1), prices, quantities, st.just(0), _FLAGS)
    return draw(st.lists(row, min_size=1, max_size=60))


COMMANDS = st.one_of(NARROW, wide())


@given(COMMANDS)
@settings(max_examples=250)
def test_every_command_gives_the_same_events_and_state(rows: list[Row]) -> None:
    naive, fast = NaiveBook(), FastBook()
    for row in rows:
        assert fast.apply_one(row).tolist() == naive.apply_one(row).tolist()
        assert fast.state_hash() == naive.state_hash()
    _same_answers(naive, fast, rows)


def _same_answers(naive: Book, fast: Book, rows: Iterable[Row]) -> None:
    assert (naive.sequence, naive.commands, len(naive)) == (fast.sequence, fast.commands, len(fast))
    for side in Side:
        assert naive.best(side) == fast.best(side)
        for limit in (0, 1, 3, 1000):
            assert naive.depth(side, limit).tolist() == fast.depth(side, limit).tolist()
        for row in rows:
            assert naive.level(side, row[4]) == fast.level(side, row[4])
    for row in rows:
        assert naive.order(row[1]) == fast.order(row[1])
        assert naive.orders(row[2]).tolist() == fast.orders(row[2]).tolist()
    for ours, theirs in zip(naive.snapshot(), fast.snapshot(), strict=True):
        assert ours.tolist() == theirs.tolist()


@given(COMMANDS, st.data())
@settings(max_examples=80)
def test_no_batch_size_changes_anything(rows: list[Row], data: st.DataObject) -> None:
    commands = batch(rows)
    whole = FastBook()
    events = whole.apply(commands)
    cuts = sorted({0, len(rows), *data.draw(st.lists(st.integers(0, len(rows)), max_size=6))})
    for book in (NaiveBook(), FastBook()):
        parts = [book.apply(commands[first:last]) for first, last in pairwise(cuts)]
        assert np.concatenate(parts).tolist() == events.tolist()
        assert book.state_hash() == whole.state_hash()


@given(COMMANDS, st.data())
@settings(max_examples=60)
def test_a_book_restored_from_either_engine_goes_on_as_if_nothing_had_been(
    rows: list[Row], data: st.DataObject
) -> None:
    commands, cut = batch(rows), data.draw(st.integers(0, len(rows)))
    whole = FastBook()
    events = whole.apply(commands)
    for first in (NaiveBook(), FastBook()):
        before = first.apply(commands[:cut])
        for engine in (NaiveBook, FastBook):
            book: Book = engine.restore(first.snapshot())
            assert book.state_hash() == first.state_hash()
            assert np.concatenate([before, book.apply(commands[cut:])]).tolist() == events.tolist()
            assert book.state_hash() == whole.state_hash()


@given(COMMANDS)
@settings(max_examples=80)
def test_laws(rows: list[Row]) -> None:
    """Nothing is lost or made, no book is crossed, the best price and the oldest order trade first."""
    book = FastBook()
    open_quantity: dict[int, int] = {}
    for row in rows:
        waiting = [book.orders()[book.orders()[:, 2] == side] for side in Side]
        before = book.sequence
        events = book.apply_one(row)
        assert events[:, e.SEQUENCE].tolist() == list(range(before + 1, before + 1 + len(events)))
        assert set(events[:, e.COMMAND].tolist()) <= {book.commands}
        _book_quantities(open_quantity, events)
        _assert_makers_in_order(waiting, events)
        bid, ask = book.best(Side.BUY), book.best(Side.SELL)
        assert bid is None or ask is None or bid < ask
    assert {row[0]: row[5] for row in book.orders().tolist()} == open_quantity


def _book_quantities(open_quantity: dict[int, int], events: Events) -> None:
    """What each order has left by the events alone, ended orders dropped."""
    for event in events.tolist():
        order_id, kind, quantity = event[e.ORDER_ID], event[e.KIND], event[e.QUANTITY]
        if kind == Kind.ACCEPTED:
            open_quantity[order_id] = quantity
        elif kind == Kind.REPLACED:
            previous = event[e.PREVIOUS_REMAINING]
            assert open_quantity[order_id] == previous
            if event[e.PRIORITY_KEPT]:
                assert event[e.REMAINING] <= previous
                open_quantity[order_id] = event[e.REMAINING]
            else:  # what traded of it in the same command comes off again below
                own = (events[:, e.ORDER_ID] == order_id) & np.isin(events[:, e.KIND], [Kind.TRADED, Kind.DECREMENTED])
                left = events[(events[:, e.KIND] == Kind.CANCELED) & (events[:, e.ORDER_ID] == order_id), e.QUANTITY]
                open_quantity[order_id] = int(event[e.REMAINING] + events[own, e.QUANTITY].sum() + left.sum())
        elif kind in (Kind.TRADED, Kind.DECREMENTED):
            for name, left in ((order_id, event[e.REMAINING]), (event[e.MAKER_ID], event[e.MAKER_REMAINING])):
                open_quantity[name] -= quantity
                assert open_quantity[name] == left >= 0
        elif kind == Kind.CANCELED:
            assert open_quantity[order_id] == quantity
            open_quantity[order_id] = 0
        for name in (order_id, event[e.MAKER_ID]):
            if open_quantity.get(name) == 0:
                del open_quantity[name]


def _assert_makers_in_order(waiting: Sequence[Commands], events: Events) -> None:
    met = events[np.isin(events[:, e.KIND], [Kind.TRADED, Kind.DECREMENTED])]
    if len(met):
        makers = list(dict.fromkeys(met[:, e.MAKER_ID].tolist()))
        prevented = events[(events[:, e.KIND] == Kind.CANCELED) & (events[:, e.WAS_RESTING] == 1), e.ORDER_ID].tolist()
        side = 1 - int(met[0, e.SIDE])
        first = [row[0] for row in waiting[side].tolist() if row[0] not in prevented]
        assert makers == first[: len(makers)]


@pytest.mark.parametrize("ticks", [20, 100_000])
def test_a_long_random_run_with_sparse_ids_is_the_same_in_one_call(ticks: int) -> None:
    commands = _random_commands(6 * CHUNK + 17, ticks)
    naive, fast = NaiveBook(), FastBook()
    assert np.array_equal(naive.apply(commands), fast.apply(commands))
    assert naive.state_hash() == fast.state_hash()
    assert len(fast) > 300
    again = FastBook.restore(fast.snapshot())
    assert again.state_hash() == fast.state_hash()


def _random_commands(count: int, ticks: int) -> Commands:
    random = np.random.default_rng(ticks)
    ids = random.integers(-(1 << 63), (1 << 63) - 1, count)
    side = random.integers(0, 2, count)
    word = random.choice([Word.ADD, Word.CANCEL, Word.REPLACE, Word.MARKET], count, p=[0.5, 0.25, 0.2, 0.05])
    known = ids[random.integers(0, np.maximum(1, np.arange(count)))]
    price = 1_000_000 + random.integers(-ticks, ticks // 4 + 1, count) * np.where(side == Side.BUY, 1, -1)
    flags = np.where(random.random(count) < 0.8, 0, random.integers(0, 40, count))
    rows = np.zeros((count, 8), dtype=np.int64)
    rows[:, 0], rows[:, 1], rows[:, 3] = word, np.where(np.isin(word, [0, 3]), ids, known), side
    rows[:, 2] = 1 + (rows[:, 1] & 3)
    rows[:, 4], rows[:, 5], rows[:, 7] = np.where(word == Word.MARKET, 0, price), random.integers(1, 100, count), flags
    return rows


def test_a_sweep_of_any_length_fits() -> None:
    book, orders = FastBook(), 50_000
    book.apply(batch(add(number, 1, Side.SELL, 1 + number % 777, 2) for number in range(1, orders + 1)))
    events = book.apply_one(add(orders + 1, 2, Side.BUY, 1000, 2 * orders))
    assert len(events) == orders + 1
    assert np.all(np.diff(events[1:, e.PRICE]) >= 0)
    assert len(book) == 0


def test_prices_far_apart_take_little_memory() -> None:
    book, random = FastBook(), np.random.default_rng(7)
    prices = np.unique(random.integers(1, MAX_PRICE, 20_000))
    book.apply(batch(add(number, 1, Side.BUY, int(price), 1) for number, price in enumerate(prices)))
    assert book.depth(Side.BUY, len(prices))[:, 0].tolist() == prices[::-1].tolist()
    # As far as an array was ever written: what lies behind that takes no memory yet.
    assert sum(8 * int(np.flatnonzero(array)[-1]) for array in book._arrays) < 2000 * len(prices)
    book.apply_one((int(Word.CANCEL_ACCOUNT), 0, 1, 0, 0, 0, 0, 0))
    assert book.best(Side.BUY) is None


def test_rows_begin_with_a_cache_line_however_large_the_book_grows() -> None:
    book, sizes = FastBook(), set()
    for orders in (1, 100, 20_000):
        book.apply(batch(add(-number, 1, Side.BUY, number, 1) for number in range(1, orders + 1)))
        assert [array.ctypes.data % 64 for array in book._arrays] == [0] * len(book._arrays)
        sizes.add(book._arrays.orders.nbytes)
    assert min(sizes) < 1 << 19 < max(sizes)


@pytest.mark.parametrize("engine", [NaiveBook, FastBook])
@pytest.mark.parametrize(
    ("column", "value"), [(0, 2), (2, 2), (3, 0), (3, MAX_PRICE + 1), (3, 300), (4, MAX_QUANTITY + 1), (5, 0), (5, 99)]
)
def test_a_snapshot_that_no_book_gave_is_refused(engine: type[NaiveBook | FastBook], column: int, value: int) -> None:
    book = FastBook()
    book.apply(batch([add(1, 1, Side.BUY, 100, 5), add(2, 1, Side.SELL, 200, 5)]))
    counters, orders = book.snapshot()
    orders[0, column] = value
    with pytest.raises(ValueError, match="snapshot"):
        engine.restore(Snapshot(counters, orders))
    with pytest.raises(ValueError, match="snapshot"):
        engine.restore(Snapshot(counters, orders[:, :6]))


@pytest.mark.parametrize("engine", [NaiveBook, FastBook])
def test_a_copy_is_a_book_of_its_own(engine: type[NaiveBook | FastBook]) -> None:
    book = engine(max_orders=2)
    book.apply(batch([add(1, 1, Side.BUY, 100, 5), add(2, 1, Side.SELL, 200, 5)]))
    for again in (copy.deepcopy(book), pickle.loads(pickle.dumps(book))):
        assert again.state_hash() == book.state_hash()
        assert again.apply_one(add(3, 1, Side.BUY, 50, 1)).tolist()[0][e.REASON] == Reason.BOOK_FULL
        again.apply_one((int(Word.CANCEL_ACCOUNT), 0, 1, 0, 0, 0, 0, 0))
    assert len(book) == 2
