"""The demo's own check on a replay that is short enough for every run of the tests; the whole one is `make demo`."""

import asyncio
from datetime import UTC, datetime

import pytest
from fleet_cli.demo import check
from fleet_cli.demo.follow import Seen, listening
from fleet_cli.demo.history import packaged_bars
from fleet_cli.demo.outcome import expected, read_outcome
from fleet_cli.demo.scenario import START, STRATEGY, SYMBOLS, TIMEFRAME, Deployed
from fleet_testkit.eventually import eventually
from whole_fleet import whole_fleet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

# Averages short enough to cross often in a few weeks.
PARAMETERS = {"fast": 2, "slow": 6, "quantity": "20"}
END = datetime(2011, 5, 24, tzinfo=UTC)
LISTED = tuple(symbol for symbol in SYMBOLS if symbol != "FB/USD")  # which came a year later


async def test_twelve_weeks_fill_in_the_fleet_as_in_process() -> None:
    """a deployment a symbol → 59 daily bars in lockstep → bars, fills, books and what the socket told agree"""
    with whole_fleet("replay", port_offset=698) as fleet:
        async with fleet.user() as user:
            client = user.client
            strategy = await client.create_strategy(STRATEGY)
            body = {"strategy_id": strategy["strategy_id"], "timeframe": TIMEFRAME, "parameters": PARAMETERS}
            deployed = []
            for symbol in LISTED:
                made = await client.create_deployment(
                    {**body, "symbols": [symbol], "mode": "paper"}, idempotency_key=symbol
                )
                deployed.append(Deployed(made["deployment_id"], symbol))
            seen = Seen()
            async with listening(client, seen):
                asked = {"symbols": list(LISTED), "timeframe": TIMEFRAME, "start": START, "end": END}
                replay = await client.start_replay(asked)

                async def is_over() -> bool:
                    status = await client.replay(replay["replay_id"])
                    assert status["status"] != "failed", status
                    return bool(status["status"] == "done")

                await eventually(is_over, timeout_s=120)
                outcome = await read_outcome(client)

                async def is_told() -> bool:
                    assert (found := check.socket(outcome, seen)) == [], found
                    return True

                await eventually(is_told)
        fleet.verify_books()
    packaged = packaged_bars(end=END)
    assert len(packaged) == 59 * len(LISTED) and len(outcome.trades) > 40 and outcome.positions
    in_process = await asyncio.to_thread(expected, packaged, outcome.account_id, deployed, PARAMETERS)
    checks = check.all_of(
        outcome, packaged=packaged, in_process=in_process, verified=[], told=check.socket(outcome, seen)
    )
    assert not any(checks.values()), checks
