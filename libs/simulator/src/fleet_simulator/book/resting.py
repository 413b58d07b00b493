"""Orders that rest: a row each, linked by arrival within their level."""

from fleet_simulator.book.compiled import inline
from fleet_simulator.book.ids import find, insert, order_in, remove
from fleet_simulator.book.layout import (
    ACCOUNT,
    COUNT,
    FLAGS,
    FREE_ORDER,
    HEAD,
    LAST_ORDER,
    LEVEL,
    LIVE,
    NEXT,
    ORDER_ID,
    PREVIOUS,
    QUANTITY,
    REMAINING,
    ROW,
    TAIL,
    TOTAL,
    Cells,
    Order,
)
from fleet_simulator.book.levels import close_level, level_for, price_of, side_of


@inline
def find_order(book: Cells, order_id: int) -> int:
    """Its row, or 0."""
    cell = find(book, order_id)
    return order_in(book, cell) if cell >= 0 else 0


@inline
def resting(book: Cells, row: int) -> Order:
    orders = book.orders
    level = orders[row + LEVEL]
    return Order(
        orders[row + ORDER_ID],
        orders[row + ACCOUNT],
        side_of(book, level),
        price_of(book, level),
        orders[row + QUANTITY],
        orders[row + FLAGS],
    )


@inline
def rest(book: Cells, order: Order, quantity: int, remaining: int) -> None:
    """A new row, last of its level."""
    header, orders, levels = book.header, book.orders, book.levels
    row = header[FREE_ORDER]
    if row != 0:
        header[FREE_ORDER] = orders[row + NEXT]
    else:
        row = header[LAST_ORDER] + ROW
        header[LAST_ORDER] = row
    level = level_for(book, order.side, order.price)
    tail = levels[level + TAIL]
    orders[row + ORDER_ID] = order.order_id
    orders[row + ACCOUNT] = order.account
    orders[row + LEVEL] = level
    orders[row + FLAGS] = order.flags
    orders[row + QUANTITY] = quantity
    orders[row + REMAINING] = remaining
    orders[row + NEXT] = 0
    orders[row + PREVIOUS] = tail
    head = levels[level + HEAD]
    orders[tail + NEXT] = row
    levels[level + HEAD] = row if tail == 0 else head
    levels[level + TAIL] = row
    levels[level + TOTAL] += remaining
    levels[level + COUNT] += 1
    insert(book, order.order_id, row)
    header[LIVE] += 1


@inline
def take_out(book: Cells, row: int, cell: int) -> None:
    """`cell` is that of its id."""
    header, orders, levels = book.header, book.orders, book.levels
    level, previous, following = orders[row + LEVEL], orders[row + PREVIOUS], orders[row + NEXT]
    # Without branches, since which of them is nobody cannot be foretold; nobody's row takes what is written to it.
    orders[previous + NEXT] = following
    orders[following + PREVIOUS] = previous
    head, tail = levels[level + HEAD], levels[level + TAIL]
    levels[level + HEAD] = following if previous == 0 else head
    levels[level + TAIL] = previous if following == 0 else tail
    levels[level + TOTAL] -= orders[row + REMAINING]
    levels[level + COUNT] -= 1
    if levels[level + COUNT] == 0:
        close_level(header, level)
    remove(book, cell)
    orders[row + NEXT] = header[FREE_ORDER]
    header[FREE_ORDER] = row
    header[LIVE] -= 1


@inline
def reduce(book: Cells, row: int, quantity: int) -> int:
    """What then remains of the order, which is taken out if that is nothing."""
    left = book.orders[row + REMAINING] - quantity
    if left == 0:
        take_out(book, row, find(book, book.orders[row + ORDER_ID]))
    else:
        book.orders[row + REMAINING] = left
        book.levels[book.orders[row + LEVEL] + TOTAL] -= quantity
    return int(left)
