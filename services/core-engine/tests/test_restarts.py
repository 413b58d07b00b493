"""The service is stopped, and what a deployment raised is raised again: each signal still counts once, its pace goes on."""

from pathlib import Path
from uuid import UUID, uuid4

from core_engine_messages import account_of, deployment_of, grant_of, signal_of
from fleet_contracts import core_engine as said
from fleet_contracts.strategy import SignalRaised
from fleet_contracts.topics import STRATEGY_SIGNALS
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import KafkaForTests, MakeDatabase
from msgspec.structs import replace
from running_core_engine import MOST_SIGNALS, core_engine_at_rest, unique


async def test_a_restart_repeats_no_order_and_forgets_neither_the_pace_nor_a_halt(
    tmp_path: Path, make_database: MakeDatabase, kafka: KafkaForTests
) -> None:
    """all orders of the minute but one are raised, a symbol is halted → it stops → the first again, and two more → it is
    back: one more order, one throttled, the symbol is halted"""
    [symbol, halted] = unique("AAPL", "IBM")
    signal = signal_of(symbol)
    raised = [signal, *(replace(signal, signal_id=uuid4()) for _ in range(MOST_SIGNALS))]
    of_halted = replace(signal_of(halted), account_id=signal.account_id, user_id=signal.user_id)
    async with core_engine_at_rest(tmp_path, make_database, kafka) as core_engine:
        others = core_engine.others

        async def say(*signals: SignalRaised) -> None:
            await others.say(*((STRATEGY_SIGNALS, str(signal.account_id), one) for one in signals))

        def requested() -> list[UUID]:
            return [one.signal_id for one in others.heard_of(said.OrderRequested, str(signal.account_id))]

        async with core_engine.running():
            await core_engine.define(symbol)
            await core_engine.define(halted)
            await others.say(account_of(signal))
            for one in (signal, of_halted):
                await others.say(deployment_of(one), grant_of(one))
            assert await core_engine.kill_switch(scope="symbol", target=halted, action="halt") == 200
            await say(*raised[:-2])
            await eventually(lambda: len(requested()) == MOST_SIGNALS - 1)
        await say(raised[0], *raised[-2:], of_halted)
        async with core_engine.running():
            [late] = await eventually(lambda: others.heard_of(said.SignalDropped, str(signal.deployment_id)))
            assert (late.reason, late.signal_id) == ("throttled", raised[-1].signal_id)
            [stopped] = await eventually(lambda: others.heard_of(said.SignalDropped, str(of_halted.deployment_id)))
            assert stopped.reason == "halted"
            await eventually(lambda: len(requested()) >= MOST_SIGNALS)
    assert requested() == [one.signal_id for one in raised[:-1]]
