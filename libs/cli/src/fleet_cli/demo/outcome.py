"""What came of the demo: read back through the API, and computed in process from the package's bars."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

from fleet_sdk.accounts import Fill
from fleet_sdk.bars import Bar, steps
from fleet_sdk.builtin import create
from fleet_sdk.client import FleetClient
from fleet_sdk.run import Deployment, RunResult
from fleet_sdk.run import run as run_in_process

from .scenario import BUILTIN, END, FEE_RATE, INITIAL_CASH, PARAMETERS, START, SYMBOLS, TICK, TIMEFRAME, Deployed

_SPAN = (START, datetime(2012, 3, 1, tzinfo=START.tzinfo), END)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fleet's own account of what happened."""

    account_id: str
    orders: list[dict[str, Any]]
    trades: list[dict[str, Any]]
    positions: list[dict[str, Any]]
    portfolio: dict[str, Any]
    history: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    bars: list[Bar]


async def read_outcome(client: FleetClient) -> Outcome:
    """Everything of the default account, every page of it, and the bars as the fleet stored them."""
    account = next(account for account in await client.accounts() if account["is_default"])
    orders = [order async for order in client.orders(status="all")]
    trades = [trade async for trade in client.trades()]
    ledger = [entry async for entry in client.ledger(account["account_id"])]
    bars = await asyncio.gather(*(_bars(client, symbol) for symbol in SYMBOLS))
    return Outcome(
        account_id=account["account_id"],
        orders=orders,
        trades=trades,
        positions=await client.positions(),
        portfolio=await client.portfolio(),
        history=[point async for point in client.portfolio_history(TIMEFRAME)],
        ledger=ledger,
        bars=[bar for of_symbol in bars for bar in of_symbol],
    )


async def _bars(client: FleetClient, symbol: str) -> list[Bar]:
    found: list[Bar] = []
    for start, end in pairwise(_SPAN):
        for candle in await client.candles(symbol, TIMEFRAME, start=start, end=end):
            if candle["state"] == "closed":
                found.append(_bar(symbol, candle))
    return found


def _bar(symbol: str, candle: dict[str, Any]) -> Bar:
    prices = {name: Decimal(candle[name]) for name in ("open", "high", "low", "close", "volume")}
    return Bar(
        symbol=symbol,
        open_at=datetime.fromisoformat(candle["open_at"]),
        close_at=datetime.fromisoformat(candle["close_at"]),
        **prices,
    )


def expected(
    bars: Sequence[Bar],
    account_id: str,
    deployed: Sequence[Deployed],
    parameters: Mapping[str, Any] = PARAMETERS,
) -> RunResult:
    """The same strategy objects on the same bars, in this process, through libs/simulator."""
    return run_in_process(
        [
            Deployment(UUID(one.deployment_id), account_id, create(BUILTIN, parameters), (one.symbol,))
            for one in deployed
        ],
        steps(bars),
        fee_rate=FEE_RATE,
        tick=TICK,
        initial_cash=INITIAL_CASH,
    )


def differences(fleet: Outcome, run: RunResult) -> list[str]:
    """Where the fleet's fills, positions, cash or equity curve are not those of the in-process run, to the last digit."""
    order_of = {order["order_id"]: order for order in fleet.orders}
    close_of = {(bar.symbol, at): bar.close_at for bar in fleet.bars for at in (bar.open_at, bar.close_at)}
    theirs = sorted(_fleet_fill(trade, order_of[trade["order_id"]], close_of) for trade in fleet.trades)
    ours = sorted(_run_fill(fill) for fill in run.fills)
    found = [f"fill only in the fleet: {_words(fill)}" for fill in theirs if fill not in set(ours)]
    found += [f"fill only in process: {_words(fill)}" for fill in ours if fill not in set(theirs)]
    if len(theirs) != len(ours):
        found.append(f"{len(theirs)} fills in the fleet, {len(ours)} in process")
    held = {position["symbol"]: Decimal(position["quantity"]) for position in fleet.positions}
    held = {symbol: quantity for symbol, quantity in held.items() if quantity}
    wanted = {symbol: quantity for (_, symbol), quantity in run.positions.items()}
    if held != wanted:
        found.append(f"positions are {held} in the fleet, {wanted} in process")
    cash = run.cash[fleet.account_id]
    if Decimal(fleet.portfolio["cash"]) != cash:
        found.append(f"cash is {fleet.portfolio['cash']} in the fleet, {cash} in process")
    return found + _curve_differences(fleet, run)


def _curve_differences(fleet: Outcome, run: RunResult) -> list[str]:
    """The first one: the points that follow are wrong with it."""
    curve = {datetime.fromisoformat(point["at"]): Decimal(point["equity"]) for point in fleet.history}
    known: Decimal | None = None
    for at, equity in run.equity[fleet.account_id]:
        known = curve.pop(at, known)  # what had not changed is not repeated
        if known != equity:
            return [f"equity is {known} in the fleet, {equity} in process, at {at}"]
    return [f"the fleet's equity curve has a point at {min(curve)}, which is no step"] if curve else []


FillKey = tuple[str, str, str, str, Decimal, Decimal, Decimal]


def _fleet_fill(
    trade: dict[str, Any], order: dict[str, Any], close_of: dict[tuple[str, datetime], datetime]
) -> FillKey:
    at = datetime.fromisoformat(trade["market_at"])
    bar = close_of.get((trade["symbol"], at), at)
    return (
        bar.isoformat(),
        trade["symbol"],
        str(order["signal_id"]),
        trade["side"],
        Decimal(trade["quantity"]),
        Decimal(trade["price"]),
        Decimal(trade["fee"]),
    )


def _run_fill(fill: Fill) -> FillKey:
    return (
        fill.market_at.isoformat(),
        fill.symbol,
        str(fill.signal_id),
        str(fill.side.value),
        fill.quantity,
        fill.price,
        fill.fee,
    )


def _words(fill: FillKey) -> str:
    at, symbol, signal, side, quantity, price, fee = fill
    return f"{at[:10]} {side} {quantity} {symbol} at {price}, fee {fee}, signal {signal}"
