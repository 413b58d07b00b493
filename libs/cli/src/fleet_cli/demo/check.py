"""The fleet's books held against themselves, against the package's bars and against the run in process."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from fleet_contracts.vocabulary import OrderStatus
from fleet_sdk.bars import Bar
from fleet_sdk.run import RunResult
from rich.console import Console

from .follow import Seen
from .outcome import Outcome, differences
from .scenario import INITIAL_CASH, SYMBOLS

_ENDED = {status for status in OrderStatus if status.is_ended}
_RESTS = {OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.PENDING_NEW}
"""`pending_new`: decided at the last close, it waits for an open that did not come."""
_SHOWN = 20


def all_of(
    fleet: Outcome, *, packaged: Sequence[Bar], in_process: RunResult, verified: list[str], told: list[str]
) -> dict[str, list[str]]:
    """What was checked and what is wrong with it; `verified` is trading's own check, `told` that of the socket."""
    return {
        f"{len(fleet.bars)} bars are those of the package": bars(fleet.bars, packaged),
        "ledger balanced in every currency, reservations equal open orders": verified,
        "cash and positions equal the sum of fills; every order ended or rests": books(fleet),
        f"{len(fleet.trades)} fills equal those of the in-process run": differences(fleet, in_process),
        "the socket told every trade and the last state of every order": told,
    }


def say(console: Console, checks: dict[str, list[str]]) -> int:
    """Tells all of it; the demo's exit status, 0 only when every check holds."""
    for name, found in checks.items():
        console.print(f"{'[red]✗[/]' if found else '[green]✓[/]'} {name}", highlight=False)
        for difference in found[:_SHOWN]:
            console.print(f"    {difference}", highlight=False, markup=False)
        if len(found) > _SHOWN:
            console.print(f"    … and {len(found) - _SHOWN} more")
    failed = sum(1 for found in checks.values() if found)
    if failed:
        console.print(f"[red]{failed} of {len(checks)} checks failed[/]")
        return 1
    console.print("[green]all checks passed[/]")
    return 0


def bars(stored: Sequence[Bar], packaged: Sequence[Bar]) -> list[str]:
    """Each bar once, as the package has it: the run in process takes the package's, so that no reader is trusted."""
    there = {(bar.symbol, bar.open_at): bar for bar in packaged}
    found: list[str] = []
    for bar in stored:
        wanted = there.pop((bar.symbol, bar.open_at), None)
        if wanted != bar:
            found.append(f"the fleet has {_words(bar)}, the package {_words(wanted)}")
    return found + [f"only the package has {_words(bar)}" for bar in there.values()]


def _words(bar: Bar | None) -> str:
    if bar is None:
        return "no such bar, or not twice"
    at = f"{bar.symbol} of {bar.open_at:%Y-%m-%d %H:%M} to {bar.close_at:%H:%M}"
    return f"{at}: {bar.open} {bar.high} {bar.low} {bar.close}, {bar.volume}"


def books(fleet: Outcome) -> list[str]:
    """Cash and positions are the sum of the fills; ledger balances are the sum of their entries; orders ended or rest."""
    found: list[str] = []
    cash = INITIAL_CASH
    held: dict[str, Decimal] = defaultdict(Decimal)
    for trade in fleet.trades:
        quantity, price, fee = Decimal(trade["quantity"]), Decimal(trade["price"]), Decimal(trade["fee"])
        sign = 1 if trade["side"] == "buy" else -1
        cash -= sign * quantity * price + fee
        held[trade["symbol"]] += sign * quantity
    if Decimal(fleet.portfolio["cash"]) != cash:
        found.append(f"cash is {fleet.portfolio['cash']}, the fills say {cash}")
    positions = {position["symbol"]: Decimal(position["quantity"]) for position in fleet.positions}
    for symbol in SYMBOLS:
        if positions.get(symbol, Decimal(0)) != held[symbol]:
            found.append(f"{symbol}: position is {positions.get(symbol, 0)}, the fills say {held[symbol]}")
    entries: dict[str, Decimal] = defaultdict(Decimal)
    for entry in fleet.ledger:
        entries[entry["currency"]] += Decimal(entry["amount"])
    if entries["USD"] != cash:
        found.append(f"the ledger's USD entries sum to {entries['USD']}, the fills say {cash}")
    for symbol in SYMBOLS:
        asset = symbol.partition("/")[0]
        if entries[asset] != held[symbol]:
            found.append(f"the ledger's {asset} entries sum to {entries[asset]}, the fills say {held[symbol]}")
    return found + [
        f"order {order['order_id']} is {order['status']}: it neither ended nor rests"
        for order in fleet.orders
        if order["status"] not in _ENDED | _RESTS
    ]


def socket(fleet: Outcome, seen: Seen) -> list[str]:
    """The client who only listened knows every trade as it is and the last state of every order."""
    found: list[str] = []
    missed = {trade["trade_id"] for trade in fleet.trades} - set(seen.trades)
    if missed:
        found.append(f"the socket did not tell of {len(missed)} of {len(fleet.trades)} trades")
    for trade in fleet.trades:
        said = seen.trades.get(trade["trade_id"], trade)
        found += [
            f"the socket told a {name} of {said[name]} of trade {trade['trade_id']}, which is {trade[name]}"
            for name in ("quantity", "price", "fee")
            if Decimal(said[name]) != Decimal(trade[name])
        ]
    for order in fleet.orders:
        told = seen.orders.get(order["order_id"])
        if told is None or told["status"] != order["status"]:
            status = "nothing" if told is None else told["status"]
            found.append(f"the socket told {status} of order {order['order_id']}, which is {order['status']}")
    return found
