"""The workload of bench/book.py through nautilus_trader's order book, from Python: one line of JSON.

That book does not match: it is told of each fill as an update or a deletion of the order that rests. They are counted
beforehand, from a file of (id, remaining) rows in the order of the takes, with how many belong to each.

Run in an environment of its own: `python nautilus.py FILE FILLS`.
"""

from __future__ import annotations

import json
import sys
import time
from array import array
from importlib import import_module
from pathlib import Path

# By name, since nothing here but this script's own environment has it.
model = "nautilus_trader.model."
OrderBook = import_module(model + "book").OrderBook
BookOrder = import_module(model + "data").BookOrder
BookType, OrderSide = import_module(model + "enums").BookType, import_module(model + "enums").OrderSide
InstrumentId = import_module(model + "identifiers").InstrumentId
Price, Quantity = import_module(model + "objects").Price, import_module(model + "objects").Quantity
VERSION = import_module("nautilus_trader").__version__


def numbers(file: str) -> array[int]:
    cells = array("q")
    cells.frombytes(Path(file).read_bytes())
    return cells


def main() -> None:
    cells, fills = numbers(sys.argv[1]), numbers(sys.argv[2])
    book = OrderBook(InstrumentId.from_str("A.B"), BookType.L3_MBO)
    sides = (OrderSide.BUY, OrderSide.SELL)
    resting: dict[int, tuple[object, object]] = {}
    began, cpu_began = time.perf_counter(), time.process_time()
    at, ops = 0, len(cells) // 5
    for row in range(0, len(cells), 5):
        op, order_id, side, price, quantity = cells[row : row + 5]
        if op == 0:
            resting[order_id] = (sides[side], Price(price, 0))
            book.add(BookOrder(*resting[order_id], Quantity(quantity, 0), order_id), row, 0, row)
        elif op == 1:
            book.delete(BookOrder(*resting.pop(order_id), Quantity(quantity, 0), order_id), row, 0, row)
        else:
            count, at = fills[at], at + 1
            for _ in range(count):
                maker, left = fills[at], fills[at + 1]
                at += 2
                if left:
                    book.update(BookOrder(*resting[maker], Quantity(left, 0), maker), row, 0, row)
                else:
                    book.delete(BookOrder(*resting.pop(maker), Quantity(1, 0), maker), row, 0, row)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    result = {
        "engine": f"nautilus_trader {VERSION}",
        "ops": ops,
        "best_bid": int(book.best_bid_price()),
        "best_ask": int(book.best_ask_price()),
        "live": len(resting),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "ops_per_cpu_second": round(ops / cpu_seconds),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
