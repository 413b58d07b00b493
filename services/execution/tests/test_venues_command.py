"""`fleet venues` against execution as it runs."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from fleet_command import command, fleet_of
from fleet_contracts.audit import AdminActed
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS
from fleet_contracts.trading import SubmitOrder
from fleet_contracts.vocabulary import VenueStateWord
from fleet_testkit.eventually import eventually


async def test_an_operator_sees_what_is_left_and_settles_it(
    execution_service: Any, an_order: SubmitOrder, tmp_path: Path
) -> None:
    """a stranger holds 3 there → shown → accepted → asked anew: nothing is left, and the symbol is open"""
    service, symbol, stranger = execution_service, "ETH/USD", uuid4()
    state = fleet_of(tmp_path, service.keys.state.keys, "execution", service.url)
    await service.status(VenueStateWord.CONNECTED, LISTS_OPEN_ORDERS)
    await service.lists(symbol)
    for number in (1, 2, 3):
        await service.answer(await service.asked(symbol, number), positions={stranger: 3})
    named = (await service.compared(symbol))["reconciliation_id"]
    status, told, wrong = await command(state, "venues", "differences")
    assert (status, wrong) == (1, "")
    assert told.startswith(f"paper {symbol} since ") and named in told
    assert told.splitlines()[2].split()[:2] == ["position", str(stranger)]
    assert "the account holds 3 there, was 0 here" in told
    service.clock.advance(seconds=1)
    done = f"accepted; paper is asked anew about {symbol}, see `fleet venues differences`\n"
    assert await command(state, "venues", "accept", named, "--reason", "a test") == (0, done, "")
    await service.answer(await service.asked(symbol, 4), positions={stranger: 3})
    assert (await service.compared(symbol, 1))["outcome"] == "clean"
    assert await command(state, "venues", "differences") == (0, "nothing is unresolved\n", "")
    assert not await service.is_in_doubt(an_order, symbol)
    (acted,) = await eventually(lambda: service.peers.heard_of(AdminActed))
    assert (acted.actor.partition(":")[0], acted.action, acted.reason) == ("cli", "differences.accepted", "a test")
    assert [(c.name, c.before, c.after) for c in acted.changes[2:]] == [(f"position {stranger}", "0", "3")]
