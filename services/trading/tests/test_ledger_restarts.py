"""What was earned does not depend on the order in which fills arrive, nor on when memory was lost."""

import asyncio
import random
from decimal import Decimal as D
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from fleet_contracts.execution import OrderReports
from fleet_contracts.topics import EXECUTION_REPORTS
from fleet_testkit.eventually import eventually

LIMIT = {"symbol": "AAPL/USD", "type": "limit", "quantity": "10"}
BOUGHT = [(3, "100.37"), (4, "99.13"), (3, "101.91")]
SOLD = [(5, "102.77"), (2, "98.03"), (3, "103.29")]
EARNED = sum(q * D(p) for q, p in SOLD) - sum(q * D(p) for q, p in BOUGHT)
ENDS = """
SELECT p.quantity, p.cost, p.realized_pnl, b.total, b.reserved
FROM positions AS p JOIN balances AS b ON b.account_id = p.account_id AND b.currency = 'USD'
"""


@pytest.mark.parametrize(
    ("accounts", "rounds"),
    [(8, 3), pytest.param(100, 20, marks=[pytest.mark.long, pytest.mark.timeout(590)])],
)
async def test_a_buy_and_a_sell_interleaved_across_restarts_earn_the_same(
    run_trading: Any, accounts: int, rounds: int
) -> None:
    """Ten are held; each round ten more are bought on one order and ten sold on another, their fills in a random order,
    while memory is lost at random; in the end all is sold. A round of an account is one interleaving."""
    chance = random.Random(5)
    async with run_trading() as fleet:
        users = [fleet.a_user() for _ in range(accounts)]
        books = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
        told = 0

        async def ordered(*sides: tuple[str, str]) -> dict[UUID, list[dict[str, Any]]]:
            bodies = {"orders": [LIMIT | {"side": side, "limit_price": price} for side, price in sides]}
            asked = [fleet.call("POST", "/api/v1/orders/batch", bodies, user=user) for user in users]
            replies = dict(zip(users, await asyncio.gather(*asked), strict=True))
            assert all(one["status"] == 201 for reply in replies.values() for one in reply.body)
            return {user: [one["order"] for one in reply.body] for user, reply in replies.items()}

        async def filled(turns: dict[UUID, list[Any]]) -> None:
            """Tells of each account's fills in their turn; then all are booked."""
            nonlocal told
            for place in range(max(map(len, turns.values()))):
                async with fleet.outside.transaction() as tx:
                    for user, fills in turns.items():
                        account_id = fleet.account_of(user)
                        message = OrderReports(account_id=account_id, user_id=user, reports=(fills[place],))
                        tx.publish(EXECUTION_REPORTS, str(account_id), message, market_at=fleet.clock.now())
                if chance.random() < 0.5:
                    fleet.cache.clear()
            told += sum(map(len, turns.values()))
            await eventually(partial(booked, told), timeout_s=60, what="all fills are booked")

        async def booked(count: int) -> bool:
            return bool(await books.fetchval("SELECT count(*) FROM trades") == count)

        held = await ordered(("buy", "90"))
        await filled({user: [fleet.filled(order, 10, "90")] for user, (order,) in held.items()})
        for _ in range(rounds):
            orders = await ordered(("buy", "105"), ("sell", "95"))
            await filled({user: interleaved(fleet, orders[user], chance) for user in users})
        left = await ordered(("sell", "95"))
        await filled({user: [fleet.filled(order, 10, "95")] for user, (order,) in left.items()})

        earned = rounds * EARNED + 10 * (95 - 90)
        assert {tuple(row) for row in await books.fetch(ENDS)} == {(0, 0, earned, 100_000 + earned, 0)}
        await books.close()
        assert await fleet.parked() == 0
        await fleet.books_hold()


def interleaved(fleet: Any, orders: list[dict[str, Any]], chance: random.Random) -> list[Any]:
    """The fills of both orders in some order, each order's as its venue counts them."""
    buy, sell = orders
    turns = [buy] * len(BOUGHT) + [sell] * len(SOLD)
    chance.shuffle(turns)
    fills = {buy["order_id"]: iter(BOUGHT), sell["order_id"]: iter(SOLD)}
    counted = dict.fromkeys(fills, 0)
    found = []
    for order in turns:
        order_id = order["order_id"]
        quantity, price = next(fills[order_id])
        counted[order_id] += quantity
        found.append(fleet.filled(order, quantity, price, cumulative=counted[order_id]))
    return found
