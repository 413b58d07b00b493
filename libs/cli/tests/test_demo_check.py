"""The demo's own check goes red: each thing that it looks at is altered in turn."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest
from fleet_cli.demo import check
from fleet_cli.demo.follow import Seen
from fleet_cli.demo.history import packaged_bars
from fleet_cli.demo.outcome import Outcome, expected
from fleet_cli.demo.scenario import INITIAL_CASH, START, SYMBOLS, Deployed
from fleet_sdk.bars import Bar
from fleet_sdk.run import RunResult
from rich.console import Console

ACCOUNT = "an-account"
IDS = UUID(int=1)
END = START + timedelta(days=200)


@dataclass
class World:
    """A fleet that did all as the run in process, and what a client heard of it."""

    packaged: list[Bar]
    in_process: RunResult
    fleet: Outcome
    seen: Seen

    def verdict(self, verified: list[str]) -> tuple[int, str]:
        """Exit status and words of the check."""
        told = check.socket(self.fleet, self.seen)
        checks = check.all_of(
            self.fleet, packaged=self.packaged, in_process=self.in_process, verified=verified, told=told
        )
        console = Console(file=io.StringIO(), width=400)
        status = check.say(console, checks)
        assert isinstance(console.file, io.StringIO)
        return status, console.file.getvalue()


@pytest.fixture(scope="module")
def in_process() -> RunResult:
    deployed = [Deployed(str(uuid5(IDS, symbol)), symbol) for symbol in SYMBOLS]
    return expected(packaged_bars(end=END), ACCOUNT, deployed)


@pytest.fixture
def world(in_process: RunResult) -> World:
    packaged, run = packaged_bars(end=END), in_process
    orders = [
        {
            "order_id": str(order.order_id),
            "signal_id": str(order.signal_id),
            "status": "new" if order.is_open else str(order.outcome),
        }
        for order in run.orders
    ]
    order_of = {order["signal_id"]: order["order_id"] for order in orders}
    trades: list[dict[str, Any]] = []
    ledger = [{"currency": "USD", "amount": str(INITIAL_CASH)}]
    for number, fill in enumerate(run.fills):
        trades.append(
            {
                "trade_id": str(number),
                "order_id": order_of[str(fill.signal_id)],
                "symbol": fill.symbol,
                "side": str(fill.side.value),
                "quantity": str(fill.quantity),
                "price": str(fill.price),
                "fee": str(fill.fee),
                "market_at": fill.market_at.isoformat(),
            }
        )
        sign = 1 if fill.side.value == "buy" else -1
        ledger.append({"currency": fill.symbol.partition("/")[0], "amount": str(sign * fill.quantity)})
        ledger.append({"currency": "USD", "amount": str(-sign * fill.quantity * fill.price)})
        ledger.append({"currency": "USD", "amount": str(-fill.fee)})
    fleet = Outcome(
        account_id=ACCOUNT,
        orders=orders,
        trades=trades,
        positions=[{"symbol": symbol, "quantity": str(held)} for (_, symbol), held in run.positions.items()],
        portfolio={"cash": str(run.cash[ACCOUNT])},
        history=[{"at": at.isoformat(), "equity": str(equity)} for at, equity in run.equity[ACCOUNT]],
        ledger=ledger,
        bars=list(packaged),
    )
    seen = Seen(
        orders={order["order_id"]: dict(order) for order in orders},
        trades={trade["trade_id"]: dict(trade) for trade in trades},
    )
    return World(packaged, run, fleet, seen)


def test_what_is_as_it_should_be_passes(world: World) -> None:
    assert len(world.fleet.trades) > 10 and world.in_process.positions
    status, words = world.verdict([])
    assert status == 0 and words.count("✓") == 5 and words.endswith("all checks passed\n")


def add(amount: str) -> Callable[[dict[str, Any], str], None]:
    def altered(thing: dict[str, Any], name: str) -> None:
        thing[name] = str(Decimal(thing[name]) + Decimal(amount))

    return altered


CENT = add("0.01")


def last_usd(world: World) -> dict[str, Any]:
    return next(entry for entry in reversed(world.fleet.ledger) if entry["currency"] == "USD")


def last_asset(world: World) -> dict[str, Any]:
    return next(entry for entry in reversed(world.fleet.ledger) if entry["currency"] != "USD")


def other_close(world: World) -> None:
    bar = world.fleet.bars[3]
    world.fleet.bars[3] = msgspec.structs.replace(bar, close=bar.close + Decimal("0.01"))


def bars_of_all(world: World) -> None:
    """Every bar an hour late, in the fleet and so in all that it says: nothing within the fleet would differ."""
    world.fleet.bars[:] = [
        msgspec.structs.replace(bar, open_at=bar.open_at + timedelta(hours=1)) for bar in world.fleet.bars
    ]


ALTERED: dict[str, tuple[Callable[[World], object], list[str]]] = {
    "a fill's price": (
        lambda world: CENT(world.fleet.trades[0], "price"),
        ["fill only in the fleet: ", "fill only in process: ", "the fills say", "the socket told a price of"],
    ),
    "a fill's fee": (lambda world: CENT(world.fleet.trades[0], "fee"), ["fill only in the fleet: ", "cash is"]),
    "a fill's quantity": (
        lambda world: add("1")(world.fleet.trades[0], "quantity"),
        ["fill only in the fleet: ", "position is", "entries sum to"],
    ),
    "a fill too few": (lambda world: world.fleet.trades.pop(), ["fill only in process: ", " in the fleet, "]),
    "a fill twice": (
        lambda world: world.fleet.trades.append(world.fleet.trades[0]),
        [" fills in the fleet, ", "the fills say"],
    ),
    "a fill of another order": (
        lambda world: world.fleet.trades[0].update(order_id=world.fleet.trades[-1]["order_id"]),
        ["fill only in the fleet: "],
    ),
    "cash": (
        lambda world: CENT(world.fleet.portfolio, "cash"),
        ["cash is {cash}, the fills say", "cash is {cash} in the fleet, "],
    ),
    "a position": (
        lambda world: add("1")(world.fleet.positions[0], "quantity"),
        ["position is", "positions are {{"],
    ),
    "an entry in dollars": (lambda world: CENT(last_usd(world), "amount"), ["the ledger's USD entries sum to"]),
    "an entry in shares": (lambda world: add("1")(last_asset(world), "amount"), ["entries sum to"]),
    "an order's status": (
        lambda world: world.fleet.orders[0].update(status="pending_cancel"),
        ["is pending_cancel: it neither ended nor rests", "the socket told filled of order"],
    ),
    "the equity of a step": (
        lambda world: CENT(world.fleet.history[90], "equity"),
        [" in process, at "],
    ),
    "a bar too few": (lambda world: world.fleet.bars.pop(), ["only the package has MSFT/USD of "]),
    "a bar twice": (
        lambda world: world.fleet.bars.append(world.fleet.bars[0]),
        ["the package no such bar, or not twice"],
    ),
    "a bar's close": (other_close, ["the fleet has AAPL/USD of 2011-03-04 14:30 to 21:00: "]),
    "all bars alike": (bars_of_all, ["the fleet has ", "… and 1100 more"]),
    "a trade that was not told": (
        lambda world: world.seen.trades.pop("0"),
        ["the socket did not tell of 1 of {trades} trades"],
    ),
    "a trade that was told wrongly": (
        lambda world: CENT(world.seen.trades["0"], "price"),
        ["the socket told a price of "],
    ),
    "an order that was not told": (
        lambda world: world.seen.orders.pop(world.fleet.orders[0]["order_id"]),
        ["the socket told nothing of order "],
    ),
    "an order that was told wrongly": (
        lambda world: world.seen.orders[world.fleet.orders[0]["order_id"]].update(status="new"),
        ["the socket told new of order "],
    ),
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_differs_is_told_and_ends_with_1(world: World, what: str) -> None:
    world.fleet.orders[:] = copy.deepcopy(world.fleet.orders)
    alter, told = ALTERED[what]
    alter(world)
    status, words = world.verdict([])
    assert status == 1 and "checks failed" in words and "✗" in words
    for line in told:
        assert line.format(cash=world.fleet.portfolio["cash"], trades=len(world.fleet.trades)) in words, words


def test_what_trading_finds_in_its_ledger_ends_with_1(world: World) -> None:
    status, words = world.verdict(["USD: entries sum to 1"])
    assert status == 1 and "    USD: entries sum to 1\n" in words and "1 of 5 checks failed" in words
