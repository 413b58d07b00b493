"""Operators take orders out of all books, whichever instance keeps them, with the command."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from fleet_command import command, fleet_of
from fleet_contracts.audit import AdminActed
from fleet_contracts.venue import VenueOrderAccepted, VenueOrderCanceled
from fleet_testkit.eventually import eventually

MASS_CANCEL = ("mass-cancel", "--reason", "a test")
A, C = VenueOrderAccepted, VenueOrderCanceled


@pytest.mark.long
async def test_it_reaches_every_instance_and_says_what_was_not_reached(open_engine: Any, tmp_path: Path) -> None:
    """two instances share the partitions -> an account's orders are out of the books of both, another's stay, and both acts
    are kept -> one instance is away: exit code 1, with its name"""
    symbols = [f"S{number}/USD" for number in range(6)]
    async with open_engine() as engine, contextlib.AsyncExitStack() as second, engine.running() as url:
        await engine.lists(*(engine.instrument(symbol) for symbol in symbols))
        urls = [url, await second.enter_async_context(engine.running(ordinal=1))]
        state = fleet_of(tmp_path, engine.keys.state.keys, "matching-engine", *urls)

        async def kept(instance: str) -> set[str]:
            headers, found = engine.keys.of_service("matching-engine", "matching-engine"), set()
            for symbol in symbols:
                path = f"{instance}/internal/books/{symbol.replace('/', '-')}"
                async with engine.http.get(path, headers=headers) as answer:
                    found |= {symbol} if answer.status == 200 else set()
            return found

        async def are_shared() -> bool:
            ours, theirs = await kept(urls[0]), await kept(urls[1])
            return bool(ours and theirs) and ours | theirs == set(symbols)

        await eventually(are_shared, 30)
        account = engine.order().account_id
        mine = [engine.order(symbol=symbol, account_id=account) for symbol in symbols]
        others = [engine.order(symbol=symbol) for symbol in symbols]
        await engine.command(*mine, *others)
        for each in (*mine, *others):
            await engine.told(each.venue_order_ref, A)
        code, table, _ = await command(state, *MASS_CANCEL, "--account", str(account))
        assert code == 0, table
        rows = [line.split() for line in table.splitlines()[1:]]
        assert [row[:2] for row in rows] == [["matching-engine-0", "ok"], ["matching-engine-1", "ok"]]
        assert sorted(number.strip(",") for row in rows for number in row[2:]) == ["0", "1", "2", "3"]
        for each in mine:
            assert (await engine.told(each.venue_order_ref, A, C))[1].code == "mass_cancel"
        await eventually(lambda: len(engine.peers.heard_of(AdminActed)) == 2)
        acts = engine.peers.heard_of(AdminActed)
        assert {(act.action, act.reason) for act in acts} == {("orders.mass_canceled", "a test")}
        assert all(act.actor.startswith("cli:") for act in acts)
        theirs = await kept(urls[1])
        await second.aclose()
        code, table, _ = await command(state, *MASS_CANCEL, "--symbol", next(iter(theirs)))
        assert code == 1 and "matching-engine-1  unreachable" in table, table
        assert all(len(engine.reports(each.venue_order_ref)) == 1 for each in others)


async def test_a_symbol_that_the_venue_does_not_trade_is_said(open_engine: Any, tmp_path: Path) -> None:
    """one that it trades → ok; one letter changed → told as well, and said to cancel nothing"""
    async with open_engine() as engine, engine.running() as url:
        await engine.lists(engine.instrument("AAPL/USD"))
        state = fleet_of(tmp_path, engine.keys.state.keys, "matching-engine", url)
        place = engine.order(symbol="AAPL/USD")
        await engine.command(place)
        await engine.told(place.venue_order_ref, A)
        for symbol, canceled in (("APPL/USD", ()), ("AAPL/USD", (C,))):
            code, table, wrong = await command(state, *MASS_CANCEL, "--symbol", symbol)
            assert "matching-engine-0  ok" in table
            assert code == (0 if canceled else 1)
            assert (wrong == "") if canceled else wrong.startswith("error: The venue internal does not trade APPL/USD")
            await engine.told(place.venue_order_ref, A, *canceled)
