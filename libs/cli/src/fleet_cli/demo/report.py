"""The demo's table."""

from datetime import datetime
from decimal import Decimal
from statistics import quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from .outcome import Outcome
from .scenario import SYMBOLS

_WIDTH = 110


def money(value: object) -> str:
    """Two digits and thousands; the exact figure is the API's."""
    return f"{Decimal(str(value)):,.2f}"


def show(console: Console, fleet: Outcome, *, seconds: float) -> None:
    """One row a symbol, then what the account is worth, then how fast it went."""
    table = Table(title="SMA cross 10/30 on daily bars, 2011-03-01 to 2013-03-01", title_justify="left")
    for column in ("symbol", "orders", "fills", "fees", "position", "average", "mark", "unrealised", "realised"):
        table.add_column(column, justify="left" if column == "symbol" else "right")
    positions = {position["symbol"]: position for position in fleet.positions}
    for symbol in SYMBOLS:
        table.add_row(symbol.partition("/")[0], *_row(fleet, symbol, positions.get(symbol)))
    portfolio = fleet.portfolio
    fees = sum((Decimal(trade["fee"]) for trade in fleet.trades), Decimal(0))
    table.add_section()
    table.add_row(
        "all",
        str(len(fleet.orders)),
        str(len(fleet.trades)),
        money(fees),
        "",
        "",
        "",
        money(portfolio["unrealized_pnl"]),
        money(portfolio["realized_pnl"]),
    )
    # In a file or a pipe there is no width to keep to, and a cut figure is worth nothing.
    wide = console if console.is_terminal else Console(file=console.file, width=_WIDTH)
    wide.print(table)
    console.print(
        f"equity {money(portfolio['equity'])} USD = cash {money(portfolio['cash'])}"
        f" + positions {money(portfolio['positions_value'])}"
    )
    p50, p95 = order_to_fill_ms(fleet)
    console.print(
        f"{len(fleet.bars)} bars in {seconds:.1f} s: {len(fleet.bars) / seconds:.0f} bars/s;"
        f" order → fill p50 {p50:.0f} ms, p95 {p95:.0f} ms (an order waits for the next bar's open)"
    )


def _row(fleet: Outcome, symbol: str, position: dict[str, Any] | None) -> list[str]:
    trades = [trade for trade in fleet.trades if trade["symbol"] == symbol]
    orders = sum(1 for order in fleet.orders if order["symbol"] == symbol)
    fees = sum((Decimal(trade["fee"]) for trade in trades), Decimal(0))
    cells = [str(orders), str(len(trades)), money(fees)]
    if position is None:
        return [*cells, "0", "", "", "", ""]
    is_open = bool(Decimal(position["quantity"]))
    return [
        *cells,
        f"{Decimal(position['quantity']).normalize():f}",
        money(position["average_price"]) if is_open else "",
        money(position["mark_price"]) if is_open and position["mark_price"] is not None else "",
        money(position["unrealized_pnl"]) if is_open and position["unrealized_pnl"] is not None else "",
        money(position["realized_pnl"]),
    ]


def order_to_fill_ms(fleet: Outcome) -> tuple[float, float]:
    """Median and 95th percentile of the wall time from an order's acceptance to its fill, in milliseconds."""
    created = {order["order_id"]: datetime.fromisoformat(order["created_at"]) for order in fleet.orders}
    waits = [
        (datetime.fromisoformat(trade["executed_at"]) - created[trade["order_id"]]).total_seconds() * 1000
        for trade in fleet.trades
    ]
    if len(waits) < 2:
        return (waits[0], waits[0]) if waits else (0.0, 0.0)
    cuts = quantiles(waits, n=20, method="inclusive")
    return cuts[9], cuts[18]
