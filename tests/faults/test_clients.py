"""Many clients at few accounts, near the end of their funds, while both replicas of trading are killed again and again."""

import asyncio
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

import asyncpg
import pytest
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError
from orders_under_way import (
    ENDED,
    OPENING_DEPOSIT,
    Json,
    assert_booked,
    filled_by_order,
    market_order,
    until_answered,
)
from whole_fleet import WholeFleet, until_priced, whole_fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(590)]
log_of_test = logging.getLogger(__name__)
SYMBOL = "AAPL/USD"
ACCOUNTS, CLIENTS_OF_EACH = 8, 8
TRADING_S = 60
KILL_EVERY_S = (3.0, 7.0)
THINKS_S = 0.5
"""A client decides for so long at the most; without it 64 of them ask for more than two cores can do."""
MOST_RESTING = 4
# The same each time, another one on request.
SEED = int(os.environ.get("FLEET_STORM_SEED", "1"))
RESTING = ("new", "partially_filled")
_OVERDRAWN = """
SELECT account_id::text, currency, 'reserved' AS what FROM balances WHERE reserved > total
UNION ALL SELECT account_id::text, currency, 'entry ' || entry_no FROM entries WHERE book = 'client' AND balance_after < 0
UNION ALL SELECT account_id::text, NULL, status FROM accounts WHERE status <> 'active'
"""


async def test_64_clients_on_8_accounts_while_trading_is_killed() -> None:
    """place, replace, cancel for a minute under kill -9 → at rest: one order each, nobody overdrawn, the books hold"""
    with whole_fleet("simulated", port_offset=664, trading=2) as fleet:
        async with fleet.admin() as admin, AsyncExitStack() as stack:
            users = [await stack.enter_async_context(fleet.user()) for _ in range(ACCOUNTS)]
            price = await until_priced(users[0].client, SYMBOL)
            accounts = [SharedAccount(user.client, price) for user in users]
            is_over = partial(is_past, time.monotonic() + TRADING_S)
            clients = [
                Client(account, f"{a}-{c}", random.Random(f"{SEED} {a} {c}"))
                for a, account in enumerate(accounts)
                for c in range(CLIENTS_OF_EACH)
            ]
            killing = asyncio.create_task(kill_trading(fleet, random.Random(SEED), is_over))
            await asyncio.gather(*(client.trade(is_over) for client in clients))
            kills = await killing
            await fleet.until_ready(120)
            await admin.request("POST", "/exchanges/paper/feed", {"action": "pause"})
            rest = await asyncio.to_thread(fleet.command, "rest", "--wait", "--timeout-s", "180")
            assert rest.returncode == 0, rest.stdout + rest.stderr
            for account in accounts:
                await account.check()
            seen = sum((account.seen for account in accounts), Counter[str]())
            log_of_test.info("%s kills of trading; %s", kills, dict(sorted(seen.items())))
            assert seen["insufficient_funds"] and seen["asked again"], seen  # else nothing was tried here
        await assert_nobody_is_overdrawn(fleet)
        verified = await asyncio.to_thread(fleet.command, "ledger", "verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
        parked = await asyncio.to_thread(fleet.command, "parked", "list")
        assert parked.returncode == 0 and "nothing" in parked.stdout, parked.stdout + parked.stderr
        assert [line for line in fleet.noise() if "Traceback" in line] == []


def is_past(at: float) -> bool:
    return time.monotonic() > at


async def kill_trading(fleet: WholeFleet, chance: random.Random, is_over: Callable[[], bool]) -> int:
    """One that has come back, at random; so from time to time both are down."""
    kills = 0
    while not is_over():
        await asyncio.sleep(chance.uniform(*KILL_EVERY_S))  # the distance of the kills is the fault itself
        ordinal = chance.randrange(2)
        if await fleet.is_ready("trading", ordinal):
            fleet.kill("trading", ordinal)
            kills += 1
    return kills


async def assert_nobody_is_overdrawn(fleet: WholeFleet) -> None:
    """Not now, not after any entry; and nothing was booked that acceptance had not allowed for."""
    books = await asyncpg.connect(fleet.description["services"]["trading"]["database_url"])
    try:
        assert [tuple(row) for row in await books.fetch(_OVERDRAWN)] == []
    finally:
        await books.close()


@dataclass
class SharedAccount:
    """What the clients of one account were told, by `client_order_id`."""

    client: FleetClient
    price: Decimal
    answered: dict[str, Json | ApiError] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    async def ask(self, what: str, ask: Callable[[], Any]) -> Json | ApiError:
        answer = await until_answered(ask, 120, failed=self._failed)
        self.seen[answer.code if isinstance(answer, ApiError) else what] += 1
        return answer

    def _failed(self, error: Exception) -> None:
        self.seen["asked again"] += 1
        self.seen[f"asked again: {error.code if isinstance(error, ApiError) else type(error).__name__}"] += 1

    async def check(self) -> None:
        """One order per `client_order_id`, as it was answered, ended or resting; positions and cash the sum of fills."""
        orders = [order async for order in self.client.orders(status="all")]
        named = {order["client_order_id"]: order for order in orders}
        assert len(orders) == len(named), "two orders have the same client_order_id"
        assert named.keys() == self.answered.keys()
        for name, answer in self.answered.items():
            order = named[name]
            if isinstance(answer, ApiError):
                assert (order["status"], order["reason"]["code"]) == ("denied", answer.code)
                continue
            assert order["order_id"] == answer["order_id"], "an answer was of another order"
            assert order["status"] in ENDED + RESTING, order
        trades = [trade async for trade in self.client.trades()]
        filled = {o["order_id"]: Decimal(o["filled_quantity"]) for o in orders if Decimal(o["filled_quantity"])}
        assert filled_by_order(trades) == filled
        await assert_booked(self.client, trades)
        self.seen.update(f"ended {order['status']}" for order in orders)


@dataclass
class Client:
    """Places, replaces and cancels; asks again, with the same words, where it does not know what became of it."""

    account: SharedAccount
    name: str
    chance: random.Random
    sent: int = 0
    resting: list[str] = field(default_factory=list)

    async def trade(self, is_over: Callable[[], bool]) -> None:
        while not is_over():
            await asyncio.sleep(self.chance.uniform(0, THINKS_S))
            if self.resting and (len(self.resting) >= MOST_RESTING or self.chance.random() < 0.3):
                await self.change(self.chance.choice(self.resting))
            else:
                await self.place()

    async def place(self) -> None:
        name = f"{self.name}-{self.sent}"
        self.sent += 1
        side = self.chance.choice(["buy", "buy", "sell"])
        body = market_order(SYMBOL, client_order_id=name, side=side, quantity=self.quantity())
        if is_limit := self.chance.random() < 0.5:
            body |= {"type": "limit", "limit_price": self.limit(side)}
        answer = await self.account.ask("placed", partial(self.account.client.place_order, body))
        self.account.answered[name] = answer
        if is_limit and not isinstance(answer, ApiError):
            self.resting.append(answer["order_id"])

    async def change(self, order_id: str) -> None:
        path = f"/orders/{order_id}"
        if self.chance.random() < 0.5:
            change = {"quantity": self.quantity()}
            answer = await self.account.ask("replaced", partial(self.account.client.request, "PATCH", path, change))
            is_gone = isinstance(answer, ApiError) and answer.code == "order_closed"
        else:
            await self.account.ask("canceled", partial(self.account.client.request, "DELETE", path))
            is_gone = True
        if is_gone:
            self.resting.remove(order_id)

    def quantity(self) -> str:
        """1 to 10 % of what the account began with: eight clients want more than there is."""
        return str(int(OPENING_DEPOSIT / self.account.price * self.chance.randint(1, 10) / 100))

    def limit(self, side: str) -> str:
        """Within 2 % of the first price, on either side: some rest, some fill."""
        return str(
            (self.account.price * (100 + self.chance.randint(-20, 20) / Decimal(10)) / 100).quantize(Decimal("0.01"))
        )
