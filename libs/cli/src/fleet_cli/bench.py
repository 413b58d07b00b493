"""`fleet bench book`: a file of operations through one order book, as fast as it goes."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fleet_cli.console import fail

if TYPE_CHECKING:
    import numpy as np
    from fleet_simulator.book import Book
    from fleet_simulator.book.commands import Commands
    from fleet_simulator.book.events import Events
    from numpy.typing import NDArray

bench = typer.Typer(no_args_is_help=True, help="Measure a part of the fleet on this machine.")

BATCH: Final = 4096
_COLUMNS: Final = ("op", "id", "side", "price", "quantity")
_OPERATIONS: Final = ("add", "cancel", "take")


class Engine(StrEnum):
    FAST = "fast"
    NAIVE = "naive"


@bench.callback()
def _group() -> None:
    """Keeps `book` a word of its own while it is the only one."""


@bench.command()
def book(
    file: Annotated[
        Path, typer.Argument(help="Little-endian int64 rows: op (0 add, 1 cancel, 2 take), id, side, price, quantity.")
    ],
    engine: Annotated[Engine, typer.Option(help="`fast` is compiled, `naive` is plain Python.")] = Engine.FAST,
) -> None:
    """Replay a file of operations through an order book and print one line of JSON."""
    commands = book_commands(file)
    # A venue loads the compiled code, that of a growing book too, when it starts and not with its first orders.
    _new_book(engine).apply(commands[: 2 * BATCH])
    print(json.dumps({"engine": str(engine), "ops": len(commands), **_replayed(_new_book(engine), commands)}))


def book_commands(file: Path) -> Commands:
    """As commands of the book: a take is a limit order that does not rest. All are of one account."""
    import numpy as np
    from fleet_simulator.book import commands as c

    try:
        cells = np.frombuffer(file.read_bytes(), dtype="<i8")
    except (OSError, ValueError) as unreadable:
        reason = unreadable.strerror if isinstance(unreadable, OSError) else "its size is no multiple of 8 bytes"
        fail(f"{file} cannot be read: {reason}", "It must hold rows of five little-endian int64")
    if not len(cells) or len(cells) % len(_COLUMNS):
        fail(f"{file} has {len(cells)} numbers, which are no rows of {', '.join(_COLUMNS)}")
    operations = cells.reshape(-1, len(_COLUMNS))
    for column, highest in ((0, 2), (2, 1)):
        bad = np.flatnonzero((operations[:, column] < 0) | (operations[:, column] > highest))
        if len(bad):
            fail(f"row {bad[0]} of {file}: {_COLUMNS[column]} is 0 to {highest}, was {operations[bad[0], column]}")
    rows = np.zeros((len(operations), c.COLUMNS), dtype=np.int64)
    rows[:, c.WORD] = np.where(operations[:, 0] == 1, c.Word.CANCEL, c.Word.ADD)
    rows[:, [c.ORDER_ID, c.SIDE, c.PRICE, c.QUANTITY]] = operations[:, 1:]
    rows[:, c.FLAGS] = np.where(operations[:, 0] == 2, c.flags(c.TimeInForce.IOC), 0)
    return rows


def _new_book(engine: Engine) -> Book:
    if engine is Engine.NAIVE:
        from fleet_simulator.book import NaiveBook

        return NaiveBook()
    from fleet_simulator.book.fast import FastBook

    return FastBook()


def _replayed(book: Book, commands: Commands) -> dict[str, Any]:
    """Only the book's own work is timed, its events included; they are counted in between."""
    from fleet_simulator.book import events as e
    from fleet_simulator.book.commands import Side

    fills = volume = notional = 0
    seconds = cpu_seconds = 0.0
    for first in range(0, len(commands), BATCH):
        began, cpu_began = time.perf_counter(), time.process_time()
        events = book.apply(commands[first : first + BATCH])
        cpu_seconds += time.process_time() - cpu_began
        seconds += time.perf_counter() - began
        _refuse_rejected(commands, events)
        trades = events[events[:, e.KIND] == e.Kind.TRADED]
        fills += len(trades)
        volume += int(trades[:, e.QUANTITY].sum())
        notional += _notional(trades[:, e.PRICE], trades[:, e.QUANTITY])
    return {
        "fills": fills,
        "volume": volume,
        "notional": notional,
        "best_bid": book.best(Side.BUY),
        "best_ask": book.best(Side.SELL),
        "live": len(book),
        "state_hash": f"{book.state_hash():016x}",
        "seconds": round(seconds, 6),
        "cpu_seconds": round(cpu_seconds, 6),
        "ops_per_cpu_second": round(len(commands) / cpu_seconds) if cpu_seconds else None,
    }


def _notional(prices: NDArray[np.int64], quantities: NDArray[np.int64]) -> int:
    """In Python's integers: one product may be larger than 64 bits."""
    return sum(price * quantity for price, quantity in zip(prices.tolist(), quantities.tolist(), strict=True))


def _refuse_rejected(commands: Commands, events: Events) -> None:
    from fleet_simulator.book import commands as c
    from fleet_simulator.book import events as e

    rejected = events[events[:, e.KIND] == e.Kind.REJECTED]
    if len(rejected):
        row = int(rejected[0, e.COMMAND]) - 1
        word, reason = c.Word(commands[row, c.WORD]), e.Reason(rejected[0, e.REASON])
        asked = _OPERATIONS[1 if word is c.Word.CANCEL else 2 if commands[row, c.FLAGS] else 0]
        fail(f"row {row}: {asked} of id {rejected[0, e.ORDER_ID]} is not possible: {reason.name.lower()}")
