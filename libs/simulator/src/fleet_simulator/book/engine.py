"""The fast engine: an array of commands in, an array of events out."""

from typing import Final

from fleet_simulator.book import commands as c
from fleet_simulator.book import events as e
from fleet_simulator.book.commands import SelfTrade, Side, TimeInForce, Word
from fleet_simulator.book.compiled import CELLS, INT, ROWS, entry, inline, inner, pointer, prefetch
from fleet_simulator.book.events import Kind, Reason
from fleet_simulator.book.ids import expect, find, guess, order_in
from fleet_simulator.book.layout import (
    ACCOUNT,
    AHEAD,
    BEST,
    COMMANDS,
    HEAD,
    LEVEL,
    LEVELS,
    LIVE,
    MAX_ORDERS,
    NEXT,
    ORDER_ID,
    PREVIOUS,
    QUANTITY,
    REMAINING,
    TAIL,
    TOTAL,
    WRITTEN,
    Array,
    Cells,
    Order,
    cells_at,
)
from fleet_simulator.book.levels import expect_block, expect_level, guess_level, level_after
from fleet_simulator.book.matching import crossed_level, emit, emit_end, end, match, tradable, worst_price
from fleet_simulator.book.resting import find_order, rest, resting, take_out

# Plain numbers: members of enumerations take compiled code far longer to compile.
_ADD, _CANCEL, _REPLACE, _MARKET, _CANCEL_ACCOUNT = (int(word) for word in Word)
_BUY, _SELL = (int(side) for side in Side)
_REST, _FOK = int(TimeInForce.REST), int(TimeInForce.FOK)
_KNOWN_FLAGS: Final = c.TIME_IN_FORCE_MASK | c.POST_ONLY | c.SELF_TRADE_MASK
_LAST_SELF_TRADE: Final = int(max(SelfTrade))
_ACCEPTED, _REJECTED, _REPLACED = int(Kind.ACCEPTED), int(Kind.REJECTED), int(Kind.REPLACED)
_FOR_REQUESTED: Final = int(Reason.REQUESTED)
_FOR_IOC: Final = int(Reason.IOC)
_FOR_FOK: Final = int(Reason.FOK)
_FOR_PROTECTION: Final = int(Reason.PROTECTION)
_FOR_NO_LIQUIDITY: Final = int(Reason.NO_LIQUIDITY)
_FOR_POST_ONLY: Final = int(Reason.POST_ONLY)
_FOR_MINIMUM: Final = int(Reason.MINIMUM)
_FOR_REPLACED: Final = int(Reason.REPLACED)
_FOR_MASS: Final = int(Reason.MASS)
_INVALID_WORD: Final = int(Reason.INVALID_WORD)
_INVALID_SIDE: Final = int(Reason.INVALID_SIDE)
_INVALID_QUANTITY: Final = int(Reason.INVALID_QUANTITY)
_INVALID_PRICE: Final = int(Reason.INVALID_PRICE)
_INVALID_FLAGS: Final = int(Reason.INVALID_FLAGS)
_INVALID_MINIMUM: Final = int(Reason.INVALID_MINIMUM)
_DUPLICATE_ORDER: Final = int(Reason.DUPLICATE_ORDER)
_UNKNOWN_ORDER: Final = int(Reason.UNKNOWN_ORDER)
_BOOK_FULL: Final = int(Reason.BOOK_FULL)
_MANY: Final = 2000  # levels, beyond which they do not stay in the cache by themselves


@inline
def _refusal(book: Cells, order: Order, minimum: int, is_market: bool) -> int:
    """Why a new order is rejected, or 0."""
    flags = order.flags
    rests = not is_market and flags & c.TIME_IN_FORCE_MASK == _REST
    if order.side not in (_BUY, _SELL):
        return _INVALID_SIDE
    if not 1 <= order.quantity <= c.MAX_QUANTITY:
        return _INVALID_QUANTITY
    if not (0 if is_market else 1) <= order.price <= c.MAX_PRICE:
        return _INVALID_PRICE
    if flags & ~_KNOWN_FLAGS or flags & c.TIME_IN_FORCE_MASK > _FOK or flags >> c.SELF_TRADE_SHIFT > _LAST_SELF_TRADE:
        return _INVALID_FLAGS
    if flags & c.POST_ONLY and not (rests and minimum == 0):
        return _INVALID_FLAGS
    if not 0 <= minimum <= order.quantity:
        return _INVALID_MINIMUM
    if find_order(book, order.order_id) != 0:
        return _DUPLICATE_ORDER
    if rests and book.header[LIVE] >= book.header[MAX_ORDERS]:
        return _BOOK_FULL
    return 0


@inline
def _enter(book: Cells, order: Order, minimum: int, is_market: bool) -> None:
    accepted = emit(book, _ACCEPTED, order, order.quantity, 0)
    time_in_force = order.flags & c.TIME_IN_FORCE_MASK
    if order.flags & c.POST_ONLY and crossed_level(book, order.side, worst_price(order)) != 0:
        emit_end(book, order, order.quantity, _FOR_POST_ONLY)
    elif time_in_force == _FOK and tradable(book.header, order) < order.quantity:
        emit_end(book, order, order.quantity, _FOR_FOK)
    elif minimum > 0 and tradable(book.header, order) < minimum:
        emit_end(book, order, order.quantity, _FOR_MINIMUM)
    else:
        total, remaining = match(book, order, order.quantity)
        if remaining == 0:
            return
        if is_market:
            is_protected = book.header[BEST + 1 - order.side] != 0
            emit_end(book, order, remaining, _FOR_PROTECTION if is_protected else _FOR_NO_LIQUIDITY)
        elif time_in_force == _REST:
            rest(book, order, total, remaining)
            book.events[accepted + e.REMAINING] = remaining
        else:
            emit_end(book, order, remaining, _FOR_IOC)


@inline
def _cancel(book: Cells, order: Order) -> int:
    cell = find(book, order.order_id)
    if cell < 0 or book.orders[order_in(book, cell) + ACCOUNT] != order.account:
        return _UNKNOWN_ORDER
    end(book, order_in(book, cell), cell, _FOR_REQUESTED)
    return 0


@inner
def _replace(header: Array, wanted: Order) -> int:
    book = cells_at(header)
    orders, price, quantity = book.orders, wanted.price, wanted.quantity
    cell = find(book, wanted.order_id)
    if cell < 0 or orders[order_in(book, cell) + ACCOUNT] != wanted.account:
        return _UNKNOWN_ORDER
    row = order_in(book, cell)
    if not 1 <= quantity <= c.MAX_QUANTITY:
        return _INVALID_QUANTITY
    if not 1 <= price <= c.MAX_PRICE:
        return _INVALID_PRICE
    old, left = resting(book, row), orders[row + REMAINING]
    remaining = quantity - (old.quantity - left)
    if remaining <= 0:
        end(book, row, cell, _FOR_REPLACED)
        return 0
    if old.flags & c.POST_ONLY and crossed_level(book, old.side, price) != 0:
        return _FOR_POST_ONLY
    order = Order(old.order_id, old.account, old.side, price, quantity, old.flags)
    kept = price == old.price and remaining <= left
    replaced = emit(book, _REPLACED, order, quantity, remaining)
    book.events[replaced + e.PREVIOUS_PRICE] = old.price
    book.events[replaced + e.PREVIOUS_REMAINING] = left
    if kept:
        book.events[replaced + e.PRIORITY_KEPT] = 1
        orders[row + QUANTITY] = quantity
        orders[row + REMAINING] = remaining
        book.levels[orders[row + LEVEL] + TOTAL] -= left - remaining
        return 0
    take_out(book, row, cell)
    total, remaining = match(book, order, remaining)
    if remaining > 0:
        rest(book, order, total, remaining)
    book.events[replaced + e.REMAINING] = remaining
    return 0


@inner
def _cancel_account(header: Array, account: int) -> int:
    book = cells_at(header)
    for side in (_BUY, _SELL):
        level = book.header[BEST + side]
        while level != 0:
            after = level_after(book.header, level)
            row = book.levels[level + HEAD]
            while row != 0:
                following = book.orders[row + NEXT]
                if book.orders[row + ACCOUNT] == account:
                    end(book, row, find(book, book.orders[row + ORDER_ID]), _FOR_MASS)
                row = following
            level = after
    return 0


@inline
def _look_ahead(book: Cells, rows: Array, row: int, last: int, levels_are_many: bool) -> None:
    """Memory that is not in the cache takes longer than a command: it is asked for some commands before its own.

    In three steps, since each place is told by the one before.
    """
    ahead = row + 16 * c.COLUMNS
    if ahead < last:
        expect(book, rows[ahead + c.ORDER_ID])
        if levels_are_many:
            expect_block(book, rows[ahead + c.SIDE], rows[ahead + c.PRICE])
    ahead = row + 8 * c.COLUMNS
    if ahead < last:
        order = guess(book, rows[ahead + c.ORDER_ID])
        book.header[AHEAD + (ahead >> 3 & 7)] = order
        prefetch(book.orders, order)
        if levels_are_many:
            level = guess_level(book, rows[ahead + c.SIDE], rows[ahead + c.PRICE])
            book.header[AHEAD + 8 + (ahead >> 3 & 7)] = level
            expect_level(book, level)
    ahead = row + 4 * c.COLUMNS
    if ahead < last:
        order = book.header[AHEAD + (ahead >> 3 & 7)]
        prefetch(book.orders, book.orders[order + NEXT])
        prefetch(book.orders, book.orders[order + PREVIOUS])
        if levels_are_many:
            expect_level(book, book.orders[order + LEVEL])
            level = book.header[AHEAD + 8 + (ahead >> 3 & 7)]
            prefetch(book.orders, book.levels[level + TAIL])


@entry(INT, CELLS, ROWS, INT, INT)
def obey(cells: Array, commands: Array, first: int, last: int) -> int:
    """Obeys the commands from `first` to before `last`: how many events it wrote. The caller has made room for all."""
    header, rows = pointer(cells), pointer(commands)
    book = cells_at(header)
    header[WRITTEN] = 0
    levels_are_many = header[LEVELS] + header[LEVELS + 1] > _MANY
    for row in range(first * c.COLUMNS, last * c.COLUMNS, c.COLUMNS):
        header[COMMANDS] += 1
        _look_ahead(book, rows, row, last * c.COLUMNS, levels_are_many)
        word, minimum = rows[row + c.WORD], rows[row + c.MINIMUM]
        order = Order(
            rows[row + c.ORDER_ID],
            rows[row + c.ACCOUNT],
            rows[row + c.SIDE],
            rows[row + c.PRICE],
            rows[row + c.QUANTITY],
            rows[row + c.FLAGS],
        )
        if word in (_ADD, _MARKET):
            reason = _refusal(book, order, minimum, word == _MARKET)
            if reason == 0:
                _enter(book, order, minimum, word == _MARKET)
        elif word == _CANCEL:
            reason = _cancel(book, order)
        elif word == _REPLACE:
            reason = _replace(header, order)
        elif word == _CANCEL_ACCOUNT:
            reason = _cancel_account(header, order.account)
        else:
            reason = _INVALID_WORD
        if reason != 0:
            event = emit(book, _REJECTED, order, order.quantity, 0)
            book.events[event + e.REASON] = reason
    return int(header[WRITTEN]) // e.COLUMNS
