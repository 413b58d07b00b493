"""Orders sent while something breaks, and what must be true of them afterwards."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from fleet_contracts.vocabulary import OrderStatus
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError, OutcomeUnknown, Unreachable
from fleet_testkit.eventually import eventually
from whole_fleet import until_status

ENDED = tuple(status for status in OrderStatus if status.is_ended)
SEND_BY = timedelta(seconds=5)
OPENING_DEPOSIT = Decimal(100_000)

Json = dict[str, Any]


def market_order(symbol: str = "AAPL/USD", **changes: Any) -> Json:
    body = {"symbol": symbol, "side": "buy", "type": "market", "quantity": "1", "time_in_force": "gtc"}
    return {**body, **changes}


async def place_until_answered(client: FleetClient, body: Json, timeout_s: float = 90) -> Json | ApiError:
    """The order, or its denial."""
    return await until_answered(partial(client.place_order, body), timeout_s)


async def until_answered(
    ask: Callable[[], Awaitable[Json]], timeout_s: float = 90, failed: Callable[[Exception], None] = lambda _: None
) -> Json | ApiError:
    """The answer, or the refusal. Where the outcome is unknown or nothing was done, the very same is asked again."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.1
    while True:
        try:
            return await ask()
        except ApiError as error:
            if error.status < 500:
                return error
            last: Exception = error
        except (OutcomeUnknown, Unreachable) as error:
            last = error
        failed(last)
        if time.monotonic() > deadline:
            raise AssertionError(f"no answer after {timeout_s} s") from last
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, 1.0)


@dataclass
class Sending:
    """Sends orders of one user from several tasks; `answered` holds the order or denial of each `client_order_id`."""

    client: FleetClient
    prefix: str = "o"
    answered: dict[str, Json | ApiError] = field(default_factory=dict)
    sent: int = 0

    async def send(
        self, count: int, *, at_once: int = 4, after: tuple[int, Callable[[], None]] | None = None, **changes: Any
    ) -> list[Json | ApiError]:
        """`count` market orders, or changed ones; `after`: something to be done when so many have been answered."""
        names = [f"{self.prefix}-{self.sent + n}" for n in range(count)]
        self.sent += count
        waiting = list(names)
        pending = [after] if after else []

        async def sender() -> None:
            while waiting:
                name = waiting.pop(0)
                self.answered[name] = await place_until_answered(
                    self.client, market_order(client_order_id=name, **changes)
                )
                if pending and len(self.answered) >= pending[0][0]:
                    pending.pop()[1]()

        await asyncio.gather(*(sender() for _ in range(at_once)))
        assert not pending, "what was to happen meanwhile did not"
        return [self.answered[name] for name in names]

    @property
    def accepted(self) -> dict[str, Json]:
        return {name: answer for name, answer in self.answered.items() if not isinstance(answer, ApiError)}

    async def until_ended(self, timeout_s: float = 90) -> None:
        for order in self.accepted.values():
            await until_status(self.client, order["order_id"], *ENDED, timeout_s=timeout_s)

    async def check(self) -> None:
        """One order per `client_order_id`, each ended; cash and positions are the sum of the fills; none came late."""
        orders = {order["client_order_id"]: order async for order in self.client.orders(status="all")}
        listed = [order async for order in self.client.orders(status="all")]
        assert len(listed) == len(orders), "two orders have the same client_order_id"
        assert {name for name, order in orders.items() if order["status"] != "denied"} == set(self.accepted)
        trades = [trade async for trade in self.client.trades()]
        by_id = {order["order_id"]: order for order in listed}
        for trade in trades:
            assert_filled_in_time(by_id[trade["order_id"]], trade)
        filled = filled_by_order(trades)
        for name, answer in self.accepted.items():
            order = orders[name]
            assert order["order_id"] == answer["order_id"], "an answer was of another order"
            assert order["status"] in ENDED, f"{name} is {order['status']}"
            assert Decimal(order["filled_quantity"]) == filled.get(order["order_id"], 0)
            assert (order["status"] == "filled") == (order["order_id"] in filled)
        portfolio = await assert_booked(self.client, trades)
        assert Decimal(portfolio["buying_power"]) == Decimal(portfolio["cash"]), "funds are still reserved"


def assert_filled_in_time(order: Json, trade: Json) -> None:
    """A fill's price is of the time between acceptance and `send_by`, never of another one."""
    accepted_at, filled_at = (datetime.fromisoformat(text) for text in (order["created_at"], trade["market_at"]))
    # The simulated market quotes ten times a second: a fill may carry the time of the round that was current.
    assert accepted_at - timedelta(seconds=1) <= filled_at <= accepted_at + SEND_BY, (order, trade)


def filled_by_order(trades: Iterable[Json]) -> dict[str, Decimal]:
    filled = defaultdict[str, Decimal](Decimal)
    for trade in trades:
        filled[trade["order_id"]] += Decimal(trade["quantity"])
    return dict(filled)


async def assert_booked(client: FleetClient, trades: Iterable[Json]) -> Json:
    """Cash and positions are the opening deposit and the sum of the fills. The portfolio is answered."""
    cash, held = OPENING_DEPOSIT, defaultdict[str, Decimal](Decimal)
    for trade in trades:
        quantity = Decimal(trade["quantity"]) * (1 if trade["side"] == "buy" else -1)
        cash -= quantity * Decimal(trade["price"]) + Decimal(trade["fee"])
        held[trade["symbol"]] += quantity
    portfolio = await client.portfolio()
    assert Decimal(portfolio["cash"]) == cash
    positions = {position["symbol"]: Decimal(position["quantity"]) for position in await client.positions()}
    assert {symbol: quantity for symbol, quantity in positions.items() if quantity} == {
        symbol: quantity for symbol, quantity in held.items() if quantity
    }
    return portfolio


async def assert_money(client: FleetClient) -> None:
    """Nothing is reserved, and what is there is the deposit and the sum of the fills."""
    trades = [trade async for trade in client.trades()]

    async def is_so() -> bool:
        portfolio = await assert_booked(client, trades)
        return Decimal(portfolio["buying_power"]) == Decimal(portfolio["cash"])

    await eventually(is_so)
