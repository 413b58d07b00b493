"""The service is stopped, and what it has read is read again: each step still counts once."""

from typing import Any

from fleet_testkit.eventually import eventually


async def test_a_restart_forgets_nothing_and_repeats_nothing(strategy_at_rest: Any, a_user: Any, symbols: Any) -> None:
    fleet = strategy_at_rest
    async with fleet.running():
        holds = await fleet.deployed(a_user, symbols[:1], builtin="buy_and_hold")
        crosses = await fleet.deployed(a_user, symbols[:1], fast=2, slow=3, quantity="5")
        for close in (10, 9, 8):
            number = await fleet.market_day({symbols[0]: close})
        await fleet.ran(a_user, crosses, number)
        (bought,) = await eventually(lambda: fleet.signals(a_user))
    # The next day passes while it is down; and all that it ever read comes once more, as after a kill.
    number = await fleet.market_day({symbols[0]: 12})
    await fleet.execute("DELETE FROM live_positions")
    await fleet.execute("DELETE FROM inbox_positions")
    async with fleet.running():
        await fleet.ran(a_user, holds, number)
        await fleet.ran(a_user, crosses, number)
        raised = await eventually(lambda: (found := fleet.signals(a_user))[1:] and found)
        assert [str(signal.deployment_id) for signal in raised] == [holds, crosses]
        assert raised[0] == bought
        number = await fleet.market_day({symbols[0]: 13})
        await fleet.ran(a_user, holds, number)
        await fleet.ran(a_user, crosses, number)
        assert len(fleet.signals(a_user)) == 2
