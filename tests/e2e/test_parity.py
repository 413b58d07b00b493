"""Promise 1: what a strategy does in process is what it does through the whole fleet, to the last digit."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from fleet_cli.demo.outcome import Outcome, differences, read_outcome
from fleet_cli.demo.scenario import FEE_RATE, START, SYMBOLS, TICK, TIMEFRAME
from fleet_sdk.bars import steps
from fleet_sdk.builtin import create
from fleet_sdk.client import FleetClient
from fleet_sdk.run import Deployment, RunResult, run
from fleet_testkit.eventually import eventually
from orders_under_way import ENDED
from whole_fleet import whole_fleet

STRATEGIES: dict[str, dict[str, object]] = {
    "breakout": {"stop_ranges": "2.5"},
    "breakout, trailing": {"length": 10, "exit": "trailing_stop"},
    "buy_the_dip": {"quantity": "15", "most_bars": 5},
}
"""Entries by stop and by limit order that ends with its time; exits by bracket, by trailing stop and by OCO, which is
cancelled for a market order when it has taken too long."""
END = datetime(2012, 6, 1, tzinfo=UTC)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_stops_brackets_and_limits_fill_in_the_fleet_as_in_process() -> None:
    """fifteen deployments on one account → fifteen months of bars in lockstep → the same fills, prices, fees and order ends."""
    with whole_fleet("replay", port_offset=697) as fleet:
        async with fleet.user() as user:
            deployed = [await deploy(user.client, name, symbol) for symbol in SYMBOLS for name in STRATEGIES]
            replay = await user.client.start_replay(
                {"symbols": list(SYMBOLS), "timeframe": TIMEFRAME, "start": START, "end": END}
            )

            async def is_over() -> bool:
                status = await user.client.replay(replay["replay_id"])
                assert status["status"] in ("running", "done"), status
                return bool(status["status"] == "done")

            await eventually(is_over, timeout_s=500)
            outcome = await read_outcome(user.client)
        fleet.verify_books()
    in_process = await asyncio.to_thread(
        run,
        [Deployment(one[0], outcome.account_id, create(one[1], one[2]), (one[3],)) for one in deployed],
        list(steps(outcome.bars)),
        fee_rate=FEE_RATE,
        tick=TICK,
    )
    assert differences(outcome, in_process) == []
    assert ends_in_fleet(outcome) == ends_in_process(in_process)
    exits = Counter(str(order.order_class) for order in in_process.orders if order.filled_quantity and order.leg)
    entries = Counter(str(order.asked.type) for order in in_process.orders if order.filled_quantity and not order.leg)
    assert (
        min(
            exits["bracket"],
            exits["oco"],
            entries["stop"],
            entries["limit"],
            entries["trailing_stop"],
            entries["market"],
        )
        > 10
    )


async def deploy(client: FleetClient, name: str, symbol: str) -> tuple[UUID, str, dict[str, object], str]:
    builtin, parameters = name.partition(",")[0], STRATEGIES[name]
    strategy = await client.create_strategy({"name": name, "kind": "builtin", "builtin": builtin})
    body = {"strategy_id": strategy["strategy_id"], "symbols": [symbol], "timeframe": TIMEFRAME, "mode": "paper"}
    deployment = await client.create_deployment({**body, "parameters": parameters}, idempotency_key=f"{name} {symbol}")
    return UUID(deployment["deployment_id"]), builtin, parameters, symbol


End = tuple[str, str, str, Decimal]
"""Signal, type, how it ended, what was filled."""


def ends_in_fleet(outcome: Outcome) -> "Counter[End]":
    return Counter(
        (
            order["signal_id"],
            order["type"],
            order["status"] if order["status"] in ENDED else "open",
            Decimal(order["filled_quantity"]),
        )
        for order in outcome.orders
    )


def ends_in_process(result: RunResult) -> "Counter[End]":
    return Counter(
        (str(order.signal_id), str(order.asked.type), str(order.outcome), order.filled_quantity)
        for order in result.orders
    )
