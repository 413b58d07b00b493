"""Which instance shows a book, and how the open orders of one are paged."""

import contextlib
import json
from typing import Any
from uuid import UUID

import pytest
from fleet_contracts.venue import VenueOrderAccepted
from fleet_matching_engine.domain.references import References
from fleet_testkit.eventually import eventually
from hypothesis import given
from hypothesis import strategies as st

REFS = st.uuids().map(lambda ref: ref.hex) | st.integers(0, 20).map(lambda n: UUID(int=n).hex)


@given(st.lists(REFS, max_size=40), st.sets(st.integers(0, 39)), st.none() | REFS, st.integers(1, 10))
def test_pages_are_those_of_all_references_sorted(
    refs: list[str], gone: set[int], after: str | None, most: int
) -> None:
    target, naive = References(refs), set(refs)
    for ref in (ref for number, ref in enumerate(refs) if number in gone):
        target.discard(ref)
        naive.discard(ref)
    assert target.above(after, most) == sorted(ref for ref in naive if after is None or ref > after)[:most]


@pytest.mark.long
async def test_every_instance_shows_every_book_and_none_does_while_its_owner_is_away(open_engine: Any) -> None:
    """two instances share the partitions -> each answers for the other's books; unknown is 404 -> one stops -> 503"""
    symbols = [f"S{number}/USD" for number in range(6)]
    async with open_engine() as engine, contextlib.AsyncExitStack() as second, contextlib.AsyncExitStack() as first:
        urls = [await first.enter_async_context(engine.running())]
        await engine.lists(*(engine.instrument(symbol) for symbol in symbols))
        order = engine.order("buy", "3", "99", symbol=symbols[0])
        await engine.command(order)
        await engine.told(order.venue_order_ref, VenueOrderAccepted)
        urls.append(await second.enter_async_context(engine.running(ordinal=1)))
        listed = [{"name": "matching-engine", "ordinal": n, "url": url} for n, url in enumerate(urls)]
        engine.settings.instances.write_text(json.dumps({"instances": listed}))

        async def shown(url: str, symbol: str, caller: str = "gateway") -> tuple[int, Any]:
            engine.url = url
            path = f"/books/{symbol.replace('/', '-')}"
            if caller == "gateway":
                answered: tuple[int, Any] = await engine.api(f"/api/v1{path}")
                return answered
            headers = engine.keys.of_service(caller, "matching-engine")
            async with engine.http.get(f"{url}/internal{path}", headers=headers) as answer:
                return answer.status, await answer.json()

        async def kept(url: str) -> set[str]:
            return {symbol for symbol in symbols if (await shown(url, symbol, "matching-engine"))[0] == 200}

        async def are_shared() -> bool:
            ours, theirs = await kept(urls[0]), await kept(urls[1])
            return bool(ours and theirs) and ours | theirs == set(symbols)

        await eventually(are_shared, 30)
        for symbol in symbols:
            for url in urls:
                status, book = await shown(url, symbol)
                assert (status, book["symbol"], book["venue"]) == (200, symbol, "internal")
                assert book["orders"] == (symbol == symbols[0])
        for url in urls:
            status, problem = await shown(url, "NONE-USD")
            assert (status, problem["code"]) == (404, "not_found")
        assert (await shown(urls[0], symbols[0], "core-engine"))[0] == 403
        theirs = await kept(urls[1])
        await second.aclose()
        for symbol in symbols:
            status, answer = await shown(urls[0], symbol)
            assert (status, answer.get("code")) == ((503, "book_not_here") if symbol in theirs else (200, None))
