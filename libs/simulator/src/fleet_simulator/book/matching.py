"""How the fast engine matches, and what it writes. `naive.py` says the same in plain words."""

from typing import Final

from fleet_simulator.book import events as e
from fleet_simulator.book.commands import MAX_PRICE, NO_PROTECTION, SELF_TRADE_SHIFT, SelfTrade, Side
from fleet_simulator.book.compiled import inline, inner, prefetch
from fleet_simulator.book.events import Kind, Reason
from fleet_simulator.book.ids import expect, find
from fleet_simulator.book.layout import (
    ACCOUNT,
    BEST,
    COMMANDS,
    HEAD,
    NEXT,
    ORDER_ID,
    QUANTITY,
    REMAINING,
    SEQUENCE,
    TOTAL,
    WRITTEN,
    Array,
    Cells,
    Order,
    cells_at,
)
from fleet_simulator.book.levels import level_after, price_of
from fleet_simulator.book.resting import reduce, resting, take_out

# Plain numbers: members of enumerations take compiled code far longer to compile.
_BUY: Final = int(Side.BUY)
_ALLOW: Final = int(SelfTrade.ALLOW)
_CANCEL_NEWEST: Final = int(SelfTrade.CANCEL_NEWEST)
_CANCEL_OLDEST: Final = int(SelfTrade.CANCEL_OLDEST)
_DECREMENT: Final = int(SelfTrade.DECREMENT)
_TRADED: Final = int(Kind.TRADED)
_DECREMENTED: Final = int(Kind.DECREMENTED)
_CANCELED: Final = int(Kind.CANCELED)
_SELF_TRADE: Final = int(Reason.SELF_TRADE)


@inline
def emit(book: Cells, kind: int, order: Order, quantity: int, remaining: int) -> int:
    """The place of the event, whose last three columns are 0 so far."""
    header, events = book.header, book.events
    sequence, row = header[SEQUENCE] + 1, header[WRITTEN]
    header[SEQUENCE] = sequence
    header[WRITTEN] = row + e.COLUMNS
    events[row + e.SEQUENCE] = sequence
    events[row + e.COMMAND] = header[COMMANDS]
    events[row + e.KIND] = kind
    events[row + e.ORDER_ID] = order.order_id
    events[row + e.ACCOUNT] = order.account
    events[row + e.SIDE] = order.side
    events[row + e.PRICE] = order.price
    events[row + e.QUANTITY] = quantity
    events[row + e.REMAINING] = remaining
    events[row + e.MAKER_ID] = 0
    events[row + e.MAKER_ACCOUNT] = 0
    events[row + e.MAKER_REMAINING] = 0
    return int(row)


@inline
def emit_end(book: Cells, order: Order, left: int, reason: int) -> None:
    """Of an order that does not rest."""
    event = emit(book, _CANCELED, order, left, 0)
    book.events[event + e.REASON] = reason


@inline
def end(book: Cells, row: int, place: int, reason: int) -> None:
    """Takes an order that rests out of the book."""
    order, left = resting(book, row), book.orders[row + REMAINING]
    take_out(book, row, place)
    event = emit(book, _CANCELED, order, left, 0)
    book.events[event + e.REASON] = reason
    book.events[event + e.WAS_RESTING] = 1


@inline
def worst_price(order: Order) -> int:
    """At which it may trade. For a market order without protection that is any."""
    return MAX_PRICE if order.price == NO_PROTECTION and order.side == _BUY else order.price


@inline
def crossed_level(book: Cells, side: int, worst: int) -> int:
    """The best level of the other side if an order of this side may trade there, else 0."""
    level = book.header[BEST + 1 - side]
    return int(level) if level != 0 and _takes(side, worst, price_of(book, level)) else 0


@inline
def _takes(side: int, worst: int, price: int) -> bool:
    return price <= worst if side == _BUY else price >= worst


@inner
def tradable(header: Array, order: Order) -> int:
    """What the order would trade now, self-trade prevention taken into account."""
    book = cells_at(header)
    orders, levels = book.orders, book.levels
    prevention, worst = order.flags >> SELF_TRADE_SHIFT, worst_price(order)
    wanted, traded = order.quantity, 0
    level = crossed_level(book, order.side, worst)
    while level != 0 and wanted > 0 and _takes(order.side, worst, price_of(book, level)):
        if prevention == _ALLOW:
            quantity = min(wanted, levels[level + TOTAL])
            traded += quantity
            wanted -= quantity
        else:
            maker = levels[level + HEAD]
            while maker != 0 and wanted > 0:
                quantity = min(wanted, orders[maker + REMAINING])
                if orders[maker + ACCOUNT] != order.account:
                    traded += quantity
                    wanted -= quantity
                elif prevention == _DECREMENT:
                    wanted -= quantity
                elif prevention != _CANCEL_OLDEST:
                    return traded
                maker = orders[maker + NEXT]
        level = level_after(book.header, level)
    return traded


@inline
def match(book: Cells, order: Order, remaining: int) -> tuple[int, int]:
    """Trades with the best of the other side as long as it may: the order's total and what remains, after it.

    What prevention cancels has nothing remaining.
    """
    orders, levels, events = book.orders, book.levels, book.events
    prevention, worst, total = order.flags >> SELF_TRADE_SHIFT, worst_price(order), order.quantity
    while remaining > 0:
        level = crossed_level(book, order.side, worst)
        if level == 0:
            break
        maker = levels[level + HEAD]
        maker_id, maker_account, price = orders[maker + ORDER_ID], orders[maker + ACCOUNT], price_of(book, level)
        own = prevention != _ALLOW and maker_account == order.account
        if own and prevention != _DECREMENT:
            if prevention != _CANCEL_NEWEST:
                end(book, maker, find(book, maker_id), _SELF_TRADE)
            if prevention != _CANCEL_OLDEST:
                emit_end(book, order, remaining, _SELF_TRADE)
                remaining = 0
            continue
        following = orders[maker + NEXT]
        expect(book, orders[following + ORDER_ID])
        prefetch(orders, orders[following + NEXT])
        traded = min(remaining, orders[maker + REMAINING])
        remaining -= traded
        if own:  # so that total less remaining stays what was filled
            total -= traded
            orders[maker + QUANTITY] -= traded
        event = emit(book, _DECREMENTED if own else _TRADED, order, traded, remaining)
        events[event + e.PRICE] = price
        events[event + e.MAKER_ID] = maker_id
        events[event + e.MAKER_ACCOUNT] = maker_account
        events[event + e.MAKER_REMAINING] = reduce(book, maker, traded)
    return total, remaining
