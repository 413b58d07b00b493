"""A dead man's switch works with nobody alive but the last gates."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from fleet_testkit.eventually import eventually
from orders_under_way import market_order, place_until_answered
from whole_fleet import User, WholeFleet, until_priced, until_status, whole_fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
PATIENT = {"FLEET_TRADING_SEND_BY_S": "60"}
"""On a busy machine 50 orders at once must all get to their venues."""
SYMBOLS = ("AAPL/USD", "IBM/USD", "MSFT/USD")


async def test_all_is_cancelled_in_time_with_trading_core_engine_and_kafka_dead_and_a_heartbeat_keeps_its_own() -> None:
    """50 orders of one client rest at both venues, a part of a TWAP among them, and some of another's -> both set 10 s, the
    other again -> Kafka stopped, trading and core-engine killed -> at the time the paper venue has none of the first's
    within 1 s -> all back: all 50 are told so, the other's rest, and a new order of the first is taken"""
    with whole_fleet("simulated", port_offset=646, environment=PATIENT) as fleet:
        async with fleet.user() as silent, fleet.user() as beating:
            prices = {symbol: await until_priced(silent.client, symbol) for symbol in SYMBOLS}
            orders = await rest(silent, prices, 50)
            kept = await rest(beating, prices, 6)
            twap = {"type": "twap", "duration_s": 600, "slices": 2}
            worked = await silent.client.place_order(
                market_order(type="limit", limit_price="1", quantity="2", algo=twap)
            )
            await until_status(silent.client, worked["order_id"], "new", timeout_s=60)
            account_id = UUID(worked["account_id"])
            on_paper = sum(order["venue"] == "paper" for order in orders) + 1
            await eventually(lambda: open_at_paper(fleet, account_id, on_paper), timeout_s=30)
            await beating.client.cancel_after(10)
            set_ = await silent.client.cancel_after(10)
            assert {one["result"] for one in set_["instances"]} == {"ok"}, set_
            again = await beating.client.cancel_after(3_600)
            with fleet.stopped("kafka"):
                fleet.kill("trading")
                fleet.kill("core-engine")
                await eventually(lambda: open_at_paper(fleet, account_id, 0), timeout_s=15)
                done_at = await last_change_at_paper(fleet, account_id)
            trigger_at = datetime.fromisoformat(set_["trigger_time"])
            assert timedelta(0) <= done_at - trigger_at < timedelta(seconds=1)
            await fleet.until_ready(timeout_s=90)
            for order in (*orders, worked):
                ended = await until_status(silent.client, order["order_id"], "canceled", timeout_s=60)
                assert ended["reason"]["code"] == "cancel_after", ended
            events = await silent.client.request("GET", f"/orders/{orders[0]['order_id']}/events")
            assert [one["event"] for one in events["data"]] == ["placed", "accepted", "canceled"]
            assert datetime.fromisoformat(again["trigger_time"]) - trigger_at > timedelta(minutes=50)
            for order in kept:
                assert (await beating.client.order(order["order_id"]))["status"] == "new"
            await until_priced(silent.client, SYMBOLS[0])
            placed = await silent.client.place_order(market_order())
            await until_status(silent.client, placed["order_id"], "filled")
            fleet.verify_books()


async def rest(user: User, prices: dict[str, Decimal], count: int) -> list[dict[str, Any]]:
    """Buys a little under the market, by turns at one venue and the other, that are open there."""
    bodies = [
        market_order(
            symbol := SYMBOLS[n % len(SYMBOLS)],
            type="limit",
            limit_price=str((prices[symbol] * Decimal("0.94")).quantize(Decimal("0.01"))),
            venue=("paper", "internal")[n % 2],
            client_order_id=f"rests-{n}",
        )
        for n in range(count)
    ]
    orders = await asyncio.gather(*(place_until_answered(user.client, body) for body in bodies))
    for order in orders:
        assert isinstance(order, dict), order
        await until_status(user.client, order["order_id"], "new", timeout_s=60)
    return [order for order in orders if isinstance(order, dict)]


async def open_at_paper(fleet: WholeFleet, account_id: UUID, count: int) -> bool:
    return bool(await _of_account(fleet, account_id, "count(*) FILTER (WHERE open IS NOT NULL)") == count)


async def last_change_at_paper(fleet: WholeFleet, account_id: UUID) -> datetime:
    at: datetime = await _of_account(fleet, account_id, "max(updated_at)")
    return at


async def _of_account(fleet: WholeFleet, account_id: UUID, what: str) -> Any:
    connection = await asyncpg.connect(fleet.description["services"]["exchange-connector"]["database_url"])
    try:
        return await connection.fetchval(f"SELECT {what} FROM venue_orders WHERE account_id = $1", account_id)
    finally:
        await connection.close()
