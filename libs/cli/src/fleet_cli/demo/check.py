"""The fleet's books held against themselves: what must be true of any fleet at rest."""

from collections import defaultdict
from decimal import Decimal

from .follow import Seen
from .outcome import Outcome
from .scenario import BARS, INITIAL_CASH, SYMBOLS

_ENDED = {"filled", "canceled", "expired", "denied", "rejected"}
_RESTS = {"new", "partially_filled", "pending_new"}
"""`pending_new`: decided at the last close, it waits for an open that did not come."""


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
    found += [
        f"order {order['order_id']} is {order['status']}: it neither ended nor rests"
        for order in fleet.orders
        if order["status"] not in _ENDED | _RESTS
    ]
    if len(fleet.bars) != BARS:
        found.append(f"{len(fleet.bars)} bars are stored, {BARS} were replayed")
    return found


def socket(fleet: Outcome, seen: Seen) -> list[str]:
    """The client who only listened knows every trade and the last state of every order."""
    found: list[str] = []
    missed = {trade["trade_id"] for trade in fleet.trades} - set(seen.trades)
    if missed:
        found.append(f"the socket did not tell of {len(missed)} of {len(fleet.trades)} trades")
    for order in fleet.orders:
        told = seen.orders.get(order["order_id"])
        if told is None or told["status"] != order["status"]:
            status = "nothing" if told is None else told["status"]
            found.append(f"the socket told {status} of order {order['order_id']}, which is {order['status']}")
    return found
